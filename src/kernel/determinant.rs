//! Det: determinants of square matrices.

use super::conv::position::Position;
use super::conv::real::{Real, narrowed, widened, with_real};
use super::registry::{Entry, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::error::{Result, bail};
use crate::tensor::Shape;

pub(super) const OPS: &[Entry] = &[onnx("Det", 11, prepare)];

struct Det;

fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    Ok(Box::new(Det))
}

/// The determinant of a row-major matrix of `n` rows, which is lost: elimination with the largest
/// element of each column as its pivot.
fn determinant(ctx: &Context<'_>, matrix: &mut [f64], n: usize) -> Result<f64> {
    let mut product = 1.0;
    for k in 0..n {
        let column = |row: usize| matrix.get(row * n + k).copied().unwrap_or(0.0);
        let mut pivot = k;
        for row in k + 1..n {
            if column(row).abs() > column(pivot).abs() {
                pivot = row;
            }
        }
        let value = column(pivot);
        if value == 0.0 {
            return Ok(0.0);
        }
        let (above, below) = matrix.split_at_mut((k + 1) * n);
        let Some(top) = above.get_mut(k * n..) else { bail!(Internal, "a matrix without rows") };
        if pivot != k {
            let start = (pivot - k - 1) * n;
            let Some(other) = below.get_mut(start..start + n) else {
                bail!(Internal, "a pivot outside of the matrix");
            };
            top.swap_with_slice(other);
            product = -product;
        }
        product *= value;
        for row in below.chunks_mut(n) {
            let (Some(row), Some(top)) = (row.get_mut(k..), top.get(k..)) else { continue };
            let factor = row.first().map_or(0.0, |x| x / value);
            if factor != 0.0 {
                row.iter_mut().zip(top).for_each(|(x, t)| *x -= factor * t);
            }
        }
        if k % 64 == 0 {
            ctx.check_deadline()?;
        }
    }
    Ok(product)
}

impl Kernel for Det {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.tensor(0)?;
        let (batch, n) = match x.dims() {
            [batch @ .., m, n] if m == n => (batch, *n),
            _ => bail!(InvalidInput, "Det: expected square matrices, got shape {}", x.shape()),
        };
        let (shape, dtype) = (Shape::new(batch)?, x.dtype());
        ctx.shape_of::<f64>(&[n, n])?;
        let x = widened(x)?;
        let out = with_real!("Det", dtype, T => {
            let values = x.as_slice::<T>()?;
            let mut out = ctx.buffer::<T>(shape.len())?;
            let mut matrix = vec![0.0; n * n];
            for i in 0..shape.len() {
                let from = values.get(i * n * n..(i + 1) * n * n).unwrap_or(&[]);
                matrix.iter_mut().zip(from).for_each(|(to, &x)| *to = x.to_f64());
                // Computed wide, rounded once.
                out.push(T::from_f64(determinant(ctx, &mut matrix, n)?));
            }
            ctx.tensor(shape, out)
        })?;
        one(narrowed(out, dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, assert_close, t};
    use half::f16;

    #[test]
    fn small_matrices_and_batches_of_them() {
        let det = Op::onnx("Det", 11);
        assert_eq!(det.run1(&[t(&[2, 2], &[0f32, 1., 2., 3.])]), t(&[], &[-2f32]));
        let x = [1f32, 2., 3., 4., 1., 2., 2., 1., 1., 3., 3., 1.];
        assert_close(&det.run1(&[t(&[3, 2, 2], &x)]), &t(&[3], &[-2f32, -3., -8.]));
        let y = det.run1(&[t(&[1, 3, 2, 2], &x.map(f16::from_f32))]);
        assert_eq!(y, t(&[1, 3], &[-2f32, -3., -8.].map(f16::from_f32)));
        // 2 · 3 · 4 · 5, its rows turned by one (an odd permutation of four).
        let x = [0f64, 0., 0., 5., 2., 0., 0., 0., 9., 3., 0., 0., 7., 8., 4., 0.];
        assert_close(&det.run1(&[t(&[4, 4], &x)]), &t(&[], &[-120f64]));
    }

    #[test]
    fn singular_empty_and_infinite() {
        let det = Op::onnx("Det", 22);
        assert_eq!(det.run1(&[t(&[2, 2], &[1f64, 2., 2., 4.])]), t(&[], &[0f64]));
        assert_eq!(det.run1(&[t::<f32>(&[2, 0, 0], &[])]), t(&[2], &[1f32, 1.]));
        assert_eq!(det.run1(&[t::<f32>(&[0, 3, 3], &[])]), t::<f32>(&[0], &[]));
        let nan = det.run1(&[t(&[1, 1], &[f32::NAN])]);
        assert!(nan.as_slice::<f32>().unwrap()[0].is_nan());
        assert!(det.run(&[t(&[2, 3], &[0f32; 6])]).is_err());
        assert!(det.run(&[t(&[2], &[0f32; 2])]).is_err());
        assert!(det.run(&[t(&[1, 1], &[1i64])]).is_err());
    }
}

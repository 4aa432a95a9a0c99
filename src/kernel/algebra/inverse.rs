//! Inverse: the inverse of each square matrix, by elimination with partial pivoting.

use crate::error::{Result, bail, ensure};
use crate::kernel::cast::cast;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::ElementType;

struct Inverse;

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    Ok(Box::new(Inverse))
}

impl Kernel for Inverse {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.take_tensor(0)?;
        let (shape, dtype) = (x.shape().clone(), x.dtype());
        let &[.., n, columns] = shape.dims() else {
            bail!(InvalidInput, "Inverse: expected matrices, got shape {shape}");
        };
        ensure!(
            n == columns && dtype.is_float(),
            InvalidInput,
            "Inverse of {dtype} {shape}, expected square matrices of floats"
        );
        ctx.shape_of::<f64>(shape.dims())?;
        let mut matrices = cast(ctx, x, ElementType::F64)?.into_vec::<f64>()?;
        let mut inverse = ctx.filled(shape.len(), 0f64)?;
        let size = (n * n).max(1);
        for (a, b) in matrices.chunks_exact_mut(size).zip(inverse.chunks_exact_mut(size)) {
            invert(ctx, a, b, n)?;
        }
        ctx.recycle(matrices);
        let inverse = ctx.tensor(shape, inverse)?;
        one(cast(ctx, inverse, dtype)?)
    }
}

/// Turns `a` into the identity and the zeros of `b` into its inverse, by the same steps. A singular
/// matrix leaves numbers that are none, as division by zero does.
fn invert(ctx: &Context<'_>, a: &mut [f64], b: &mut [f64], n: usize) -> Result<()> {
    for (i, row) in b.chunks_exact_mut(n).enumerate() {
        row[i] = 1.0;
    }
    let mut pivot_row = vec![0f64; 2 * n];
    for k in 0..n {
        ctx.check_deadline()?;
        let size = |i: &usize| a[i * n + k].abs();
        let pivot = (k..n).max_by(|i, j| size(i).total_cmp(&size(j))).unwrap_or(k);
        let scale = a[pivot * n + k];
        for matrix in [&mut *a, &mut *b] {
            for column in 0..n {
                matrix.swap(k * n + column, pivot * n + column);
                matrix[k * n + column] /= scale;
            }
        }
        pivot_row[..n].copy_from_slice(&a[k * n..(k + 1) * n]);
        pivot_row[n..].copy_from_slice(&b[k * n..(k + 1) * n]);
        for (i, (a, b)) in a.chunks_exact_mut(n).zip(b.chunks_exact_mut(n)).enumerate() {
            let factor = a[k];
            if i == k || factor == 0.0 {
                continue;
            }
            for (v, p) in a.iter_mut().chain(b).zip(&pivot_row) {
                *v -= factor * p;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, assert_close, t};
    use half::f16;

    #[test]
    fn matrices_times_their_inverses_are_the_identity() {
        let op = Op::new("com.microsoft", "Inverse", 1);
        // A leading zero needs another pivot.
        let x = t(&[2, 2, 2], &[4f32, 7.0, 2.0, 6.0, 0.0, 2.0, 4.0, 0.0]);
        let y = t(&[2, 2, 2], &[0.6f32, -0.7, -0.2, 0.4, 0.0, 0.25, 0.5, 0.0]);
        assert_close(&op.run1(&[x]), &y);
        let n = 7;
        let entry = |i: usize, j: usize| ((i * 13 + j * 17 + i * j * j) % 23) as f64 - 11.0;
        let x: Vec<f64> = (0..n * n).map(|at| entry(at / n, at % n)).collect();
        let y = op.run1(&[t(&[n, n], &x)]).into_vec::<f64>().unwrap();
        for i in 0..n {
            for j in 0..n {
                let v: f64 = (0..n).map(|k| x[i * n + k] * y[k * n + j]).sum();
                assert!((v - f64::from(i == j)).abs() < 1e-9, "{i} {j} {v}");
            }
        }
        let half = op.run1(&[t(&[1, 1], &[f16::from_f32(4.0)])]);
        assert_eq!(half, t(&[1, 1], &[f16::from_f32(0.25)]));
    }

    #[test]
    fn shapes_and_singular_matrices() {
        let op = Op::new("com.microsoft", "Inverse", 1);
        let y = op.run1(&[t(&[2, 2], &[1f64, 2.0, 2.0, 4.0])]);
        assert!(y.to_f64_vec().unwrap().iter().any(|v| !v.is_finite()));
        assert_eq!(op.run1(&[t::<f32>(&[3, 0, 0], &[])]).dims(), [3, 0, 0]);
        for dims in [&[2, 3][..], &[6]] {
            assert!(op.run(&[t(dims, &[1f32; 6])]).is_err());
        }
        assert!(op.run(&[t(&[1, 1], &[1i64])]).is_err());
    }
}

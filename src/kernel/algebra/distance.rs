//! CDist: the distance of each row of one matrix from each row of another.

use crate::error::{Result, bail, ensure};
use crate::kernel::conv::real::{Real, narrowed, widened, with_real};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::Tensor;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Metric {
    SquaredEuclidean,
    Euclidean,
    CityBlock,
    Chebyshev,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    Ok(Box::new(match spec.attributes.str("metric", "sqeuclidean")?.as_str() {
        "sqeuclidean" => Metric::SquaredEuclidean,
        "euclidean" => Metric::Euclidean,
        "cityblock" => Metric::CityBlock,
        "chebyshev" => Metric::Chebyshev,
        other => return Err(spec.unsupported(format_args!("metric '{other}'"))),
    }))
}

/// The sum of `term` of each pair, in running sums whose number does not depend on the data.
fn sum<T: Real>(a: &[T], b: &[T], term: impl Fn(T, T) -> T) -> T {
    let mut sums = [T::ZERO; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for ((s, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *s += term(a, b);
        }
    }
    for ((s, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *s += term(a, b);
    }
    sums.into_iter().fold(T::ZERO, |sum, s| sum + s)
}

impl Metric {
    fn between<T: Real>(self, a: &[T], b: &[T]) -> T {
        let square = |a: T, b: T| (a - b) * (a - b);
        match self {
            Metric::SquaredEuclidean => sum(a, b, square),
            Metric::Euclidean => sum(a, b, square).sqrt(),
            Metric::CityBlock => sum(a, b, |a, b| (a - b).abs()),
            Metric::Chebyshev => a.iter().zip(b).fold(T::ZERO, |most, (&a, &b)| {
                let d = (a - b).abs();
                if d > most || d.is_nan() { d } else { most }
            }),
        }
    }

    fn all<T: Real>(self, ctx: &mut Context<'_>, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let (&[m, width], &[n, other]) = (a.dims(), b.dims()) else {
            bail!(InvalidInput, "CDist: matrices expected, got {} and {}", a.shape(), b.shape());
        };
        ensure!(width == other, InvalidInput, "CDist: rows of {width} and of {other} numbers");
        let shape = ctx.shape_of::<T>(&[m, n])?;
        let mut out = ctx.filled(shape.len(), T::ZERO)?;
        if width > 0 {
            let (a, b) = (a.as_slice::<T>()?, b.as_slice::<T>()?);
            ctx.threads.split_rows(&mut out, n, n.saturating_mul(width) / 4 + 1, |rows, out| {
                let rows = a.get(rows.start * width..rows.end * width).unwrap_or(&[]);
                for (a, out) in rows.chunks_exact(width).zip(out.chunks_mut(n.max(1))) {
                    for (b, out) in b.chunks_exact(width).zip(out) {
                        *out = self.between(a, b);
                    }
                }
            });
        }
        ctx.tensor(shape, out)
    }
}

impl Kernel for Metric {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (a, b) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let dtype = a.dtype();
        ensure!(b.dtype() == dtype, InvalidInput, "CDist of {dtype} and {}", b.dtype());
        let (a, b) = (widened(a)?, widened(b)?);
        let distances = with_real!("CDist", dtype, T => self.all::<T>(ctx, &a, &b))?;
        one(narrowed(distances, dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, assert_close, t};
    use crate::tensor::Tensor;

    fn distances(metric: &str, a: Tensor, b: Tensor) -> Tensor {
        Op::new("com.microsoft", "CDist", 1).string("metric", metric).run1(&[a, b])
    }

    #[test]
    fn distances_by_metric() {
        let a = t(&[2, 2], &[0f32, 0.0, 1.0, 1.0]);
        let b = t(&[3, 2], &[3f32, 4.0, 0.0, 0.0, 1.0, -2.0]);
        let d = |metric| distances(metric, a.clone(), b.clone());
        let squares = t(&[2, 3], &[25f32, 0.0, 5.0, 13.0, 2.0, 9.0]);
        assert_close(&d("sqeuclidean"), &squares);
        let plain = Op::new("com.microsoft", "CDist", 1).run1(&[a.clone(), b.clone()]);
        assert_close(&plain, &squares);
        let roots: Vec<f32> = squares.to_f32_vec().unwrap().iter().map(|v| v.sqrt()).collect();
        assert_close(&d("euclidean"), &t(&[2, 3], &roots));
        assert_close(&d("cityblock"), &t(&[2, 3], &[7f32, 0.0, 3.0, 5.0, 2.0, 3.0]));
        assert_close(&d("chebyshev"), &t(&[2, 3], &[4f32, 0.0, 2.0, 3.0, 1.0, 3.0]));
        // More columns than there are running sums, in double precision.
        let long: Vec<f64> = (0..19).map(f64::from).collect();
        let y = distances("sqeuclidean", t(&[1, 19], &long), t(&[1, 19], &[0f64; 19]));
        assert_close(&y, &t(&[1, 1], &[2109f64]));
        let nothing = distances("euclidean", t::<f32>(&[2, 0], &[]), t::<f32>(&[1, 0], &[]));
        assert_eq!(nothing, t(&[2, 1], &[0f32, 0.0]));
        assert_eq!(distances("euclidean", a.clone(), t::<f32>(&[0, 2], &[])).dims(), [2, 0]);
        let op = Op::new("com.microsoft", "CDist", 1);
        assert!(op.run(&[a.clone(), t(&[1, 3], &[0f32; 3])]).is_err());
        assert!(op.run(&[a.clone(), t(&[2], &[0f32; 2])]).is_err());
        assert!(op.run(&[a, t(&[1, 2], &[0f64; 2])]).is_err());
        assert!(op.string("metric", "yule").run(&[b.clone(), b]).is_err());
    }
}

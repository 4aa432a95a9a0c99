//! AffineGrid: the positions that affine maps take an evenly spaced grid to.

use crate::error::{Result, bail, ensure, err};
use crate::kernel::conv::real::{Real, narrowed, widened, with_real};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Shape, Tensor};

struct AffineGrid {
    align_corners: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    Ok(Box::new(AffineGrid { align_corners: spec.attributes.flag("align_corners", false)? }))
}

impl AffineGrid {
    /// The coordinates of an axis of `size` elements, of which -1 and 1 are the ends.
    fn coordinates(&self, size: usize) -> Vec<f64> {
        (0..size)
            .map(|i| match self.align_corners {
                false => (2 * i + 1) as f64 / size as f64 - 1.0,
                // A single element has no two corners: it lies in the middle.
                true if size == 1 => 0.0,
                true => 2.0 * i as f64 / (size - 1) as f64 - 1.0,
            })
            .collect()
    }

    fn compute<T: Real>(
        &self,
        ctx: &mut Context<'_>,
        theta: &[f64],
        spatial: &[usize],
        shape: Shape,
    ) -> Result<Tensor> {
        let mut out = ctx.filled(shape.len(), T::ZERO)?;
        let Some((&width, outer)) = spatial.split_last().filter(|_| !out.is_empty()) else {
            return ctx.tensor(shape, out);
        };
        let rank = spatial.len();
        let along: Vec<Vec<f64>> = spatial.iter().map(|&size| self.coordinates(size)).collect();
        let lines: usize = outer.iter().product();
        ctx.threads.split_rows(&mut out, width * rank, width * rank, |range, chunk| {
            for (line, out) in range.zip(chunk.chunks_mut(width * rank)) {
                let map = line / lines * rank * (rank + 1);
                let map = theta.get(map..map + rank * (rank + 1)).unwrap_or(&[]);
                // What does not change along the line: the shift and the outer coordinates.
                let mut rest = line % lines;
                let mut start = [0.0; 3];
                for (start, row) in start.iter_mut().zip(map.chunks(rank + 1)) {
                    *start = row.last().copied().unwrap_or(0.0);
                }
                for (axis, along) in along.iter().enumerate().rev().skip(1) {
                    let size = along.len().max(1);
                    let at = along.get(rest % size).copied().unwrap_or(0.0);
                    rest /= size;
                    for (start, row) in start.iter_mut().zip(map.chunks(rank + 1)) {
                        // Coordinates are counted from the innermost axis.
                        *start += row.get(rank - 1 - axis).copied().unwrap_or(0.0) * at;
                    }
                }
                let inner = along.last().map_or(&[][..], Vec::as_slice);
                for (point, &x) in out.chunks_mut(rank).zip(inner) {
                    let rows = start.iter().zip(map.chunks(rank + 1));
                    for (out, (start, row)) in point.iter_mut().zip(rows) {
                        *out = T::from_f64(start + row.first().copied().unwrap_or(0.0) * x);
                    }
                }
            }
        });
        ctx.tensor(shape, out)
    }
}

impl Kernel for AffineGrid {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let theta = inputs.tensor(0)?;
        let size = inputs.tensor(1)?.to_i64_vec()?;
        let size: Vec<usize> = size
            .iter()
            .map(|&n| {
                usize::try_from(n).map_err(|_| err!(InvalidInput, "AffineGrid: a size of {n}"))
            })
            .collect::<Result<_>>()?;
        let (images, spatial) = match size[..] {
            [images, _, ref spatial @ ..] if matches!(spatial.len(), 2 | 3) => (images, spatial),
            _ => bail!(InvalidInput, "AffineGrid: sizes {size:?}, expected 4 or 5 of them"),
        };
        let rank = spatial.len();
        ensure!(
            theta.dims() == [images, rank, rank + 1],
            InvalidInput,
            "AffineGrid: maps of shape {} for sizes {size:?}",
            theta.shape()
        );
        let mut dims = vec![images];
        dims.extend_from_slice(spatial);
        dims.push(rank);
        let dtype = theta.dtype();
        let shape = ctx.shape_of::<f64>(&dims)?;
        let maps = widened(theta)?.to_f64_vec()?;
        let out = with_real!("AffineGrid", dtype, T => {
            self.compute::<T>(ctx, &maps, spatial, shape)
        })?;
        one(narrowed(out, dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, assert_close, t};
    use crate::tensor::{ElementType, Tensor};
    use half::f16;

    const IDENTITY: [f32; 6] = [1., 0., 0., 0., 1., 0.];

    #[test]
    fn the_identity_answers_the_grid_itself() {
        let size = t(&[4], &[1i64, 7, 2, 2]);
        let edges = Op::onnx("AffineGrid", 20).run1(&[t(&[1, 2, 3], &IDENTITY), size.clone()]);
        assert_eq!(edges.dims(), [1, 2, 2, 2]);
        let expected = [-0.5, -0.5, 0.5, -0.5, -0.5, 0.5, 0.5, 0.5];
        assert_close(&edges, &t(&[1, 2, 2, 2], &expected.map(|x: f64| x as f32)));
        let op = Op::onnx("AffineGrid", 20).int("align_corners", 1);
        let corners = op.run1(&[t(&[1, 2, 3], &IDENTITY), size]);
        assert_close(&corners, &t(&[1, 2, 2, 2], &[-1f32, -1., 1., -1., -1., 1., 1., 1.]));
        let single = op.run1(&[t(&[1, 2, 3], &IDENTITY), t(&[4], &[1i64, 1, 1, 3])]);
        assert_close(&single, &t(&[1, 1, 3, 2], &[-1f32, 0., 0., 0., 1., 0.]));
    }

    #[test]
    fn maps_turn_and_shift_each_image() {
        // A quarter turn with a shift, and a mirror: x' = -y + 1, y' = x + 2; x' = -x, y' = y.
        let theta = [0f64, -1., 1., 1., 0., 2., -1., 0., 0., 0., 1., 0.];
        let op = Op::onnx("AffineGrid", 20).int("align_corners", 1);
        let y = op.run1(&[t(&[2, 2, 3], &theta), t(&[4], &[2i64, 1, 2, 3])]);
        let expected = [
            2f64, 1., 2., 2., 2., 3., 0., 1., 0., 2., 0., 3., 1., -1., 0., -1., -1., -1., 1., 1.,
            0., 1., -1., 1.,
        ];
        assert_eq!(y, t(&[2, 2, 3, 2], &expected));
    }

    #[test]
    fn three_axes_count_from_the_innermost() {
        // x' = 10x, y' = 100y, z' = 1000z + 1.
        let theta = [10f32, 0., 0., 0., 0., 100., 0., 0., 0., 0., 1000., 1.];
        let op = Op::onnx("AffineGrid", 20).int("align_corners", 1);
        let y = op.run1(&[t(&[1, 3, 4], &theta), t(&[5], &[1i64, 1, 2, 2, 2])]);
        assert_eq!(y.dims(), [1, 2, 2, 2, 3]);
        let y = y.as_slice::<f32>().unwrap();
        assert_eq!(y[..6], [-10., -100., -999., 10., -100., -999.]);
        assert_eq!(y[18..], [-10., 100., 1001., 10., 100., 1001.]);
        let half = theta.map(f16::from_f32);
        let y = op.run1(&[t(&[1, 3, 4], &half), t(&[5], &[1i64, 1, 2, 2, 2])]);
        assert_eq!(y.dtype(), ElementType::F16);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let op = Op::onnx("AffineGrid", 20);
        let theta = || t(&[1, 2, 3], &IDENTITY);
        for size in [&[1i64, 1, 2][..], &[2, 1, 2, 2], &[1, 1, -2, 2], &[1, 1, 2, 2, 2]] {
            assert!(op.run(&[theta(), t(&[size.len()], size)]).is_err(), "{size:?}");
        }
        assert!(op.run(&[theta(), t(&[4], &[1i64, 1, 1 << 40, 1 << 40])]).is_err());
        let whole: Tensor = t(&[1, 2, 3], &[1i64, 0, 0, 0, 1, 0]);
        assert!(op.run(&[whole, t(&[4], &[1i64, 1, 2, 2])]).is_err());
        assert_eq!(op.run1(&[theta(), t(&[4], &[1i64, 1, 0, 2])]).dims(), [1, 0, 2, 2]);
    }
}

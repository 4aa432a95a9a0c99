//! MaxRoiPool: the maxima of the parts that regions of a feature map are divided into.

use super::{bins, regions};
use crate::error::{Result, bail};
use crate::kernel::conv::position::Position;
use crate::kernel::conv::real::{narrowed, widened, with_real};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::Tensor;
use std::ops::Range;

struct MaxRoiPool {
    /// Bins along height and width.
    bins: [usize; 2],
    scale: f32,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    let &[height, width] = spec.attributes.ints("pooled_shape")? else {
        return Err(spec.invalid("attribute 'pooled_shape' must hold two sizes"));
    };
    Ok(Box::new(MaxRoiPool {
        bins: [bins(spec, "pooled_shape", height)?, bins(spec, "pooled_shape", width)?],
        scale: spec.attributes.float("spatial_scale", 1.0)?,
    }))
}

impl MaxRoiPool {
    /// The elements of each bin along an axis of `size` elements, for a region from `start` to
    /// `end`, both included.
    fn ranges<T: Position>(&self, start: T, end: T, bins: usize, size: usize) -> Vec<Range<usize>> {
        // Rounded to elements, halves away from zero; far away is as good as further.
        let round = |x: T| (x * T::from_f32(self.scale)).to_f64().round().clamp(-1e12, 1e12);
        let start = round(start);
        let length = T::from_f64((round(end) - start + 1.0).max(1.0)) / T::from_f64(bins as f64);
        let inside = |x: f64| (x + start).clamp(0.0, size as f64) as usize;
        (0..bins)
            .map(|i| {
                let low = (T::from_f64(i as f64) * length).floor();
                let high = (T::from_f64((i + 1) as f64) * length).ceil();
                inside(low.to_f64())..inside(high.to_f64())
            })
            .collect()
    }

    fn compute<T: Position>(
        &self,
        ctx: &mut Context<'_>,
        x: &Tensor,
        rois: &Tensor,
    ) -> Result<Tensor> {
        let ([n, channels, height, width], count) = regions("MaxRoiPool", x, rois, 5)?;
        let shape = ctx.shape_of::<T>(&[count, channels, self.bins[0], self.bins[1]])?;
        for bins in self.bins {
            ctx.shape_of::<u64>(&[ctx.threads.size(), bins, 2])?;
        }
        let (x, rois) = (x.as_slice::<T>()?, rois.as_slice::<T>()?);
        for roi in rois.chunks(5) {
            match roi.first().map(|i| i.to_f64()) {
                Some(i) if i >= 0.0 && i < n as f64 => (),
                other => bail!(InvalidInput, "MaxRoiPool: a region of image {other:?} of {n}"),
            }
        }
        let mut out = ctx.filled(shape.len(), T::ZERO)?;
        if out.is_empty() {
            return ctx.tensor(shape, out);
        }
        let (row, plane) = (out.len() / count, height * width);
        let ns = row.max(channels.saturating_mul(plane));
        let group = ctx.threads.size().saturating_mul(8);
        for (i, out) in out.chunks_mut(row.saturating_mul(group)).enumerate() {
            ctx.threads.split_rows(out, row, ns, |range, chunk| {
                for (roi, out) in range.zip(chunk.chunks_mut(row)) {
                    let roi = 5 * (i * group + roi);
                    let &[image, x1, y1, x2, y2] = rois.get(roi..roi + 5).unwrap_or(&[]) else {
                        continue;
                    };
                    let rows = self.ranges(y1, y2, self.bins[0], height);
                    let columns = self.ranges(x1, x2, self.bins[1], width);
                    let image = image.to_f64() as usize * channels;
                    for (c, out) in out.chunks_mut(self.bins[0] * self.bins[1]).enumerate() {
                        let at = (image + c) * plane;
                        let x = x.get(at..at + plane).unwrap_or(&[]);
                        let bins = rows.iter().flat_map(|r| columns.iter().map(move |c| (r, c)));
                        for (out, (rows, columns)) in out.iter_mut().zip(bins) {
                            *out = maximum(x, width, rows, columns);
                        }
                    }
                }
            });
            ctx.check_deadline()?;
        }
        ctx.tensor(shape, out)
    }
}

/// The largest element of a part of a plane (NaN is), 0 where the part is empty.
fn maximum<T: Position>(x: &[T], width: usize, rows: &Range<usize>, columns: &Range<usize>) -> T {
    let mut largest: Option<T> = None;
    for row in rows.clone() {
        let row = x.get(row * width..(row + 1) * width).unwrap_or(&[]);
        for &x in row.get(columns.clone()).unwrap_or(&[]) {
            if largest.is_none_or(|largest| x > largest || x.is_nan()) {
                largest = Some(x);
            }
        }
    }
    largest.unwrap_or(T::ZERO)
}

impl Kernel for MaxRoiPool {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.tensor(0)?;
        let dtype = x.dtype();
        let (x, rois) = (widened(x)?, widened(inputs.tensor(1)?)?);
        let out = with_real!("MaxRoiPool", dtype, T => self.compute::<T>(ctx, &x, &rois))?;
        one(narrowed(out, dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, t};
    use half::f16;

    fn op(shape: &[i64]) -> Op {
        Op::onnx("MaxRoiPool", 22).ints("pooled_shape", shape)
    }

    #[test]
    fn regions_include_their_ends_and_are_clipped() {
        // 4 x 4: 0..16, and the same from 100 on as a second image.
        let x: Vec<f32> = (0..16).chain(100..116).map(|v| v as f32).collect();
        let x = t(&[2, 1, 4, 4], &x);
        let rois = t(
            &[4, 5],
            &[
                0f32, 0., 0., 3., 3., // all of it
                1., 1., 1., 2., 2., // the middle of the second image
                0., 2., 3., 9., 9., // beyond the end
                0., 8., 8., 9., 9., // nowhere
            ],
        );
        let y = op(&[2, 2]).run1(&[x.clone(), rois]);
        let expected =
            [5f32, 7., 13., 15., 105., 106., 109., 110., 15., 0., 0., 0., 0., 0., 0., 0.];
        assert_eq!(y, t(&[4, 1, 2, 2], &expected));
        // Halves are rounded away from zero after scaling: 1.5 · 1 = 2 to 2.5 · 1 = 3.
        let rois = t(&[1, 5], &[0f32, 3., 3., 5., 5.]);
        let y = op(&[1, 1]).float("spatial_scale", 0.5).run1(&[x, rois]);
        assert_eq!(y, t(&[1, 1, 1, 1], &[15f32]));
    }

    #[test]
    fn bins_overlap_where_the_division_is_uneven() {
        // Three elements in two bins: [0, 2) and [1, 3); a region of one element repeats it.
        let x = t(&[1, 1, 1, 3], &[5f32, -1., 3.].map(f16::from_f32));
        let rois = t(&[2, 5], &[0f32, 0., 0., 2., 0., 0., 1., 0., 0., 0.].map(f16::from_f32));
        let y = op(&[1, 2]).run1(&[x, rois]);
        assert_eq!(y, t(&[2, 1, 1, 2], &[5f32, 3., -1., -1.].map(f16::from_f32)));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = || t(&[1, 1, 2, 2], &[1f32; 4]);
        for image in [-1f32, 1.0, f32::NAN] {
            assert!(op(&[1, 1]).run(&[x(), t(&[1, 5], &[image, 0., 0., 1., 1.])]).is_err());
        }
        assert!(op(&[1, 1]).run(&[x(), t(&[1, 4], &[0f32; 4])]).is_err());
        for shape in [&[1][..], &[0, 1], &[1, i64::MAX], &[]] {
            assert!(op(shape).run(&[x(), t(&[1, 5], &[0f32; 5])]).is_err());
        }
        let huge = t(&[1, 5], &[0f32, f32::MIN, f32::NAN, f32::MAX, f32::INFINITY]);
        assert_eq!(op(&[1, 1]).run1(&[x(), huge]).dims(), [1, 1, 1, 1]);
    }
}

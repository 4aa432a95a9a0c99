//! RoiAlign: regions of a feature map pooled to one size, read between the elements.

use super::{bins, regions};
use crate::error::{Result, ensure};
use crate::kernel::conv::position::Position;
use crate::kernel::conv::real::{narrowed, widened, with_real};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::Tensor;

/// Most samples of a bin along an axis that an attribute may ask for.
const MOST_SAMPLES: i64 = 1 << 16;

struct RoiAlign {
    maximum: bool,
    /// Whether coordinates count from the middle of the first element, half an element in.
    half_pixel: bool,
    /// Bins along height and width.
    bins: [usize; 2],
    /// Samples of a bin along an axis; 0 takes one an element.
    samples: usize,
    scale: f32,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=3)?;
    let a = spec.attributes;
    let maximum = match a.str("mode", "avg")?.as_str() {
        "avg" => false,
        "max" => true,
        other => return Err(spec.invalid(format_args!("mode '{other}'"))),
    };
    // Before opset 16 there was one way, which has another name since.
    let half_pixel = spec.version >= 16
        && match a.str("coordinate_transformation_mode", "half_pixel")?.as_str() {
            "half_pixel" => true,
            "output_half_pixel" => false,
            other => {
                return Err(spec.invalid(format_args!("coordinate_transformation_mode '{other}'")));
            }
        };
    let samples = a.int("sampling_ratio", 0)?;
    if !(0..=MOST_SAMPLES).contains(&samples) {
        return Err(spec.invalid(format_args!("sampling_ratio of {samples}")));
    }
    Ok(Box::new(RoiAlign {
        maximum,
        half_pixel,
        bins: [
            bins(spec, "output_height", a.int("output_height", 1)?)?,
            bins(spec, "output_width", a.int("output_width", 1)?)?,
        ],
        samples: samples as usize,
        scale: a.float("spatial_scale", 1.0)?,
    }))
}

/// A sample along an axis: between element `low` and the next, `part` of the way.
struct Sample<T> {
    low: usize,
    high: usize,
    part: T,
}

/// The samples of one bin along an axis.
struct Bin<T> {
    samples: Vec<Sample<T>>,
    /// Whether some lie outside of the feature map: those count as zero.
    outside: bool,
    /// Each element's share of the sum of all samples.
    shares: Vec<(usize, T)>,
}

/// The bins of one region along one axis, and how many samples each has.
struct Line<T> {
    bins: Vec<Bin<T>>,
    count: f64,
}

/// Adds to an element's share. Samples come in order, so that only the last two can be meant.
fn add<T: Position>(shares: &mut Vec<(usize, T)>, at: usize, share: T) {
    match shares.iter_mut().rev().take(2).find(|(i, _)| *i == at) {
        Some((_, sum)) => *sum += share,
        None => shares.push((at, share)),
    }
}

impl<T: Position> Bin<T> {
    /// The samples at `start + (i + 1/2) · length / count` in an axis of `size` elements.
    fn new(start: T, length: T, count: f64, size: usize) -> Bin<T> {
        let mut bin = Bin { samples: vec![], outside: false, shares: vec![] };
        let (half, step) = (T::from_f32(0.5), length.to_f64() / count);
        // Of a region far larger than the map only the samples near the map are looked at.
        let near = |x: f64, d: f64| {
            if step > 0.0 { ((x - start.to_f64()) / step + d).clamp(0.0, count) } else { 0.0 }
        };
        let first = near(-1.0, -2.0).floor() as u64;
        let last = if step > 0.0 { near(size as f64, 2.0).ceil() } else { count };
        let (count, last) = (T::from_f64(count), last as u64);
        bin.outside = first > 0 || T::from_f64(last as f64) < count;
        let (least, most) = (-T::ONE, T::from_f64(size as f64));
        for i in first..last {
            let x = start + (T::from_f64(i as f64) + half) * length / count;
            // What is NaN lies outside as well.
            let inside = size > 0 && least <= x && x <= most;
            if !inside {
                bin.outside = true;
                continue;
            }
            let x = x.between(T::ZERO, most);
            let low = x.floor().to_f64() as usize;
            let (low, high, part) = if low + 1 >= size {
                (size - 1, size - 1, T::ZERO)
            } else {
                (low, low + 1, x - x.floor())
            };
            add(&mut bin.shares, low, T::ONE - part);
            add(&mut bin.shares, high, part);
            bin.samples.push(Sample { low, high, part });
        }
        bin
    }
}

impl RoiAlign {
    /// The bins along an axis of `size` elements of a region from `start` to `end`.
    fn line<T: Position>(&self, start: T, end: T, bins: usize, size: usize) -> Line<T> {
        let (scale, shift) = (T::from_f32(self.scale), T::from_f32(0.5));
        let shift = if self.half_pixel { shift } else { T::ZERO };
        let start = start * scale - shift;
        let mut length = end * scale - shift - start;
        if !self.half_pixel && length < T::ONE {
            length = T::ONE;
        }
        let length = length / T::from_f64(bins as f64);
        let count = match self.samples {
            0 => length.ceil().to_f64(),
            n => n as f64,
        };
        if count.is_nan() || count < 1.0 {
            return Line { bins: vec![], count };
        }
        let bin = |i: usize| Bin::new(start + T::from_f64(i as f64) * length, length, count, size);
        Line { bins: (0..bins).map(bin).collect(), count }
    }

    /// Pools one region of one image, `x`, for all its channels.
    fn region<T: Position>(
        &self,
        x: &[T],
        (height, width): (usize, usize),
        roi: &[T],
        out: &mut [T],
    ) {
        let &[x1, y1, x2, y2] = roi else { return };
        let rows = self.line(y1, y2, self.bins[0], height);
        let columns = self.line(x1, x2, self.bins[1], width);
        let count = T::from_f64((rows.count * columns.count).max(1.0));
        if rows.bins.is_empty() || columns.bins.is_empty() {
            // A region without a sample.
            return out.fill(T::ZERO);
        }
        let plane = height * width;
        for (channel, out) in out.chunks_mut(self.bins[0] * self.bins[1]).enumerate() {
            let x = x.get(channel * plane..(channel + 1) * plane).unwrap_or(&[]);
            let pairs = rows.bins.iter().flat_map(|r| columns.bins.iter().map(move |c| (r, c)));
            for (out, (row, column)) in out.iter_mut().zip(pairs) {
                *out = if self.maximum {
                    maximum(x, width, row, column)
                } else {
                    sum(x, width, row, column) / count
                };
            }
        }
    }

    fn compute<T: Position>(
        &self,
        ctx: &mut Context<'_>,
        x: &Tensor,
        rois: &Tensor,
        images: &Tensor,
    ) -> Result<Tensor> {
        let ([n, channels, height, width], count) = regions("RoiAlign", x, rois, 4)?;
        let images = images.as_slice::<i64>()?;
        ensure!(
            images.len() == count && images.iter().all(|i| (0..n as i64).contains(i)),
            InvalidInput,
            "RoiAlign: batch_indices {:?}… for {count} regions of {n} images",
            images.get(..8).unwrap_or(images)
        );
        let shape = ctx.shape_of::<T>(&[count, channels, self.bins[0], self.bins[1]])?;
        for (bins, size) in self.bins.into_iter().zip([height, width]) {
            // A sample is at most two an element where they are not counted by the attribute.
            let samples = self.samples.max(2 * size + 8);
            ctx.shape_of::<u64>(&[ctx.threads.size(), bins, samples, 6])?;
        }
        let (x, rois) = (x.as_slice::<T>()?, rois.as_slice::<T>()?);
        let mut out = ctx.filled(shape.len(), T::ZERO)?;
        if out.is_empty() {
            return ctx.tensor(shape, out);
        }
        let (row, image) = (out.len() / count, channels * height * width);
        let group = ctx.threads.size().saturating_mul(8);
        for (i, out) in out.chunks_mut(row.saturating_mul(group)).enumerate() {
            ctx.threads.split_rows(out, row, row.saturating_mul(16), |range, chunk| {
                for (roi, out) in range.zip(chunk.chunks_mut(row)) {
                    let roi = i * group + roi;
                    let at = images.get(roi).map_or(0, |&i| i as usize) * image;
                    let x = x.get(at..at + image).unwrap_or(&[]);
                    let roi = rois.get(4 * roi..4 * roi + 4).unwrap_or(&[]);
                    self.region(x, (height, width), roi, out);
                }
            });
            ctx.check_deadline()?;
        }
        ctx.tensor(shape, out)
    }
}

/// The sum of all samples of a bin.
fn sum<T: Position>(x: &[T], width: usize, row: &Bin<T>, column: &Bin<T>) -> T {
    let mut sum = T::ZERO;
    for &(r, share) in &row.shares {
        let x = x.get(r * width..(r + 1) * width).unwrap_or(&[]);
        let mut along = T::ZERO;
        for &(c, share) in &column.shares {
            if let Some(&x) = x.get(c) {
                along += share * x;
            }
        }
        sum += share * along;
    }
    sum
}

/// The largest of what the four elements around each sample contribute to it.
fn maximum<T: Position>(x: &[T], width: usize, row: &Bin<T>, column: &Bin<T>) -> T {
    let mut largest = (row.outside || column.outside).then_some(T::ZERO);
    for r in &row.samples {
        for c in &column.samples {
            let (above, left) = (T::ONE - r.part, T::ONE - c.part);
            for (at, weight) in [
                (r.low * width + c.low, above * left),
                (r.low * width + c.high, above * c.part),
                (r.high * width + c.low, r.part * left),
                (r.high * width + c.high, r.part * c.part),
            ] {
                let Some(&x) = x.get(at) else { continue };
                let value = weight * x;
                if largest.is_none_or(|largest| value > largest) {
                    largest = Some(value);
                }
            }
        }
    }
    largest.unwrap_or(T::ZERO)
}

impl Kernel for RoiAlign {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.tensor(0)?;
        let dtype = x.dtype();
        let (x, rois) = (widened(x)?, widened(inputs.tensor(1)?)?);
        let images = inputs.tensor(2)?;
        let out = with_real!("RoiAlign", dtype, T => self.compute::<T>(ctx, &x, &rois, images))?;
        one(narrowed(out, dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, assert_close, t};
    use crate::tensor::{ElementType, Tensor};
    use half::f16;

    /// 3 x 4 with `10 · y + x`: what is read in between is linear.
    fn plane() -> Tensor {
        let x: Vec<f32> = (0..12).map(|i| (10 * (i / 4) + i % 4) as f32).collect();
        t(&[1, 1, 3, 4], &x)
    }

    fn run(op: &Op, x: Tensor, rois: &[f32]) -> Tensor {
        let n = rois.len() / 4;
        op.run1(&[x, t(&[n, 4], rois), t(&[n], &vec![0i64; n])])
    }

    fn op(version: i64, height: i64, width: i64) -> Op {
        Op::onnx("RoiAlign", version).int("output_height", height).int("output_width", width)
    }

    #[test]
    fn bins_are_means_of_samples_in_between() {
        // From x = 0.5 to 2.5 and y = 0.5 to 1.5 in the middle-of-element coordinates.
        let roi = [1f32, 1., 3., 2.];
        let y = run(&op(16, 1, 2), plane(), &roi);
        // One sample a bin, at (1, 1) and (2, 1).
        assert_close(&y, &t(&[1, 1, 1, 2], &[11f32, 12.]));
        let y = run(&op(16, 1, 2).int("sampling_ratio", 2), plane(), &roi);
        assert_close(&y, &t(&[1, 1, 1, 2], &[11f32, 12.]));
        // Without the shift: x = 1 to 3, y = 1 to 2, the samples at (1.5, 1.5) and (2.5, 1.5).
        let y = run(&op(10, 1, 2), plane(), &roi);
        assert_close(&y, &t(&[1, 1, 1, 2], &[16.5f32, 17.5]));
        let named = op(16, 1, 2).string("coordinate_transformation_mode", "output_half_pixel");
        assert_close(&run(&named, plane(), &roi), &y);
        let y = run(&op(10, 1, 2).float("spatial_scale", 0.5), plane(), &roi.map(|v| 2.0 * v));
        assert_close(&y, &t(&[1, 1, 1, 2], &[16.5f32, 17.5]));
    }

    #[test]
    fn beyond_the_map_samples_count_as_zero_or_as_the_border() {
        // Samples at x = -2, -1, 0 and 1 of row 0: zero, the border's, itself, itself.
        let roi = [-2f32, 0., 2., 1.];
        let y = run(&op(16, 1, 4), plane(), &roi);
        assert_close(&y, &t(&[1, 1, 1, 4], &[0f32, 0., 0., 1.]));
        // Row 2 shows the difference: at y = 2 the element 0 is 20.
        let y = run(&op(16, 1, 4), plane(), &[-2f32, 2., 2., 3.]);
        assert_close(&y, &t(&[1, 1, 1, 4], &[0f32, 20., 20., 21.]));
        // Of 1e9 squared samples a few lie on the map: next to nothing.
        let far = [-5e8f32, -5e8, 5e8, 5e8];
        assert_close(&run(&op(16, 1, 1), plane(), &far), &t(&[1, 1, 1, 1], &[0f32]));
    }

    #[test]
    fn the_mean_weighs_each_sample() {
        // Samples at x = 1 and 2; y = 1.
        let y = run(&op(16, 1, 1), plane(), &[1f32, 1., 3., 2.]);
        assert_close(&y, &t(&[1, 1, 1, 1], &[11.5f32]));
        // Those outside are counted, too.
        let y = run(&op(16, 1, 1), plane(), &[-3f32, 1., 3., 2.]);
        // Samples at x = -3, -2 (zero), -1 (10), 0 (10), 1 (11), 2 (12); y = 1.
        assert_close(&y, &t(&[1, 1, 1, 1], &[43.0f32 / 6.0]));
    }

    #[test]
    fn the_maximum_is_of_weighted_elements() {
        let max = |version| op(version, 1, 1).string("mode", "max");
        // One sample at (1, 1): element 11 alone. One at (1.5, 1.5): a quarter of each, 22 / 4.
        let y = run(&max(16), plane(), &[1f32, 1., 2., 2.]);
        assert_close(&y, &t(&[1, 1, 1, 1], &[11f32]));
        let y = run(&max(10), plane(), &[1f32, 1., 2., 2.]);
        assert_close(&y, &t(&[1, 1, 1, 1], &[5.5f32]));
        // What lies outside counts as zero, which is more than what is negative.
        let negative: Vec<f32> =
            plane().as_slice().unwrap().iter().map(|v: &f32| -v - 1.).collect();
        let negative = t(&[1, 1, 3, 4], &negative);
        let y = run(&max(16), negative, &[-3f32, 1., 2., 2.]);
        assert_close(&y, &t(&[1, 1, 1, 1], &[0f32]));
    }

    #[test]
    fn regions_without_a_size() {
        // The old way makes them one element large, the new one leaves them empty.
        let y = run(&op(10, 1, 1), plane(), &[1f32, 1., 0., 0.]);
        assert_close(&y, &t(&[1, 1, 1, 1], &[16.5f32]));
        for roi in [[1f32, 1., 0., 0.], [1., 1., 1., 1.], [f32::NAN; 4]] {
            assert_close(&run(&op(16, 1, 1), plane(), &roi), &t(&[1, 1, 1, 1], &[0f32]));
        }
        // With a number of samples they are all at one place.
        let y = run(&op(16, 1, 1).int("sampling_ratio", 3), plane(), &[1.5f32, 1.5, 1.5, 1.5]);
        assert_close(&y, &t(&[1, 1, 1, 1], &[11f32]));
    }

    #[test]
    fn images_channels_and_types() {
        let x: Vec<f64> = (0..8).map(|i| f64::from(100 * (i / 4) + i)).collect();
        let x = t(&[2, 2, 1, 2], &x);
        let rois = t(&[2, 4], &[0f64, 0., 1., 1., 1., 0., 2., 1.]);
        let y = op(16, 1, 1).threads(2).run1(&[x, rois, t(&[2], &[1i64, 0])]);
        assert_eq!(y, t(&[2, 2, 1, 1], &[104f64, 106., 1., 3.]));
        let x = t(&[1, 1, 1, 2], &[1f32, 2.].map(f16::from_f32));
        let rois = t(&[1, 4], &[0f32, 0., 1., 1.].map(f16::from_f32));
        let y = op(16, 1, 1).run1(&[x, rois, t(&[1], &[0i64])]);
        assert_eq!(y.dtype(), ElementType::F16);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let roi = || t(&[1, 4], &[0f32, 0., 1., 1.]);
        for image in [-1i64, 1] {
            assert!(op(16, 1, 1).run(&[plane(), roi(), t(&[1], &[image])]).is_err());
        }
        assert!(op(16, 1, 1).run(&[plane(), roi(), t(&[2], &[0i64, 0])]).is_err());
        assert!(op(16, 1, 1).run(&[plane(), t(&[1, 5], &[0f32; 5]), t(&[1], &[0i64])]).is_err());
        for bad in [
            op(16, 0, 1),
            op(16, 1, i64::MAX),
            op(16, 1, 1).string("mode", "min"),
            op(16, 1, 1).int("sampling_ratio", -1),
            op(16, 1, 1).string("coordinate_transformation_mode", "pixel"),
        ] {
            assert!(bad.run(&[plane(), roi(), t(&[1], &[0i64])]).is_err());
        }
    }
}

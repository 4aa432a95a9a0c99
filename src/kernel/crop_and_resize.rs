//! CropAndResize of ONNX Runtime's own domain: boxes of images, each brought to one size.

use super::conv::real::{Real, narrowed, widened, with_real};
use super::gather::resolve_index;
use super::registry::{Entry, microsoft};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::error::{Result, bail, ensure};
use crate::tensor::Tensor;

pub(super) const OPS: &[Entry] = &[microsoft("CropAndResize", prepare)];

struct CropAndResize {
    nearest: bool,
    extrapolation: f32,
}

fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(4..=4)?;
    let nearest = match spec.attributes.str("mode", "bilinear")?.as_str() {
        "bilinear" => false,
        "nearest" => true,
        other => return Err(spec.invalid(format_args!("mode '{other}' is none"))),
    };
    let extrapolation = spec.attributes.float("extrapolation_value", 0.0)?;
    Ok(Box::new(CropAndResize { nearest, extrapolation }))
}

/// Where a row or column of a crop lies: at one of the image or between two.
#[derive(Clone, Copy)]
struct Place {
    low: usize,
    high: usize,
    /// How far it is from the lower one.
    part: f64,
}

/// The places of `count` rows from `start` to `end`, both in parts of an axis of `size`; `None` for
/// what lies outside of the image.
fn places(
    (start, end): (f64, f64),
    size: usize,
    count: usize,
    nearest: bool,
) -> Vec<Option<Place>> {
    let last = size.saturating_sub(1) as f64;
    let place = |i: usize| {
        let at = match count {
            1 => 0.5 * (start + end) * last,
            _ => start * last + i as f64 * ((end - start) * last / (count - 1) as f64),
        };
        if size == 0 || !(0.0..=last).contains(&at) {
            return None;
        }
        let low = if nearest { at.round() } else { at.floor() };
        let high = if nearest { low } else { at.ceil() };
        let part = if nearest { 0.0 } else { at - low };
        Some(Place { low: low as usize, high: high as usize, part })
    };
    (0..count).map(place).collect()
}

impl CropAndResize {
    fn of<T: Real>(
        &self,
        ctx: &mut Context<'_>,
        x: &Tensor,
        boxes: &Tensor,
        inputs: &Inputs<'_>,
    ) -> Result<Tensor> {
        let &[batch, channels, height, width] = x.dims() else {
            bail!(InvalidInput, "CropAndResize: images of shape {}, expected NCHW", x.shape());
        };
        let &[count, 4] = boxes.dims() else {
            bail!(InvalidInput, "CropAndResize: boxes of shape {}, expected [n, 4]", boxes.shape());
        };
        let images = inputs.tensor(2)?.to_i64_vec()?;
        ensure!(
            images.len() == count,
            InvalidInput,
            "CropAndResize: {} batch indices for {count} boxes",
            images.len()
        );
        let (rows, columns) = match inputs.tensor(3)?.to_i64_vec()?[..] {
            [rows, columns] if rows > 0 && columns > 0 => (rows as usize, columns as usize),
            ref other => bail!(InvalidInput, "CropAndResize: a crop size of {other:?}"),
        };
        let shape = ctx.shape_of::<T>(&[count, channels, rows, columns])?;
        ctx.shape_of::<f64>(&[rows.saturating_add(columns), 4])?;
        let mut out = ctx.buffer::<T>(shape.len())?;
        let outside = T::from_f32(self.extrapolation);
        let (data, boxes) = (x.as_slice::<T>()?, boxes.to_f64_vec()?);
        for (&image, corners) in images.iter().zip(boxes.as_chunks::<4>().0) {
            ctx.check_deadline()?;
            let image = resolve_index(image, batch)?;
            let &[top, left, bottom, right] = corners;
            let ys = places((top, bottom), height, rows, self.nearest);
            let xs = places((left, right), width, columns, self.nearest);
            for c in 0..channels {
                let start = (image * channels + c) * height * width;
                let plane = data.get(start..start + height * width).unwrap_or(&[]);
                let pixel =
                    |y: usize, x: usize| plane.get(y * width + x).copied().unwrap_or(T::ZERO);
                for y in &ys {
                    out.extend(xs.iter().map(|x| match (y, x) {
                        (Some(y), Some(x)) => {
                            let (down, across) = (T::from_f64(y.part), T::from_f64(x.part));
                            let between = |a: T, b: T, part: T| {
                                if part == T::ZERO { a } else { a + (b - a) * part }
                            };
                            let upper = between(pixel(y.low, x.low), pixel(y.low, x.high), across);
                            let lower =
                                between(pixel(y.high, x.low), pixel(y.high, x.high), across);
                            between(upper, lower, down)
                        }
                        _ => outside,
                    }));
                }
            }
        }
        ctx.tensor(shape, out)
    }
}

impl Kernel for CropAndResize {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (x, boxes) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let dtype = x.dtype();
        ensure!(
            boxes.dtype() == dtype,
            InvalidInput,
            "CropAndResize: boxes of {} in images of {dtype}",
            boxes.dtype()
        );
        let x = widened(x)?;
        let y = with_real!("CropAndResize", dtype, T => self.of::<T>(ctx, &x, boxes, inputs))?;
        one(narrowed(y, dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, assert_close, t};
    use crate::tensor::Tensor;

    /// An image of the numbers 0 to 8 and one of their negatives.
    fn images() -> Tensor {
        let v: Vec<f32> = (0..9).map(|i| i as f32).chain((0..9).map(|i| -(i as f32))).collect();
        t(&[2, 1, 3, 3], &v)
    }

    fn crop(op: Op, corners: [f32; 4], image: i32, size: [i32; 2]) -> crate::Result<Tensor> {
        let inputs = [images(), t(&[1, 4], &corners), t(&[1], &[image]), t(&[2], &size)];
        Ok(op.run(&inputs)?.remove(0))
    }

    #[test]
    fn boxes_are_sampled_at_their_corners() {
        let op = || Op::new("com.microsoft", "CropAndResize", 1);
        let whole = crop(op(), [0.0, 0.0, 1.0, 1.0], 0, [2, 2]).unwrap();
        assert_close(&whole, &t(&[1, 1, 2, 2], &[0f32, 2.0, 6.0, 8.0]));
        let fine = crop(op(), [0.0, 0.0, 0.5, 0.5], 1, [3, 2]).unwrap();
        assert_close(&fine, &t(&[1, 1, 3, 2], &[0f32, -1.0, -1.5, -2.5, -3.0, -4.0]));
        let centre = crop(op(), [0.0, 0.0, 1.0, 0.5], 0, [1, 1]).unwrap();
        assert_close(&centre, &t(&[1, 1, 1, 1], &[3.5f32]));
        let nearest = crop(op().string("mode", "nearest"), [0.0, 0.0, 1.0, 0.3], 0, [3, 2]);
        assert_close(&nearest.unwrap(), &t(&[1, 1, 3, 2], &[0f32, 1.0, 3.0, 4.0, 6.0, 7.0]));
        let flipped = crop(op(), [1.0, 0.0, 0.0, 0.0], 0, [3, 1]).unwrap();
        assert_close(&flipped, &t(&[1, 1, 3, 1], &[6f32, 3.0, 0.0]));
        let beyond = op().float("extrapolation_value", 9.5);
        let beyond = crop(beyond, [0.0, 0.5, 0.0, 1.5], 0, [1, 3]).unwrap();
        assert_close(&beyond, &t(&[1, 1, 1, 3], &[1f32, 2.0, 9.5]));
        for (image, size) in [(2, [1, 1]), (0, [0, 1]), (0, [1, -1]), (0, [i32::MAX; 2])] {
            assert!(crop(op(), [0.0, 0.0, 1.0, 1.0], image, size).is_err());
        }
        let nan = crop(op(), [f32::NAN; 4], 0, [1, 1]).unwrap();
        assert_close(&nan, &t(&[1, 1, 1, 1], &[0f32]));
    }
}

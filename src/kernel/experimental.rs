//! Operators that ONNX had as experiments until opset 10, and that converters of those years wrote:
//! Affine, Crop, ImageScaler, ParametricSoftplus, Scale, ScaledTanh (DynamicSlice is Slice). ONNX
//! Runtime still runs them, and what they are is said there.

use super::conv::real::{Real, narrowed, widened, with_real};
use super::elementwise::broadcast::owned;
use super::registry::{Entry, onnx};
use super::transpose::View;
use super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::error::{Result, bail, ensure};
use crate::tensor::{Shape, Tensor};

pub(super) const OPS: &[Entry] = &[
    onnx("Affine", 1, |s| prepare(s, Map::Affine, ["alpha", "beta"], [Some(1.0), Some(0.0)])),
    onnx("Crop", 1, prepare_crop),
    onnx("ImageScaler", 1, prepare_image_scaler),
    onnx("ParametricSoftplus", 1, |s| prepare(s, Map::Softplus, ["alpha", "beta"], [None; 2])),
    onnx("Scale", 1, |s| prepare(s, Map::Affine, ["scale", ""], [Some(1.0), Some(0.0)])),
    onnx("ScaledTanh", 1, |s| prepare(s, Map::Tanh, ["alpha", "beta"], [None; 2])),
];

/// A function of one element with two parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Map {
    /// αx + β
    Affine,
    /// α·ln(1 + exp(βx))
    Softplus,
    /// α·tanh(βx)
    Tanh,
}

impl Map {
    fn of<T: Real>(self, x: T, [alpha, beta]: [T; 2]) -> T {
        match self {
            Map::Affine => alpha * x + beta,
            Map::Softplus => {
                let x = beta * x;
                // The exponential of the side on which it cannot overflow.
                let shift = if x > T::ZERO { x } else { T::ZERO };
                alpha * (shift + (-x.abs()).exp().ln_1p())
            }
            Map::Tanh => alpha * (beta * x).tanh(),
        }
    }
}

struct Elementwise {
    map: Map,
    parameters: [f32; 2],
}

/// A node of `map`, whose parameters have these names and, where they may be left out, defaults.
fn prepare(
    spec: &OpSpec<'_>,
    map: Map,
    names: [&str; 2],
    defaults: [Option<f32>; 2],
) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let mut parameters = [0.0; 2];
    for ((parameter, name), default) in parameters.iter_mut().zip(names).zip(defaults) {
        let value = spec.attributes.float_opt(name)?.or(default);
        *parameter =
            value.ok_or_else(|| spec.invalid(format_args!("attribute '{name}' is missing")))?;
    }
    Ok(Box::new(Elementwise { map, parameters }))
}

/// Calls `change` with the elements of a tensor of floats.
macro_rules! changed {
    ($ctx:expr, $tensor:expr, $t:ident, $data:ident => $change:expr) => {{
        let (dtype, shape) = ($tensor.dtype(), $tensor.shape().clone());
        let wide = widened(&$tensor)?;
        drop($tensor);
        let result = with_real!("an operator of early ONNX", dtype, $t => {
            let mut $data = owned::<$t>($ctx, wide)?;
            $change;
            $ctx.tensor(shape, $data)
        })?;
        one(narrowed(result, dtype)?)
    }};
}

impl Kernel for Elementwise {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.take_tensor(0)?;
        changed!(ctx, tensor, T, data => {
            let parameters = self.parameters.map(T::from_f32);
            data.iter_mut().for_each(|x| *x = self.map.of(*x, parameters));
        })
    }
}

/// x · scale + the bias of its channel.
struct ImageScaler {
    scale: f32,
    bias: Vec<f32>,
}

fn prepare_image_scaler(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let scale = spec.attributes.float("scale", 1.0)?;
    Ok(Box::new(ImageScaler { scale, bias: spec.attributes.floats("bias")?.to_vec() }))
}

impl Kernel for ImageScaler {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.take_tensor(0)?;
        let &[_, channels, height, width] = tensor.dims() else {
            bail!(
                InvalidInput,
                "ImageScaler: expected a [N, C, H, W] tensor, got {}",
                tensor.shape()
            );
        };
        ensure!(
            self.bias.len() == channels,
            InvalidInput,
            "ImageScaler: {} numbers of bias for {channels} channels",
            self.bias.len()
        );
        let plane = (height * width).max(1);
        changed!(ctx, tensor, T, data => {
            let scale = T::from_f32(self.scale);
            for (plane, &bias) in data.chunks_mut(plane).zip(self.bias.iter().cycle()) {
                let bias = T::from_f32(bias);
                plane.iter_mut().for_each(|x| *x = *x * scale + bias);
            }
        })
    }
}

/// Part of an image: what lies between borders, or what begins behind them and has a size.
struct Crop {
    /// Left, top, right, bottom.
    border: [usize; 4],
    /// Height and width.
    size: Option<[usize; 2]>,
}

/// Sizes of an attribute; `None` where it is absent.
fn sizes<const N: usize>(spec: &OpSpec<'_>, name: &str) -> Result<Option<[usize; N]>> {
    let Some(values) = spec.attributes.ints_opt(name)?.filter(|v| !v.is_empty()) else {
        return Ok(None);
    };
    let sizes: Option<Vec<usize>> = values.iter().map(|&v| usize::try_from(v).ok()).collect();
    match sizes.map(<[usize; N]>::try_from) {
        Some(Ok(sizes)) => Ok(Some(sizes)),
        _ => Err(spec.invalid(format_args!("attribute '{name}' is {values:?}"))),
    }
}

fn prepare_crop(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let border =
        sizes::<4>(spec, "border")?.ok_or_else(|| spec.invalid("attribute 'border' is missing"))?;
    Ok(Box::new(Crop { border, size: sizes::<2>(spec, "scale")? }))
}

impl Kernel for Crop {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.tensor(0)?;
        let &[images, channels, height, width] = tensor.dims() else {
            bail!(InvalidInput, "Crop: expected a [N, C, H, W] tensor, got {}", tensor.shape());
        };
        let [left, top, right, bottom] = self.border;
        let ends = match self.size {
            Some([rows, columns]) => [top.checked_add(rows), left.checked_add(columns)],
            None => [height.checked_sub(bottom), width.checked_sub(right)],
        };
        let [Some(rows), Some(columns)] = [
            ends[0].filter(|&end| end <= height).and_then(|end| end.checked_sub(top)),
            ends[1].filter(|&end| end <= width).and_then(|end| end.checked_sub(left)),
        ] else {
            bail!(
                InvalidInput,
                "Crop: borders {:?} and a size of {:?} for an image of {height} by {width}",
                self.border,
                self.size
            );
        };
        let shape = Shape::new(&[images, channels, rows, columns])?;
        if shape.len() == 0 {
            let none = crop_none(tensor, shape)?;
            return one(none);
        }
        let mut view = View::new(top * width + left);
        let plane = height * width;
        for (dim, stride) in
            [(images, channels * plane), (channels, plane), (rows, width), (columns, 1)]
        {
            view.push(dim, stride as isize);
        }
        one(view.tensor(ctx, tensor, shape)?)
    }
}

/// No elements of a tensor's type.
fn crop_none(like: &Tensor, shape: Shape) -> Result<Tensor> {
    Tensor::new(shape, crate::tensor::Data::zeros(like.dtype(), 0))
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, assert_close, t};
    use half::f16;

    #[test]
    fn functions_of_two_parameters() {
        let x = t(&[4], &[-2f32, 0.0, 1.0, 100.0]);
        let op = |name| Op::onnx(name, 7).float("alpha", 2.0).float("beta", 3.0);
        assert_eq!(op("Affine").run1(std::slice::from_ref(&x)), t(&[4], &[-1f32, 3.0, 5.0, 203.0]));
        assert_eq!(Op::onnx("Affine", 7).run1(std::slice::from_ref(&x)), x);
        let scale = Op::onnx("Scale", 7).float("scale", 0.5);
        assert_eq!(scale.run1(std::slice::from_ref(&x)), t(&[4], &[-1f32, 0.0, 0.5, 50.0]));
        // 2 ln(1 + e^-6), 2 ln 2, 2 ln(1 + e^3), 600.
        let y = op("ParametricSoftplus").run1(std::slice::from_ref(&x));
        assert_close(&y, &t(&[4], &[0.004_951_37f32, 1.386_294_4, 6.097_174_6, 600.0]));
        // 2 tanh(-6), 0, 2 tanh 3, 2.
        let y = op("ScaledTanh").run1(std::slice::from_ref(&x));
        assert_close(&y, &t(&[4], &[-1.999_975_4f32, 0.0, 1.990_109_5, 2.0]));
        for name in ["ParametricSoftplus", "ScaledTanh"] {
            assert!(Op::onnx(name, 7).float("alpha", 2.0).run(std::slice::from_ref(&x)).is_err());
        }
        let half = [1.0, -4.0].map(f16::from_f32);
        let y = op("Affine").run1(&[t(&[2], &half)]);
        assert_eq!(y, t(&[2], &[5.0, -5.0].map(f16::from_f32)));
        assert_eq!(op("Affine").run1(&[t(&[1], &[0.1f64])]), t(&[1], &[2.0 * 0.1 + 3.0]));
        assert!(op("Affine").run(&[t(&[1], &[1i32])]).is_err());
    }

    #[test]
    fn images_are_scaled_and_cropped() {
        let x: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let x = t(&[1, 2, 3, 4], &x);
        let op = Op::onnx("ImageScaler", 7).float("scale", 2.0).floats("bias", &[0.5, -100.0]);
        let expected: Vec<f32> =
            (0..24).map(|i| 2.0 * i as f32 + if i < 12 { 0.5 } else { -100.0 }).collect();
        assert_eq!(op.run1(std::slice::from_ref(&x)), t(&[1, 2, 3, 4], &expected));
        assert!(
            Op::onnx("ImageScaler", 7)
                .floats("bias", &[1.0])
                .run(std::slice::from_ref(&x))
                .is_err()
        );
        let crop = || Op::onnx("Crop", 7).ints("border", &[1, 0, 2, 1]);
        let y = crop().run1(std::slice::from_ref(&x));
        assert_eq!(y, t(&[1, 2, 2, 1], &[1f32, 5.0, 13.0, 17.0]));
        let y = crop().ints("scale", &[2, 2]).run1(std::slice::from_ref(&x));
        assert_eq!(y, t(&[1, 2, 2, 2], &[1f32, 2.0, 5.0, 6.0, 13.0, 14.0, 17.0, 18.0]));
        let none = Op::onnx("Crop", 7).ints("border", &[2, 0, 2, 0]).run1(std::slice::from_ref(&x));
        assert_eq!(none.dims(), [1, 2, 3, 0]);
        for border in [&[3, 0, 2, 0][..], &[0, 4, 0, 0], &[0, -1, 0, 0], &[0, 0]] {
            assert!(
                Op::onnx("Crop", 7).ints("border", border).run(std::slice::from_ref(&x)).is_err()
            );
        }
        assert!(crop().ints("scale", &[4, 1]).run(std::slice::from_ref(&x)).is_err());
        assert!(Op::onnx("Crop", 7).run(&[x]).is_err());
    }

    #[test]
    fn a_slice_by_inputs_before_they_were_inputs() {
        let x = t(&[2, 4], &[1f32, 2., 3., 4., 5., 6., 7., 8.]);
        let (starts, ends) = (t(&[2], &[0i64, 1]), t(&[2], &[-1i64, 1000]));
        let y = Op::onnx("DynamicSlice", 7).run1(&[x.clone(), starts, ends]);
        assert_eq!(y, t(&[1, 3], &[2f32, 3., 4.]));
        let inputs = [x, t(&[1], &[1i32]), t(&[1], &[3i32]), t(&[1], &[1i32])];
        let y = Op::onnx("DynamicSlice", 7).run1(&inputs);
        assert_eq!(y, t(&[2, 2], &[2f32, 3., 6., 7.]));
    }
}

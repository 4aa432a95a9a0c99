//! Resize and its predecessor Upsample.
//!
//! The output coordinates of an axis are mapped to the input once an axis; interpolation is
//! separable, so it goes axis by axis.

mod coordinates;
mod interpolate;
mod nearest;

use super::cast::cast;
use super::conv::real::{Real, narrowed, widened};
use super::registry::{Entry, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::error::{Result, bail, ensure, err};
use crate::tensor::shape::resolve_axis;
use crate::tensor::{Data, Tensor, for_each_carrier, for_each_common_type};
use coordinates::{Axis, Coordinates, Nearest};

pub(super) const OPS: &[Entry] = &[onnx("Resize", 10, prepare), onnx("Upsample", 1, prepare)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nearest(Nearest),
    Linear,
    Cubic,
}

/// What becomes of `sizes` that do not keep the input's proportions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Stretch,
    NotLarger,
    NotSmaller,
}

struct Resize {
    op: String,
    mode: Mode,
    coordinates: Coordinates,
    interpolation: interpolate::Options,
    extrapolation: f32,
    axes: Option<Vec<i64>>,
    policy: Policy,
    /// The scales of an old Upsample, an attribute then.
    scales: Option<Vec<f32>>,
    /// Which inputs carry the region of interest, the scales and the sizes.
    places: (Option<usize>, usize, Option<usize>),
}

fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    let a = spec.attributes;
    let new = spec.op == "Resize" && spec.version >= 11;
    let attribute = spec.op == "Upsample" && spec.version < 9;
    spec.arity(if new {
        1..=4
    } else if attribute {
        1..=1
    } else {
        2..=2
    })?;
    let nearest = if new {
        let name = a.str("nearest_mode", "round_prefer_floor")?;
        Nearest::parse(&name).ok_or_else(|| spec.invalid(format_args!("nearest_mode '{name}'")))?
    } else {
        Nearest::Simple
    };
    let mode = match a.str("mode", "nearest")?.as_str() {
        "nearest" => Mode::Nearest(nearest),
        "linear" | "bilinear" => Mode::Linear,
        "cubic" if new => Mode::Cubic,
        other => return Err(spec.invalid(format_args!("mode '{other}' is none"))),
    };
    let coordinates = if new {
        let name = a.str("coordinate_transformation_mode", "half_pixel")?;
        Coordinates::parse(&name).ok_or_else(|| {
            spec.invalid(format_args!("coordinate_transformation_mode '{name}' is none"))
        })?
    } else {
        Coordinates::Asymmetric
    };
    let policy = match a.str("keep_aspect_ratio_policy", "stretch")?.as_str() {
        "stretch" => Policy::Stretch,
        "not_larger" => Policy::NotLarger,
        "not_smaller" => Policy::NotSmaller,
        other => return Err(spec.invalid(format_args!("keep_aspect_ratio_policy '{other}'"))),
    };
    let scales = if attribute { Some(scale_attributes(spec)?) } else { None };
    Ok(Box::new(Resize {
        op: spec.op.to_string(),
        mode,
        coordinates,
        interpolation: interpolate::Options {
            cubic: (mode == Mode::Cubic).then_some(a.float("cubic_coeff_a", -0.75)?),
            antialias: a.flag("antialias", false)?,
            exclude_outside: a.flag("exclude_outside", false)?,
        },
        extrapolation: a.float("extrapolation_value", 0.0)?,
        axes: a.ints_opt("axes")?.map(<[i64]>::to_vec),
        policy,
        scales,
        places: if new { (Some(1), 2, Some(3)) } else { (None, 1, None) },
    }))
}

/// The scales that an old Upsample has as attributes: those of an image, or, since opset 7, those
/// of all axes.
fn scale_attributes(spec: &OpSpec<'_>) -> Result<Vec<f32>> {
    let missing = |name: &str| spec.invalid(format_args!("attribute '{name}' is missing"));
    let a = spec.attributes;
    if spec.version >= 7 {
        return Ok(a.floats_opt("scales")?.ok_or_else(|| missing("scales"))?.to_vec());
    }
    let scale = |name| a.float_opt(name)?.ok_or_else(|| missing(name));
    Ok(vec![1.0, 1.0, scale("height_scale")?, scale("width_scale")?])
}

/// A tensor that is there and not empty: older models give empty ones for "none".
fn given<'a>(inputs: &'a Inputs<'_>, i: Option<usize>) -> Result<Option<&'a Tensor>> {
    match i {
        Some(i) => Ok(inputs.tensor_opt(i)?.filter(|t| t.len() > 0)),
        None => Ok(None),
    }
}

impl Resize {
    /// How each axis of `dims` is resized.
    fn axes(&self, inputs: &Inputs<'_>, dims: &[usize]) -> Result<Vec<Axis>> {
        let rank = dims.len();
        let axes: Vec<usize> = match &self.axes {
            None => (0..rank).collect(),
            Some(axes) => {
                let axes =
                    axes.iter().map(|&a| resolve_axis(a, rank)).collect::<Result<Vec<_>>>()?;
                for (i, a) in axes.iter().enumerate() {
                    ensure!(!axes[..i].contains(a), InvalidInput, "{}: axis {a} twice", self.op);
                }
                axes
            }
        };
        let count = |n: usize, what: &str| -> Result<()> {
            ensure!(
                n == axes.len(),
                InvalidInput,
                "{}: {n} {what} for {} axes",
                self.op,
                axes.len()
            );
            Ok(())
        };
        let mut out: Vec<Axis> = dims.iter().map(|&d| Axis::unchanged(d)).collect();
        let scales = match &self.scales {
            Some(scales) => Some(scales.clone()),
            None => given(inputs, Some(self.places.1))?.map(Tensor::to_f32_vec).transpose()?,
        };
        let sizes = given(inputs, self.places.2)?;
        match (scales, sizes) {
            (Some(scales), None) => {
                count(scales.len(), "scales")?;
                for (&axis, &scale) in axes.iter().zip(&scales) {
                    let length = (dims[axis] as f32 * scale).floor();
                    ensure!(
                        scale > 0.0 && length < 1e12,
                        InvalidInput,
                        "{}: a scale of {scale}",
                        self.op
                    );
                    out[axis].output = length as usize;
                    out[axis].length = dims[axis] as f32 * scale;
                    out[axis].scale = scale;
                }
            }
            (None, Some(sizes)) => self.to_sizes(&sizes.to_i64_vec()?, &axes, dims, &mut out)?,
            _ => bail!(InvalidInput, "{} takes either scales or sizes", self.op),
        }
        if self.coordinates == Coordinates::CropAndResize {
            let roi = given(inputs, self.places.0)?
                .ok_or_else(|| err!(InvalidInput, "{}: a crop needs input 'roi'", self.op))?
                .to_f32_vec()?;
            ensure!(
                roi.len() == 2 * axes.len(),
                InvalidInput,
                "{}: a region of {} numbers for {} axes",
                self.op,
                roi.len(),
                axes.len()
            );
            let (starts, ends) = roi.split_at(axes.len());
            for ((&axis, &start), &end) in axes.iter().zip(starts).zip(ends) {
                out[axis].crop = (start, end);
            }
        }
        Ok(out)
    }

    fn to_sizes(
        &self,
        sizes: &[i64],
        axes: &[usize],
        dims: &[usize],
        out: &mut [Axis],
    ) -> Result<()> {
        ensure!(
            sizes.len() == axes.len(),
            InvalidInput,
            "{}: {} sizes for {} axes",
            self.op,
            sizes.len(),
            axes.len()
        );
        let mut common: Option<f32> = None;
        for (&axis, &size) in axes.iter().zip(sizes) {
            let size = usize::try_from(size)
                .map_err(|_| err!(InvalidInput, "{}: a size of {size}", self.op))?;
            let scale = size as f32 / dims[axis].max(1) as f32;
            out[axis].output = size;
            out[axis].length = size as f32;
            out[axis].scale = scale;
            common = Some(match (common, self.policy) {
                (Some(c), Policy::NotSmaller) => c.max(scale),
                (Some(c), _) => c.min(scale),
                (None, _) => scale,
            });
        }
        if let (Some(scale), Policy::NotLarger | Policy::NotSmaller) = (common, self.policy) {
            for &axis in axes {
                let length = (dims[axis] as f32 * scale + 0.5).floor();
                ensure!(
                    (0.0..1e12).contains(&length),
                    InvalidInput,
                    "{}: a scale of {scale}",
                    self.op
                );
                out[axis].output = length as usize;
                out[axis].length = dims[axis] as f32 * scale;
                out[axis].scale = scale;
            }
        }
        Ok(())
    }

    fn compute(&self, ctx: &mut Context<'_>, x: &Tensor, axes: &[Axis]) -> Result<Tensor> {
        let dims: Vec<usize> = axes.iter().map(|a| a.output).collect();
        let tables: usize = dims.iter().fold(0, |sum, &d| d.saturating_add(sum));
        ctx.shape_of::<u64>(&[tables, 2])?;
        // The largest intermediate: what is not yet shrunk with what is already grown.
        let most: Vec<usize> = axes.iter().map(|a| a.input.max(a.output)).collect();
        ctx.shape_of::<f64>(&most)?;
        if dims.contains(&0) || x.len() == 0 {
            ensure!(dims.contains(&0), InvalidInput, "{}: an empty input grows", self.op);
            return for_each_carrier!(x.data(), v => nearest::empty(ctx, &dims, v, x.dtype()));
        }
        let crop = self.coordinates == Coordinates::CropAndResize;
        let outside: Vec<Vec<bool>> =
            axes.iter().map(|a| if crop { a.outside(self.coordinates) } else { vec![] }).collect();
        if let Mode::Nearest(rounding) = self.mode {
            let indices: Vec<Vec<usize>> =
                axes.iter().map(|a| a.nearest(self.coordinates, rounding)).collect();
            let filling = match x.data() {
                Data::C64(v) => nearest::filling(v, self.extrapolation),
                Data::C128(v) => nearest::filling(v, self.extrapolation),
                others => for_each_common_type!(
                    others,
                    v => nearest::filling(v, self.extrapolation),
                    other => bail!(InvalidInput, "{} of {}", self.op, other.dtype())
                ),
            };
            return for_each_carrier!(x.data(), v => {
                nearest::tensor(ctx, v, axes, &indices, &outside, &filling)
            });
        }
        // Integers are cut, not rounded, and kept within their range.
        match x.data() {
            Data::F32(v) => self.interpolate(ctx, v, axes, &outside),
            Data::F64(v) => self.interpolate(ctx, v, axes, &outside),
            Data::U8(_) | Data::I8(_) | Data::U16(_) | Data::I16(_) | Data::Bool(_) => {
                let out = self.interpolate(ctx, &x.to_f32_vec()?, axes, &outside)?;
                cast(ctx, out, x.dtype())
            }
            Data::U32(_) | Data::I32(_) | Data::U64(_) | Data::I64(_) => {
                let out = self.interpolate(ctx, &x.to_f64_vec()?, axes, &outside)?;
                cast(ctx, out, x.dtype())
            }
            other => bail!(InvalidInput, "{} does not interpolate {}", self.op, other.dtype()),
        }
    }

    fn interpolate<T: Real>(
        &self,
        ctx: &mut Context<'_>,
        values: &[T],
        axes: &[Axis],
        outside: &[Vec<bool>],
    ) -> Result<Tensor> {
        let dims: Vec<usize> = axes.iter().map(|a| a.output).collect();
        let out = interpolate::resize(ctx, values, axes, self.coordinates, self.interpolation)?;
        let filling = T::from_f32(self.extrapolation);
        let (shape, out) = nearest::finish(ctx, &dims, out, outside, filling)?;
        ctx.tensor(shape, out)
    }
}

impl Kernel for Resize {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.tensor(0)?;
        let axes = self.axes(inputs, x.dims())?;
        if axes.iter().all(Axis::is_unchanged) && self.coordinates != Coordinates::CropAndResize {
            return one(inputs.take(0)?);
        }
        if matches!(self.mode, Mode::Nearest(_)) {
            return one(self.compute(ctx, x, &axes)?);
        }
        let dtype = x.dtype();
        let x = widened(x)?;
        one(narrowed(self.compute(ctx, &x, &axes)?, dtype)?)
    }
}

#[cfg(test)]
mod tests;

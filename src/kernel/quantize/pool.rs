//! Means of 8-bit tensors: QLinearGlobalAveragePool on sums of integers, QLinearAveragePool and
//! QLinearReduceMean through the operators for floats.

use super::level::{Byte, with_byte};
use super::needs;
use super::unary::Affine;
use crate::error::{Result, ensure};
use crate::kernel::channels_last::as_told;
use crate::kernel::inner::Inner;
use crate::kernel::{Arg, Context, InputSpec, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Tensor, Value};

struct GlobalAveragePool {
    channels_last: bool,
}

pub(super) fn prepare_global(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    needs(spec, &[0, 1, 3], 5)?;
    let channels_last = spec.attributes.flag("channels_last", false)?;
    Ok(Box::new(GlobalAveragePool { channels_last }))
}

impl GlobalAveragePool {
    fn compute<T: Byte>(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>) -> Result<Tensor> {
        let from = Affine::of::<T>(inputs, 1, "the quantisation of X")?;
        let to = Affine::of::<T>(inputs, 3, "the quantisation of Y")?;
        let tensor = inputs.tensor(0)?;
        let (dims, x) = (tensor.dims(), tensor.as_slice::<T>()?);
        ensure!(
            dims.len() >= 3,
            InvalidInput,
            "a pool takes a batch, channels and spatial axes, got shape {}",
            tensor.shape()
        );
        let spatial = if self.channels_last { 1..dims.len() - 1 } else { 2..dims.len() };
        let mut out_dims = dims.to_vec();
        out_dims.get_mut(spatial.clone()).unwrap_or(&mut []).fill(1);
        let shape = ctx.shape_of::<T>(&out_dims)?;
        let size: usize = dims.get(spatial).unwrap_or(&[]).iter().product();
        let channels = if self.channels_last { dims.last() } else { dims.get(1) };
        let channels = channels.copied().unwrap_or(1);
        let scale = from.scale / (to.scale * size as f32);
        let shift = from.zero as i64 * size as i64;
        let mut out = ctx.filled(shape.len(), T::default())?;
        ctx.threads.split_rows(&mut out, 1, size / 4 + 1, |range, out| {
            for (i, out) in range.zip(out) {
                let (start, step) = if self.channels_last {
                    (i / channels.max(1) * size * channels + i % channels.max(1), channels)
                } else {
                    (i * size, 1)
                };
                let plane = x.get(start..).unwrap_or(&[]).iter().step_by(step.max(1)).take(size);
                let sum: i64 = plane
                    .map(|&x| {
                        let x: i16 = x.into();
                        i64::from(x)
                    })
                    .sum();
                *out = T::quantised((sum - shift) as f32 * scale, to.zero);
            }
        });
        ctx.tensor(shape, out)
    }
}

impl Kernel for GlobalAveragePool {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let dtype = inputs.tensor(0)?.dtype();
        let op = "QLinearGlobalAveragePool";
        one(with_byte!(op, dtype, T => self.compute::<T>(ctx, inputs))?)
    }
}

/// A kernel for floats between two quantisations.
struct ThroughFloats {
    op: String,
    inner: Inner,
}

/// The operator `op` of `ai.onnx` with the node's attributes, on numbers.
fn through_floats(spec: &OpSpec<'_>, op: &'static str, version: i64) -> Result<Box<dyn Kernel>> {
    needs(spec, &[0, 1, 3], 5)?;
    let input = [InputSpec { present: true, constant: None }];
    let inner = Inner::new(spec, ("", op, version), spec.attributes, &input)?;
    Ok(Box::new(ThroughFloats { op: spec.op.to_string(), inner }))
}

pub(super) fn prepare_average(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    as_told(spec, through_floats(spec, "AveragePool", 22)?)
}

pub(super) fn prepare_reduce_mean(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    through_floats(spec, "ReduceMean", 13)
}

impl ThroughFloats {
    fn compute<T: Byte>(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>) -> Result<Tensor> {
        let from = Affine::of::<T>(inputs, 1, "the quantisation of the input")?;
        let to = Affine::of::<T>(inputs, 3, "the quantisation of the output")?;
        let tensor = inputs.tensor(0)?;
        let mut numbers = ctx.buffer::<f32>(tensor.len())?;
        numbers.extend(tensor.as_slice::<T>()?.iter().map(|&x| from.number(x)));
        let numbers = ctx.tensor(tensor.shape().clone(), numbers)?;
        let mean = self.inner.run(ctx, [Arg::Owned(Value::Tensor(numbers))])?;
        let mut out = ctx.buffer::<T>(mean.len())?;
        let level = |&x: &f32| T::of(T::LEVELS.round(x / to.scale + to.zero));
        out.extend(mean.as_slice::<f32>()?.iter().map(level));
        ctx.tensor(mean.shape().clone(), out)
    }
}

impl Kernel for ThroughFloats {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let dtype = inputs.tensor(0)?.dtype();
        one(with_byte!(&self.op, dtype, T => self.compute::<T>(ctx, inputs))?)
    }
}

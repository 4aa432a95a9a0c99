//! Normalisations: batch, layer, instance, group, RMS, Lp, mean-variance, local response.

mod batch;
mod embed;
mod grouped;
mod layer;
mod local;
mod real;

pub(super) use batch::trains;

use super::elementwise::broadcast::owned;
use super::registry::{Entry, microsoft, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, RowOp};
use crate::error::{Result, bail};
use crate::tensor::{Data, Shape, Tensor, Value};
use half::{bf16, f16};
use real::Real;

pub(super) const OPS: &[Entry] = &[
    onnx("BatchNormalization", 1, batch::prepare),
    onnx("LayerNormalization", 17, layer::prepare),
    onnx("RMSNormalization", 23, layer::prepare_rms),
    onnx("SimplifiedLayerNormalization", 1, layer::prepare_rms),
    microsoft("SkipLayerNormalization", layer::prepare_skip),
    microsoft("SkipSimplifiedLayerNormalization", layer::prepare_skip_rms),
    microsoft("EmbedLayerNormalization", embed::prepare),
    microsoft("QEmbedLayerNormalization", embed::prepare_quantised),
    onnx("InstanceNormalization", 1, grouped::prepare_instance),
    onnx("GroupNormalization", 18, grouped::prepare_group),
    onnx("MeanVarianceNormalization", 9, grouped::prepare_mean_variance),
    onnx("LpNormalization", 1, local::prepare_lp),
    onnx("LRN", 1, local::prepare_lrn),
];

/// What one run of a normalisation works on.
struct Run<'r, 'i, T> {
    ctx: &'r Context<'r>,
    shape: &'r Shape,
    data: &'r mut [T],
    inputs: &'r Inputs<'i>,
}

/// A normalisation in the wider types; the narrow floats are computed in `f32`.
trait Normalization: Send + Sync {
    /// Normalises the data in place and answers any further outputs.
    fn apply<T: Real>(&self, run: Run<'_, '_, T>) -> Result<Vec<Tensor>>;

    /// As [`Kernel::row_op`].
    fn row_op(&self) -> Option<&dyn RowOp> {
        None
    }
}

/// A [`Normalization`] as a kernel.
struct Normalize<N>(N);

impl<N: Normalization> Normalize<N> {
    fn of(&self, ctx: &mut Context<'_>, x: Tensor, inputs: &Inputs<'_>) -> Result<Outputs> {
        let shape = x.shape().clone();
        let (data, more) = match x.data() {
            Data::F32(_) => {
                let mut data = owned::<f32>(ctx, x)?;
                let more = self.0.apply(Run { ctx, shape: &shape, data: &mut data, inputs })?;
                (Data::F32(data), more)
            }
            Data::F64(_) => {
                let mut data = owned::<f64>(ctx, x)?;
                let more = self.0.apply(Run { ctx, shape: &shape, data: &mut data, inputs })?;
                (Data::F64(data), more)
            }
            Data::F16(_) | Data::BF16(_) => {
                let mut wide = x.to_f32_vec()?;
                let more = self.0.apply(Run { ctx, shape: &shape, data: &mut wide, inputs })?;
                let data = match x.data() {
                    Data::F16(_) => Data::F16(wide.into_iter().map(f16::from_f32).collect()),
                    _ => Data::BF16(wide.into_iter().map(bf16::from_f32).collect()),
                };
                (data, more)
            }
            other => bail!(InvalidInput, "a normalisation of {}", other.dtype()),
        };
        let mut outputs = Outputs::new();
        outputs.push(Value::Tensor(ctx.tensor_from(shape, data)?));
        outputs.extend(more.into_iter().map(Value::Tensor));
        Ok(outputs)
    }
}

impl<N: Normalization> Kernel for Normalize<N> {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.take_tensor(0)?;
        self.of(ctx, x, inputs)
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        self.0.row_op()
    }
}

/// Epsilon, 1e-5 where the node does not say.
fn epsilon(spec: &OpSpec<'_>) -> Result<f64> {
    Ok(spec.attributes.float("epsilon", 1e-5)?.into())
}

#[cfg(test)]
mod tests;

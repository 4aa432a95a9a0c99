//! Normalisations over the trailing axes: LayerNormalization, RMSNormalization and
//! SkipLayerNormalization.

use super::real::{Real, inverse_deviation, moments, parameter};
use super::{Normalization, Normalize, Run, epsilon};
use crate::error::{Result, ensure};
use crate::kernel::elementwise::{self, broadcast::Broadcast};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::{Shape, Tensor, Value};
use smallvec::SmallVec;
use std::borrow::Cow;

struct Layer {
    axis: i64,
    epsilon: f64,
    /// Divide by the root of the mean square instead of centring first.
    rms: bool,
    /// The inputs that hold scale and bias.
    scale: usize,
    bias: Option<usize>,
    /// Whether the means and inverse deviations are outputs too.
    statistics: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=3)?;
    Ok(Box::new(Normalize(Layer {
        axis: spec.attributes.int("axis", -1)?,
        epsilon: epsilon(spec)?,
        rms: false,
        scale: 1,
        bias: spec.has_input(2).then_some(2),
        statistics: spec.wants(1) || spec.wants(2),
    })))
}

pub(super) fn prepare_rms(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    if spec.wants(1) {
        return Err(spec.unsupported("the statistics output"));
    }
    Ok(Box::new(Normalize(Layer {
        axis: spec.attributes.int("axis", -1)?,
        epsilon: epsilon(spec)?,
        rms: true,
        scale: 1,
        bias: None,
        statistics: false,
    })))
}

/// A parameter spread over the normalised axes.
fn spread<'i, T: Real>(inputs: &'i Inputs<'_>, i: usize, over: &Shape) -> Result<Cow<'i, [T]>> {
    let tensor = inputs.tensor(i)?;
    if tensor.len() == over.len() {
        return parameter(inputs, i, over.len());
    }
    let layout = Broadcast::new(tensor.shape(), over)?;
    ensure!(
        layout.shape == *over,
        InvalidInput,
        "input {i} of shape {} does not broadcast to {over}",
        tensor.shape()
    );
    let place = vec![T::default(); over.len()];
    let values = T::read(tensor)?;
    let out = Vec::with_capacity(over.len());
    Ok(Cow::Owned(layout.pairs(&values, &place, out, |v, _| *v)))
}

impl Normalization for Layer {
    fn apply<T: Real>(
        &self,
        Run { ctx, shape, data, inputs }: Run<'_, '_, T>,
    ) -> Result<Vec<Tensor>> {
        let axis = shape.axis(self.axis)?;
        let over = Shape::new(&shape.dims()[axis..])?;
        let width = over.len();
        let scale = spread::<T>(inputs, self.scale, &over)?;
        let bias = self.bias.map(|i| spread::<T>(inputs, i, &over)).transpose()?;
        // Before the data changes: the statistics are of what comes in.
        let more = if self.statistics {
            let (mut means, mut inverses) = (vec![], vec![]);
            for line in data.chunks_exact(width.max(1)) {
                let (mean, variance) = moments(line);
                means.push(mean.wide() as f32);
                inverses.push(inverse_deviation(variance, self.epsilon).wide() as f32);
            }
            let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(&shape.dims()[..axis]);
            dims.resize(shape.rank(), 1);
            let lines: usize = dims.iter().product();
            // Lines without elements have no statistics.
            means.resize(lines, f32::NAN);
            inverses.resize(lines, f32::NAN);
            vec![Tensor::from_vec(&dims, means)?, Tensor::from_vec(&dims, inverses)?]
        } else {
            vec![]
        };
        if data.is_empty() {
            return Ok(more);
        }
        ctx.threads.split_rows(data, width, width + 10, |_, data| {
            for line in data.chunks_exact_mut(width) {
                if self.rms {
                    let zero = T::default();
                    let mean_square = T::centered_square_sum(line, zero) / T::of(line.len() as f64);
                    let inverse = inverse_deviation(mean_square, self.epsilon);
                    T::zip(line, &scale, |x, s| x * inverse * s);
                } else {
                    let (mean, variance) = moments(line);
                    let inverse = inverse_deviation(variance, self.epsilon);
                    T::zip(line, &scale, |x, s| (x - mean) * inverse * s);
                }
                if let Some(bias) = &bias {
                    T::zip(line, bias, |x, b| x + b);
                }
            }
        });
        Ok(more)
    }
}

/// LayerNormalization of `input + skip (+ bias)`; the sum is output 3.
struct Skip {
    layer: Normalize<Layer>,
    keeps_sum: bool,
}

pub(super) fn prepare_skip(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=5)?;
    if spec.wants(1) || spec.wants(2) {
        return Err(spec.unsupported("the statistics outputs"));
    }
    let layer = Normalize(Layer {
        axis: -1,
        epsilon: spec.attributes.float("epsilon", 1e-12)?.into(),
        rms: false,
        scale: 2,
        bias: spec.has_input(3).then_some(3),
        statistics: false,
    });
    Ok(Box::new(Skip { layer, keeps_sum: spec.wants(3) }))
}

impl Kernel for Skip {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let mut sum = elementwise::add(ctx, inputs.take_tensor(0)?, inputs.take_tensor(1)?)?;
        if inputs.has(4) {
            sum = elementwise::add(ctx, sum, inputs.take_tensor(4)?)?;
        }
        let kept = self.keeps_sum.then(|| sum.clone());
        let mut outputs = self.layer.of(ctx, sum, inputs)?;
        if let Some(sum) = kept {
            // The statistics between are not wanted.
            let none = || Tensor::from_vec::<f32>(&[0], vec![]).map(Value::Tensor);
            outputs.push(none()?);
            outputs.push(none()?);
            outputs.push(Value::Tensor(sum));
        }
        Ok(outputs)
    }
}

//! Normalisations over the trailing axes: LayerNormalization, RMSNormalization, and those of a sum.

use super::real::{Real, inverse_deviation, moments, parameter};
use super::{Normalization, Normalize, Run, epsilon};
use crate::error::{Result, ensure};
use crate::kernel::elementwise::{self, broadcast::Broadcast};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::{Shape, Tensor};
use smallvec::SmallVec;
use std::borrow::Cow;

pub(super) struct Layer {
    axis: i64,
    epsilon: f64,
    /// Divide by the root of the mean square instead of centring first.
    rms: bool,
    /// The inputs that hold scale and bias.
    scale: usize,
    bias: Option<usize>,
    /// Whether the means (unless `rms`) and inverse deviations are outputs too.
    statistics: bool,
}

impl Layer {
    /// LayerNormalization over the last axis, with scale and bias in these inputs.
    pub fn last(epsilon: f64, scale: usize, bias: Option<usize>) -> Layer {
        Layer { axis: -1, epsilon, rms: false, scale, bias, statistics: false }
    }
}

/// The square of what a line is divided by, and what is taken from it first.
fn statistics<T: Real>(line: &[T], rms: bool) -> (T, T) {
    if !rms {
        return moments(line);
    }
    let zero = T::default();
    (zero, T::centered_square_sum(line, zero) / T::of(line.len() as f64))
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
    Ok(Box::new(Normalize(Layer {
        axis: spec.attributes.int("axis", -1)?,
        epsilon: epsilon(spec)?,
        rms: true,
        scale: 1,
        bias: None,
        statistics: spec.wants(1),
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
                let (mean, variance) = statistics(line, self.rms);
                means.push(mean.wide() as f32);
                inverses.push(inverse_deviation(variance, self.epsilon).wide() as f32);
            }
            let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(&shape.dims()[..axis]);
            dims.resize(shape.rank(), 1);
            let lines: usize = dims.iter().product();
            // Lines without elements have no statistics.
            means.resize(lines, f32::NAN);
            inverses.resize(lines, f32::NAN);
            let inverses = Tensor::from_vec(&dims, inverses)?;
            if self.rms { vec![inverses] } else { vec![Tensor::from_vec(&dims, means)?, inverses] }
        } else {
            vec![]
        };
        if data.is_empty() {
            return Ok(more);
        }
        ctx.threads.split_rows(data, width, width + 10, |_, data| {
            for line in data.chunks_exact_mut(width) {
                let (mean, variance) = statistics(line, self.rms);
                let inverse = inverse_deviation(variance, self.epsilon);
                if self.rms {
                    T::zip(line, &scale, |x, s| x * inverse * s);
                } else {
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

/// A normalisation of `input + skip (+ bias)`; the sum is output 3.
struct Skip {
    layer: Normalize<Layer>,
    /// The input that holds what is added at last.
    bias: usize,
    keeps_sum: bool,
}

pub(super) fn prepare_skip(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=5)?;
    let mut layer = Layer::last(skip_epsilon(spec)?, 2, spec.has_input(3).then_some(3));
    layer.statistics = spec.wants(1) || spec.wants(2);
    Ok(Box::new(Skip { layer: Normalize(layer), bias: 4, keeps_sum: spec.wants(3) }))
}

pub(super) fn prepare_skip_rms(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=4)?;
    if spec.wants(1) || spec.wants(2) {
        return Err(spec.unsupported("the statistics outputs"));
    }
    let layer = Layer { rms: true, ..Layer::last(skip_epsilon(spec)?, 2, None) };
    Ok(Box::new(Skip { layer: Normalize(layer), bias: 3, keeps_sum: spec.wants(3) }))
}

fn skip_epsilon(spec: &OpSpec<'_>) -> Result<f64> {
    Ok(spec.attributes.float("epsilon", 1e-12)?.into())
}

impl Kernel for Skip {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let mut sum = elementwise::add(ctx, inputs.take_tensor(0)?, inputs.take_tensor(1)?)?;
        if inputs.has(self.bias) {
            sum = elementwise::add(ctx, sum, inputs.take_tensor(self.bias)?)?;
        }
        let kept = self.keeps_sum.then(|| sum.clone());
        let mut outputs = self.layer.of(ctx, sum, inputs)?;
        if let Some(sum) = kept {
            // Statistics that are not wanted leave their places.
            while outputs.len() < 3 {
                outputs.push(Tensor::from_vec::<f32>(&[0], vec![])?.into());
            }
            outputs.push(sum.into());
        }
        Ok(outputs)
    }
}

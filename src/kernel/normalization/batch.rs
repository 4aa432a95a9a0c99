//! BatchNormalization: a scale and a shift per channel, known at inference, and in training from
//! the statistics of the batch itself.

use super::real::{Real, parameter};
use super::{Normalization, Normalize, Run, epsilon};
use crate::error::Result;
use crate::kernel::{Kernel, OpSpec, RowOp, RowShape, simd};
use crate::tensor::{Data, ElementType, Shape, Tensor};
use half::{bf16, f16};

struct Batch {
    epsilon: f64,
    layout: Layout,
    /// Scale and shift where all four parameters are constants of f32.
    fixed: Option<[Tensor; 2]>,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(5..=5)?;
    let layout = match spec.version < 9 && !spec.attributes.flag("spatial", true)? {
        true => Layout::Activations,
        false => Layout::Channels,
    };
    let epsilon = epsilon(spec)?;
    if trains(spec) {
        return Ok(Box::new(Normalize(Training {
            epsilon,
            layout,
            momentum: spec.attributes.float("momentum", 0.9)?.into(),
            saves: spec.version < 14,
        })));
    }
    let constants: Option<Vec<&Tensor>> = (1..5).map(|i| spec.constant(i)).collect();
    let mut fixed = None;
    if let Some(constants) = constants {
        if constants.iter().any(|c| c.len() != constants[0].len()) {
            return Err(spec.invalid("scale, bias, mean and variance must be of equal length"));
        }
        if constants.iter().all(|c| c.dtype() == ElementType::F32) {
            let mut read = constants.iter().map(|c| c.to_f32_vec());
            if let (Some(s), Some(b), Some(m), Some(v)) =
                (read.next(), read.next(), read.next(), read.next())
            {
                let (scale, shift) = folded(&s?, &b?, &m?, &v?, epsilon);
                let n = scale.len();
                fixed = Some([Tensor::from_vec(&[n], scale)?, Tensor::from_vec(&[n], shift)?]);
            }
        }
    }
    Ok(Box::new(Normalize(Batch { epsilon, layout, fixed })))
}

/// Whether the node normalises by the statistics of its own batch. Before version 14 it says so by
/// asking for them: `is_test` has the wrong default for that, and is absent from 7 on.
pub fn trains(spec: &OpSpec<'_>) -> bool {
    if spec.version < 14 {
        return (1..5).any(|i| spec.wants(i));
    }
    spec.attributes.flag("training_mode", false).unwrap_or(false)
}

/// What has a scale and a shift of its own.
#[derive(Debug, Clone, Copy)]
enum Layout {
    /// Each channel.
    Channels,
    /// Each element of an example (`spatial=0` of the versions before 9).
    Activations,
}

impl Layout {
    /// How many of them there are, and how many neighbours each has in an example.
    fn of(self, shape: &Shape) -> (usize, usize) {
        let channels = if shape.rank() < 2 { 1 } else { shape.dim(1) };
        let inner = shape.dims().iter().skip(2).product();
        match self {
            Layout::Channels => (channels, inner),
            Layout::Activations => (channels * inner, 1),
        }
    }
}

/// Scale and shift of each channel.
fn folded<T: Real>(
    scale: &[T],
    bias: &[T],
    mean: &[T],
    variance: &[T],
    e: f64,
) -> (Vec<T>, Vec<T>) {
    let deviation = |v: &T| T::of((v.wide() + e).sqrt());
    let scale: Vec<T> = scale.iter().zip(variance).map(|(s, v)| *s / deviation(v)).collect();
    let shift = bias.iter().zip(mean).zip(&scale).map(|((b, m), s)| *b - *m * *s).collect();
    (scale, shift)
}

impl Normalization for Batch {
    fn apply<T: Real>(
        &self,
        Run { ctx, shape, data, inputs }: Run<'_, '_, T>,
    ) -> Result<Vec<Tensor>> {
        let (channels, inner) = self.layout.of(shape);
        let owned;
        let (scale, shift) = match &self.fixed {
            Some([scale, shift]) if scale.len() == channels => (T::read(scale)?, T::read(shift)?),
            _ => {
                let p = |i| parameter::<T>(inputs, i, channels);
                owned = folded(&p(1)?, &p(2)?, &p(3)?, &p(4)?, self.epsilon);
                (owned.0.as_slice().into(), owned.1.as_slice().into())
            }
        };
        if data.is_empty() {
            return Ok(vec![]);
        }
        let width = channels * inner;
        ctx.threads.split_rows(data, width, width / 4 + 1, |_, data| {
            for image in data.chunks_exact_mut(width) {
                if inner == 1 {
                    T::zip(image, &scale, |x, s| x * s);
                    T::zip(image, &shift, |x, b| x + b);
                    continue;
                }
                for (plane, (&s, &b)) in
                    image.chunks_exact_mut(inner).zip(scale.iter().zip(shift.iter()))
                {
                    T::map(plane, |x| x * s + b);
                }
            }
        });
        Ok(vec![])
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        self.fixed.is_some().then_some(self as &dyn RowOp)
    }
}

/// By the statistics of the batch, which are answered too.
struct Training {
    epsilon: f64,
    layout: Layout,
    momentum: f64,
    /// Whether the batch's own statistics are outputs, after the running ones.
    saves: bool,
}

impl Normalization for Training {
    fn apply<T: Real>(
        &self,
        Run { ctx, shape, data, inputs }: Run<'_, '_, T>,
    ) -> Result<Vec<Tensor>> {
        let (channels, inner) = self.layout.of(shape);
        ctx.shape_of::<f64>(&[channels, 6])?;
        let p = |i| parameter::<T>(inputs, i, channels);
        let (mean, variance) = statistics(data, channels, inner);
        let (scale, bias) = (p(1)?, p(2)?);
        for (i, plane) in data.chunks_exact_mut(inner.max(1)).enumerate() {
            let c = i % channels.max(1);
            let factor = scale[c].wide() / (variance[c] + self.epsilon).sqrt();
            let (mean, bias) = (mean[c], bias[c].wide());
            T::map(plane, |x| T::of((x.wide() - mean) * factor + bias));
        }
        let running = |i: usize, of: &[f64]| -> Result<Tensor> {
            let before = p(i)?;
            let m = self.momentum;
            let after = before.iter().zip(of).map(|(b, v)| b.wide() * m + v * (1.0 - m)).collect();
            like(inputs.tensor(i)?, after)
        };
        let mut outputs = vec![running(3, &mean)?, running(4, &variance)?];
        if self.saves {
            outputs.push(like(inputs.tensor(3)?, mean)?);
            outputs.push(like(inputs.tensor(4)?, variance)?);
        }
        Ok(outputs)
    }
}

/// Mean and variance of each channel over the batch, in two passes of `f64`.
fn statistics<T: Real>(data: &[T], channels: usize, inner: usize) -> (Vec<f64>, Vec<f64>) {
    let examples = data.len() / (channels * inner).max(1);
    let count = (examples * inner) as f64;
    let mean_of = |term: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
        let mut sums = vec![0f64; channels];
        for (i, plane) in data.chunks_exact(inner.max(1)).enumerate() {
            let channel = i % channels.max(1);
            if let Some(sum) = sums.get_mut(channel) {
                *sum += plane.iter().map(|v| term(channel, v.wide())).sum::<f64>();
            }
        }
        sums.iter_mut().for_each(|sum| *sum /= count);
        sums
    };
    let mean = mean_of(&|_, v| v);
    let variance = mean_of(&|channel, v| {
        let distance = v - mean.get(channel).copied().unwrap_or_default();
        distance * distance
    });
    (mean, variance)
}

/// A tensor of `values` with the shape and the element type of `tensor`.
fn like(tensor: &Tensor, values: Vec<f64>) -> Result<Tensor> {
    let data = match tensor.data() {
        Data::F64(_) => Data::F64(values),
        Data::F16(_) => Data::F16(values.into_iter().map(f16::from_f64).collect()),
        Data::BF16(_) => Data::BF16(values.into_iter().map(bf16::from_f64).collect()),
        _ => Data::F32(values.into_iter().map(|v| v as f32).collect()),
    };
    Tensor::new(tensor.shape().clone(), data)
}

impl RowOp for Batch {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let [scale, _] = self.fixed.as_ref()?;
        (inputs == [scale.len()]).then_some(RowShape { width: scale.len(), classes: None })
    }

    fn run_rows(&self, _: usize, inputs: &[&[f32]], out: &mut [f32], _: &mut [u32]) {
        let Some([scale, shift]) = &self.fixed else { return };
        let (Ok(scale), Ok(shift)) = (scale.as_slice::<f32>(), shift.as_slice::<f32>()) else {
            return;
        };
        if let [x] = inputs
            && x.len() == out.len()
            && !scale.is_empty()
        {
            out.copy_from_slice(x);
            for row in out.chunks_exact_mut(scale.len()) {
                simd::zip(row, scale, |x, s| x * s);
                simd::zip(row, shift, |x, b| x + b);
            }
        }
    }
}

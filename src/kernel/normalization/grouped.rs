//! Normalisations over the positions of channels: instance, group, mean-variance.

use super::real::{Real, inverse_deviation, moments, parameter};
use super::{Normalization, Normalize, Run, epsilon};
use crate::error::{Result, ensure};
use crate::kernel::{Kernel, OpSpec};
use crate::tensor::Tensor;

/// How many channels share their statistics.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Groups {
    /// Each channel has its own.
    Channels,
    /// This many groups, with one scale and bias a group or a channel.
    Of { count: usize, scale_per_channel: bool },
}

struct Grouped {
    groups: Groups,
    epsilon: f64,
}

pub(super) fn prepare_instance(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=3)?;
    Ok(Box::new(Normalize(Grouped { groups: Groups::Channels, epsilon: epsilon(spec)? })))
}

pub(super) fn prepare_group(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=3)?;
    let count = usize::try_from(spec.attributes.int("num_groups", 0)?).unwrap_or(0);
    ensure!(count > 0, InvalidModel, "GroupNormalization: num_groups must be positive");
    // Version 21 moved scale and bias from groups to channels.
    let groups = Groups::Of { count, scale_per_channel: spec.version >= 21 };
    Ok(Box::new(Normalize(Grouped { groups, epsilon: epsilon(spec)? })))
}

impl Normalization for Grouped {
    fn apply<T: Real>(
        &self,
        Run { ctx, shape, data, inputs }: Run<'_, '_, T>,
    ) -> Result<Vec<Tensor>> {
        ensure!(
            shape.rank() >= 2,
            InvalidInput,
            "a normalisation by channels takes at least two axes, got shape {shape}"
        );
        let channels = shape.dim(1);
        let (count, parameters) = match self.groups {
            Groups::Channels => (channels, channels),
            Groups::Of { count, scale_per_channel } => {
                (count, if scale_per_channel { channels } else { count })
            }
        };
        ensure!(
            count == channels || (count > 0 && channels.is_multiple_of(count)),
            InvalidInput,
            "{channels} channels do not divide into {count} groups"
        );
        let scale = parameter::<T>(inputs, 1, parameters)?;
        let bias = parameter::<T>(inputs, 2, parameters)?;
        if data.is_empty() {
            return Ok(vec![]);
        }
        let inner: usize = shape.dims().iter().skip(2).product();
        let line_len = channels / count * inner;
        // The run of elements with one scale.
        let run = count * line_len / parameters;
        ctx.threads.split_rows(data, line_len, line_len + 10, |lines, data| {
            for (i, line) in lines.zip(data.chunks_exact_mut(line_len)) {
                let (mean, variance) = moments(line);
                let inverse = inverse_deviation(variance, self.epsilon);
                let first = i % count * line_len / run;
                for (j, run) in line.chunks_exact_mut(run).enumerate() {
                    let (s, b) = (scale[first + j], bias[first + j]);
                    T::map(run, |x| (x - mean) * inverse * s + b);
                }
            }
        });
        Ok(vec![])
    }
}

/// (x − mean) / deviation over given axes.
struct MeanVariance {
    axes: Vec<i64>,
}

pub(super) fn prepare_mean_variance(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let axes = spec.attributes.ints_opt("axes")?.unwrap_or(&[0, 2, 3]).to_vec();
    Ok(Box::new(Normalize(MeanVariance { axes })))
}

impl Normalization for MeanVariance {
    fn apply<T: Real>(&self, Run { shape, data, .. }: Run<'_, '_, T>) -> Result<Vec<Tensor>> {
        let mut over = vec![false; shape.rank()];
        for &axis in &self.axes {
            over[shape.axis(axis)?] = true;
        }
        if data.is_empty() {
            return Ok(vec![]);
        }
        // Offsets of the elements that share statistics, and of where such sets start.
        let (mut members, mut starts) = (vec![0usize], vec![0usize]);
        for ((&size, &stride), over) in shape.dims().iter().zip(&shape.strides()).zip(over) {
            let list = if over { &mut members } else { &mut starts };
            *list = list.iter().flat_map(|o| (0..size).map(move |i| o + i * stride)).collect();
        }
        let mut line = vec![T::default(); members.len()];
        for start in starts {
            for (v, at) in line.iter_mut().zip(&members) {
                *v = data[start + at];
            }
            let (mean, variance) = moments(&line);
            // ONNX's definition adds 1e-9 to the deviation, not to the variance.
            let divisor = T::of(variance.wide().sqrt() + 1e-9);
            for (v, at) in line.iter().zip(&members) {
                data[start + at] = (*v - mean) / divisor;
            }
        }
        Ok(vec![])
    }
}

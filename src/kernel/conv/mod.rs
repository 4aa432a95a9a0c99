//! Convolutions: Conv, FusedConv, ConvTranspose, DeformConv.
//!
//! An image is convolved on its own, in blocks that depend on the geometry alone, so that its
//! result depends neither on the batch nor on the threads.

mod activation;
mod deform;
mod depthwise;
mod im2col;
pub(in crate::kernel) mod polyphase;
pub(in crate::kernel) mod position;
pub(in crate::kernel) mod product;
pub(in crate::kernel) mod real;
mod transpose;
pub(in crate::kernel) mod window;

use super::registry::{Entry, microsoft, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::error::{Error, Result, ensure};
use crate::tensor::{ElementType, Tensor};
use crate::threads::Threads;
use activation::Activation;
use parking_lot::Mutex;
use polyphase::Polyphase;
use real::{Real, narrowed, widened, with_real};
use window::{Dims, Window};

pub(super) const OPS: &[Entry] = &[
    onnx("Conv", 1, prepare),
    onnx("ConvTranspose", 1, transpose::prepare),
    onnx("DeformConv", 19, deform::prepare),
    microsoft("FusedConv", prepare),
];

/// The first error of work that is split over threads.
#[derive(Default)]
pub(in crate::kernel) struct FirstError(Mutex<Option<Error>>);

impl FirstError {
    /// Keeps the error, where it is the first.
    pub fn note(&self, result: Result<()>) {
        if let Err(e) = result {
            self.0.lock().get_or_insert(e);
        }
    }

    /// The first error that was noted.
    pub fn into_result(self) -> Result<()> {
        self.0.into_inner().map_or(Ok(()), Err)
    }
}

/// How many groups a node's channels fall into.
pub(super) fn group(spec: &OpSpec<'_>) -> Result<usize> {
    match usize::try_from(spec.attributes.int("group", 1)?) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(spec.invalid("attribute 'group' must be positive")),
    }
}

struct Conv {
    op: String,
    window: Window,
    group: usize,
    activation: Activation,
    /// The constant weights where they had to be converted.
    weights: Option<Tensor>,
}

fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    let fused = spec.op == "FusedConv";
    spec.arity(2..=if fused { 4 } else { 3 })?;
    let conv = Conv {
        op: spec.op.to_string(),
        window: Window::new(spec)?,
        group: group(spec)?,
        activation: if fused { Activation::new(spec)? } else { Activation::None },
        weights: match spec.constant(1) {
            Some(w) if matches!(w.dtype(), ElementType::F16 | ElementType::BF16) => {
                Some(widened(w)?)
            }
            _ => None,
        },
    };
    if let Some(w) = spec.constant(1) {
        conv.check_weights(w.dims()).map_err(|e| spec.invalid(e.message()))?;
    }
    Ok(Box::new(conv))
}

/// What convolving one image takes.
struct Plan<'a, T> {
    map: window::SlidingMap,
    /// How a plane is laid out where a group has one input channel and few outputs.
    polyphase: Option<Polyphase>,
    /// Input and output channels of a group.
    channels: (usize, usize),
    /// Elements of one filter.
    filter: usize,
    /// Whether an input channel serves as it is: one-element kernel, stride 1, no padding.
    pointwise: bool,
    /// Whether each channel is convolved on its own.
    depthwise: bool,
    /// Output positions worked on at a time, and output channels.
    tile: usize,
    block: usize,
    weights: &'a [T],
    bias: Option<&'a [T]>,
}

impl Conv {
    /// Refuses weights that do not fit the attributes; answers the kernel's sizes.
    fn check_weights(&self, dims: &[usize]) -> Result<Dims> {
        self.window.kernel_of(dims, self.group, "output")
    }

    fn compute<T: Real>(
        &self,
        ctx: &mut Context<'_>,
        x: &Tensor,
        w: &Tensor,
        bias: Option<&Tensor>,
        sum: Option<&Tensor>,
    ) -> Result<Tensor> {
        let kernel = self.check_weights(w.dims())?;
        let dims = x.dims();
        ensure!(
            dims.len() == w.dims().len(),
            InvalidInput,
            "an input of shape {} does not fit weights of shape {}",
            x.shape(),
            w.shape()
        );
        let (images, channels, out_channels) = (dims[0], dims[1], w.dims()[0]);
        ensure!(
            w.dims()[1].checked_mul(self.group) == Some(channels),
            InvalidInput,
            "{channels} input channels do not fit weights of shape {} in {} groups",
            w.shape(),
            self.group
        );
        let bias = bias.map(Tensor::as_slice::<T>).transpose()?;
        ensure!(
            bias.is_none_or(|b| b.len() == out_channels),
            InvalidInput,
            "a bias of {} elements for {out_channels} output channels",
            bias.map_or(0, <[T]>::len)
        );
        let sliding = self.window.slide(&kernel, &dims[2..])?;
        let mut out_dims: Dims = Dims::from_slice(&[images, out_channels]);
        out_dims.extend_from_slice(&sliding.output);
        let shape = ctx.shape_of::<T>(&out_dims)?;
        let input = x.as_slice::<T>()?;
        let sum = match sum {
            Some(sum) => {
                ensure!(
                    *sum.shape() == shape,
                    InvalidInput,
                    "a summand of shape {} for a result of shape {shape}",
                    sum.shape()
                );
                Some(sum.as_slice::<T>()?)
            }
            None => None,
        };
        let mut out = ctx.filled(shape.len(), T::ZERO)?;
        if out.is_empty() {
            return ctx.tensor(shape, out);
        }
        let map = sliding.map(ctx)?;
        let group_channels = (channels / self.group, out_channels / self.group);
        let filter = ctx.shape_of::<T>(&[group_channels.0, map.kernel])?.len();
        // With many filters a group the matrix product is the faster way.
        let pointwise = sliding.is_pointwise();
        let depthwise = group_channels.0 == 1 && group_channels.1 <= 4 && !pointwise;
        let plan = Plan {
            pointwise,
            depthwise,
            polyphase: if depthwise { Polyphase::new::<T>(ctx, &sliding, &map)? } else { None },
            channels: group_channels,
            filter,
            // So much unfolded input stays in the second cache while the filters pass over it.
            tile: ((1 << 17) / filter.max(1)).next_multiple_of(16).clamp(32, 8192),
            block: group_channels.1.div_ceil(4).next_multiple_of(16).clamp(32, 128),
            weights: w.as_slice::<T>()?,
            bias,
            map,
        };
        ctx.shape_of::<T>(&[filter, plan.tile, ctx.threads.size()])?;
        // Tiles computed side by side are kept aside.
        ctx.shape_of::<T>(&[group_channels.1, plan.map.output.next_multiple_of(plan.tile)])?;
        ctx.check_deadline()?;
        let row = out_channels * plan.map.output;
        let in_row = channels * plan.map.input;
        let ns = row.saturating_mul(filter) / 10;
        let finish = |image: usize, out: &mut [T]| {
            if let Some(sum) = sum.and_then(|s| s.get(image * row..(image + 1) * row)) {
                out.iter_mut().zip(sum).for_each(|(o, &s)| *o += s);
            }
            self.activation.apply(out);
        };
        let image = |i: usize| input.get(i * in_row..(i + 1) * in_row).unwrap_or(&[]);
        if images >= 2 * ctx.threads.size() {
            let (alone, error) = (Threads::new(1), FirstError::default());
            ctx.threads.split_rows(&mut out, row, ns, |range, chunk| {
                for (i, out) in range.zip(chunk.chunks_mut(row)) {
                    error.note(plan.image(&alone, image(i), out));
                    finish(i, out);
                }
            });
            error.into_result()?;
        } else {
            for (i, out) in out.chunks_mut(row).enumerate() {
                plan.image(ctx.threads, image(i), out)?;
                finish(i, out);
                ctx.check_deadline()?;
            }
        }
        ctx.tensor(shape, out)
    }
}

impl<T: Real> Plan<'_, T> {
    /// Convolves one image.
    fn image(&self, threads: &Threads, input: &[T], out: &mut [T]) -> Result<()> {
        if let Some(bias) = self.bias {
            for (channel, &b) in out.chunks_mut(self.map.output).zip(bias) {
                channel.fill(b);
            }
        }
        if self.filter == 0 || input.is_empty() {
            return Ok(());
        }
        if self.depthwise {
            self.depthwise(threads, input, out);
            return Ok(());
        }
        let (in_row, out_row) =
            (self.channels.0 * self.map.input, self.channels.1 * self.map.output);
        let filters = self.channels.1 * self.filter;
        let groups = input.chunks(in_row).zip(out.chunks_mut(out_row));
        for ((input, out), weights) in groups.zip(self.weights.chunks(filters)) {
            self.unfolded(threads, input, weights, out)?;
        }
        Ok(())
    }
}

impl Kernel for Conv {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.tensor(0)?;
        let dtype = x.dtype();
        let w = match &self.weights {
            Some(w) => w.clone(),
            None => widened(inputs.tensor(1)?)?,
        };
        let x = widened(x)?;
        let bias = inputs.tensor_opt(2)?.map(widened).transpose()?;
        let sum = inputs.tensor_opt(3)?.map(widened).transpose()?;
        let out = with_real!(&self.op, dtype, T => {
            self.compute::<T>(ctx, &x, &w, bias.as_ref(), sum.as_ref())
        })?;
        one(narrowed(out, dtype)?)
    }

    fn packed_bytes(&self) -> u64 {
        self.weights.as_ref().map_or(0, Tensor::byte_len)
    }
}

#[cfg(test)]
mod tests;

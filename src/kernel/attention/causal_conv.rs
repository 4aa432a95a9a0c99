//! CausalConvWithState of both domains: each channel convolved with its own filter over what came
//! before.

use super::scalar::Scalar;
use crate::error::{Result, bail, ensure, err};
use crate::kernel::conv::real::narrowed;
use crate::kernel::simd;
use crate::kernel::transpose::permute;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::{ElementType, Shape, Tensor};
use smallvec::{SmallVec, smallvec};

/// Most that taps may lie apart: products with it stay far from overflow.
const MOST_DILATION: i64 = 1 << 30;

struct CausalConv {
    /// Whether each result x becomes x · sigmoid(x).
    swish: bool,
    /// How far apart the taps of a filter lie.
    dilation: usize,
    /// Whether the channels are the last axes, with as many as there are.
    channels_last: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    build(spec, 1, false)
}

pub(super) fn prepare_microsoft(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    let a = spec.attributes;
    // One axis is what models of language have; the rest is of a GPU's kernel, or of drafts that
    // are taken back.
    for (name, default) in [
        ("ndim", 1),
        ("state_window", 0),
        ("state_update_capacity", 0),
        ("state_length", 0),
        ("state_channels_last", -1),
        ("input_channel_offset", 0),
        ("input_channels", 0),
    ] {
        let value = a.int(name, default)?;
        if value != default {
            return Err(spec.unsupported(format_args!("{name} of {value}")));
        }
    }
    let dilation = match a.int("dilation", 1)? {
        n if (1..=MOST_DILATION).contains(&n) => n as usize,
        n => return Err(spec.invalid(format_args!("a dilation of {n}"))),
    };
    build(spec, dilation, a.flag("channels_last", false)?)
}

fn build(spec: &OpSpec<'_>, dilation: usize, channels_last: bool) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=4)?;
    let swish = match spec.attributes.str("activation", "none")?.as_str() {
        "none" => false,
        "silu" | "swish" => true,
        other => return Err(spec.invalid(format_args!("activation is '{other}'"))),
    };
    Ok(Box::new(CausalConv { swish, dilation, channels_last }))
}

/// (batch, length, channels…) as (batch, channels, length).
fn channels_first(ctx: &mut Context<'_>, x: &Tensor) -> Result<Tensor> {
    let (&[batch, length], channels) = x.dims().split_first_chunk().ok_or_else(|| {
        err!(InvalidInput, "CausalConvWithState of shape {}, channels last", x.shape())
    })?;
    let flat = Shape::new(&[batch, length, Shape::new(channels)?.len()])?;
    permute(ctx, &x.clone().reshaped(flat)?, &[0, 2, 1])
}

impl Kernel for CausalConv {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        if !self.channels_last {
            let (x, past) = (inputs.tensor(0)?, inputs.tensor_opt(3)?);
            let [y, state] = self.compute(ctx, inputs, x, past)?;
            return Ok(smallvec![y.into(), state.into()]);
        }
        let given = inputs.tensor(0)?;
        let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(given.dims());
        let x = channels_first(ctx, given)?;
        let past = inputs.tensor_opt(3)?.map(|past| channels_first(ctx, past)).transpose()?;
        let [y, state] = self.compute(ctx, inputs, &x, past.as_ref())?;
        let mut outputs = Outputs::new();
        for value in [y, state] {
            let value = permute(ctx, &value, &[0, 2, 1])?;
            dims[1] = value.shape().dim(1);
            outputs.push(value.reshaped(Shape::new(&dims)?)?.into());
        }
        Ok(outputs)
    }
}

impl CausalConv {
    /// The result and the state after it, of an input and a state with channels before places.
    fn compute(
        &self,
        ctx: &mut Context<'_>,
        inputs: &Inputs<'_>,
        x: &Tensor,
        past: Option<&Tensor>,
    ) -> Result<[Tensor; 2]> {
        let (weight, bias) = (inputs.tensor(1)?, inputs.tensor_opt(2)?);
        let dtype = x.dtype();
        ensure!(
            matches!(dtype, ElementType::F32 | ElementType::F16 | ElementType::BF16)
                && [Some(weight), bias, past].into_iter().flatten().all(|t| t.dtype() == dtype),
            InvalidInput,
            "CausalConvWithState of {dtype} takes all inputs of one float type"
        );
        let (&[batch, channels, length], &[filters, 1, taps]) = (x.dims(), weight.dims()) else {
            bail!(
                InvalidInput,
                "CausalConvWithState of shapes {} and {}",
                x.shape(),
                weight.shape()
            );
        };
        let kept = taps.saturating_sub(1).saturating_mul(self.dilation);
        ensure!(
            taps > 0
                && filters == channels
                && bias.is_none_or(|bias| bias.dims() == [channels])
                && past.is_none_or(|past| past.dims() == [batch, channels, kept]),
            InvalidInput,
            "CausalConvWithState: an input of {}, weights of {}, a bias of {:?}, a state of {:?}",
            x.shape(),
            weight.shape(),
            bias.map(Tensor::dims),
            past.map(Tensor::dims)
        );
        let state_shape = ctx.shape_of::<f32>(&[batch, channels, kept])?;
        // What each thread puts a line and what came before it into.
        ctx.shape_of::<f32>(&[ctx.threads.size(), kept.saturating_add(length)])?;
        let mut state = match past {
            Some(past) => past.to_f32_vec()?,
            None => ctx.filled(state_shape.len(), 0.0)?,
        };
        let mut out = ctx.filled(x.len(), 0f32)?;
        let (input, weight) = (f32::read(x)?, f32::read(weight)?);
        let bias = bias.map(f32::read).transpose()?;
        ctx.check_deadline()?;
        let line = |i: usize| input.get(i * length..(i + 1) * length).unwrap_or(&[]);
        let before = |i: usize| state.get(i * kept..(i + 1) * kept).unwrap_or(&[]);
        let ns = length.saturating_mul(taps) / 4 + 10;
        ctx.threads.split_rows(&mut out, length, ns, |range, out| {
            let mut padded = Vec::with_capacity(kept + length);
            let mut gate = vec![0f32; if self.swish { length } else { 0 }];
            for (i, out) in range.zip(out.chunks_exact_mut(length.max(1))) {
                padded.clear();
                padded.extend_from_slice(before(i));
                padded.extend_from_slice(line(i));
                let channel = i % channels;
                out.fill(bias.as_ref().and_then(|b| b.get(channel)).copied().unwrap_or(0.0));
                for (j, &w) in weight.iter().skip(channel * taps).take(taps).enumerate() {
                    for (o, &x) in out.iter_mut().zip(padded.iter().skip(j * self.dilation)) {
                        *o += w * x;
                    }
                }
                if self.swish {
                    gate.copy_from_slice(out);
                    simd::sigmoid_in_place(&mut gate);
                    out.iter_mut().zip(&gate).for_each(|(o, &g)| *o *= g);
                }
            }
        });
        // The last elements of what was before and what came.
        if kept > 0 {
            for (i, state) in state.chunks_exact_mut(kept).enumerate() {
                let line = line(i);
                let new = &line[line.len().saturating_sub(kept)..];
                state.rotate_left(new.len());
                state[kept - new.len()..].copy_from_slice(new);
            }
        }
        let y = ctx.tensor(x.shape().clone(), out)?;
        let state = ctx.tensor(state_shape, state)?;
        Ok([narrowed(y, dtype)?, narrowed(state, dtype)?])
    }
}

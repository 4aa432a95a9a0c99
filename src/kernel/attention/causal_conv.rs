//! CausalConvWithState: each channel convolved with its own filter over what came before.

use super::scalar::Scalar;
use crate::error::{Result, bail, ensure};
use crate::kernel::conv::real::narrowed;
use crate::kernel::simd;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::{ElementType, Tensor, Value};

struct CausalConv {
    /// Whether each result x becomes x · sigmoid(x).
    swish: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=4)?;
    let swish = match spec.attributes.str("activation", "none")?.as_str() {
        "none" => false,
        "silu" | "swish" => true,
        other => return Err(spec.invalid(format_args!("activation is '{other}'"))),
    };
    Ok(Box::new(CausalConv { swish }))
}

impl Kernel for CausalConv {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (x, weight) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let (bias, past) = (inputs.tensor_opt(2)?, inputs.tensor_opt(3)?);
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
        let kept = taps.saturating_sub(1);
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
                    for (o, &x) in out.iter_mut().zip(padded.iter().skip(j)) {
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
        let mut outputs = Outputs::new();
        outputs.push(Value::Tensor(narrowed(y, dtype)?));
        outputs.push(Value::Tensor(narrowed(state, dtype)?));
        Ok(outputs)
    }
}

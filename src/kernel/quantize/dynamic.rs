//! Quantisation to uint8 with a scale found from the elements themselves: DynamicQuantizeLinear,
//! and what products that quantise their input share with it.

use super::level::Byte;
use crate::error::Result;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::Tensor;
use smallvec::smallvec;

/// How to quantise some elements so that their whole range fits, and zero is a level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub scale: f32,
    pub zero: f32,
}

/// The least and the largest of 0 and the elements, NaN left out; in lanes, which the compiler
/// vectorises.
fn extremes(x: &[f32]) -> (f32, f32) {
    const LANES: usize = 16;
    let lower = |a: f32, b: f32| if b < a { b } else { a };
    let higher = |a: f32, b: f32| if b > a { b } else { a };
    let (mut low, mut high) = ([0f32; LANES], [0f32; LANES]);
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            low[i] = lower(low[i], chunk[i]);
            high[i] = higher(high[i], chunk[i]);
        }
    }
    (
        low.iter().chain(rest).copied().fold(0.0, lower),
        high.iter().chain(rest).copied().fold(0.0, higher),
    )
}

impl Range {
    /// The range of `x`. Where all elements are zero the span counts as 1.
    pub fn of(x: &[f32]) -> Range {
        let (low, high) = extremes(x);
        let span = high - low;
        let scale = if span == 0.0 { 1.0 } else { span } / 255.0;
        Range { scale, zero: f32::from(u8::quantised(-low / scale, 0.0)) }
    }

    /// The level of `x`.
    #[inline(always)]
    pub fn level(self, x: f32) -> u8 {
        u8::quantised(x / self.scale, self.zero)
    }

    /// The levels of `x`, less the zero point.
    pub fn centred(self, x: &[f32], out: &mut [i16]) {
        let zero = self.zero as i16;
        for (out, &x) in out.iter_mut().zip(x) {
            *out = i16::from(self.level(x)) - zero;
        }
    }
}

struct DynamicQuantizeLinear;

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    Ok(Box::new(DynamicQuantizeLinear))
}

impl Kernel for DynamicQuantizeLinear {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.tensor(0)?;
        let x = tensor.as_slice::<f32>()?;
        let range = Range::of(x);
        let mut out = ctx.filled(x.len(), 0u8)?;
        const PIECE: usize = 1024;
        ctx.threads.split_rows(&mut out, PIECE, PIECE / 2, |pieces, out| {
            let x = x.get(pieces.start * PIECE..).unwrap_or(&[]);
            out.iter_mut().zip(x).for_each(|(out, &x)| *out = range.level(x));
        });
        let levels = ctx.tensor(tensor.shape().clone(), out)?;
        let zero = Tensor::scalar(range.zero as u8);
        Ok(smallvec![levels.into(), Tensor::scalar(range.scale).into(), zero.into()])
    }
}

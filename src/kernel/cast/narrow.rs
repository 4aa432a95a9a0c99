//! Cast to floats of at most eight bits, as its attributes say.

use super::number::{Target, to_odd};
use super::{cast, numbers};
use crate::error::Result;
use crate::kernel::{Context, OpSpec};
use crate::tensor::{
    ElementType, Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2, Float8E5M2FNUZ, Float8E8M0,
    PowerRounding, Tensor,
};

/// What Cast is told about floats of at most eight bits.
#[derive(Clone, Copy)]
pub(super) struct Narrowing {
    saturate: bool,
    rounding: PowerRounding,
}

impl Narrowing {
    pub(super) fn of(spec: &OpSpec<'_>) -> Result<Narrowing> {
        let rounding = match spec.attributes.str("round_mode", "up")?.as_str() {
            "up" => PowerRounding::Up,
            "down" => PowerRounding::Down,
            "nearest" => PowerRounding::Nearest,
            other => return Err(spec.invalid(format_args!("the round_mode '{other}'"))),
        };
        Ok(Narrowing { saturate: spec.attributes.int("saturate", 1)? != 0, rounding })
    }

    /// As [`cast`], with what Cast was told.
    pub(super) fn apply(
        self,
        ctx: &mut Context<'_>,
        tensor: Tensor,
        to: ElementType,
    ) -> Result<Tensor> {
        match self.differs(ctx, &tensor, to) {
            Some(converted) if tensor.dtype() != to => converted,
            _ => cast(ctx, tensor, to),
        }
    }

    /// The conversion, where it is another than [`cast`] does.
    fn differs(
        self,
        ctx: &mut Context<'_>,
        tensor: &Tensor,
        to: ElementType,
    ) -> Option<Result<Tensor>> {
        let Narrowing { saturate, rounding } = self;
        if to == ElementType::F8E8M0 && (!saturate || rounding != PowerRounding::Up) {
            let of = |v: f64| Float8E8M0::rounded(to_odd(v), saturate, rounding);
            return Some(each(ctx, tensor, of));
        }
        if saturate {
            return None;
        }
        Some(match to {
            ElementType::F8E4M3FN => each(ctx, tensor, |v| Float8E4M3FN::from_f64(v, false)),
            ElementType::F8E4M3FNUZ => each(ctx, tensor, |v| Float8E4M3FNUZ::from_f64(v, false)),
            ElementType::F8E5M2 => each(ctx, tensor, |v| Float8E5M2::from_f64(v, false)),
            ElementType::F8E5M2FNUZ => each(ctx, tensor, |v| Float8E5M2FNUZ::from_f64(v, false)),
            _ => return None,
        })
    }
}

fn each<T: Target>(
    ctx: &mut Context<'_>,
    tensor: &Tensor,
    of: impl Fn(f64) -> T,
) -> Result<Tensor> {
    let mut out = ctx.buffer(tensor.len())?;
    // Doubles hold every narrower number, and what they do not hold of 64-bit integers is far out
    // of range here.
    let wide = numbers::<f64>(ctx, tensor)?;
    out.extend(wide.as_slice::<f64>()?.iter().map(|&v| of(v)));
    ctx.tensor(tensor.shape().clone(), out)
}

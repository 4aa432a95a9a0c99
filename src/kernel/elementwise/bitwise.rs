//! BitwiseAnd, BitwiseOr, BitwiseXor, BitwiseNot and BitShift.

use super::broadcast::{Lanes, binary, owned};
use crate::error::{Result, bail};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{ElementType, Tensor};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bitwise {
    And,
    Or,
    Xor,
    Not,
    ShiftLeft,
    ShiftRight,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    let op = match spec.op {
        "BitwiseAnd" => Bitwise::And,
        "BitwiseOr" => Bitwise::Or,
        "BitwiseXor" => Bitwise::Xor,
        "BitwiseNot" => Bitwise::Not,
        _ => match spec.attributes.str_opt("direction")?.as_deref() {
            Some("LEFT") => Bitwise::ShiftLeft,
            Some("RIGHT") => Bitwise::ShiftRight,
            other => {
                return Err(
                    spec.invalid(format_args!("direction must be LEFT or RIGHT, got {other:?}"))
                );
            }
        },
    };
    spec.arity(if op == Bitwise::Not { 1..=1 } else { 2..=2 })?;
    Ok(Box::new(op))
}

trait Bits: Lanes {
    fn apply(self, op: Bitwise, other: Self) -> Self;
}

macro_rules! bits {
    ($($t:ty),+) => {$(
        impl Bits for $t {
            #[inline(always)]
            #[allow(unused_comparisons)] // unsigned numbers have no sign
            fn apply(self, op: Bitwise, other: Self) -> Self {
                // Shifting all bits out leaves the sign alone, and a negative count is one beyond
                // every width.
                let shift = u32::try_from(other).unwrap_or(u32::MAX);
                match op {
                    Bitwise::And => self & other,
                    Bitwise::Or => self | other,
                    Bitwise::Xor => self ^ other,
                    Bitwise::Not => !self,
                    Bitwise::ShiftLeft => self.checked_shl(shift).unwrap_or(0),
                    Bitwise::ShiftRight => {
                        self.checked_shr(shift).unwrap_or(if self < 0 { !0 } else { 0 })
                    }
                }
            }
        }
    )+};
}
bits!(i8, i16, i32, i64, u8, u16, u32, u64);

fn typed<T: Bits>(ctx: &mut Context<'_>, op: Bitwise, inputs: &mut Inputs<'_>) -> Result<Tensor> {
    let a = inputs.take_tensor(0)?;
    if op == Bitwise::Not {
        let shape = a.shape().clone();
        let mut data = owned::<T>(ctx, a)?;
        T::map(&mut data, |v| v.apply(op, v));
        return ctx.tensor(shape, data);
    }
    binary(ctx, a, inputs.take_tensor(1)?, |x: T, y: T| x.apply(op, y))
}

impl Kernel for Bitwise {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let dtype = inputs.tensor(0)?.dtype();
        one(match dtype {
            ElementType::I8 => typed::<i8>(ctx, *self, inputs),
            ElementType::I16 => typed::<i16>(ctx, *self, inputs),
            ElementType::I32 => typed::<i32>(ctx, *self, inputs),
            ElementType::I64 => typed::<i64>(ctx, *self, inputs),
            ElementType::U8 => typed::<u8>(ctx, *self, inputs),
            ElementType::U16 => typed::<u16>(ctx, *self, inputs),
            ElementType::U32 => typed::<u32>(ctx, *self, inputs),
            ElementType::U64 => typed::<u64>(ctx, *self, inputs),
            other => bail!(InvalidInput, "bitwise arithmetic on {other}"),
        }?)
    }
}

//! Pow: base and exponent may be of different types; the result is of the base's.

use super::broadcast::{aligned, binary, legacy_axis};
use crate::error::{Result, bail};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Data, Element, ElementType, Tensor};
use half::{bf16, f16};

struct Pow {
    axis: Option<i64>,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    Ok(Box::new(Pow { axis: legacy_axis(spec)? }))
}

/// `base` to the power of `exponent` in wrapping arithmetic; a negative exponent gives the
/// reciprocal truncated to an integer.
fn integer_power(base: i64, exponent: i64) -> i64 {
    if exponent < 0 {
        return match base {
            1 => 1,
            -1 => 1 - 2 * (exponent & 1),
            _ => 0,
        };
    }
    let (mut result, mut square, mut rest) = (1i64, base, exponent);
    while rest > 0 {
        if rest & 1 == 1 {
            result = result.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        rest >>= 1;
    }
    result
}

fn f32_power(ctx: &mut Context<'_>, base: Tensor, exponent: Tensor) -> Result<Tensor> {
    // Squares and cubes are most of what models ask for, and exact as products.
    match exponent.as_slice::<f32>()? {
        [2.0] => binary(ctx, base, exponent, |x: f32, _| x * x),
        [3.0] => binary(ctx, base, exponent, |x: f32, _| x * x * x),
        _ => binary(ctx, base, exponent, f32::powf),
    }
}

/// The elements of `t` as `T`, each through `f` from 64 bits.
fn narrowed<T: Element, W: Copy>(t: Tensor, wide: &[W], f: impl Fn(W) -> T) -> Result<Tensor> {
    Tensor::new(t.shape().clone(), T::wrap(wide.iter().map(|&v| f(v)).collect()))
}

fn as_type<T: Element>(t: &Tensor, data: Vec<T>) -> Result<Tensor> {
    Tensor::new(t.shape().clone(), T::wrap(data))
}

impl Kernel for Pow {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (base, exponent) = (inputs.take_tensor(0)?, inputs.take_tensor(1)?);
        let exponent = aligned(&base, exponent, self.axis)?;
        let dtype = base.dtype();
        for t in [dtype, exponent.dtype()] {
            if matches!(t, ElementType::Bool | ElementType::String) {
                bail!(InvalidInput, "Pow of {t}");
            }
        }
        let result = match dtype {
            ElementType::F32 if exponent.dtype() == dtype => f32_power(ctx, base, exponent)?,
            ElementType::F32 => {
                let exponent = as_type(&exponent, exponent.to_f32_vec()?)?;
                f32_power(ctx, base, exponent)?
            }
            ElementType::F64 => {
                let exponent = as_type(&exponent, exponent.to_f64_vec()?)?;
                binary(ctx, base, exponent, f64::powf)?
            }
            ElementType::F16 | ElementType::BF16 => {
                let base = as_type(&base, base.to_f32_vec()?)?;
                let exponent = as_type(&exponent, exponent.to_f32_vec()?)?;
                let out = f32_power(ctx, base, exponent)?;
                let wide = out.clone();
                let wide = wide.as_slice::<f32>()?;
                if dtype == ElementType::F16 {
                    narrowed(out, wide, f16::from_f32)?
                } else {
                    narrowed(out, wide, bf16::from_f32)?
                }
            }
            _ if exponent.dtype().is_float() => {
                let base = as_type(&base, base.to_f64_vec()?)?;
                let exponent = as_type(&exponent, exponent.to_f64_vec()?)?;
                let out = binary(ctx, base, exponent, f64::powf)?;
                let wide = out.clone();
                let wide = wide.as_slice::<f64>()?;
                match dtype {
                    ElementType::I8 => narrowed(out, wide, |v| v as i8)?,
                    ElementType::I16 => narrowed(out, wide, |v| v as i16)?,
                    ElementType::I32 => narrowed(out, wide, |v| v as i32)?,
                    ElementType::I64 => narrowed(out, wide, |v| v as i64)?,
                    ElementType::U8 => narrowed(out, wide, |v| v as u8)?,
                    ElementType::U16 => narrowed(out, wide, |v| v as u16)?,
                    ElementType::U32 => narrowed(out, wide, |v| v as u32)?,
                    _ => narrowed(out, wide, |v| v as u64)?,
                }
            }
            _ => {
                // Wrapping in 64 bits and cutting off is wrapping in the type.
                let bits = |t: &Tensor| match t.data() {
                    Data::U64(v) => Ok(v.iter().map(|&v| v as i64).collect()),
                    _ => t.to_i64_vec(),
                };
                let base = as_type(&base, bits(&base)?)?;
                let exponent = as_type(&exponent, bits(&exponent)?)?;
                let out = binary(ctx, base, exponent, integer_power)?;
                let wide = out.clone();
                let wide = wide.as_slice::<i64>()?;
                match dtype {
                    ElementType::I8 => narrowed(out, wide, |v| v as i8)?,
                    ElementType::I16 => narrowed(out, wide, |v| v as i16)?,
                    ElementType::I32 => narrowed(out, wide, |v| v as i32)?,
                    ElementType::I64 => out,
                    ElementType::U8 => narrowed(out, wide, |v| v as u8)?,
                    ElementType::U16 => narrowed(out, wide, |v| v as u16)?,
                    ElementType::U32 => narrowed(out, wide, |v| v as u32)?,
                    _ => narrowed(out, wide, |v| v as u64)?,
                }
            }
        };
        one(result)
    }
}

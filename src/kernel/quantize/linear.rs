//! QuantizeLinear.

use super::layout::Layout;
use super::level::Levels;
use super::parameters;
use crate::error::{Result, bail, ensure};
use crate::kernel::cast::element_type;
use crate::kernel::conv::real::widened;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{
    Data, Element, ElementType, Float4E2M1, Float6E2M3, Float6E3M2, Float8E4M3FN, Float8E4M3FNUZ,
    Float8E5M2, Float8E5M2FNUZ, Int2, Int4, Tensor, UInt2, UInt4,
};
use half::{bf16, f16};

/// The type that the division by the scale is rounded to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Precision {
    F32,
    F16,
    BF16,
}

struct QuantizeLinear {
    axis: i64,
    block: usize,
    saturate: bool,
    precision: Option<Precision>,
    /// The output's type where an attribute names it.
    output: Option<ElementType>,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=3)?;
    let a = spec.attributes;
    let dtype = |name: &str| -> Result<Option<ElementType>> {
        match a.int(name, 0)? {
            0 => Ok(None),
            code => element_type(spec, code).map(Some),
        }
    };
    let precision = match dtype("precision")? {
        None => None,
        Some(ElementType::F32) => Some(Precision::F32),
        Some(ElementType::F16) => Some(Precision::F16),
        Some(ElementType::BF16) => Some(Precision::BF16),
        Some(other) => return Err(spec.unsupported(format_args!("precision {other}"))),
    };
    let output = dtype("output_dtype")?;
    if let (Some(output), Some(zero)) = (output, spec.constant(2))
        && zero.dtype() != output
    {
        return Err(spec.invalid(format_args!(
            "output_dtype is {output}, but the zero point is of {}",
            zero.dtype()
        )));
    }
    Ok(Box::new(QuantizeLinear {
        axis: a.int("axis", 1)?,
        block: parameters::block_size(spec)?,
        saturate: a.flag("saturate", true)?,
        precision,
        output,
    }))
}

/// What a run of elements is quantised with.
struct Operands<'a> {
    x: &'a [f32],
    scales: &'a [f32],
    zeros: &'a [f32],
    layout: &'a Layout,
}

/// Quantises all elements: `level` makes one of a quotient and a zero point.
fn quantise<T: Element>(
    ctx: &mut Context<'_>,
    operands: &Operands<'_>,
    divide: impl Fn(f32, f32) -> f32 + Copy + Send + Sync,
    level: impl Fn(f32, f32) -> T + Copy + Send + Sync,
) -> Result<Data> {
    let mut out = ctx.filled(operands.x.len(), T::default())?;
    operands.layout.each(ctx.threads, operands.x, &mut out, |x, out, at| {
        let scales = at.of(operands.scales, x.len());
        let zeros = at.of(operands.zeros, x.len());
        if let (true, &[scale], &[zero]) = (at.shared, scales, zeros) {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = level(divide(x, scale), zero);
            }
        } else {
            for (((out, &x), &scale), &zero) in out.iter_mut().zip(x).zip(scales).zip(zeros) {
                *out = level(divide(x, scale), zero);
            }
        }
    });
    Ok(T::wrap(out))
}

/// As [`quantise`], to elements of `dtype`.
fn quantise_to(
    ctx: &mut Context<'_>,
    operands: &Operands<'_>,
    dtype: ElementType,
    saturate: bool,
    divide: impl Fn(f32, f32) -> f32 + Copy + Send + Sync,
) -> Result<Data> {
    macro_rules! whole {
        ($low:literal, $high:literal, $level:expr) => {{
            const LEVELS: Levels = Levels { low: $low, high: $high };
            let convert = $level;
            quantise(ctx, operands, divide, move |x, zero| {
                convert(LEVELS.round_then_shift(x, zero))
            })
        }};
    }
    macro_rules! float {
        ($t:ty) => {
            quantise(ctx, operands, divide, move |x, zero| <$t>::from_f32(x + zero, saturate))
        };
    }
    match dtype {
        ElementType::U8 => whole!(0.0, 255.0, |v: f32| v as i32 as u8),
        ElementType::I8 => whole!(-128.0, 127.0, |v: f32| v as i32 as i8),
        ElementType::U16 => whole!(0.0, 65535.0, |v: f32| v as i32 as u16),
        ElementType::I16 => whole!(-32768.0, 32767.0, |v: f32| v as i32 as i16),
        ElementType::U4 => whole!(0.0, 15.0, |v: f32| UInt4::saturating(v as i64)),
        ElementType::I4 => whole!(-8.0, 7.0, |v: f32| Int4::saturating(v as i64)),
        ElementType::U2 => whole!(0.0, 3.0, |v: f32| UInt2::saturating(v as i64)),
        ElementType::I2 => whole!(-2.0, 1.0, |v: f32| Int2::saturating(v as i64)),
        ElementType::F8E4M3FN => float!(Float8E4M3FN),
        ElementType::F8E4M3FNUZ => float!(Float8E4M3FNUZ),
        ElementType::F8E5M2 => float!(Float8E5M2),
        ElementType::F8E5M2FNUZ => float!(Float8E5M2FNUZ),
        // These types have no infinity: there is only one way.
        ElementType::F6E2M3 => {
            quantise(ctx, operands, divide, |x, zero| Float6E2M3::from_f32(x + zero, true))
        }
        ElementType::F6E3M2 => {
            quantise(ctx, operands, divide, |x, zero| Float6E3M2::from_f32(x + zero, true))
        }
        ElementType::F4E2M1 => {
            quantise(ctx, operands, divide, |x, zero| Float4E2M1::from_f32(x + zero, true))
        }
        other => bail!(InvalidInput, "QuantizeLinear does not quantise to {other}"),
    }
}

impl Kernel for QuantizeLinear {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (x, scale, zero) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor_opt(2)?);
        let dtype = match (zero.map(Tensor::dtype), self.output) {
            (Some(zero), Some(output)) => {
                ensure!(
                    zero == output,
                    InvalidInput,
                    "QuantizeLinear: output_dtype is {output}, but the zero point is of {zero}"
                );
                output
            }
            (Some(dtype), None) | (None, Some(dtype)) => dtype,
            (None, None) => ElementType::U8,
        };
        let layout = Layout::new(x.shape(), scale.shape(), self.axis, self.block)?;
        let (scales, zeros) = parameters::of(scale, zero)?;
        let wide = match x.dtype() {
            ElementType::I32 => Tensor::new(x.shape().clone(), Data::F32(x.to_f32_vec()?))?,
            ElementType::F32 | ElementType::F16 | ElementType::BF16 => widened(x)?,
            other => bail!(InvalidInput, "QuantizeLinear of {other}"),
        };
        let precision = self.precision.unwrap_or(match scale.dtype() {
            ElementType::F16 => Precision::F16,
            ElementType::BF16 => Precision::BF16,
            _ => Precision::F32,
        });
        let operands =
            Operands { x: wide.as_slice()?, scales: &scales, zeros: &zeros, layout: &layout };
        let saturate = self.saturate;
        // The quotient of two halves, rounded to single and then to half precision, is the right
        // one: single precision has more than twice the digits.
        let data = match precision {
            Precision::F32 => quantise_to(ctx, &operands, dtype, saturate, |x, s| x / s)?,
            Precision::F16 => quantise_to(ctx, &operands, dtype, saturate, |x, s| {
                let half = |v: f32| f16::from_f32(v).to_f32();
                half(half(x) / half(s))
            })?,
            Precision::BF16 => quantise_to(ctx, &operands, dtype, saturate, |x, s| {
                let half = |v: f32| bf16::from_f32(v).to_f32();
                half(half(x) / half(s))
            })?,
        };
        one(ctx.tensor_from(x.shape().clone(), data)?)
    }
}

//! DequantizeLinear.

use super::layout::Layout;
use super::parameters;
use crate::error::{Result, bail, ensure};
use crate::kernel::cast::element_type;
use crate::kernel::conv::real::narrowed;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Data, ElementType, Tensor};

struct DequantizeLinear {
    axis: i64,
    block: usize,
    /// The output's type where an attribute names it.
    output: Option<ElementType>,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=3)?;
    let output = match spec.attributes.int("output_dtype", 0)? {
        0 => None,
        code => match element_type(spec, code)? {
            t @ (ElementType::F32 | ElementType::F16 | ElementType::BF16) => Some(t),
            other => return Err(spec.unsupported(format_args!("output_dtype {other}"))),
        },
    };
    Ok(Box::new(DequantizeLinear {
        axis: spec.attributes.int("axis", 1)?,
        block: parameters::block_size(spec)?,
        output,
    }))
}

/// `(x - zero) · scale` for all elements, `wide` being an element's number.
fn dequantise<T: Copy + Sync>(
    ctx: &mut Context<'_>,
    layout: &Layout,
    x: &[T],
    (scales, zeros): (&[f32], &[f32]),
    wide: impl Fn(T) -> f32 + Copy + Send + Sync,
) -> Result<Vec<f32>> {
    let mut out = ctx.filled(x.len(), 0f32)?;
    layout.each(ctx.threads, x, &mut out, |x, out, at| {
        let (scales, zeros) = (at.of(scales, x.len()), at.of(zeros, x.len()));
        if let (true, &[scale], &[zero]) = (at.shared, scales, zeros) {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = (wide(x) - zero) * scale;
            }
        } else {
            for (((out, &x), &scale), &zero) in out.iter_mut().zip(x).zip(scales).zip(zeros) {
                *out = (wide(x) - zero) * scale;
            }
        }
    });
    Ok(out)
}

impl Kernel for DequantizeLinear {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (x, scale, zero) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor_opt(2)?);
        ensure!(
            zero.is_none_or(|zero| zero.dtype() == x.dtype()),
            InvalidInput,
            "DequantizeLinear of {} with zero points of {}",
            x.dtype(),
            zero.map_or(x.dtype(), Tensor::dtype)
        );
        let layout = Layout::new(x.shape(), scale.shape(), self.axis, self.block)?;
        let (scales, zeros) = parameters::of(scale, zero)?;
        let output = self.output.unwrap_or(match scale.dtype() {
            t @ (ElementType::F16 | ElementType::BF16) => t,
            _ => ElementType::F32,
        });
        macro_rules! wide {
            ($v:ident, $wide:expr) => {
                dequantise(ctx, &layout, $v, (&scales, &zeros), $wide)?
            };
        }
        let out = match x.data() {
            Data::U8(v) => wide!(v, f32::from),
            Data::I8(v) => wide!(v, f32::from),
            Data::U16(v) => wide!(v, f32::from),
            Data::I16(v) => wide!(v, f32::from),
            Data::I32(v) => wide!(v, |x| x as f32),
            Data::U4(v) => wide!(v, |x| f32::from(x.get())),
            Data::I4(v) => wide!(v, |x| f32::from(x.get())),
            Data::U2(v) => wide!(v, |x| f32::from(x.get())),
            Data::I2(v) => wide!(v, |x| f32::from(x.get())),
            Data::F8E4M3FN(v) => wide!(v, |x| x.to_f32()),
            Data::F8E4M3FNUZ(v) => wide!(v, |x| x.to_f32()),
            Data::F8E5M2(v) => wide!(v, |x| x.to_f32()),
            Data::F8E5M2FNUZ(v) => wide!(v, |x| x.to_f32()),
            Data::F6E2M3(v) => wide!(v, |x| x.to_f32()),
            Data::F6E3M2(v) => wide!(v, |x| x.to_f32()),
            Data::F4E2M1(v) => wide!(v, |x| x.to_f32()),
            other => bail!(InvalidInput, "DequantizeLinear of {}", other.dtype()),
        };
        one(narrowed(ctx.tensor(x.shape().clone(), out)?, output)?)
    }
}

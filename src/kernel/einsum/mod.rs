//! Einsum: sums of products over labelled axes.

mod contract;
mod equation;

use super::conv::real::{narrowed, widened};
use super::registry::{Entry, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::error::{Result, bail, ensure};
use crate::tensor::{Data, Tensor};
use equation::Equation;

pub(super) const OPS: &[Entry] = &[onnx("Einsum", 12, prepare)];

struct Einsum {
    equation: Equation,
}

fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    let Some(text) = spec.attributes.str_opt("equation")? else {
        return Err(spec.invalid("attribute 'equation' is missing"));
    };
    let equation = Equation::parse(&text).map_err(|e| spec.invalid(e.message()))?;
    let n = equation.operands();
    spec.arity(n..=n)?;
    Ok(Box::new(Einsum { equation }))
}

impl Kernel for Einsum {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let mut operands: Vec<Tensor> = Vec::with_capacity(self.equation.operands());
        for i in 0..self.equation.operands() {
            operands.push(widened(inputs.tensor(i)?)?);
        }
        let dtype = inputs.tensor(0)?.dtype();
        let shapes: Vec<&[usize]> = operands.iter().map(Tensor::dims).collect();
        let axes = self.equation.axes(&shapes)?;
        ensure!(
            operands.iter().all(|t| t.dtype() == operands[0].dtype()),
            InvalidInput,
            "Einsum: operands of different element types"
        );
        macro_rules! exact {
            ($t:ty) => {
                contract::strided::<$t>(ctx, &axes, &operands, <$t>::wrapping_add, |a, b| {
                    a.wrapping_mul(b)
                })
            };
        }
        let out = match operands[0].data() {
            Data::F32(_) => contract::real::<f32>(ctx, &axes, &operands),
            Data::F64(_) => contract::real::<f64>(ctx, &axes, &operands),
            Data::I8(_) => exact!(i8),
            Data::I16(_) => exact!(i16),
            Data::I32(_) => exact!(i32),
            Data::I64(_) => exact!(i64),
            Data::U8(_) => exact!(u8),
            Data::U16(_) => exact!(u16),
            Data::U32(_) => exact!(u32),
            Data::U64(_) => exact!(u64),
            other => bail!(InvalidInput, "Einsum does not compute in {}", other.dtype()),
        }?;
        one(narrowed(out, dtype)?)
    }
}

#[cfg(test)]
mod tests;

//! Dropout, which in inference drops nothing.

use super::super::row::same_type;
use super::copy_rows;
use crate::error::{Result, bail, ensure};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, RowNumber, RowOp, RowShape, one};
use crate::tensor::{Data, ElementType, Tensor, Value};
use half::{bf16, f16};
use smallvec::smallvec;

/// Dropout as it is in inference: the identity.
struct Dropout {
    /// The mask output, where somebody reads it: of bools, or (before opset 10) of the data's
    /// type.
    mask: Option<MaskType>,
    /// Known at load not to ask for training.
    inference: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum MaskType {
    Bool,
    Same,
}

const TRAINING: &str = "training mode (the values dropped would be random)";

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=if spec.version < 12 { 1 } else { 3 })?;
    let mask = match spec.version {
        _ if !spec.wants(1) => None,
        ..=9 => Some(MaskType::Same),
        _ => Some(MaskType::Bool),
    };
    let mut inference = !spec.has_input(2);
    if let Some(training) = spec.constant(2) {
        inference = !is_set(training)?;
        if let (false, Some(ratio)) = (inference, spec.constant(1)) {
            inference = ratio.to_f64_vec()?.iter().all(|&r| r == 0.0);
        }
        let ratio_known = !spec.has_input(1) || spec.constant(1).is_some();
        if !inference && ratio_known {
            return Err(spec.unsupported(TRAINING));
        }
    }
    Ok(Box::new(Dropout { mask, inference }))
}

fn is_set(flag: &Tensor) -> Result<bool> {
    Ok(flag.to_f64_vec()?.first().is_some_and(|&v| v != 0.0))
}

impl Kernel for Dropout {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        if !self.inference && is_set(inputs.tensor(2)?)? {
            let drops = match inputs.tensor_opt(1)? {
                Some(ratio) => ratio.to_f64_vec()?.iter().any(|&r| r != 0.0),
                None => true,
            };
            ensure!(!drops, Unsupported, "Dropout: {TRAINING}");
        }
        let tensor = inputs.take_tensor(0)?;
        let n = tensor.len();
        let mask = match (self.mask, tensor.data()) {
            (None, _) => return one(tensor),
            (Some(MaskType::Bool), _) => Data::Bool(ctx.filled(n, true)?),
            (_, Data::F32(_)) => Data::F32(ctx.filled(n, 1.0)?),
            (_, Data::F64(_)) => Data::F64(ctx.filled(n, 1.0)?),
            (_, Data::F16(_)) => Data::F16(ctx.filled(n, f16::ONE)?),
            (_, Data::BF16(_)) => Data::BF16(ctx.filled(n, bf16::ONE)?),
            _ => bail!(InvalidInput, "Dropout: expected floats, got {}", tensor.dtype()),
        };
        let mask = ctx.tensor_from(tensor.shape().clone(), mask)?;
        Ok(smallvec![Value::Tensor(tensor), Value::Tensor(mask)])
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        (self.inference && self.mask.is_none()).then_some(self)
    }

    fn wide_row_op(&self) -> Option<&dyn RowOp<f64>> {
        (self.inference && self.mask.is_none()).then_some(self)
    }
}

impl<T: RowNumber> RowOp<T> for Dropout {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let &[width] = inputs else { return None };
        Some(RowShape { width, classes: None })
    }

    fn run_rows(&self, rows: usize, inputs: &[&[T]], out: &mut [T], _: &mut [u32]) {
        copy_rows(rows, inputs, out);
    }

    fn typed(&self, inputs: &[ElementType]) -> Option<ElementType> {
        same_type(inputs)
    }

    fn keeps(&self, _: ElementType) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::error::ErrorKind;
    use crate::kernel::testing::{Op, t};
    use crate::tensor::Tensor;

    #[test]
    fn dropout_is_the_identity_with_a_mask_of_ones() {
        let x = t(&[2], &[1f32, -2.0]);
        let got = Op::onnx("Dropout", 7).outputs(2).run(std::slice::from_ref(&x)).unwrap();
        assert_eq!(got, [x.clone(), t(&[2], &[1f32, 1.0])]);
        let got = Op::onnx("Dropout", 13).outputs(2).run(std::slice::from_ref(&x)).unwrap();
        assert_eq!(got, [x.clone(), t(&[2], &[true, true])]);
        let (half, no, yes) = (Tensor::scalar(0.5f32), Tensor::scalar(false), Tensor::scalar(true));
        let op = Op::onnx("Dropout", 13);
        assert_eq!(op.run1(&[x.clone(), half.clone(), no]), x);
        assert_eq!(op.run1(&[x.clone(), Tensor::scalar(0f32), yes.clone()]), x);
        for constant in [&[][..], &[1, 2]] {
            let op = Op::onnx("Dropout", 13).constant(constant);
            let e = op.run(&[x.clone(), half.clone(), yes.clone()]).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Unsupported);
        }
    }
}

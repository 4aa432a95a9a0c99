//! Dropout: the identity at inference; in training mode a random part of the elements is lost.

use super::super::row::same_type;
use super::copy_rows;
use crate::error::{Result, bail, ensure};
use crate::kernel::elementwise::broadcast::owned;
use crate::kernel::random::Seed;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, RowNumber, RowOp, RowShape, one};
use crate::tensor::{Data, ElementType, Tensor, Value};
use half::{bf16, f16};
use smallvec::smallvec;

struct Dropout {
    /// The mask output, where somebody reads it: of bools, or (before opset 10) of the data's
    /// type.
    mask: Option<MaskType>,
    /// Known at load not to ask for training.
    inference: bool,
    seed: Seed,
}

#[derive(Clone, Copy, PartialEq)]
enum MaskType {
    Bool,
    Same,
}

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
    }
    let seed = spec.attributes.int_opt("seed")?.map(i64::cast_unsigned);
    Ok(Box::new(Dropout { mask, inference, seed: Seed::new(seed) }))
}

fn is_set(flag: &Tensor) -> Result<bool> {
    Ok(flag.to_f64_vec()?.first().is_some_and(|&v| v != 0.0))
}

impl Dropout {
    /// The part of the elements that this run drops.
    fn ratio(&self, inputs: &Inputs<'_>) -> Result<f64> {
        if self.inference || !is_set(inputs.tensor(2)?)? {
            return Ok(0.0);
        }
        let ratio = match inputs.tensor_opt(1)? {
            Some(ratio) => ratio.to_f64_vec()?.first().copied().unwrap_or(0.5),
            None => 0.5,
        };
        ensure!((0.0..1.0).contains(&ratio), InvalidInput, "Dropout: a ratio of {ratio}");
        Ok(ratio)
    }

    /// Drops elements and scales the others up; the second value says which were kept.
    fn drop_some(&self, ctx: &mut Context<'_>, x: Tensor, ratio: f64) -> Result<(Tensor, Tensor)> {
        let shape = x.shape().clone();
        let mut generator = self.seed.generator();
        let mut kept = ctx.buffer::<bool>(x.len())?;
        kept.extend((0..x.len()).map(|_| generator.uniform() >= ratio));
        let scale = 1.0 / (1.0 - ratio);
        macro_rules! scaled {
            ($t:ty, $variant:ident, $scale:expr) => {{
                let (scale, zero) = ($scale, <$t>::default());
                let mut data = owned::<$t>(ctx, x)?;
                for (v, &kept) in data.iter_mut().zip(&kept) {
                    *v *= if kept { scale } else { zero };
                }
                Data::$variant(data)
            }};
        }
        let data = match x.data() {
            Data::F32(_) => scaled!(f32, F32, scale as f32),
            Data::F64(_) => scaled!(f64, F64, scale),
            Data::F16(_) => scaled!(f16, F16, f16::from_f64(scale)),
            Data::BF16(_) => scaled!(bf16, BF16, bf16::from_f64(scale)),
            other => bail!(InvalidInput, "Dropout: expected floats, got {}", other.dtype()),
        };
        let kept = ctx.tensor(shape.clone(), kept)?;
        Ok((ctx.tensor_from(shape, data)?, kept))
    }
}

impl Kernel for Dropout {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let ratio = self.ratio(inputs)?;
        let tensor = inputs.take_tensor(0)?;
        if ratio > 0.0 {
            let (y, kept) = self.drop_some(ctx, tensor, ratio)?;
            return Ok(smallvec![Value::Tensor(y), Value::Tensor(kept)]);
        }
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

    fn is_random(&self) -> bool {
        !self.inference && self.seed.is_random()
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
        assert_eq!(op.run1(&[x.clone(), half, no]), x);
        assert_eq!(op.run1(&[x.clone(), Tensor::scalar(0f32), yes.clone()]), x);
        let e = op.run(&[x, Tensor::scalar(1f32), yes]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn training_drops_some_and_scales_the_others() {
        let x = t(&[1000], &[3f32; 1000]);
        let training = [x, Tensor::scalar(0.25f32), Tensor::scalar(true)];
        for constant in [&[][..], &[1, 2]] {
            let op = Op::onnx("Dropout", 13).constant(constant).int("seed", 1).outputs(2);
            let got = op.run(&training).unwrap();
            let (y, mask) = (got[0].as_slice::<f32>().unwrap(), got[1].as_slice::<bool>().unwrap());
            assert!(y.iter().zip(mask).all(|(&y, &kept)| y == if kept { 4.0 } else { 0.0 }));
            let kept = mask.iter().filter(|&&kept| kept).count();
            assert!((700..800).contains(&kept), "{kept}");
            assert_eq!(op.run(&training).unwrap(), got);
        }
        let op = Op::onnx("Dropout", 22);
        assert_ne!(op.run1(&training), op.run1(&training));
    }
}

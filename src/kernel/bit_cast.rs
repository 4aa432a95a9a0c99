//! BitCast: the same bits as elements of another type of that width.

use super::cast::element_type;
use super::registry::{Entry, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::error::{Result, bail, ensure};
use crate::tensor::{Data, ElementType, Tensor};
use half::{bf16, f16};

pub(super) const OPS: &[Entry] = &[onnx("BitCast", 26, prepare)];

struct BitCast {
    to: ElementType,
}

fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let Some(to) = spec.attributes.int_opt("to")? else {
        return Err(spec.invalid("attribute 'to' is missing"));
    };
    let to = element_type(spec, to)?;
    ensure!(to != ElementType::String, InvalidModel, "BitCast: texts have no bits of a width");
    Ok(Box::new(BitCast { to }))
}

/// The bits of each element.
fn bits(tensor: &Tensor) -> Result<Vec<u64>> {
    fn all<T: Copy>(v: &[T], to: impl Fn(T) -> u64) -> Vec<u64> {
        v.iter().map(|&x| to(x)).collect()
    }
    Ok(match tensor.data() {
        Data::F32(v) => all(v, |x| x.to_bits().into()),
        Data::F64(v) => all(v, f64::to_bits),
        Data::F16(v) => all(v, |x| x.to_bits().into()),
        Data::BF16(v) => all(v, |x| x.to_bits().into()),
        Data::I8(v) => all(v, |x| x.cast_unsigned().into()),
        Data::I16(v) => all(v, |x| x.cast_unsigned().into()),
        Data::I32(v) => all(v, |x| x.cast_unsigned().into()),
        Data::I64(v) => all(v, i64::cast_unsigned),
        Data::U8(v) => all(v, u64::from),
        Data::U16(v) => all(v, u64::from),
        Data::U32(v) => all(v, u64::from),
        Data::U64(v) => v.clone(),
        Data::Bool(v) => all(v, u64::from),
        other => match other.small_bits() {
            Some(bits) => bits.into_iter().map(u64::from).collect(),
            None => bail!(InvalidInput, "BitCast of {}", other.dtype()),
        },
    })
}

impl Kernel for BitCast {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.take_tensor(0)?;
        let (from, to) = (x.dtype(), self.to);
        if from == to {
            return one(x);
        }
        ensure!(
            from != ElementType::String && from.file_bits() == to.file_bits(),
            InvalidInput,
            "BitCast from {from} to {to}: their widths differ"
        );
        ctx.shape_of::<u64>(x.dims())?;
        let bits = bits(&x)?;
        let bits = bits.into_iter();
        let data = match to {
            ElementType::F32 => Data::F32(bits.map(|b| f32::from_bits(b as u32)).collect()),
            ElementType::F64 => Data::F64(bits.map(f64::from_bits).collect()),
            ElementType::F16 => Data::F16(bits.map(|b| f16::from_bits(b as u16)).collect()),
            ElementType::BF16 => Data::BF16(bits.map(|b| bf16::from_bits(b as u16)).collect()),
            ElementType::I8 => Data::I8(bits.map(|b| b as i8).collect()),
            ElementType::I16 => Data::I16(bits.map(|b| b as i16).collect()),
            ElementType::I32 => Data::I32(bits.map(|b| b as i32).collect()),
            ElementType::I64 => Data::I64(bits.map(|b| b as i64).collect()),
            ElementType::U8 => Data::U8(bits.map(|b| b as u8).collect()),
            ElementType::U16 => Data::U16(bits.map(|b| b as u16).collect()),
            ElementType::U32 => Data::U32(bits.map(|b| b as u32).collect()),
            ElementType::U64 => Data::U64(bits.collect()),
            ElementType::Bool => Data::Bool(bits.map(|b| b != 0).collect()),
            other => match Data::from_small_bits(other, bits.map(|b| b as u8)) {
                Some(data) => data,
                None => bail!(InvalidInput, "BitCast to {other}"),
            },
        };
        one(ctx.tensor_from(x.shape().clone(), data)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::error::ErrorKind;
    use crate::kernel::testing::{Op, t};
    use crate::tensor::Tensor;
    use half::{bf16, f16};

    fn cast(x: Tensor, to: i64) -> Tensor {
        Op::onnx("BitCast", 26).int("to", to).run1(&[x])
    }

    #[test]
    fn bits_stay_as_they_are() {
        let x = t(&[2, 1], &[1f32, -0.0]);
        assert_eq!(cast(x.clone(), 6), t(&[2, 1], &[0x3f80_0000i32, i32::MIN]));
        assert_eq!(cast(x.clone(), 12), t(&[2, 1], &[0x3f80_0000u32, 0x8000_0000]));
        assert_eq!(cast(x.clone(), 1), x);
        let nan = 0x7ff8_0000_0000_1234u64;
        let y = cast(cast(t(&[1], &[nan]), 11), 7);
        assert_eq!(y, t(&[1], &[nan as i64]));
        assert_eq!(cast(t(&[1], &[f16::ONE]), 16), t(&[1], &[bf16::from_bits(0x3c00)]));
        assert_eq!(cast(t(&[1], &[-1i16]), 4), t(&[1], &[u16::MAX]));
        assert_eq!(cast(t(&[2], &[true, false]), 2), t(&[2], &[1u8, 0]));
        assert_eq!(cast(t(&[2], &[-1i8, 0]), 9), t(&[2], &[true, false]));
    }

    #[test]
    fn widths_must_agree() {
        let op = |to| Op::onnx("BitCast", 26).int("to", to);
        let e = op(11).run(&[t(&[1], &[1f32])]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput);
        let e = op(8).run(&[t(&[1], &[1f32])]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidModel);
        assert!(op(1).run(&[crate::kernel::testing::strings(&[1], &["a"])]).is_err());
    }
}

//! Operators that make tensors: Constant, ConstantOfShape, Range, EyeLike, OneHot, Trilu.

mod diagonal;
mod one_hot;

use super::cast::cast;
use super::registry::{Entry, microsoft, onnx};
use super::reshape::Ints;
use super::transpose::check_text;
use super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::error::{Result, bail, ensure};
use crate::tensor::{Element, ElementType, Shape, Tensor, for_each_carrier};
use smallvec::SmallVec;

pub(super) const OPS: &[Entry] = &[
    onnx("Constant", 1, prepare_constant),
    onnx("ConstantOfShape", 9, prepare_of_shape),
    onnx("EyeLike", 9, diagonal::prepare_eye),
    onnx("OneHot", 9, one_hot::prepare),
    onnx("Range", 11, prepare_range),
    onnx("Trilu", 14, diagonal::prepare_trilu),
    microsoft("Range", prepare_range),
    microsoft("Trilu", diagonal::prepare_trilu),
];

struct Constant {
    value: Tensor,
}

fn prepare_constant(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(0..=0)?;
    let a = spec.attributes;
    let value = if let Some(v) = a.tensor_opt("value")? {
        v.clone()
    } else if let Some(v) = a.float_opt("value_float")? {
        Tensor::scalar(v)
    } else if let Some(v) = a.int_opt("value_int")? {
        Tensor::scalar(v)
    } else if let Some(v) = a.str_opt("value_string")? {
        Tensor::scalar(v)
    } else if let Some(v) = a.floats_opt("value_floats")? {
        Tensor::from_vec(&[v.len()], v.to_vec())?
    } else if let Some(v) = a.ints_opt("value_ints")? {
        Tensor::from_vec(&[v.len()], v.to_vec())?
    } else if let Some(v) = a.strs_opt("value_strings")? {
        Tensor::from_vec(&[v.len()], v)?
    } else {
        return Err(spec.unsupported("a constant without a dense value"));
    };
    Ok(Box::new(Constant { value }))
}

impl Kernel for Constant {
    fn run(&self, _: &mut Context<'_>, _: &mut Inputs<'_>) -> Result<Outputs> {
        one(self.value.clone())
    }
}

struct ConstantOfShape {
    value: Tensor,
    shape: Ints,
}

fn prepare_of_shape(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let value = match spec.attributes.tensor_opt("value")? {
        None => Tensor::scalar(0f32),
        Some(v) if v.len() == 1 => v.clone(),
        Some(v) => {
            return Err(spec.invalid(format_args!("value has {} elements, expected 1", v.len())));
        }
    };
    Ok(Box::new(ConstantOfShape { value, shape: Ints::input(spec, 0)? }))
}

impl Kernel for ConstantOfShape {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let target = self.shape.get(inputs)?.unwrap_or_default();
        let mut dims: SmallVec<[usize; 6]> = SmallVec::new();
        for &d in target.iter() {
            match usize::try_from(d) {
                Ok(d) => dims.push(d),
                Err(_) => bail!(InvalidInput, "ConstantOfShape: dimension {d} in {target:?}"),
            }
        }
        let shape = Shape::new(&dims)?;
        check_text(ctx, &self.value, shape.len())?;
        for_each_carrier!(self.value.data(), v => {
            let fill = v.first().cloned().unwrap_or_default();
            let out = ctx.filled(shape.len(), fill)?;
            one(Tensor::moved(shape, out, self.value.dtype())?)
        })
    }
}

struct Range {
    /// The type in which 16-bit floats are counted.
    stash: ElementType,
}

fn prepare_range(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    // ONNX Runtime's own one counts by 1 where no step is given.
    spec.arity(if spec.domain.is_empty() { 3..=3 } else { 2..=3 })?;
    let stash = match spec.attributes.int("stash_type", 1)? {
        1 => ElementType::F32,
        11 => ElementType::F64,
        other => return Err(spec.unsupported(format_args!("stash_type {other}"))),
    };
    Ok(Box::new(Range { stash }))
}

fn scalar<T: Element + Copy>(limits: &[Tensor; 3], i: usize) -> Result<T> {
    match limits[i].as_slice::<T>()? {
        [v] => Ok(*v),
        v => bail!(InvalidInput, "Range: input {i} has {} elements, expected 1", v.len()),
    }
}

/// Numbers that Range counts in.
trait Count: Element + Copy {
    /// How many numbers there are from `start` towards `limit`.
    fn count(start: Self, limit: Self, delta: Self) -> Result<usize>;
    /// `start + i × delta`.
    fn at(start: Self, delta: Self, i: usize) -> Self;
}

macro_rules! count_integers {
    ($($t:ty),+) => {$(
        impl Count for $t {
            fn count(start: Self, limit: Self, delta: Self) -> Result<usize> {
                ensure!(delta != 0, InvalidInput, "Range: delta is 0");
                let (span, delta) = (i128::from(limit) - i128::from(start), i128::from(delta));
                let n = (span + delta - delta.signum()) / delta;
                Ok(usize::try_from(n.max(0)).unwrap_or(usize::MAX))
            }
            fn at(start: Self, delta: Self, i: usize) -> Self {
                start.wrapping_add(delta.wrapping_mul(i as $t))
            }
        }
    )+};
}
count_integers!(i16, i32, i64);

macro_rules! count_floats {
    ($($t:ty),+) => {$(
        impl Count for $t {
            fn count(start: Self, limit: Self, delta: Self) -> Result<usize> {
                let n = ((f64::from(limit) - f64::from(start)) / f64::from(delta)).ceil();
                ensure!(
                    delta != 0.0 && n.is_finite(),
                    InvalidInput,
                    "Range: from {start} to {limit} by {delta}"
                );
                Ok(n.max(0.0) as usize)
            }
            fn at(start: Self, delta: Self, i: usize) -> Self {
                start + i as $t * delta
            }
        }
    )+};
}
count_floats!(f32, f64);

fn range<T: Count>(ctx: &mut Context<'_>, limits: &[Tensor; 3]) -> Result<Tensor> {
    let (start, limit, delta) = (scalar(limits, 0)?, scalar(limits, 1)?, scalar(limits, 2)?);
    let n = T::count(start, limit, delta)?;
    let shape = ctx.shape_of::<T>(&[n])?;
    let mut out = ctx.buffer(n)?;
    out.extend((0..n).map(|i| T::at(start, delta, i)));
    ctx.tensor(shape, out)
}

impl Kernel for Range {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let dtype = inputs.tensor(0)?.dtype();
        let step = match inputs.has(2) {
            true => inputs.take_tensor(2)?,
            false => cast(ctx, Tensor::scalar(1i64), dtype)?,
        };
        let mut limits = [inputs.take_tensor(0)?, inputs.take_tensor(1)?, step];
        ensure!(
            limits.iter().all(|t| t.dtype() == dtype),
            InvalidInput,
            "Range: inputs of different element types"
        );
        let counted = match dtype {
            ElementType::F16 | ElementType::BF16 => self.stash,
            other => other,
        };
        for limit in &mut limits {
            *limit = cast(ctx, limit.clone(), counted)?;
        }
        let y = match counted {
            ElementType::F32 => range::<f32>(ctx, &limits)?,
            ElementType::F64 => range::<f64>(ctx, &limits)?,
            ElementType::I16 => range::<i16>(ctx, &limits)?,
            ElementType::I32 => range::<i32>(ctx, &limits)?,
            ElementType::I64 => range::<i64>(ctx, &limits)?,
            other => bail!(InvalidInput, "Range: {other} is no type to count in"),
        };
        one(cast(ctx, y, dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::attribute::Attribute;
    use crate::error::ErrorKind;
    use crate::kernel::testing::{Op, strings, t};
    use crate::tensor::Tensor;

    #[test]
    fn constants_of_every_attribute() {
        let op = |name: &str, v| Op::onnx("Constant", 13).attr(name, v).run1(&[]);
        let x = t(&[2], &[1u8, 2]);
        assert_eq!(op("value", Attribute::Tensor(x.clone())), x);
        assert_eq!(op("value_float", Attribute::Float(1.5)), Tensor::scalar(1.5f32));
        assert_eq!(op("value_int", Attribute::Int(3)), Tensor::scalar(3i64));
        assert_eq!(op("value_ints", Attribute::Ints(vec![3])), t(&[1], &[3i64]));
        assert_eq!(op("value_floats", Attribute::Floats(vec![3.0])), t(&[1], &[3f32]));
        assert_eq!(op("value_string", Attribute::String(b"s".to_vec())), strings(&[], &["s"]));
        let v = Attribute::Strings(vec![b"s"[..].into()]);
        assert_eq!(op("value_strings", v), strings(&[1], &["s"]));
        assert!(Op::onnx("Constant", 13).run(&[]).is_err());
    }

    #[test]
    fn constant_of_shape_is_bounded() {
        let op = Op::onnx("ConstantOfShape", 9);
        assert_eq!(op.run1(&[t(&[2], &[2i64, 1])]), t(&[2, 1], &[0f32, 0.0]));
        assert_eq!(op.run1(&[t::<i64>(&[0], &[])]), Tensor::scalar(0f32));
        assert_eq!(op.run1(&[t(&[1], &[0i64])]).dims(), [0]);
        let e = op.run(&[t(&[1], &[1i64 << 39])]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::LimitExceeded);
        assert!(op.run(&[t(&[1], &[-1i64])]).is_err());
        let op = op.attr("value", Attribute::Tensor(t(&[1], &[7i32])));
        assert_eq!(op.run1(&[t(&[1], &[2i64])]), t(&[2], &[7i32, 7]));
    }

    #[test]
    fn ranges_count_up_and_down() {
        let op = Op::onnx("Range", 11);
        let s = Tensor::scalar::<i64>;
        for (start, limit, delta, expected) in [
            (1, 5, 2, &[1i64, 3][..]),
            (10, 4, -2, &[10, 8, 6]),
            (10, 4, -4, &[10, 6]),
            (3, 3, 1, &[]),
            (0, -5, 1, &[]),
            (i64::MIN, i64::MIN + 1, i64::MAX, &[i64::MIN]),
        ] {
            let y = op.run1(&[s(start), s(limit), s(delta)]);
            assert_eq!(y.as_slice::<i64>().unwrap(), expected);
        }
        let contrib = Op::new("com.microsoft", "Range", 1);
        assert_eq!(contrib.run1(&[s(2), s(4)]), t(&[2], &[2i64, 3]));
        assert_eq!(contrib.run1(&[s(2), s(0), s(-1)]), t(&[2], &[2i64, 1]));
        assert!(op.run(&[s(2), s(4)]).is_err());
        let f = Tensor::scalar::<f32>;
        assert_eq!(op.run1(&[f(1.0), f(2.1), f(0.5)]), t(&[3], &[1f32, 1.5, 2.0]));
        // 2049 is no half: counting in halves would stand still at 2048.
        let h = |v: f32| Tensor::scalar(half::f16::from_f32(v));
        let y = op.run1(&[h(2046.0), h(2052.0), h(1.0)]);
        assert_eq!(y.to_f32_vec().unwrap(), [2046., 2047., 2048., 2048., 2050., 2052.]);
        assert!(op.run(&[s(0), s(1), f(1.0)]).is_err());
        assert!(op.run(&[s(0), s(1), s(0)]).is_err());
        assert!(op.run(&[s(i64::MIN), s(i64::MAX), s(1)]).is_err());
        for bad in [[0.0, 1.0, 0.0], [0.0, f32::INFINITY, 1.0], [f32::NAN, 1.0, 1.0]] {
            assert!(op.run(&bad.map(f)).is_err());
        }
    }
}

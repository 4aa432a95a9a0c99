//! Comparisons, logic on bools, and tests of floats.

use super::elementwise::arithmetic::for_numeric;
use super::elementwise::broadcast::{Broadcast, aligned, binary, legacy_axis, of_one_type, owned};
use super::elementwise::operands::Operands;
use super::registry::{Entry, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, RowNumber, RowOp, RowShape, one};
use crate::error::{Result, bail};
use crate::tensor::{Data, Element, ElementType, Tensor};

pub(super) const OPS: &[Entry] = &[
    onnx("Equal", 1, |s| prepare_comparison(s, Comparison::Equal)),
    onnx("Less", 1, |s| prepare_comparison(s, Comparison::Less)),
    onnx("LessOrEqual", 12, |s| prepare_comparison(s, Comparison::LessOrEqual)),
    onnx("Greater", 1, |s| prepare_comparison(s, Comparison::Greater)),
    onnx("GreaterOrEqual", 12, |s| prepare_comparison(s, Comparison::GreaterOrEqual)),
    onnx("And", 1, |s| prepare_logic(s, |a, b| a & b)),
    onnx("Or", 1, |s| prepare_logic(s, |a, b| a | b)),
    onnx("Xor", 1, |s| prepare_logic(s, |a, b| a ^ b)),
    onnx("Not", 1, prepare_not),
    onnx("IsNaN", 9, prepare_is_nan),
    onnx("IsInf", 10, prepare_is_inf),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

struct Compare {
    comparison: Comparison,
    axis: Option<i64>,
    operands: Operands<2>,
}

fn prepare_comparison(spec: &OpSpec<'_>, comparison: Comparison) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    Ok(Box::new(Compare { comparison, axis: legacy_axis(spec)?, operands: Operands::new(spec) }))
}

fn compared<T: Element + PartialOrd>(
    ctx: &mut Context<'_>,
    comparison: Comparison,
    a: &Tensor,
    b: &Tensor,
) -> Result<Tensor> {
    // a > b is b < a, of NaN too: two loops less for each type.
    let (comparison, a, b) = match comparison {
        Comparison::Greater => (Comparison::Less, b, a),
        Comparison::GreaterOrEqual => (Comparison::LessOrEqual, b, a),
        other => (other, a, b),
    };
    let plan = Broadcast::new(a.shape(), b.shape())?;
    let shape = ctx.shape_of::<bool>(plan.shape.dims())?;
    let out = ctx.buffer(shape.len())?;
    let (a, b) = (a.as_slice::<T>()?, b.as_slice::<T>()?);
    let out = match comparison {
        Comparison::Equal => plan.pairs(a, b, out, |a, b| a == b),
        Comparison::Less => plan.pairs(a, b, out, |a, b| a < b),
        _ => plan.pairs(a, b, out, |a, b| a <= b),
    };
    ctx.tensor(shape, out)
}

impl Kernel for Compare {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let a = inputs.take_tensor(0)?;
        let b = aligned(&a, inputs.take_tensor(1)?, self.axis)?;
        of_one_type(&a, &b)?;
        let equal = self.comparison == Comparison::Equal;
        one(for_numeric!(
            a.dtype(),
            T => compared::<T>(ctx, self.comparison, &a, &b)?,
            other => match a.data() {
                Data::Bool(_) if equal => compared::<bool>(ctx, self.comparison, &a, &b)?,
                Data::String(_) if equal => compared::<String>(ctx, self.comparison, &a, &b)?,
                _ => bail!(InvalidInput, "{:?} of {other}", self.comparison),
            }
        ))
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        (self.axis.is_none() && self.operands.fits::<f32>()).then_some(self as &dyn RowOp)
    }

    fn wide_row_op(&self) -> Option<&dyn RowOp<f64>> {
        (self.axis.is_none() && self.operands.fits::<f64>()).then_some(self as &dyn RowOp<f64>)
    }
}

impl Comparison {
    fn holds<T: PartialOrd>(self, a: T, b: T) -> bool {
        match self {
            Comparison::Equal => a == b,
            Comparison::Less => a < b,
            Comparison::LessOrEqual => a <= b,
            Comparison::Greater => a > b,
            Comparison::GreaterOrEqual => a >= b,
        }
    }
}

impl<T: RowNumber> RowOp<T> for Compare {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        Some(RowShape { width: self.operands.width(inputs)?, classes: None })
    }

    fn typed(&self, inputs: &[ElementType]) -> Option<ElementType> {
        inputs.iter().all(|&t| t == T::TYPE).then_some(ElementType::Bool)
    }

    fn run_rows(&self, rows: usize, inputs: &[&[T]], out: &mut [T], _: &mut [u32]) {
        let Some([a, b]) = self.operands.rows(rows, inputs) else { return };
        let width = a.width.max(b.width).max(1);
        for (i, out) in out.chunks_exact_mut(width).enumerate() {
            // An operand of one value is read over and over.
            let (a, b) = (a.row(i).iter().cycle(), b.row(i).iter().cycle());
            for (o, (&a, &b)) in out.iter_mut().zip(a.zip(b)) {
                *o = T::of(self.comparison.holds(a, b).into());
            }
        }
    }
}

/// A function of two bools.
struct Logic {
    function: fn(bool, bool) -> bool,
    axis: Option<i64>,
}

fn prepare_logic(spec: &OpSpec<'_>, function: fn(bool, bool) -> bool) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    Ok(Box::new(Logic { function, axis: legacy_axis(spec)? }))
}

impl Kernel for Logic {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let a = inputs.take_tensor(0)?;
        let b = aligned(&a, inputs.take_tensor(1)?, self.axis)?;
        a.as_slice::<bool>()?;
        one(binary(ctx, a, b, self.function)?)
    }
}

struct Not;

fn prepare_not(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    Ok(Box::new(Not))
}

impl Kernel for Not {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let input = inputs.take_tensor(0)?;
        let shape = input.shape().clone();
        let mut data = owned::<bool>(ctx, input)?;
        data.iter_mut().for_each(|v| *v = !*v);
        one(ctx.tensor(shape, data)?)
    }
}

/// IsNaN and IsInf: a test of each float.
struct Classify {
    nan: bool,
    positive: bool,
    negative: bool,
}

fn prepare_is_nan(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    Ok(Box::new(Classify { nan: true, positive: false, negative: false }))
}

fn prepare_is_inf(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let positive = spec.attributes.flag("detect_positive", true)?;
    let negative = spec.attributes.flag("detect_negative", true)?;
    Ok(Box::new(Classify { nan: false, positive, negative }))
}

impl Kernel for Classify {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let input = inputs.tensor(0)?;
        let mut out = ctx.buffer::<bool>(input.len())?;
        // Narrower floats keep NaN and infinity when widened.
        let test = |v: f64| {
            (self.nan && v.is_nan())
                || (self.positive && v == f64::INFINITY)
                || (self.negative && v == f64::NEG_INFINITY)
        };
        match input.data() {
            Data::F32(v) => out.extend(v.iter().map(|&v| test(v.into()))),
            Data::F64(v) => out.extend(v.iter().map(|&v| test(v))),
            Data::F16(v) => out.extend(v.iter().map(|v| test(v.to_f64()))),
            Data::BF16(v) => out.extend(v.iter().map(|v| test(v.to_f64()))),
            Data::F8E4M3FN(v) => out.extend(v.iter().map(|v| test(v.to_f32().into()))),
            Data::F8E4M3FNUZ(v) => out.extend(v.iter().map(|v| test(v.to_f32().into()))),
            Data::F8E5M2(v) => out.extend(v.iter().map(|v| test(v.to_f32().into()))),
            Data::F8E5M2FNUZ(v) => out.extend(v.iter().map(|v| test(v.to_f32().into()))),
            other => bail!(InvalidInput, "expected floats, got {}", other.dtype()),
        }
        one(ctx.tensor(input.shape().clone(), out)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, strings, t};
    use crate::tensor::{Float8E4M3FN, Float8E5M2};

    #[test]
    fn comparisons_broadcast_and_know_strings() {
        let a = t(&[2, 2], &[1f32, 2.0, 3.0, f32::NAN]);
        let less = Op::onnx("Less", 13).run1(&[a.clone(), t(&[2], &[2f32, 2.0])]);
        assert_eq!(less, t(&[2, 2], &[true, false, false, false]));
        let ge = Op::onnx("GreaterOrEqual", 16).run1(&[t(&[], &[2f32]), a]);
        assert_eq!(ge, t(&[2, 2], &[true, true, false, false]));
        let equal = Op::onnx("Equal", 19);
        let s = equal.run1(&[strings(&[2], &["a", "b"]), strings(&[1], &["b"])]);
        assert_eq!(s, t(&[2], &[false, true]));
        assert!(Op::onnx("Less", 13).run(&[strings(&[1], &["a"]), strings(&[1], &["b"])]).is_err());
        assert!(equal.run(&[t(&[1], &[1i64]), t(&[1], &[1f32])]).is_err());
        let empty = equal.run1(&[t::<i64>(&[0, 1], &[]), t(&[3], &[1i64, 2, 3])]);
        assert_eq!(empty.dims(), [0, 3]);
    }

    #[test]
    fn logic_and_classification() {
        let (a, b) = (t(&[2, 1], &[true, false]), t(&[2], &[true, false]));
        let xor = Op::onnx("Xor", 7).run1(&[a.clone(), b.clone()]);
        assert_eq!(xor, t(&[2, 2], &[false, true, true, false]));
        assert_eq!(Op::onnx("Or", 7).run1(&[a.clone(), b]), t(&[2, 2], &[true, true, true, false]));
        assert_eq!(Op::onnx("Not", 1).run1(&[a]), t(&[2, 1], &[false, true]));
        let x = t(&[4], &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0]);
        let nan = Op::onnx("IsNaN", 13).run1(std::slice::from_ref(&x));
        assert_eq!(nan, t(&[4], &[true, false, false, false]));
        let inf = Op::onnx("IsInf", 10).int("detect_negative", 0).run1(&[x]);
        assert_eq!(inf, t(&[4], &[false, true, false, false]));
        // Encodings: 1, infinity, NaN, negative infinity of one type; the other has no infinity.
        let x = t(&[4], &[0x3c, 0x7c, 0x7e, 0xfc].map(Float8E5M2::from_bits));
        let nan = Op::onnx("IsNaN", 20).run1(std::slice::from_ref(&x));
        assert_eq!(nan, t(&[4], &[false, false, true, false]));
        assert_eq!(Op::onnx("IsInf", 20).run1(&[x]), t(&[4], &[false, true, false, true]));
        let x = t(&[3], &[0x7e, 0x7f, 0xff].map(Float8E4M3FN::from_bits));
        let nan = Op::onnx("IsNaN", 20).run1(std::slice::from_ref(&x));
        assert_eq!(nan, t(&[3], &[false, true, true]));
        assert_eq!(Op::onnx("IsInf", 20).run1(&[x]), t(&[3], &[false; 3]));
    }
}

//! Arithmetic on two or more tensors, element by element.

pub(super) mod arithmetic;
mod bitwise;
pub(super) mod broadcast;
pub(super) mod operands;
mod power;

use super::registry::{Entry, onnx};
use super::{
    Context, Follower, Inputs, Kernel, OpSpec, Outputs, RowNumber, RowOp, RowShape, Sparsity, one,
};
use crate::error::{Result, bail, ensure};
use crate::tensor::Tensor;
use arithmetic::{Arithmetic, for_numeric};
use broadcast::{aligned, binary, legacy_axis, owned};
use operands::Operands;

pub(super) const OPS: &[Entry] = &[
    onnx("Add", 1, |s| prepare(s, Function::Add)),
    onnx("Sub", 1, |s| prepare(s, Function::Sub)),
    onnx("Mul", 1, |s| prepare(s, Function::Mul)),
    onnx("Div", 1, |s| prepare(s, Function::Div)),
    onnx("Max", 1, |s| prepare_variadic(s, Function::Max, false)),
    onnx("Min", 1, |s| prepare_variadic(s, Function::Min, false)),
    onnx("Sum", 1, |s| prepare_variadic(s, Function::Add, false)),
    onnx("Mean", 1, |s| prepare_variadic(s, Function::Add, true)),
    onnx("Mod", 10, prepare_mod),
    onnx("Pow", 1, power::prepare),
    onnx("BitwiseAnd", 18, bitwise::prepare),
    onnx("BitwiseOr", 18, bitwise::prepare),
    onnx("BitwiseXor", 18, bitwise::prepare),
    onnx("BitwiseNot", 18, bitwise::prepare),
    onnx("BitShift", 11, bitwise::prepare),
];

/// A function of two elements of one type.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Function {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    /// Remainder with the sign of the dividend.
    Fmod,
    /// Remainder with the sign of the divisor.
    Modulo,
}

/// `with_function!(function, T, f => expression)`: the expression for the function's closure.
macro_rules! with_function {
    ($function:expr, $t:ty, $f:ident => $body:expr) => {
        match $function {
            Function::Add => with_function!(@ $t, plus, $f, $body),
            Function::Sub => with_function!(@ $t, minus, $f, $body),
            Function::Mul => with_function!(@ $t, times, $f, $body),
            Function::Div => with_function!(@ $t, over, $f, $body),
            Function::Max => with_function!(@ $t, larger, $f, $body),
            Function::Min => with_function!(@ $t, smaller, $f, $body),
            Function::Fmod => with_function!(@ $t, fmod, $f, $body),
            Function::Modulo => with_function!(@ $t, modulo, $f, $body),
        }
    };
    (@ $t:ty, $method:ident, $f:ident, $body:expr) => {{
        let $f = |x: $t, y: $t| Arithmetic::$method(x, y);
        $body
    }};
}

fn compute(ctx: &mut Context<'_>, function: Function, a: Tensor, b: Tensor) -> Result<Tensor> {
    fn typed<T: Arithmetic>(
        ctx: &mut Context<'_>,
        function: Function,
        a: Tensor,
        b: Tensor,
    ) -> Result<Tensor> {
        if matches!(function, Function::Div | Function::Fmod | Function::Modulo) {
            let zero = b.as_slice::<T>()?.iter().any(|v| v.is_zero_divisor());
            ensure!(!zero || a.len() == 0, InvalidInput, "division of {} by zero", a.dtype());
        }
        with_function!(function, T, f => binary(ctx, a, b, f))
    }
    for_numeric!(
        a.dtype(),
        T => typed::<T>(ctx, function, a, b),
        other => bail!(InvalidInput, "arithmetic on {other}")
    )
}

/// `a + b` under broadcasting, for operators that contain a sum.
pub(super) fn add(ctx: &mut Context<'_>, a: Tensor, b: Tensor) -> Result<Tensor> {
    compute(ctx, Function::Add, a, b)
}

/// A function of two tensors.
struct Binary {
    function: Function,
    axis: Option<i64>,
    operands: Operands<2>,
    /// Whether floats may have a remainder with the divisor's sign: from opset 28 on.
    float_modulo: bool,
}

fn prepare(spec: &OpSpec<'_>, function: Function) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    Ok(Box::new(Binary {
        function,
        axis: legacy_axis(spec)?,
        operands: Operands::new(spec),
        float_modulo: spec.version >= 28,
    }))
}

fn prepare_mod(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    if spec.attributes.flag("fmod", false)? {
        return prepare(spec, Function::Fmod);
    }
    for i in 0..2 {
        if let Some(c) = spec.constant(i).filter(|_| spec.version < 28) {
            ensure!(!c.dtype().is_float(), InvalidModel, "Mod of floats needs fmod=1");
        }
    }
    prepare(spec, Function::Modulo)
}

impl Kernel for Binary {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (a, b) = (inputs.take_tensor(0)?, inputs.take_tensor(1)?);
        ensure!(
            self.function != Function::Modulo || self.float_modulo || !a.dtype().is_float(),
            InvalidInput,
            "Mod of {} needs fmod=1 before opset 28",
            a.dtype()
        );
        let b = aligned(&a, b, self.axis)?;
        one(compute(ctx, self.function, a, b)?)
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        self.is_rowwise::<f32>().then_some(self as &dyn RowOp)
    }

    fn wide_row_op(&self) -> Option<&dyn RowOp<f64>> {
        self.is_rowwise::<f64>().then_some(self as &dyn RowOp<f64>)
    }
}

impl Binary {
    fn is_rowwise<T: RowNumber>(&self) -> bool {
        self.axis.is_none() && self.function != Function::Modulo && self.operands.fits::<T>()
    }
}

impl<T: RowNumber + Arithmetic> RowOp<T> for Binary {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        Some(RowShape { width: self.operands.width(inputs)?, classes: None })
    }

    fn run_rows(&self, rows: usize, inputs: &[&[T]], out: &mut [T], _: &mut [u32]) {
        let Some([a, b]) = self.operands.rows(rows, inputs) else { return };
        let width = a.width.max(b.width).max(1);
        with_function!(self.function, T, f => {
            for (i, out) in out.chunks_exact_mut(width).enumerate() {
                match (a.row(i), b.row(i)) {
                    (&[a], b) if b.len() > 1 => {
                        out.copy_from_slice(b);
                        T::map(out, |b| f(a, b));
                    }
                    (a, &[b]) => {
                        out.copy_from_slice(a);
                        T::map(out, |a| f(a, b));
                    }
                    (a, b) => {
                        out.copy_from_slice(a);
                        T::zip(out, b, f);
                    }
                }
            }
        });
    }

    fn follower(&self) -> Option<Follower<'_, T>> {
        match self.function {
            Function::Add => self.operands.constant_row().map(Follower::Add),
            _ => None,
        }
    }

    fn sparsity(&self) -> Option<Sparsity> {
        let row = |i| self.operands.row::<T>(i).map(|row| row.iter().map(|&x| x.into()));
        let (first, second) = (self.operands.is_input(0), self.operands.is_input(1));
        let kept = match self.function {
            // By one number a row, which is looked at when it is there.
            Function::Mul | Function::Div if first && second => true,
            Function::Mul => row(usize::from(first))?.all(f64::is_finite),
            Function::Div if first => row(1)?.all(|x: f64| x.abs() > 0.0),
            _ => false,
        };
        kept.then_some(Sparsity::Kept)
    }

    fn run_sparse(&self, support: &[u32], inputs: &[&[T]], out: &mut [T], _: &mut [u32]) -> bool {
        let Some([a, b]) = self.operands.rows(1, inputs) else { return false };
        let keeps = |y: f64| match self.function {
            Function::Mul => y.is_finite(),
            _ => y.abs() > 0.0,
        };
        if let ([_, y], true) = (inputs, b.width == 1)
            && !y.iter().all(|&y| keeps(y.into()))
        {
            return false;
        }
        let at = |row: &[T], i: usize| row.get(if row.len() == 1 { 0 } else { i }).copied();
        let (a, b) = (a.row(0), b.row(0));
        with_function!(self.function, T, f => {
            for i in support.iter().map(|&i| i as usize) {
                if let (Some(out), Some(a), Some(b)) = (out.get_mut(i), at(a, i), at(b, i)) {
                    *out = f(a, b);
                }
            }
        });
        true
    }
}

/// A function of any number of tensors, folded from the left.
struct Variadic {
    function: Function,
    mean: bool,
}

fn prepare_variadic(spec: &OpSpec<'_>, function: Function, mean: bool) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=usize::MAX)?;
    for (i, input) in spec.inputs.iter().enumerate() {
        ensure!(input.present, InvalidModel, "{}: input {i} is missing", spec.op);
    }
    if spec.inputs.len() == 2 && !mean {
        return prepare(spec, function);
    }
    Ok(Box::new(Variadic { function, mean }))
}

impl Kernel for Variadic {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let mut acc = inputs.take_tensor(0)?;
        let n = inputs.len();
        for i in 1..n {
            acc = compute(ctx, self.function, acc, inputs.take_tensor(i)?)?;
        }
        if self.mean && n > 1 {
            fn divide<T: Arithmetic>(ctx: &mut Context<'_>, t: Tensor, n: usize) -> Result<Tensor> {
                let shape = t.shape().clone();
                let mut data = owned::<T>(ctx, t)?;
                T::map(&mut data, |v| v.divided_by_count(n));
                ctx.tensor(shape, data)
            }
            acc = for_numeric!(
                acc.dtype(),
                T => divide::<T>(ctx, acc, n)?,
                other => bail!(InvalidInput, "Mean of {other}")
            );
        }
        one(acc)
    }
}

#[cfg(test)]
pub(super) mod tests;

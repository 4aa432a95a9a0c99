//! Functions of one 8-bit number, by a table of all of them: QLinearSigmoid, QLinearLeakyRelu,
//! and the way from one quantisation to another that QLinearConcat and QLinearWhere take.

use super::level::{Byte, scale, with_byte, zero};
use super::needs;
use crate::error::Result;
use crate::kernel::concat::concat;
use crate::kernel::{Arg, Context, InputSpec, Inputs, Kernel, OpSpec, Outputs, one, registry};
use crate::tensor::{Element, Tensor, Value};

/// The scale and zero point of an 8-bit tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Affine {
    pub scale: f32,
    pub zero: f32,
}

impl Affine {
    /// Those in the inputs `at` and `at + 1`, for elements of type `T`.
    pub fn of<T: Element>(inputs: &Inputs<'_>, at: usize, what: &str) -> Result<Affine> {
        let scale = scale(inputs.tensor(at)?, what)?;
        let zero = zero(inputs.tensor_opt(at + 1)?, T::TYPE, what)?;
        Ok(Affine { scale, zero: zero.into() })
    }

    /// The number of a level.
    #[inline(always)]
    pub fn number<T: Byte>(self, level: T) -> f32 {
        let level: i16 = level.into();
        self.scale * (f32::from(level) - self.zero)
    }

    /// The level of a number.
    #[inline(always)]
    pub fn level<T: Byte>(self, x: f32) -> T {
        T::quantised(x / self.scale, self.zero)
    }
}

/// What a function makes of all elements of an 8-bit type, by their bits.
fn table<T: Byte>(from: Affine, to: Affine, f: impl Fn(f32) -> f32) -> Vec<T> {
    let low = T::LEVELS.low as i16;
    let mut table = vec![T::default(); 256];
    for value in low..low + 256 {
        if let Some(entry) = table.get_mut(usize::from(value as u8)) {
            *entry = to.level(f(from.number(T::of(value.into()))));
        }
    }
    table
}

/// Each element's entry of the table.
fn looked_up<T: Byte>(ctx: &mut Context<'_>, x: &Tensor, table: &[T]) -> Result<Tensor> {
    let mut out = ctx.buffer(x.len())?;
    let entry = |x: &T| {
        let x: i16 = (*x).into();
        table.get(usize::from(x as u8)).copied().unwrap_or_default()
    };
    out.extend(x.as_slice::<T>()?.iter().map(entry));
    ctx.tensor(x.shape().clone(), out)
}

enum Function {
    Sigmoid,
    LeakyRelu { alpha: f32 },
}

struct Unary {
    op: String,
    function: Function,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    needs(spec, &[0, 1, 3], 5)?;
    let function = match spec.op {
        "QLinearSigmoid" => Function::Sigmoid,
        _ => Function::LeakyRelu { alpha: spec.attributes.float("alpha", 0.01)? },
    };
    Ok(Box::new(Unary { op: spec.op.to_string(), function }))
}

impl Unary {
    fn compute<T: Byte>(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>) -> Result<Tensor> {
        let from = Affine::of::<T>(inputs, 1, "the quantisation of X")?;
        let to = Affine::of::<T>(inputs, 3, "the quantisation of Y")?;
        let table: Vec<T> = match self.function {
            Function::Sigmoid => table(from, to, |x| 1.0 / (1.0 + (-x).exp())),
            Function::LeakyRelu { alpha } => {
                table(from, to, |x| if x >= 0.0 { x } else { alpha * x })
            }
        };
        looked_up(ctx, inputs.tensor(0)?, &table)
    }
}

impl Kernel for Unary {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let dtype = inputs.tensor(0)?.dtype();
        one(with_byte!(&self.op, dtype, T => self.compute::<T>(ctx, inputs))?)
    }
}

struct Concat {
    axis: i64,
}

pub(super) fn prepare_concat(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(5..=usize::MAX)?;
    if !(spec.inputs.len() - 2).is_multiple_of(3) {
        return Err(spec.invalid("each part takes a tensor, a scale and a zero point"));
    }
    match spec.attributes.int_opt("axis")? {
        Some(axis) => Ok(Box::new(Concat { axis })),
        None => Err(spec.invalid("attribute 'axis' is missing")),
    }
}

/// The tensor in input `at`, whose quantisation follows it, in another quantisation.
fn requantised<T: Byte>(
    ctx: &mut Context<'_>,
    inputs: &Inputs<'_>,
    at: usize,
    to: Affine,
) -> Result<Tensor> {
    let from = Affine::of::<T>(inputs, at + 1, "the quantisation of a part")?;
    let part = inputs.tensor(at)?;
    if part.dtype() == T::TYPE && from == to {
        return Ok(part.clone());
    }
    looked_up::<T>(ctx, part, &table(from, to, |x| x))
}

impl Concat {
    fn compute<T: Byte>(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>) -> Result<Tensor> {
        let to = Affine::of::<T>(inputs, 0, "the quantisation of Y")?;
        let mut parts = vec![];
        for at in (2..inputs.len()).step_by(3) {
            parts.push(requantised::<T>(ctx, inputs, at, to)?);
        }
        let parts: Vec<&Tensor> = parts.iter().collect();
        concat(ctx, &parts, self.axis)
    }
}

impl Kernel for Concat {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let dtype = inputs.tensor(1)?.dtype();
        one(with_byte!("QLinearConcat", dtype, T => self.compute::<T>(ctx, inputs))?)
    }
}

/// Where, on operands in the output's quantisation.
struct Where {
    inner: Box<dyn Kernel>,
}

pub(super) fn prepare_where(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(9..=9)?;
    let input = InputSpec { present: true, constant: None };
    let inner = registry::prepare(&OpSpec {
        op: "Where",
        domain: "",
        version: 16,
        inputs: &[input; 3],
        outputs: &[true],
        ..*spec
    })?;
    Ok(Box::new(Where { inner }))
}

impl Where {
    fn compute<T: Byte>(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>) -> Result<Outputs> {
        let to = Affine::of::<T>(inputs, 7, "the quantisation of Z")?;
        let x = requantised::<T>(ctx, inputs, 1, to)?;
        let y = requantised::<T>(ctx, inputs, 4, to)?;
        let operands = [inputs.tensor(0)?.clone(), x, y];
        let args = operands.into_iter().map(|t| Arg::Owned(Value::Tensor(t))).collect();
        self.inner.run(ctx, &mut Inputs::new(args))
    }
}

impl Kernel for Where {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let dtype = inputs.tensor(8)?.dtype();
        with_byte!("QLinearWhere", dtype, T => self.compute::<T>(ctx, inputs))
    }
}

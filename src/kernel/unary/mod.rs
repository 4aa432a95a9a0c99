//! Functions of one element: activations and elementary mathematics.

mod clip;
mod function;

pub(super) use function::Function;

use super::elementwise::broadcast::{binary, owned};
use super::registry::{Entry, microsoft, onnx};
use super::{Context, Follower, Inputs, Kernel, OpSpec, Outputs, RowOp, RowShape, one};
use crate::error::{Result, bail, ensure};
use crate::tensor::{Data, Shape, Tensor, Value};
use half::{bf16, f16};

pub(super) const OPS: &[Entry] = &[
    onnx("Abs", 1, |s| prepare(s, Function::Abs)),
    onnx("Neg", 1, |s| prepare(s, Function::Neg)),
    onnx("Sign", 9, |s| prepare(s, Function::Sign)),
    onnx("Ceil", 1, |s| prepare(s, Function::Ceil)),
    onnx("Floor", 1, |s| prepare(s, Function::Floor)),
    onnx("Round", 11, |s| prepare(s, Function::Round)),
    onnx("Sqrt", 1, |s| prepare(s, Function::Sqrt)),
    onnx("Reciprocal", 1, |s| prepare(s, Function::Reciprocal)),
    onnx("Exp", 1, |s| prepare(s, Function::Exp)),
    onnx("Log", 1, |s| prepare(s, Function::Log)),
    onnx("Sin", 7, |s| prepare(s, Function::Sin)),
    onnx("Cos", 7, |s| prepare(s, Function::Cos)),
    onnx("Tan", 7, |s| prepare(s, Function::Tan)),
    onnx("Asin", 7, |s| prepare(s, Function::Asin)),
    onnx("Acos", 7, |s| prepare(s, Function::Acos)),
    onnx("Atan", 7, |s| prepare(s, Function::Atan)),
    onnx("Sinh", 9, |s| prepare(s, Function::Sinh)),
    onnx("Cosh", 9, |s| prepare(s, Function::Cosh)),
    onnx("Tanh", 1, |s| prepare(s, Function::Tanh)),
    onnx("Asinh", 9, |s| prepare(s, Function::Asinh)),
    onnx("Acosh", 9, |s| prepare(s, Function::Acosh)),
    onnx("Atanh", 9, |s| prepare(s, Function::Atanh)),
    onnx("Erf", 9, |s| prepare(s, Function::Erf)),
    onnx("Relu", 1, |s| prepare(s, Function::Relu)),
    onnx("LeakyRelu", 1, |s| {
        prepare(s, Function::LeakyRelu { alpha: s.attributes.float("alpha", 0.01)? })
    }),
    onnx("Elu", 1, |s| prepare(s, Function::Elu { alpha: s.attributes.float("alpha", 1.0)? })),
    onnx("Selu", 1, prepare_selu),
    onnx("Celu", 12, |s| prepare(s, Function::Celu { alpha: s.attributes.float("alpha", 1.0)? })),
    onnx("ThresholdedRelu", 1, |s| {
        prepare(s, Function::ThresholdedRelu { alpha: s.attributes.float("alpha", 1.0)? })
    }),
    onnx("Sigmoid", 1, |s| prepare(s, Function::Sigmoid)),
    onnx("HardSigmoid", 1, |s| {
        let alpha = s.attributes.float("alpha", 0.2)?;
        prepare(s, Function::HardSigmoid { alpha, beta: s.attributes.float("beta", 0.5)? })
    }),
    onnx("HardSwish", 14, |s| prepare(s, Function::HardSwish)),
    onnx("Softplus", 1, |s| prepare(s, Function::Softplus)),
    onnx("Softsign", 1, |s| prepare(s, Function::Softsign)),
    onnx("Gelu", 20, prepare_gelu),
    onnx("Mish", 18, |s| prepare(s, Function::Mish)),
    onnx("Swish", 24, |s| prepare(s, Function::Swish { alpha: s.attributes.float("alpha", 1.0)? })),
    onnx("Shrink", 9, |s| {
        let lambd = s.attributes.float("lambd", 0.5)?;
        prepare(s, Function::Shrink { lambd, bias: s.attributes.float("bias", 0.0)? })
    }),
    onnx("Clip", 1, clip::prepare),
    onnx("PRelu", 1, prepare_prelu),
    microsoft("Gelu", |s| prepare(s, Function::Gelu)),
    microsoft("QuickGelu", |s| {
        prepare(s, Function::Swish { alpha: s.attributes.float("alpha", 1.702)? })
    }),
    microsoft("FastGelu", |s| prepare_biased(s, Function::GeluTanh, 1)),
    microsoft("BiasGelu", |s| prepare_biased(s, Function::Gelu, 2)),
];

struct Unary {
    function: Function,
}

fn prepare(spec: &OpSpec<'_>, function: Function) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    Ok(Box::new(Unary { function }))
}

fn prepare_selu(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    // The constants gained digits with version 6.
    let (alpha, gamma) = if spec.version < 6 { (1.6732, 1.0507) } else { (1.673_263_2, 1.050_701) };
    let alpha = spec.attributes.float("alpha", alpha)?;
    prepare(spec, Function::Selu { alpha, gamma: spec.attributes.float("gamma", gamma)? })
}

fn prepare_gelu(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    match spec.attributes.str("approximate", "none")?.as_str() {
        "none" => prepare(spec, Function::Gelu),
        "tanh" => prepare(spec, Function::GeluTanh),
        other => Err(spec.invalid(format_args!("approximate is '{other}', not none or tanh"))),
    }
}

/// The activation that a fused operator ends with, by its attribute `activation` and those that
/// are named after it.
pub(super) fn fused_activation(spec: &OpSpec<'_>) -> Result<Option<Function>> {
    let a = spec.attributes;
    let parameter = |name: &str, default: f32| a.float(&format!("activation_{name}"), default);
    Ok(Some(match a.str("activation", "")?.as_str() {
        "" => return Ok(None),
        "Relu" => Function::Relu,
        "LeakyRelu" => {
            // The name that the attribute had at first.
            let alpha = a.float("leaky_relu_alpha", 0.01)?;
            Function::LeakyRelu { alpha: parameter("alpha", alpha)? }
        }
        "Elu" => Function::Elu { alpha: parameter("alpha", 1.0)? },
        "Celu" => Function::Celu { alpha: parameter("alpha", 1.0)? },
        "Selu" => Function::Selu {
            alpha: parameter("alpha", 1.673_263_2)?,
            gamma: parameter("gamma", 1.050_701)?,
        },
        "ThresholdedRelu" => Function::ThresholdedRelu { alpha: parameter("alpha", 1.0)? },
        "HardSigmoid" => {
            Function::HardSigmoid { alpha: parameter("alpha", 0.2)?, beta: parameter("beta", 0.5)? }
        }
        "Sigmoid" => Function::Sigmoid,
        "Tanh" => Function::Tanh,
        "Softplus" => Function::Softplus,
        "Softsign" => Function::Softsign,
        other => return Err(spec.unsupported(format_args!("activation '{other}'"))),
    }))
}

/// `function` in place of the tensor where its buffer is free.
pub(super) fn applied(ctx: &mut Context<'_>, function: Function, input: Tensor) -> Result<Tensor> {
    macro_rules! integers {
        ($t:ty) => {{
            let shape = input.shape().clone();
            let mut data = owned::<$t>(ctx, input)?;
            for v in &mut data {
                match function.of_integer(*v as i64) {
                    Some(y) => *v = y as $t,
                    None => bail!(InvalidInput, "{function:?} of integers"),
                }
            }
            ctx.tensor(shape, data)
        }};
    }
    macro_rules! halves {
        ($t:ty) => {{
            let shape = input.shape().clone();
            let mut data = owned::<$t>(ctx, input)?;
            ctx.threads.split_rows(&mut data, 64, function.cost() + 60, |_, data| {
                let mut wide = [0f32; 256];
                for piece in data.chunks_mut(wide.len()) {
                    let wide = &mut wide[..piece.len()];
                    for (w, v) in wide.iter_mut().zip(&*piece) {
                        *w = v.to_f32();
                    }
                    function.apply_f32(wide);
                    for (v, w) in piece.iter_mut().zip(wide) {
                        *v = <$t>::from_f32(*w);
                    }
                }
            });
            ctx.tensor(shape, data)
        }};
    }
    match input.data() {
        Data::F32(_) => {
            let shape = input.shape().clone();
            let mut data = owned::<f32>(ctx, input)?;
            ctx.threads.split_rows(&mut data, 64, function.cost(), |_, data| {
                function.apply_f32(data);
            });
            ctx.tensor(shape, data)
        }
        Data::F64(_) => {
            let shape = input.shape().clone();
            let mut data = owned::<f64>(ctx, input)?;
            ctx.threads.split_rows(&mut data, 64, 800, |_, data| {
                data.iter_mut().for_each(|v| *v = function.of_f64(*v));
            });
            ctx.tensor(shape, data)
        }
        Data::F16(_) => halves!(f16),
        Data::BF16(_) => halves!(bf16),
        Data::I8(_) => integers!(i8),
        Data::I16(_) => integers!(i16),
        Data::I32(_) => integers!(i32),
        Data::I64(_) => integers!(i64),
        Data::U8(_) => integers!(u8),
        Data::U16(_) => integers!(u16),
        Data::U32(_) => integers!(u32),
        // Beyond i64 only Abs and Sign exist, and neither needs the sign bit.
        Data::U64(_) => match function {
            Function::Abs => Ok(input),
            Function::Sign => {
                let shape = input.shape().clone();
                let mut data = owned::<u64>(ctx, input)?;
                data.iter_mut().for_each(|v| *v = (*v).min(1));
                ctx.tensor(shape, data)
            }
            _ => integers!(u64),
        },
        other => bail!(InvalidInput, "{function:?} of {}", other.dtype()),
    }
}

impl Kernel for Unary {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let input = inputs.take_tensor(0)?;
        one(applied(ctx, self.function, input)?)
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        Some(self)
    }

    fn wide_row_op(&self) -> Option<&dyn RowOp<f64>> {
        Some(self)
    }
}

impl RowOp<f64> for Unary {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        RowOp::<f32>::shape(self, inputs)
    }

    fn run_rows(&self, _: usize, inputs: &[&[f64]], out: &mut [f64], _: &mut [u32]) {
        if let [x] = inputs {
            for (o, &x) in out.iter_mut().zip(*x) {
                *o = self.function.of_f64(x);
            }
        }
    }
}

impl RowOp for Unary {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let &[width] = inputs else { return None };
        Some(RowShape { width, classes: None })
    }

    fn run_rows(&self, _: usize, inputs: &[&[f32]], out: &mut [f32], _: &mut [u32]) {
        if let [x] = inputs
            && x.len() == out.len()
        {
            out.copy_from_slice(x);
            self.function.apply_f32(out);
        }
    }

    fn follower(&self) -> Option<Follower<'_, f32>> {
        (self.function == Function::Relu).then_some(Follower::Relu)
    }
}

/// An activation of `x + bias` (BiasGelu, FastGelu).
struct Biased {
    function: Function,
}

fn prepare_biased(spec: &OpSpec<'_>, function: Function, least: usize) -> Result<Box<dyn Kernel>> {
    spec.arity(least..=2)?;
    if spec.has_input(1) { Ok(Box::new(Biased { function })) } else { prepare_only(function) }
}

fn prepare_only(function: Function) -> Result<Box<dyn Kernel>> {
    Ok(Box::new(Unary { function }))
}

/// `f(a, b)` of floats of any width.
fn binary_floats(
    ctx: &mut Context<'_>,
    a: Tensor,
    b: Tensor,
    f32s: impl Fn(f32, f32) -> f32 + Copy + Send + Sync,
    f64s: impl Fn(f64, f64) -> f64 + Copy + Send + Sync,
) -> Result<Tensor> {
    match (a.data(), b.data()) {
        (Data::F32(_), Data::F32(_)) => binary(ctx, a, b, f32s),
        (Data::F64(_), Data::F64(_)) => binary(ctx, a, b, f64s),
        (Data::F16(_), Data::F16(_)) => {
            binary(ctx, a, b, |x: f16, y: f16| f16::from_f32(f32s(x.to_f32(), y.to_f32())))
        }
        (Data::BF16(_), Data::BF16(_)) => {
            binary(ctx, a, b, |x: bf16, y: bf16| bf16::from_f32(f32s(x.to_f32(), y.to_f32())))
        }
        (a, b) => bail!(InvalidInput, "expected floats, got {} and {}", a.dtype(), b.dtype()),
    }
}

impl Kernel for Biased {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (x, bias) = (inputs.take_tensor(0)?, inputs.take_tensor(1)?);
        let sum = binary_floats(ctx, x, bias, |x, b| x + b, |x, b| x + b)?;
        one(applied(ctx, self.function, sum)?)
    }
}

/// x, or slope·x below zero; the slope broadcasts to x.
struct PRelu {
    /// Before 7 a slope of C values belongs to axis 1.
    per_channel: bool,
}

fn prepare_prelu(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    Ok(Box::new(PRelu { per_channel: spec.version < 7 }))
}

impl Kernel for PRelu {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (x, mut slope) = (inputs.take_tensor(0)?, inputs.take_tensor(1)?);
        if self.per_channel && slope.shape().rank() == 1 && x.shape().rank() > 2 {
            let mut dims = vec![1; x.shape().rank() - 1];
            dims[0] = slope.len();
            slope = slope.reshaped(Shape::new(&dims)?)?;
        }
        ensure!(
            x.shape().broadcast(slope.shape())? == *x.shape(),
            InvalidInput,
            "PRelu: a slope of shape {} does not broadcast to {}",
            slope.shape(),
            x.shape()
        );
        macro_rules! integers {
            ($t:ty) => {
                binary(ctx, x, slope, |x: $t, s: $t| {
                    #[allow(unused_comparisons)] // unsigned ones are never below 0
                    if x < 0 { x.wrapping_mul(s) } else { x }
                })?
            };
        }
        one(Value::Tensor(match x.data() {
            Data::I32(_) => integers!(i32),
            Data::I64(_) => integers!(i64),
            Data::U32(_) => integers!(u32),
            Data::U64(_) => integers!(u64),
            _ => binary_floats(
                ctx,
                x,
                slope,
                |x, s| if x < 0.0 { s * x } else { x },
                |x, s| if x < 0.0 { s * x } else { x },
            )?,
        }))
    }
}

#[cfg(test)]
mod tests;

//! Functions of one element, and softmax.

use super::{End, Kind, Layer, Reader, kind};
use crate::attribute::Attribute;
use crate::error::{Result, ensure};
use crate::format::safetensors::builder::{Builder, int};
use crate::format::safetensors::signal::Signal;
use crate::tensor::Shape;

pub(super) const KINDS: &[Kind] = &[
    kind("relu", |_| unary("Relu")),
    kind("tanh", |_| unary("Tanh")),
    kind("sigmoid", |_| unary("Sigmoid")),
    kind("softplus", |_| unary("Softplus")),
    kind("softsign", |_| unary("Softsign")),
    kind("mish", |_| unary("Mish")),
    kind("hard_swish", |_| unary("HardSwish")),
    kind("selu", |_| unary("Selu")),
    kind("abs", |_| unary("Abs")),
    kind("sqrt", |_| unary("Sqrt")),
    kind("exp", |_| unary("Exp")),
    kind("log", |_| unary("Log")),
    kind("gelu", |_| gelu("none")),
    kind("gelu_tanh", |_| gelu("tanh")),
    kind("hard_sigmoid", |_| {
        let slope = ("alpha", Attribute::Float(1.0 / 6.0));
        with("HardSigmoid", vec![slope, ("beta", Attribute::Float(0.5))])
    }),
    kind("elu", |r| scaled("Elu", r.float_or("alpha", 1.0)?)),
    kind("leaky_relu", |r| scaled("LeakyRelu", r.float_or("slope", 0.01)?)),
    kind("silu", |_| Ok(Box::new(Function::Silu))),
    kind("relu6", |_| Ok(Box::new(Function::Clip { min: 0.0, max: 6.0 }))),
    kind("clip", read_clip),
    kind("square", |_| Ok(Box::new(Function::Square))),
    kind("pow", |r| Ok(Box::new(Function::Pow(r.need("exponent")?.single()?)))),
    kind("scale", read_scale),
    kind("prelu", |r| {
        let (name, size) = (r.name()?, r.size("size")?);
        Ok(Box::new(PRelu { name, size }))
    }),
    kind("softmax", |r| read_softmax(r, "Softmax")),
    kind("log_softmax", |r| read_softmax(r, "LogSoftmax")),
];

/// An operator of one input.
#[derive(Debug)]
struct Unary {
    op: &'static str,
    attributes: Vec<(&'static str, Attribute)>,
}

fn with(op: &'static str, attributes: Vec<(&'static str, Attribute)>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Unary { op, attributes }))
}

fn unary(op: &'static str) -> Result<Box<dyn Layer>> {
    with(op, Vec::new())
}

fn gelu(approximate: &str) -> Result<Box<dyn Layer>> {
    let value = Attribute::String(approximate.as_bytes().to_vec());
    with("Gelu", vec![("approximate", value)])
}

fn scaled(op: &'static str, alpha: f32) -> Result<Box<dyn Layer>> {
    with(op, vec![("alpha", Attribute::Float(alpha))])
}

impl Layer for Unary {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        b.like(self.op, &x, &[], &self.attributes)
    }
}

/// Functions that take more than one operator or a constant.
#[derive(Debug)]
enum Function {
    Silu,
    Square,
    Clip { min: f32, max: f32 },
    Pow(f32),
    Scale { by: f32, add: f32 },
}

fn read_clip(r: &Reader<'_>) -> Result<Box<dyn Layer>> {
    let (min, max) = (r.need("min")?.single()?, r.need("max")?.single()?);
    if min > max {
        return Err(r.error("\"min\" is above \"max\""));
    }
    Ok(Box::new(Function::Clip { min, max }))
}

fn read_scale(r: &Reader<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Function::Scale { by: r.float_or("by", 1.0)?, add: r.float_or("add", 0.0)? }))
}

impl Layer for Function {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        match *self {
            Function::Silu => {
                let gate = b.like("Sigmoid", &x, &[], &[])?;
                b.like("Mul", &x, &[gate.value], &[])
            }
            Function::Square => b.like("Mul", &x, &[x.value], &[]),
            Function::Clip { min, max } => {
                let low = b.scalar("min", f64::from(min))?;
                let high = b.scalar("max", f64::from(max))?;
                b.like("Clip", &x, &[low, high], &[])
            }
            Function::Pow(exponent) => {
                let exponent = b.scalar("exponent", f64::from(exponent))?;
                b.like("Pow", &x, &[exponent], &[])
            }
            Function::Scale { by, add } => {
                let by = b.scalar("by", f64::from(by))?;
                let y = b.like("Mul", &x, &[by], &[])?;
                if add == 0.0 {
                    return Ok(y);
                }
                let add = b.scalar("add", f64::from(add))?;
                b.like("Add", &y, &[add], &[])
            }
        }
    }
}

/// The slope is one number, or one a channel (axis 1).
#[derive(Debug)]
struct PRelu {
    name: String,
    size: usize,
}

impl Layer for PRelu {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        let mut dims = vec![self.size];
        if self.size != 1 {
            x.expect_batch_at(0)?;
            x.expect(1, self.size)?;
            dims.resize(x.rank().saturating_sub(1), 1);
        }
        let shape = Shape::new(&dims)?;
        let name = format!("{}.weight", self.name);
        // The form is part of the constant's name: another rank needs another shape.
        let form = format!(".slope{}", dims.len());
        let slope = b.weight_as(&name, &[self.size], &form, |t| t.clone().reshaped(shape))?;
        b.like("PRelu", &x, &[slope], &[])
    }
}

#[derive(Debug)]
struct Softmax {
    op: &'static str,
    axis: i64,
}

fn read_softmax(r: &Reader<'_>, op: &'static str) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Softmax { op, axis: r.integer_or("axis", -1)? }))
}

impl Layer for Softmax {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        let axis = x.axis(self.axis)?;
        softmax(b, self.op, &x, axis)
    }

    fn end(&self) -> End {
        if self.op == "Softmax" { End::Softmax } else { End::Other }
    }
}

/// Softmax, or its logarithm, along `axis`.
pub(in super::super) fn softmax(
    b: &mut Builder<'_>,
    op: &str,
    x: &Signal,
    axis: usize,
) -> Result<Signal> {
    ensure!(axis < x.rank(), Internal, "axis {axis} of {}", x.rank());
    b.like(op, x, &[], &[("axis", Attribute::Int(int(axis)))])
}

//! Normalisation.

use super::reduce::reduce;
use super::{Kind, Layer, Reader, kind};
use crate::attribute::Attribute;
use crate::error::{Result, ensure};
use crate::format::safetensors::builder::{Builder, int};
use crate::format::safetensors::signal::Signal;

pub(super) const KINDS: &[Kind] = &[
    kind("layer_norm", read_layer_norm),
    kind("rms_norm", read_rms_norm),
    kind("batch_norm", read_batch_norm),
    kind("group_norm", read_group_norm),
    kind("normalize", read_normalize),
];

#[derive(Debug)]
struct LayerNorm {
    name: String,
    size: usize,
    eps: f32,
    affine: bool,
    bias: bool,
}

fn read_layer_norm(r: &Reader<'_>) -> Result<Box<dyn Layer>> {
    let affine = r.flag_or("affine", true)?;
    Ok(Box::new(LayerNorm {
        name: r.name()?,
        size: r.size("size")?,
        eps: r.eps()?,
        affine,
        bias: r.flag_or("bias", affine)?,
    }))
}

impl Layer for LayerNorm {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        x.expect_last(self.size)?;
        let weight = format!("{}.weight", self.name);
        let bias = format!("{}.bias", self.name);
        let weight = self.affine.then_some(weight.as_str());
        layer_norm(b, &x, weight, self.bias.then_some(bias.as_str()), self.size, self.eps)
    }
}

/// Layer normalisation over the last dimension, which has been checked, by tensors of these names.
pub(in super::super) fn layer_norm(
    b: &mut Builder<'_>,
    x: &Signal,
    weight: Option<&str>,
    bias: Option<&str>,
    size: usize,
    eps: f32,
) -> Result<Signal> {
    let mut others = vec![match weight {
        Some(weight) => b.weight(weight, &[size])?,
        None => b.filled("scale", size, 1.0)?,
    }];
    if let Some(bias) = bias {
        others.push(b.weight(bias, &[size])?);
    }
    let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(eps))];
    b.like("LayerNormalization", x, &others, &attributes)
}

#[derive(Debug)]
struct RmsNorm {
    name: String,
    size: usize,
    eps: f32,
}

fn read_rms_norm(r: &Reader<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(RmsNorm { name: r.name()?, size: r.size("size")?, eps: r.eps()? }))
}

impl Layer for RmsNorm {
    /// `x / sqrt(mean(x²) + eps) · weight`; the operator of that name is newer than the opset.
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        x.expect_last(self.size)?;
        let weight = b.weight(&format!("{}.weight", self.name), &[self.size])?;
        let eps = b.scalar("eps", f64::from(self.eps))?;
        let square = b.like("Mul", &x, &[x.value], &[])?;
        let mean = reduce(b, "ReduceMean", &square, &[x.rank() - 1], true)?;
        let sum = b.like("Add", &mean, &[eps], &[])?;
        let root = b.like("Sqrt", &sum, &[], &[])?;
        let y = b.like("Div", &x, &[root.value], &[])?;
        b.like("Mul", &y, &[weight], &[])
    }
}

#[derive(Debug)]
struct BatchNorm {
    name: String,
    size: usize,
    eps: f32,
    affine: bool,
}

fn read_batch_norm(r: &Reader<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(BatchNorm {
        name: r.name()?,
        size: r.size("size")?,
        eps: r.eps()?,
        affine: r.flag_or("affine", true)?,
    }))
}

impl Layer for BatchNorm {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        let (name, size) = (&self.name, self.size);
        x.expect_batch_at(0)?;
        x.expect(1, size)?;
        let (scale, shift) = if self.affine {
            let scale = b.weight(&format!("{name}.weight"), &[size])?;
            (scale, b.weight(&format!("{name}.bias"), &[size])?)
        } else {
            (b.filled("scale", size, 1.0)?, b.filled("bias", size, 0.0)?)
        };
        let mean = b.weight(&format!("{name}.running_mean"), &[size])?;
        let variance = b.weight(&format!("{name}.running_var"), &[size])?;
        b.weights.skip(&format!("{name}.num_batches_tracked"));
        let epsilon = [("epsilon", Attribute::Float(self.eps))];
        b.like("BatchNormalization", &x, &[scale, shift, mean, variance], &epsilon)
    }
}

#[derive(Debug)]
struct GroupNorm {
    name: String,
    groups: usize,
    size: usize,
    eps: f32,
}

fn read_group_norm(r: &Reader<'_>) -> Result<Box<dyn Layer>> {
    let (name, groups, size) = (r.name()?, r.size("groups")?, r.size("size")?);
    Ok(Box::new(GroupNorm { name, groups, size, eps: r.eps()? }))
}

impl Layer for GroupNorm {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        let (name, groups, size) = (&self.name, self.groups, self.size);
        x.expect_batch_at(0)?;
        x.expect(1, size)?;
        ensure!(
            size.checked_rem(groups) == Some(0),
            InvalidModel,
            "{groups} groups do not divide {size} channels"
        );
        let scale = b.weight(&format!("{name}.weight"), &[size])?;
        let shift = b.weight(&format!("{name}.bias"), &[size])?;
        let attributes =
            [("num_groups", Attribute::Int(int(groups))), ("epsilon", Attribute::Float(self.eps))];
        b.like("GroupNormalization", &x, &[scale, shift], &attributes)
    }
}

/// Vectors brought to length 1.
#[derive(Debug)]
struct Normalize {
    axis: i64,
    eps: f32,
}

fn read_normalize(r: &Reader<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Normalize { axis: r.integer_or("axis", -1)?, eps: r.float_or("eps", 1e-12)? }))
}

impl Layer for Normalize {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        let axis = x.axis(self.axis)?;
        normalize(b, &x, axis, self.eps)
    }
}

/// `x / max(‖x‖₂, eps)` along `axis`.
pub(in super::super) fn normalize(
    b: &mut Builder<'_>,
    x: &Signal,
    axis: usize,
    eps: f32,
) -> Result<Signal> {
    let norm = reduce(b, "ReduceL2", x, &[axis], true)?;
    let eps = b.scalar("eps", f64::from(eps))?;
    let norm = b.like("Max", &norm, &[eps], &[])?;
    b.like("Div", x, &[norm.value], &[])
}

//! Products with the file's matrices, tables, and tensors that are added or multiplied.

use super::{Kind, Layer, Reader, kind};
use crate::attribute::Attribute;
use crate::error::{Result, ensure};
use crate::format::safetensors::arrange::transposed;
use crate::format::safetensors::builder::{Builder, int};
use crate::format::safetensors::signal::{Signal, unified};
use crate::graph::{Dim, ValueId};
use crate::tensor::ElementType;

pub(super) const KINDS: &[Kind] = &[
    kind("linear", read_linear),
    kind("embedding", read_embedding),
    kind("position_embedding", read_positions),
    kind("add_parameter", |r| read_parameter(r, "Add")),
    kind("mul_parameter", |r| read_parameter(r, "Mul")),
];

#[derive(Debug)]
struct Linear {
    name: String,
    input: usize,
    output: usize,
    bias: bool,
}

fn read_linear(r: &Reader<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Linear {
        name: r.name()?,
        input: r.size("in")?,
        output: r.size("out")?,
        bias: r.flag_or("bias", true)?,
    }))
}

impl Layer for Linear {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        x.expect_last(self.input)?;
        linear(b, &x, &self.name, self.input, self.output, self.bias)
    }
}

/// `x · weightᵀ + bias` over the last dimension, which has been checked.
pub(in super::super) fn linear(
    b: &mut Builder<'_>,
    x: &Signal,
    name: &str,
    input: usize,
    output: usize,
    bias: bool,
) -> Result<Signal> {
    let weight = format!("{name}.weight");
    let bias = bias.then(|| b.weight(&format!("{name}.bias"), &[output])).transpose()?;
    let dims = x.with_last(output);
    if x.rank() == 2 {
        let mut others = vec![b.weight(&weight, &[output, input])?];
        others.extend(bias);
        return b.then("Gemm", x, &others, &[("transB", Attribute::Int(1))], dims);
    }
    let weight = b.weight_as(&weight, &[output, input], ".T", transposed)?;
    let y = b.then("MatMul", x, &[weight], &[], dims)?;
    match bias {
        Some(bias) => b.like("Add", &y, &[bias], &[]),
        None => Ok(y),
    }
}

#[derive(Debug)]
struct Embedding {
    name: String,
    num: usize,
    dim: usize,
}

fn read_embedding(r: &Reader<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Embedding { name: r.name()?, num: r.size("num")?, dim: r.size("dim")? }))
}

impl Layer for Embedding {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        gather(b, &x, &format!("{}.weight", self.name), self.num, self.dim)
    }

    fn takes_any_type(&self) -> bool {
        true
    }
}

/// The rows of the table `weight` that `x` names.
pub(in super::super) fn gather(
    b: &mut Builder<'_>,
    x: &Signal,
    weight: &str,
    num: usize,
    dim: usize,
) -> Result<Signal> {
    ensure!(
        matches!(x.dtype, ElementType::I32 | ElementType::I64),
        InvalidModel,
        "an embedding takes int64 or int32, not {}",
        x.dtype
    );
    let table = b.weight(weight, &[num, dim])?;
    let mut dims = x.dims.clone();
    dims.push(Dim::Fixed(dim));
    let (axis, dtype) = ([("axis", Attribute::Int(0))], b.dtype);
    let value = b.value("Gather", &[table, x.value], &axis, dtype, dims.clone())?;
    Ok(Signal { value, dtype, dims, batch: x.batch })
}

/// Adds to each step of a sequence the row of its number.
#[derive(Debug)]
struct Positions {
    name: String,
    num: usize,
    dim: usize,
}

fn read_positions(r: &Reader<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Positions { name: r.name()?, num: r.size("num")?, dim: r.size("dim")? }))
}

impl Layer for Positions {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        x.expect_rank(3)?;
        x.expect_batch_at(0)?;
        x.expect(2, self.dim)?;
        if let Some(length) = x.fixed(1) {
            ensure!(
                length <= self.num,
                InvalidModel,
                "a sequence of {length} steps and {} positions",
                self.num
            );
        }
        let rows = position_rows(b, &x, &format!("{}.weight", self.name), self.num, self.dim)?;
        b.then("Add", &x, &[rows], &[], x.with_last(self.dim))
    }
}

/// The first rows of the table `weight`, as many as axis 1 of `x` is long.
pub(in super::super) fn position_rows(
    b: &mut Builder<'_>,
    x: &Signal,
    weight: &str,
    num: usize,
    dim: usize,
) -> Result<ValueId> {
    let table = b.weight(weight, &[num, dim])?;
    // By number and not as a slice: a sequence that is too long is refused, not cut.
    let numbers = b.positions(x, 1)?;
    let mut dims: Vec<Dim> = x.dims.get(1).cloned().into_iter().collect();
    dims.push(Dim::Fixed(dim));
    let dtype = b.dtype;
    b.value("Gather", &[table, numbers], &[("axis", Attribute::Int(0))], dtype, dims)
}

/// A tensor of the file that is added to every row, or multiplied with it.
#[derive(Debug)]
struct Parameter {
    op: &'static str,
    name: String,
    shape: Vec<usize>,
}

fn read_parameter(r: &Reader<'_>, op: &'static str) -> Result<Box<dyn Layer>> {
    let name = r.name()?;
    let shape = r.need("shape")?.list()?.iter().map(|at| at.size()).collect::<Result<_>>()?;
    Ok(Box::new(Parameter { op, name, shape }))
}

impl Layer for Parameter {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        let skipped = x.rank().checked_sub(self.shape.len());
        ensure!(
            skipped.is_some(),
            InvalidModel,
            "a tensor of {} dimensions for {} dimensions",
            self.shape.len(),
            x.rank()
        );
        let skipped = skipped.unwrap_or_default();
        let mut dims = x.dims.clone();
        for (axis, (&size, dim)) in
            (skipped..).zip(self.shape.iter().zip(dims.iter_mut().skip(skipped)))
        {
            if size == 1 {
                continue;
            }
            ensure!(
                axis != x.batch,
                InvalidModel,
                "dimension {axis} is the batch, of which the tensor has {size}"
            );
            let repeated = *dim == Dim::Fixed(1);
            let one =
                if repeated { Some(Dim::Fixed(size)) } else { unified(dim, &Dim::Fixed(size)) };
            ensure!(
                one.is_some(),
                InvalidModel,
                "dimension {axis} is {dim} here, {} in '{}'",
                int(size),
                self.name
            );
            *dim = one.unwrap_or(Dim::Unknown);
        }
        let tensor = b.weight(&self.name, &self.shape)?;
        b.then(self.op, &x, &[tensor], &[], dims)
    }
}

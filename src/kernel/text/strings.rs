//! StringConcat, StringSplit and RegexFullMatch.

use super::super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use super::pattern::compile;
use crate::error::{Result, ensure};
use crate::tensor::{Tensor, Value};
use regex::Regex;

struct StringConcat;

pub(super) fn prepare_concat(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    Ok(Box::new(StringConcat))
}

/// The positions of a tensor's elements as it is broadcast to `dims`.
fn broadcast_positions(tensor: &Tensor, dims: &[usize]) -> Vec<usize> {
    let strides = tensor.shape().strides();
    let ahead = dims.len() - tensor.dims().len();
    let mut positions = vec![0];
    for (axis, &dim) in dims.iter().enumerate() {
        let own = axis.checked_sub(ahead).map(|k| (tensor.dims()[k], strides[k]));
        let step = own.map_or(0, |(size, stride)| if size == 1 { 0 } else { stride });
        positions = positions.iter().flat_map(|p| (0..dim).map(move |i| p + i * step)).collect();
    }
    positions
}

impl Kernel for StringConcat {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (a, b) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let (left, right) = (a.as_slice::<String>()?, b.as_slice::<String>()?);
        let shape = a.shape().broadcast(b.shape())?;
        let shape = ctx.shape_of::<String>(shape.dims())?;
        let mut out = ctx.buffer::<String>(shape.len())?;
        let (mut bytes, limit) = (0u64, ctx.limits.run_bytes);
        let mut push = |x: &str, y: &str| {
            // A long string may be repeated many times by broadcasting.
            bytes = bytes.saturating_add((x.len() + y.len()) as u64);
            ensure!(bytes <= limit, LimitExceeded, "StringConcat: {bytes} bytes of text");
            out.push([x, y].concat());
            Ok(())
        };
        if a.shape() == b.shape() {
            left.iter().zip(right).try_for_each(|(x, y)| push(x, y))?;
        } else {
            let at = broadcast_positions(a, shape.dims());
            let bt = broadcast_positions(b, shape.dims());
            at.iter().zip(&bt).try_for_each(|(&i, &j)| push(&left[i], &right[j]))?;
        }
        one(ctx.tensor(shape, out)?)
    }
}

struct StringSplit {
    /// Empty: split at white space.
    delimiter: String,
    /// Most splits of one string.
    most: Option<usize>,
}

pub(super) fn prepare_split(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let delimiter = spec.attributes.str("delimiter", "")?;
    let most = match spec.attributes.int_opt("maxsplit")? {
        None => None,
        Some(n) => {
            Some(usize::try_from(n).map_err(|_| spec.invalid(format_args!("'maxsplit' is {n}")))?)
        }
    };
    Ok(Box::new(StringSplit { delimiter, most }))
}

impl StringSplit {
    fn split<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let most = self.most.unwrap_or(usize::MAX - 1);
        if !self.delimiter.is_empty() {
            return match text {
                "" => vec![],
                text => text.splitn(most + 1, self.delimiter.as_str()).collect(),
            };
        }
        let mut parts = Vec::new();
        let mut rest = text.trim_ascii_start();
        while !rest.is_empty() {
            let end = match rest.find(|c: char| c.is_ascii_whitespace()) {
                Some(end) if parts.len() < most => end,
                _ => rest.len(),
            };
            parts.push(rest[..end].trim_ascii_end());
            rest = rest[end..].trim_ascii_start();
        }
        parts
    }
}

impl Kernel for StringSplit {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let input = inputs.tensor(0)?;
        let rows: Vec<Vec<&str>> =
            input.as_slice::<String>()?.iter().map(|t| self.split(t)).collect();
        let width = rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut dims = input.dims().to_vec();
        dims.push(width);
        let shape = ctx.shape_of::<String>(&dims)?;
        let mut out = ctx.buffer::<String>(shape.len())?;
        for (i, row) in rows.iter().enumerate() {
            out.extend(row.iter().map(|t| (*t).to_string()));
            out.resize((i + 1) * width, String::new());
        }
        let counts: Vec<i64> = rows.iter().map(|r| r.len() as i64).collect();
        let counts = ctx.tensor(input.shape().clone(), counts)?;
        let parts = ctx.tensor(shape, out)?;
        Ok(smallvec::smallvec![Value::Tensor(parts), Value::Tensor(counts)])
    }
}

struct RegexFullMatch(Regex);

pub(super) fn prepare_full_match(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let pattern = spec.attributes.str("pattern", "")?;
    // Compiled alone first: `a)(b` must not become well-formed by the parentheses around it.
    compile(&pattern)?;
    Ok(Box::new(RegexFullMatch(compile(&format!(r"\A(?:{pattern})\z"))?)))
}

impl Kernel for RegexFullMatch {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let input = inputs.tensor(0)?;
        let mut out = ctx.buffer::<bool>(input.len())?;
        out.extend(input.as_slice::<String>()?.iter().map(|s| self.0.is_match(s)));
        one(ctx.tensor(input.shape().clone(), out)?)
    }
}

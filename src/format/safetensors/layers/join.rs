//! Where several results come together: sums, products, concatenation, residuals, branches.

use super::movement::unsqueeze;
use super::{Kind, Layer, Placed, Reader, chain, kind};
use crate::attribute::Attribute;
use crate::error::{Result, ensure, err};
use crate::format::safetensors::builder::{Builder, int};
use crate::format::safetensors::signal::{Signal, broadcast, unified};
use crate::graph::Dim;
use crate::tensor::shape::resolve_axis;

pub(super) const KINDS: &[Kind] = &[
    kind("add", |r| read_named(r, How::Each("Add"))),
    kind("sub", |r| read_named(r, How::Each("Sub"))),
    kind("mul", |r| read_named(r, How::Each("Mul"))),
    kind("div", |r| read_named(r, How::Each("Div"))),
    kind("concat", |r| {
        let axis = r.integer_or("axis", 1)?;
        read_named(r, How::Concat(axis))
    }),
    kind("stack", |r| {
        let axis = r.need("axis")?.integer()?;
        read_named(r, How::Stack(axis))
    }),
    kind("residual", |r| {
        let layers = r.layers("layers")?;
        let shortcut = match r.get("shortcut") {
            Some(_) => r.layers("shortcut")?,
            None => Vec::new(),
        };
        Ok(Box::new(Branches { branches: vec![layers, shortcut], how: How::Each("Add") }))
    }),
    kind("branches", read_branches),
];

/// How results are put together.
#[derive(Debug, Clone, Copy)]
enum How {
    /// Element by element.
    Each(&'static str),
    /// One behind another along an axis.
    Concat(i64),
    /// Side by side along a new axis.
    Stack(i64),
}

/// What comes in and results that have names.
#[derive(Debug)]
struct Named {
    how: How,
    with: Vec<String>,
}

fn read_named(r: &Reader<'_>, how: How) -> Result<Box<dyn Layer>> {
    let with = r.names("with")?.unwrap_or_default();
    if with.is_empty() {
        return Err(r.error("\"with\" says what else: a name or a list of names"));
    }
    Ok(Box::new(Named { how, with }))
}

impl Layer for Named {
    fn takes_any_type(&self) -> bool {
        !matches!(self.how, How::Each(_))
    }

    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        let mut all = vec![x];
        for name in &self.with {
            all.push(b.named(name)?);
        }
        join(b, self.how, all)
    }
}

/// Layers beside each other that read the same. A branch without layers is what comes in.
#[derive(Debug)]
struct Branches {
    branches: Vec<Vec<Placed>>,
    how: How,
}

fn read_branches(r: &Reader<'_>) -> Result<Box<dyn Layer>> {
    let list = r.need("branches")?;
    let items = list.list()?;
    if items.len() < 2 {
        return Err(list.error("expected two branches or more"));
    }
    let branches = items
        .iter()
        .map(|at| match at.is_list() && at.list()?.is_empty() {
            true => Ok(Vec::new()),
            false => r.lists.read(at),
        })
        .collect::<Result<Vec<_>>>()?;
    let how = match r.one_of("join", &["concat", "add", "mul", "stack"])? {
        "add" => How::Each("Add"),
        "mul" => How::Each("Mul"),
        "stack" => How::Stack(r.integer_or("axis", 1)?),
        _ => How::Concat(r.integer_or("axis", 1)?),
    };
    Ok(Box::new(Branches { branches, how }))
}

impl Layer for Branches {
    fn takes_any_type(&self) -> bool {
        true
    }

    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        let ends = self
            .branches
            .iter()
            .map(|layers| chain(b, x.clone(), layers))
            .collect::<Result<Vec<_>>>()?;
        join(b, self.how, ends)
    }
}

fn join(b: &mut Builder<'_>, how: How, all: Vec<Signal>) -> Result<Signal> {
    let same = all.windows(2).all(|pair| match pair {
        [one, other] => one.dtype == other.dtype,
        _ => true,
    });
    let all = match how {
        How::Concat(_) | How::Stack(_) if same => all,
        _ => all.into_iter().map(|x| b.cast(x)).collect::<Result<Vec<_>>>()?,
    };
    match how {
        How::Each(op) => {
            let mut all = all.into_iter();
            let mut sum = all.next().ok_or_else(|| err!(Internal, "nothing to join"))?;
            for x in all {
                let dims = broadcast(&sum, &x)?;
                sum = b.then(op, &sum, &[x.value], &[], dims)?;
            }
            Ok(sum)
        }
        How::Concat(axis) => {
            let first = all.first().ok_or_else(|| err!(Internal, "nothing to join"))?;
            let axis = first.axis(axis)?;
            concat(b, &all, axis)
        }
        How::Stack(axis) => {
            let rank = all.first().map_or(0, Signal::rank);
            let axis = resolve_axis(axis, rank + 1)?;
            let mut wider = Vec::with_capacity(all.len());
            for x in &all {
                ensure!(x.rank() == rank, InvalidModel, "{rank} and {} dimensions", x.rank());
                wider.push(unsqueeze(b, x, axis)?);
            }
            concat(b, &wider, axis)
        }
    }
}

/// One behind another along `axis`, which is not the batch.
pub(super) fn concat(b: &mut Builder<'_>, all: &[Signal], axis: usize) -> Result<Signal> {
    let (first, others) =
        all.split_first().ok_or_else(|| err!(Internal, "nothing to concatenate"))?;
    let mut dims = first.dims.clone();
    for x in others {
        ensure!(
            x.rank() == first.rank() && x.batch == first.batch,
            InvalidModel,
            "{} dimensions with the batch at {} and {} with the batch at {} do not go together",
            first.rank(),
            first.batch,
            x.rank(),
            x.batch
        );
        for (at, (dim, other)) in dims.iter_mut().zip(&x.dims).enumerate() {
            *dim = if at == axis {
                match (&*dim, other) {
                    (Dim::Fixed(m), Dim::Fixed(n)) => Dim::Fixed(m.saturating_add(*n)),
                    _ => Dim::Unknown,
                }
            } else {
                unified(dim, other)
                    .ok_or_else(|| err!(InvalidModel, "dimension {at} is both {dim} and {other}"))?
            };
        }
    }
    let values: Vec<_> = others.iter().map(|x| x.value).collect();
    b.then("Concat", first, &values, &[("axis", Attribute::Int(int(axis)))], dims)
}

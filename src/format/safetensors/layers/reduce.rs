//! Means and sums over axes.

use super::{Kind, Layer, Reader, kind};
use crate::attribute::Attribute;
use crate::error::{Result, ensure};
use crate::format::safetensors::builder::{Builder, int};
use crate::format::safetensors::signal::Signal;
use crate::graph::Dim;

pub(super) const KINDS: &[Kind] = &[
    kind("mean", |r| read(r, "ReduceMean")),
    kind("sum", |r| read(r, "ReduceSum")),
    kind("amax", |r| read(r, "ReduceMax")),
];

#[derive(Debug)]
struct Reduce {
    op: &'static str,
    axes: Vec<i64>,
    keep: bool,
}

fn read(r: &Reader<'_>, op: &'static str) -> Result<Box<dyn Layer>> {
    let at = r.need("axis")?;
    let items = if at.is_list() { at.list()? } else { vec![at.clone()] };
    if items.is_empty() {
        return Err(at.error("no axis"));
    }
    let axes = items.iter().map(|at| at.integer()).collect::<Result<_>>()?;
    Ok(Box::new(Reduce { op, axes, keep: r.flag_or("keep", false)? }))
}

impl Layer for Reduce {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        let mut axes = self.axes.iter().map(|&a| x.axis(a)).collect::<Result<Vec<_>>>()?;
        let given = axes.len();
        axes.sort_unstable();
        axes.dedup();
        ensure!(axes.len() == given, InvalidModel, "an axis is given twice");
        reduce(b, self.op, &x, &axes, self.keep)
    }
}

/// Reduces distinct axes, none of them the batch, to one value each; `keep` leaves a size of 1.
pub(in super::super) fn reduce(
    b: &mut Builder<'_>,
    op: &str,
    x: &Signal,
    axes: &[usize],
    keep: bool,
) -> Result<Signal> {
    let list: Vec<i64> = axes.iter().map(|&a| int(a)).collect();
    let list = b.ints("axes", &list)?;
    let dims = x.dims.iter().enumerate();
    let dims = dims.filter_map(|(axis, dim)| match (axes.contains(&axis), keep) {
        (false, _) => Some(dim.clone()),
        (true, true) => Some(Dim::Fixed(1)),
        (true, false) => None,
    });
    let dims = dims.collect();
    let attributes = [("keepdims", Attribute::Int(i64::from(keep)))];
    let mut y = b.then(op, x, &[list], &attributes, dims)?;
    if !keep {
        y.batch -= axes.iter().filter(|&&axis| axis < x.batch).count();
    }
    Ok(y)
}

//! Layers that only move, cut or pad what is there.

use super::{End, Kind, Layer, Reader, kind};
use crate::attribute::Attribute;
use crate::error::{Result, ensure, err};
use crate::format::safetensors::builder::{Builder, int, ints};
use crate::format::safetensors::signal::{Signal, product};
use crate::graph::Dim;
use crate::limits::MAX_RANK;
use crate::tensor::shape::resolve_axis;

pub(super) const KINDS: &[Kind] = &[
    kind("identity", |_| Ok(Box::new(Move::Nothing))),
    kind("dropout", |r| {
        // The rate matters in training only; it may be kept in the description.
        r.float_or("p", 0.5)?;
        Ok(Box::new(Move::Nothing))
    }),
    kind("flatten", |r| {
        let (start, end) = (r.integer_or("start", 1)?, r.integer_or("end", -1)?);
        Ok(Box::new(Move::Flatten { start, end }))
    }),
    kind("reshape", read_reshape),
    kind("permute", |r| Ok(Box::new(Move::Permute(read_axes(r)?)))),
    kind("transpose", read_transpose),
    kind("squeeze", |r| Ok(Box::new(Move::Squeeze(r.need("axis")?.integer()?)))),
    kind("unsqueeze", |r| Ok(Box::new(Move::Unsqueeze(r.need("axis")?.integer()?)))),
    kind("select", |r| {
        let (axis, index) = (r.need("axis")?.integer()?, r.need("index")?.integer()?);
        Ok(Box::new(Move::Select { axis, index }))
    }),
    kind("slice", read_slice),
    kind("pad", read_pad),
];

#[derive(Debug)]
enum Move {
    Nothing,
    Flatten {
        start: i64,
        end: i64,
    },
    /// The sizes behind the batch, one of which may be left to be found.
    Reshape(Vec<Option<usize>>),
    Permute(Vec<i64>),
    Transpose(i64, i64),
    Squeeze(i64),
    Unsqueeze(i64),
    Select {
        axis: i64,
        index: i64,
    },
    Slice {
        axis: i64,
        start: i64,
        end: Option<i64>,
        step: i64,
    },
}

fn read_axes(r: &Reader<'_>) -> Result<Vec<i64>> {
    r.need("axes")?.list()?.iter().map(|at| at.integer()).collect()
}

fn read_transpose(r: &Reader<'_>) -> Result<Box<dyn Layer>> {
    match read_axes(r)?.as_slice() {
        &[a, b] => Ok(Box::new(Move::Transpose(a, b))),
        other => Err(r.error(format_args!(
            "\"axes\" are the two axes to exchange, got {}; \"permute\" takes them all",
            other.len()
        ))),
    }
}

fn read_reshape(r: &Reader<'_>) -> Result<Box<dyn Layer>> {
    let shape = r.need("shape")?;
    let mut sizes = Vec::new();
    for at in shape.list()? {
        sizes.push(match at.integer()? {
            -1 => None,
            n if n > 0 => Some(at.size()?),
            _ => return Err(at.error("expected a size of 1 or more, or -1 for the one to find")),
        });
    }
    if sizes.iter().filter(|s| s.is_none()).count() > 1 {
        return Err(shape.error("-1 stands twice"));
    }
    Ok(Box::new(Move::Reshape(sizes)))
}

fn read_slice(r: &Reader<'_>) -> Result<Box<dyn Layer>> {
    let axis = r.need("axis")?.integer()?;
    let start = r.integer_or("start", 0)?;
    let end = r.get("end").map(|at| at.integer()).transpose()?;
    let step = r.integer_or("step", 1)?;
    if step < 1 {
        return Err(r.error("\"step\" must be 1 or more"));
    }
    Ok(Box::new(Move::Slice { axis, start, end, step }))
}

impl Layer for Move {
    fn takes_any_type(&self) -> bool {
        true
    }

    fn end(&self) -> End {
        if matches!(self, Move::Nothing) { End::Nothing } else { End::Other }
    }

    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        match self {
            Move::Nothing => Ok(x),
            Move::Flatten { start, end } => flatten(b, &x, *start, *end),
            Move::Reshape(sizes) => reshape(b, &x, sizes),
            Move::Permute(axes) => {
                let order = axes
                    .iter()
                    .map(|&axis| resolve_axis(axis, x.rank()))
                    .collect::<Result<Vec<_>>>()?;
                let mut sorted = order.clone();
                sorted.sort_unstable();
                ensure!(
                    sorted.into_iter().eq(0..x.rank()),
                    InvalidModel,
                    "axes {axes:?} are no order of {} dimensions",
                    x.rank()
                );
                permute(b, &x, &order)
            }
            Move::Transpose(one, other) => {
                let mut order: Vec<usize> = (0..x.rank()).collect();
                order.swap(resolve_axis(*one, x.rank())?, resolve_axis(*other, x.rank())?);
                permute(b, &x, &order)
            }
            Move::Squeeze(axis) => {
                let axis = x.axis(*axis)?;
                squeeze(b, &x, axis)
            }
            Move::Unsqueeze(axis) => {
                let axis = resolve_axis(*axis, x.rank() + 1)?;
                unsqueeze(b, &x, axis)
            }
            Move::Select { axis, index } => {
                let axis = x.axis(*axis)?;
                select(b, &x, axis, *index)
            }
            Move::Slice { axis, start, end, step } => {
                let axis = x.axis(*axis)?;
                slice(b, &x, axis, *start, *end, *step)
            }
        }
    }
}

fn flatten(b: &mut Builder<'_>, x: &Signal, start: i64, end: i64) -> Result<Signal> {
    ensure!(x.rank() >= 2, InvalidModel, "nothing to flatten behind the batch");
    let (first, last) = (x.axis(start)?, x.axis(end)?);
    ensure!(first <= last, InvalidModel, "axis {first} is behind axis {last}");
    ensure!(
        !(first..=last).contains(&x.batch),
        InvalidModel,
        "axis {} is the batch: no layer mixes its rows",
        x.batch
    );
    let (before, rest) = x.dims.split_at(first);
    let (flat, after) = rest.split_at(last + 1 - first);
    let mut dims = before.to_vec();
    dims.push(product(flat)?);
    dims.extend_from_slice(after);
    if first == 1 && after.is_empty() {
        return b.then("Flatten", x, &[], &[("axis", Attribute::Int(1))], dims);
    }
    let mut y = to_shape(b, x, dims, first)?;
    if x.batch > last {
        y.batch = x.batch - (last - first);
    }
    Ok(y)
}

fn reshape(b: &mut Builder<'_>, x: &Signal, sizes: &[Option<usize>]) -> Result<Signal> {
    x.expect_batch_at(0)?;
    ensure!(sizes.len() < MAX_RANK, InvalidModel, "{} dimensions", sizes.len());
    let whole = product(x.dims.get(1..).unwrap_or_default())?;
    let given: Vec<Dim> = sizes.iter().flatten().map(|&n| Dim::Fixed(n)).collect();
    let given = match product(&given)? {
        Dim::Fixed(n) => n,
        _ => 0,
    };
    let open = sizes.iter().any(Option::is_none);
    let mut found = Dim::Unknown;
    if let Dim::Fixed(whole) = whole {
        let fits = if open { whole.checked_rem(given) == Some(0) } else { whole == given };
        ensure!(
            fits,
            InvalidModel,
            "{whole} values a row do not fit the shape, which has {given}{}",
            if open { " times one size" } else { "" }
        );
        found = Dim::Fixed(whole.checked_div(given).unwrap_or(0));
    }
    let mut dims: Vec<Dim> = x.dims.iter().take(1).cloned().collect();
    dims.extend(sizes.iter().map(|size| size.map_or(found.clone(), Dim::Fixed)));
    to_shape(b, x, dims, 1)
}

/// Gives `x` other dimensions of the same product. The first `kept` ones are its own; of the
/// others one may be unknown.
fn to_shape(b: &mut Builder<'_>, x: &Signal, dims: Vec<Dim>, kept: usize) -> Result<Signal> {
    let mut open = 0;
    let numbers = dims.iter().enumerate().map(|(axis, dim)| match dim {
        // A zero takes over the dimension of that number.
        _ if axis < kept => 0,
        Dim::Fixed(n) => int(*n),
        _ => {
            open += 1;
            -1
        }
    });
    let numbers: Vec<i64> = numbers.collect();
    ensure!(open <= 1, InvalidModel, "more than one dimension is not known here");
    ensure!(
        numbers.iter().skip(kept).all(|&n| n != 0),
        InvalidModel,
        "a dimension of size 0 cannot be given another shape"
    );
    let shape = b.ints("shape", &numbers)?;
    b.then("Reshape", x, &[shape], &[], dims)
}

/// Puts the axes into another order.
pub(in super::super) fn permute(
    b: &mut Builder<'_>,
    x: &Signal,
    order: &[usize],
) -> Result<Signal> {
    let dims = order.iter().filter_map(|&axis| x.dims.get(axis).cloned()).collect();
    let mut y = b.then("Transpose", x, &[], &[("perm", ints(order))], dims)?;
    y.batch = order
        .iter()
        .position(|&axis| axis == x.batch)
        .ok_or_else(|| err!(Internal, "an order without axis {}", x.batch))?;
    Ok(y)
}

/// Leaves out an axis of size 1 that is not the batch.
pub(in super::super) fn squeeze(b: &mut Builder<'_>, x: &Signal, axis: usize) -> Result<Signal> {
    x.expect(axis, 1)?;
    let axes = b.ints("axes", &[int(axis)])?;
    let mut dims = x.dims.clone();
    dims.remove(axis);
    let mut y = b.then("Squeeze", x, &[axes], &[], dims)?;
    y.batch -= usize::from(axis < x.batch);
    Ok(y)
}

/// Adds an axis of size 1.
pub(in super::super) fn unsqueeze(b: &mut Builder<'_>, x: &Signal, axis: usize) -> Result<Signal> {
    ensure!(x.rank() < MAX_RANK, InvalidModel, "more than {MAX_RANK} dimensions");
    let axes = b.ints("axes", &[int(axis)])?;
    let mut dims = x.dims.clone();
    dims.insert(axis, Dim::Fixed(1));
    let mut y = b.then("Unsqueeze", x, &[axes], &[], dims)?;
    y.batch += usize::from(axis <= x.batch);
    Ok(y)
}

/// One entry of an axis that is not the batch; the axis disappears.
pub(in super::super) fn select(
    b: &mut Builder<'_>,
    x: &Signal,
    axis: usize,
    index: i64,
) -> Result<Signal> {
    if let Some(n) = x.fixed(axis) {
        ensure!(
            (-int(n)..int(n)).contains(&index),
            InvalidModel,
            "entry {index} of dimension {axis}, which has {n}"
        );
    }
    let index = b.int("index", index);
    let mut dims = x.dims.clone();
    dims.remove(axis);
    let attributes = [("axis", Attribute::Int(int(axis)))];
    let mut y = b.then("Gather", x, &[index], &attributes, dims)?;
    y.batch -= usize::from(axis < x.batch);
    Ok(y)
}

/// A stretch of an axis that is not the batch, as Python slices.
pub(in super::super) fn slice(
    b: &mut Builder<'_>,
    x: &Signal,
    axis: usize,
    start: i64,
    end: Option<i64>,
    step: i64,
) -> Result<Signal> {
    let dim = match x.fixed(axis) {
        None => Dim::Unknown,
        Some(n) => {
            let bound =
                |at: i64| at.saturating_add(if at < 0 { int(n) } else { 0 }).clamp(0, int(n));
            let (from, to) = (bound(start), end.map_or(int(n), bound));
            ensure!(from < to, InvalidModel, "nothing is left of dimension {axis}, which has {n}");
            // Both are within 0 and n, and the step is positive.
            let entries = (to - from - 1) / step.max(1) + 1;
            Dim::Fixed(usize::try_from(entries).unwrap_or(n))
        }
    };
    let starts = b.ints("starts", &[start])?;
    let ends = b.ints("ends", &[end.unwrap_or(i64::MAX)])?;
    let axes = b.ints("axes", &[int(axis)])?;
    let steps = b.ints("steps", &[step])?;
    b.then("Slice", x, &[starts, ends, axes, steps], &[], x.with(axis, dim))
}

/// More entries at the ends of one axis.
#[derive(Debug)]
struct Pad {
    axis: i64,
    before: usize,
    after: usize,
    mode: &'static str,
    value: f32,
}

/// Most entries that padding adds on one side.
const MAX_PAD: usize = super::window::MAX_WINDOW;

fn read_pad(r: &Reader<'_>) -> Result<Box<dyn Layer>> {
    let axis = r.integer_or("axis", -1)?;
    let side = |key: &'static str| {
        let size = r.size_or(key, 0)?;
        ensure!(size <= MAX_PAD, LimitExceeded, "padding of {size}, at most {MAX_PAD}");
        Ok(size)
    };
    let (before, after) = (side("before")?, side("after")?);
    let mode = r.one_of("mode", &["constant", "reflect", "edge"])?;
    let value = r.float_or("value", 0.0)?;
    if value != 0.0 && mode != "constant" {
        return Err(r.error("\"value\" is for the mode \"constant\""));
    }
    Ok(Box::new(Pad { axis, before, after, mode, value }))
}

impl Layer for Pad {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        let axis = x.axis(self.axis)?;
        let dim = match x.fixed(axis) {
            None => Dim::Unknown,
            Some(n) => {
                ensure!(
                    self.mode != "reflect" || self.before.max(self.after) < n,
                    InvalidModel,
                    "{n} entries cannot be reflected {} times",
                    self.before.max(self.after)
                );
                ensure!(n > 0 || self.mode == "constant", InvalidModel, "nothing to repeat");
                Dim::Fixed(n.saturating_add(self.before).saturating_add(self.after))
            }
        };
        let mut pads = vec![0; 2 * x.rank()];
        for (at, size) in [(axis, self.before), (axis + x.rank(), self.after)] {
            if let Some(pad) = pads.get_mut(at) {
                *pad = int(size);
            }
        }
        let mut others = vec![b.ints("pads", &pads)?];
        if self.mode == "constant" {
            others.push(b.scalar("value", f64::from(self.value))?);
        }
        let mode = [("mode", Attribute::String(self.mode.as_bytes().to_vec()))];
        b.then("Pad", &x, &others, &mode, x.with(axis, dim))
    }
}

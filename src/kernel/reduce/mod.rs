//! Reductions along axes: sums, extrema, norms, arg-extrema, and running sums and products.

mod arg;
mod cumulative;
mod line;
mod sum_to;

use super::registry::{Entry, native, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, RowNumber, RowOp, RowShape, Sparsity, one};
use crate::error::{Result, bail};
use crate::tensor::{Data, Shape, Tensor};
use cumulative::Running;
use half::{bf16, f16};
use line::{Reducible, Reduction};
use smallvec::SmallVec;

pub(super) const OPS: &[Entry] = &[
    onnx("ReduceSum", 1, |s| prepare(s, Reduction::Sum)),
    onnx("ReduceMean", 1, |s| prepare(s, Reduction::Mean)),
    onnx("ReduceMax", 1, |s| prepare(s, Reduction::Max)),
    onnx("ReduceMin", 1, |s| prepare(s, Reduction::Min)),
    onnx("ReduceProd", 1, |s| prepare(s, Reduction::Prod)),
    onnx("ReduceL1", 1, |s| prepare(s, Reduction::L1)),
    onnx("ReduceL2", 1, |s| prepare(s, Reduction::L2)),
    onnx("ReduceLogSum", 1, |s| prepare(s, Reduction::LogSum)),
    onnx("ReduceLogSumExp", 1, |s| prepare(s, Reduction::LogSumExp)),
    onnx("ReduceSumSquare", 1, |s| prepare(s, Reduction::SumSquare)),
    onnx("ArgMax", 1, |s| arg::prepare(s, true)),
    onnx("ArgMin", 1, |s| arg::prepare(s, false)),
    onnx("CumSum", 11, |s| cumulative::prepare(s, Running::Sum)),
    onnx("CumProd", 26, |s| cumulative::prepare(s, Running::Product)),
    native("SumTo", sum_to::prepare),
];

/// Which axes a node reduces.
pub(super) struct Axes {
    /// The axes where they are an attribute.
    listed: Option<Vec<i64>>,
    /// Whether a reduced axis stays, with one element.
    pub keep_dims: bool,
    /// No axes mean none instead of all.
    noop_with_empty_axes: bool,
}

impl Axes {
    /// The axes of a node; from opset `since` on they are its second input.
    pub fn new(spec: &OpSpec<'_>, since: i64) -> Result<Axes> {
        let by_input = spec.version >= since;
        spec.arity(if by_input { 1..=2 } else { 1..=1 })?;
        Ok(Axes {
            listed: match by_input {
                true => None,
                false => Some(spec.attributes.ints("axes")?.to_vec()),
            },
            keep_dims: spec.attributes.flag("keepdims", true)?,
            noop_with_empty_axes: by_input
                && spec.attributes.flag("noop_with_empty_axes", false)?,
        })
    }

    /// For each axis of `shape` whether it is reduced in this run.
    pub fn reduced(&self, inputs: &Inputs<'_>, shape: &Shape) -> Result<Vec<bool>> {
        let from_input = match (&self.listed, inputs.tensor_opt(1)?) {
            (None, Some(axes)) => axes.to_i64_vec()?,
            _ => Vec::new(),
        };
        let axes = self.listed.as_deref().unwrap_or(&from_input);
        if axes.is_empty() {
            return Ok(vec![!self.noop_with_empty_axes; shape.rank()]);
        }
        let mut reduced = vec![false; shape.rank()];
        for &axis in axes {
            reduced[shape.axis(axis)?] = true;
        }
        Ok(reduced)
    }
}

struct Reduce {
    reduction: Reduction,
    axes: Axes,
    /// Whether a matrix becomes a column.
    rowwise: bool,
}

fn prepare(spec: &OpSpec<'_>, reduction: Reduction) -> Result<Box<dyn Kernel>> {
    let axes = Axes::new(spec, if reduction == Reduction::Sum { 13 } else { 18 })?;
    let listed = match (&axes.listed, spec.constant(1)) {
        (Some(listed), _) => listed.clone(),
        (None, Some(constant)) => constant.to_i64_vec()?,
        (None, None) => Vec::new(),
    };
    let rowwise = axes.keep_dims && matches!(listed[..], [1 | -1]);
    Ok(Box::new(Reduce { reduction, axes, rowwise }))
}

/// Where the lines that are reduced lie in a tensor.
struct Lines {
    /// The result's dimensions.
    out: Shape,
    /// Elements of a line.
    len: usize,
    /// The offsets of a line's elements from its start; `None` where they are consecutive.
    offsets: Option<Vec<usize>>,
    /// `(size, stride)` of the dimensions that are kept, outermost first.
    kept: SmallVec<[(usize, usize); 6]>,
    /// `(outer, reduced, inner)` where the reduced axes are neighbours.
    block: Option<(usize, usize, usize)>,
}

impl Lines {
    fn new(shape: &Shape, reduced: &[bool], keep_dims: bool) -> Result<Lines> {
        let strides = shape.strides();
        let mut out: SmallVec<[usize; 6]> = SmallVec::new();
        let mut kept: SmallVec<[(usize, usize); 6]> = SmallVec::new();
        let mut folded: SmallVec<[(usize, usize); 6]> = SmallVec::new();
        for (axis, (&size, &stride)) in shape.dims().iter().zip(&strides).enumerate() {
            if reduced[axis] {
                folded.push((size, stride));
                if keep_dims {
                    out.push(1);
                }
            } else {
                kept.push((size, stride));
                out.push(size);
            }
        }
        let len = folded.iter().map(|(size, _)| size).product();
        let first = reduced.iter().position(|&r| r).unwrap_or(reduced.len());
        let last = reduced.iter().rposition(|&r| r).map_or(first, |l| l + 1);
        let product = |dims: &[usize]| dims.iter().product::<usize>();
        let dims = shape.dims();
        let block = reduced[first..last].iter().all(|&r| r).then(|| {
            (product(&dims[..first]), product(&dims[first..last]), product(&dims[last..]))
        });
        let consecutive = block.is_some_and(|(_, _, inner)| inner == 1) || len <= 1;
        let out = Shape::new(&out)?;
        let offsets = (!consecutive && out.len() > 0).then(|| {
            let mut offsets = vec![0usize];
            for (size, stride) in &folded {
                offsets = offsets
                    .iter()
                    .flat_map(|base| (0..*size).map(move |i| base + i * stride))
                    .collect();
            }
            offsets
        });
        Ok(Lines { out, len, offsets, kept, block })
    }

    /// Where line `i` starts.
    fn start(&self, i: usize) -> usize {
        let (mut rest, mut at) = (i, 0);
        for (size, stride) in self.kept.iter().rev() {
            at += rest % size * stride;
            rest /= size;
        }
        at
    }

    /// `f` of each line, in the order of the result.
    fn map<T: Copy + Default + Sync, U: Send>(
        &self,
        ctx: &Context<'_>,
        data: &[T],
        out: &mut [U],
        f: impl Fn(&[T]) -> U + Send + Sync,
    ) {
        ctx.threads.split_rows(out, 1, self.len + 5, |range, out| {
            let mut line = Vec::new();
            for (i, out) in range.zip(out) {
                let start = self.start(i);
                *out = match &self.offsets {
                    None => f(data.get(start..start + self.len).unwrap_or(&[])),
                    Some(offsets) => {
                        line.clear();
                        line.extend(
                            offsets
                                .iter()
                                .map(|o| data.get(start + o).copied().unwrap_or_default()),
                        );
                        f(&line)
                    }
                };
            }
        });
    }
}

/// Sums or means over axes with others behind them, column by column in `f64`.
fn sum_columns(
    ctx: &Context<'_>,
    data: &[f32],
    (_, len, inner): (usize, usize, usize),
    mean: bool,
    out: &mut [f32],
) {
    let block = len * inner;
    ctx.threads.split_rows(out, inner, block / 2 + 1, |outer, out| {
        for (i, out) in outer.zip(out.chunks_exact_mut(inner)) {
            let rows = data.get(i * block..(i + 1) * block).unwrap_or(&[]);
            let mut acc = [0f64; 128];
            for (c, out) in out.chunks_mut(acc.len()).enumerate() {
                let acc = &mut acc[..out.len()];
                acc.fill(0.0);
                for row in rows.chunks_exact(inner) {
                    for (a, v) in acc.iter_mut().zip(&row[c * 128..]) {
                        *a += f64::from(*v);
                    }
                }
                for (o, a) in out.iter_mut().zip(acc) {
                    *o = (if mean { *a / len as f64 } else { *a }) as f32;
                }
            }
        }
    });
}

impl Reduce {
    fn of<T: Reducible>(&self, ctx: &mut Context<'_>, lines: &Lines, data: &[T]) -> Result<Vec<T>> {
        let mut out = ctx.filled(lines.out.len(), T::default())?;
        let reduction = self.reduction;
        lines.map(ctx, data, &mut out, |line| T::reduce(reduction, line));
        Ok(out)
    }

    fn of_f32(&self, ctx: &mut Context<'_>, lines: &Lines, data: &[f32]) -> Result<Vec<f32>> {
        match (self.reduction, lines.block) {
            (Reduction::Sum | Reduction::Mean, Some(block)) if block.2 > 1 && !data.is_empty() => {
                let mut out = ctx.filled(lines.out.len(), 0f32)?;
                sum_columns(ctx, data, block, self.reduction == Reduction::Mean, &mut out);
                Ok(out)
            }
            _ => self.of(ctx, lines, data),
        }
    }

    /// The tensor reduced along these axes.
    fn along(&self, ctx: &mut Context<'_>, input: &Tensor, reduced: &[bool]) -> Result<Tensor> {
        let lines = Lines::new(input.shape(), reduced, self.axes.keep_dims)?;
        macro_rules! halves {
            ($t:ty, $input:expr) => {
                self.of_f32(ctx, &lines, &$input.to_f32_vec()?)?
                    .into_iter()
                    .map(<$t>::from_f32)
                    .collect()
            };
        }
        let data = match input.data() {
            Data::F32(v) => Data::F32(self.of_f32(ctx, &lines, v)?),
            Data::F64(v) => Data::F64(self.of(ctx, &lines, v)?),
            Data::F16(_) => Data::F16(halves!(f16, input)),
            Data::BF16(_) => Data::BF16(halves!(bf16, input)),
            Data::I8(v) => Data::I8(self.of(ctx, &lines, v)?),
            Data::I16(v) => Data::I16(self.of(ctx, &lines, v)?),
            Data::I32(v) => Data::I32(self.of(ctx, &lines, v)?),
            Data::I64(v) => Data::I64(self.of(ctx, &lines, v)?),
            Data::U8(v) => Data::U8(self.of(ctx, &lines, v)?),
            Data::U16(v) => Data::U16(self.of(ctx, &lines, v)?),
            Data::U32(v) => Data::U32(self.of(ctx, &lines, v)?),
            Data::U64(v) => Data::U64(self.of(ctx, &lines, v)?),
            Data::Bool(v) => {
                let all = match self.reduction {
                    Reduction::Min => true,
                    Reduction::Max => false,
                    other => bail!(InvalidInput, "Reduce{other:?} of bool"),
                };
                let mut out = ctx.filled(lines.out.len(), false)?;
                lines.map(ctx, v, &mut out, |line| {
                    if all { line.iter().all(|&v| v) } else { line.iter().any(|&v| v) }
                });
                Data::Bool(out)
            }
            other => bail!(InvalidInput, "Reduce{:?} of {}", self.reduction, other.dtype()),
        };
        Tensor::new(lines.out, data)
    }
}

impl Kernel for Reduce {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let input = inputs.tensor(0)?;
        let reduced = self.axes.reduced(inputs, input.shape())?;
        one(self.along(ctx, input, &reduced)?)
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        self.rowwise.then_some(self)
    }

    fn wide_row_op(&self) -> Option<&dyn RowOp<f64>> {
        self.rowwise.then_some(self)
    }
}

impl<T: RowNumber + Reducible> RowOp<T> for Reduce {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        matches!(*inputs, [width] if width > 0).then_some(RowShape { width: 1, classes: None })
    }

    fn run_rows(&self, rows: usize, inputs: &[&[T]], out: &mut [T], _: &mut [u32]) {
        if let ([x], 1..) = (inputs, rows) {
            for (o, row) in out.iter_mut().zip(x.chunks_exact((x.len() / rows).max(1))) {
                *o = T::reduce(self.reduction, row);
            }
        }
    }

    fn sparsity(&self) -> Option<Sparsity> {
        matches!(self.reduction, Reduction::L1 | Reduction::L2).then_some(Sparsity::Lost)
    }

    fn run_sparse(&self, support: &[u32], inputs: &[&[T]], out: &mut [T], _: &mut [u32]) -> bool {
        let ([line], [out]) = (inputs, out) else { return false };
        match T::reduce_sparse(self.reduction, line, support) {
            Some(value) => *out = value,
            None => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests;

//! Joining and splitting along an axis: Concat, Split.

use super::registry::{Entry, onnx};
use super::reshape::Ints;
use super::row::same_type;
use super::{Context, Inputs, Kernel, OpSpec, Outputs, RowNumber, RowOp, RowShape, one};
use crate::error::{Result, bail, ensure};
use crate::tensor::{Carrier, ElementType, Shape, Tensor, Value, for_each_carrier};
use smallvec::SmallVec;
use std::borrow::Cow;

pub(super) const OPS: &[Entry] =
    &[onnx("Concat", 4, prepare_concat), onnx("Split", 2, prepare_split)];

/// The tensors one after another along `axis`: all of one element type, and of one shape but for
/// that axis.
pub(super) fn concat(ctx: &mut Context<'_>, parts: &[&Tensor], axis: i64) -> Result<Tensor> {
    let Some((&first, rest)) = parts.split_first() else {
        bail!(InvalidInput, "Concat: nothing to join");
    };
    let axis = first.shape().axis(axis)?;
    if rest.is_empty() {
        return Ok(first.clone());
    }
    let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(first.dims());
    for part in rest {
        let fits = part.shape().rank() == dims.len()
            && part
                .dims()
                .iter()
                .zip(first.dims())
                .enumerate()
                .all(|(i, (a, b))| i == axis || a == b);
        ensure!(
            fits && part.dtype() == first.dtype(),
            InvalidInput,
            "Concat: {} {} does not join {} {} along axis {axis}",
            part.dtype(),
            part.shape(),
            first.dtype(),
            first.shape()
        );
        dims[axis] = dims[axis].saturating_add(part.shape().dim(axis));
    }
    let shape = Shape::new(&dims)?;
    fn join<T: Carrier>(
        _: &[T],
        ctx: &mut Context<'_>,
        parts: &[&Tensor],
        axis: usize,
        shape: Shape,
        dtype: ElementType,
    ) -> Result<Tensor> {
        let mut out = ctx.buffer::<T>(shape.len())?;
        let (outer, _, inner) = shape.split_at(axis);
        let mut blocks: SmallVec<[(Cow<'_, [T]>, usize); 8]> = SmallVec::new();
        for part in parts {
            blocks.push((part.carried::<T>(dtype)?, part.shape().dim(axis) * inner));
        }
        if shape.len() > 0 {
            for i in 0..outer {
                for (v, n) in &blocks {
                    out.extend_from_slice(&v[i * n..(i + 1) * n]);
                }
            }
        }
        Tensor::moved(shape, out, dtype)
    }
    for_each_carrier!(first.data(), v => join(v, ctx, parts, axis, shape, first.dtype()))
}

struct Concat {
    axis: i64,
    /// Whether it joins rows of the request only (no constant among its inputs).
    rowwise: bool,
}

fn prepare_concat(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=usize::MAX)?;
    let Some(axis) = spec.attributes.int_opt("axis")? else {
        return Err(spec.invalid("attribute 'axis' is missing"));
    };
    let rowwise =
        matches!(axis, 1 | -1) && spec.inputs.iter().all(|i| i.present && i.constant.is_none());
    Ok(Box::new(Concat { axis, rowwise }))
}

impl Kernel for Concat {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let parts: SmallVec<[&Tensor; 8]> =
            (0..inputs.len()).map(|i| inputs.tensor(i)).collect::<Result<_>>()?;
        one(concat(ctx, &parts, self.axis)?)
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        self.rowwise.then_some(self)
    }

    fn wide_row_op(&self) -> Option<&dyn RowOp<f64>> {
        self.rowwise.then_some(self)
    }
}

impl<T: RowNumber> RowOp<T> for Concat {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let width = inputs.iter().try_fold(0usize, |sum, &w| sum.checked_add(w))?;
        Some(RowShape { width, classes: None })
    }

    fn typed(&self, inputs: &[ElementType]) -> Option<ElementType> {
        same_type(inputs)
    }

    fn run_rows(&self, rows: usize, inputs: &[&[T]], out: &mut [T], _: &mut [u32]) {
        if rows == 0 {
            return;
        }
        let width = out.len() / rows;
        for r in 0..rows {
            let mut at = r * width;
            for x in inputs {
                let w = x.len() / rows;
                out[at..at + w].copy_from_slice(&x[r * w..(r + 1) * w]);
                at += w;
            }
        }
    }
}

/// `count` elements of `axis` from `start` on.
fn part(
    ctx: &mut Context<'_>,
    tensor: &Tensor,
    axis: usize,
    start: usize,
    count: usize,
) -> Result<Tensor> {
    let (outer, dim, inner) = tensor.shape().split_at(axis);
    if start == 0 && count == dim {
        return Ok(tensor.clone());
    }
    let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(tensor.dims());
    dims[axis] = count;
    let shape = Shape::new(&dims)?;
    for_each_carrier!(tensor.data(), v => {
        let mut out = ctx.buffer(shape.len())?;
        if shape.len() > 0 {
            for i in 0..outer {
                let at = (i * dim + start) * inner;
                out.extend_from_slice(&v[at..at + count * inner]);
            }
        }
        Tensor::moved(shape, out, tensor.dtype())
    })
}

/// The tensor cut along `axis` into parts of these sizes, which fill the axis exactly.
pub(super) fn split(
    ctx: &mut Context<'_>,
    tensor: &Tensor,
    axis: usize,
    sizes: &[usize],
) -> Result<Vec<Tensor>> {
    let dim = tensor.shape().dim(axis);
    let total = sizes.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
    ensure!(
        total == Some(dim),
        InvalidInput,
        "parts of {sizes:?} do not fill axis {axis} of shape {}",
        tensor.shape()
    );
    let mut start = 0;
    let mut parts = Vec::with_capacity(sizes.len());
    for &n in sizes {
        parts.push(part(ctx, tensor, axis, start, n)?);
        start += n;
    }
    Ok(parts)
}

struct Split {
    axis: i64,
    sizes: Ints,
    outputs: usize,
    /// Whether the last part may be smaller (from opset 18 on).
    uneven: bool,
}

fn prepare_split(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=if spec.version < 13 { 1 } else { 2 })?;
    let outputs = spec.outputs.len();
    let sizes = Ints::moved(spec, "split", 1, 13)?;
    let uneven = spec.version >= 18;
    if uneven && let Some(n) = spec.attributes.int_opt("num_outputs")? {
        ensure!(
            usize::try_from(n) == Ok(outputs),
            InvalidModel,
            "Split: num_outputs is {n}, the node has {outputs} outputs"
        );
    }
    if let Ints::Known(sizes) = &sizes {
        ensure!(
            sizes.len() == outputs,
            InvalidModel,
            "Split: {} sizes for {outputs} outputs",
            sizes.len()
        );
    }
    Ok(Box::new(Split { axis: spec.attributes.int("axis", 0)?, sizes, outputs, uneven }))
}

/// Part sizes as a model gives them: none may be negative.
pub(super) fn part_sizes(sizes: &[i64]) -> Result<Vec<usize>> {
    let sizes: Result<Vec<usize>, _> = sizes.iter().map(|&n| usize::try_from(n)).collect();
    sizes.map_err(|_| crate::error::err!(InvalidInput, "a negative part size"))
}

impl Kernel for Split {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.tensor(0)?;
        let axis = tensor.shape().axis(self.axis)?;
        let dim = tensor.shape().dim(axis);
        let n = self.outputs;
        let sizes = match self.sizes.get(inputs)? {
            Some(sizes) => {
                ensure!(
                    sizes.len() == n,
                    InvalidInput,
                    "Split: {} sizes for {n} outputs",
                    sizes.len()
                );
                part_sizes(&sizes)?
            }
            None if n == 0 => vec![],
            None => {
                ensure!(
                    self.uneven || dim % n == 0,
                    InvalidInput,
                    "Split: axis {axis} of shape {} does not split into {n} equal parts",
                    tensor.shape()
                );
                let chunk = dim.div_ceil(n);
                (0..n).map(|i| dim.saturating_sub(i * chunk).min(chunk)).collect()
            }
        };
        let parts = split(ctx, tensor, axis, &sizes)?;
        Ok(parts.into_iter().map(Value::Tensor).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::kernel::testing::{Op, strings, t};

    #[test]
    fn concat_joins_along_any_axis() {
        let a = t(&[2, 2], &[1i64, 2, 3, 4]);
        let b = t(&[2, 1], &[5i64, 6]);
        let op = |axis| Op::onnx("Concat", 13).int("axis", axis);
        assert_eq!(op(1).run1(&[a.clone(), b.clone()]), t(&[2, 3], &[1i64, 2, 5, 3, 4, 6]));
        assert_eq!(op(-1).run1(&[b.clone(), a.clone()]), t(&[2, 3], &[5i64, 1, 2, 6, 3, 4]));
        let empty = t::<i64>(&[0, 2], &[]);
        assert_eq!(op(0).run1(&[empty.clone(), a.clone(), empty.clone()]), a);
        assert_eq!(op(0).run1(&[empty.clone(), empty]).dims(), [0, 2]);
        let s = strings(&[1], &["x"]);
        assert_eq!(op(0).run1(&[s.clone(), s]), strings(&[2], &["x", "x"]));
        assert!(op(0).run(&[a.clone(), b]).is_err());
        assert!(op(0).run(&[a.clone(), t(&[2, 2], &[0f32; 4])]).is_err());
        assert!(op(2).run(&[a.clone(), a]).is_err());
        assert!(op(0).run(&[Tensor::scalar(1i64), Tensor::scalar(1i64)]).is_err());
    }

    #[test]
    fn rows_join_as_tensors_do() {
        let op = Concat { axis: 1, rowwise: true };
        let row = op.row_op().unwrap();
        assert_eq!(row.shape(&[2, 1]), Some(RowShape { width: 3, classes: None }));
        let mut out = [0f32; 6];
        row.run_rows(2, &[&[1., 2., 3., 4.], &[5., 6.]], &mut out, &mut []);
        assert_eq!(out, [1., 2., 5., 3., 4., 6.]);
    }

    #[test]
    fn split_by_sizes_or_evenly() {
        let x = t(&[2, 3], &[1f32, 2., 3., 4., 5., 6.]);
        let op = Op::onnx("Split", 11).int("axis", -1).ints("split", &[2, 1]).outputs(2);
        let expected = [t(&[2, 2], &[1f32, 2., 4., 5.]), t(&[2, 1], &[3f32, 6.])];
        assert_eq!(op.run(std::slice::from_ref(&x)).unwrap(), expected);
        let op = Op::onnx("Split", 13).int("axis", 1).outputs(2);
        assert_eq!(op.run(&[x.clone(), t(&[2], &[2i64, 1])]).unwrap(), expected);
        assert!(op.run(std::slice::from_ref(&x)).is_err());
        let op = Op::onnx("Split", 18).int("axis", 1).int("num_outputs", 2).outputs(2);
        assert_eq!(op.run(std::slice::from_ref(&x)).unwrap(), expected);
        let op = Op::onnx("Split", 18).int("num_outputs", 4).outputs(4);
        let seven = t(&[7], &[0i32; 7]);
        let lens: Vec<usize> = op.run(&[seven]).unwrap().iter().map(Tensor::len).collect();
        assert_eq!(lens, [2, 2, 2, 1]);
        let op = Op::onnx("Split", 13).outputs(3);
        let parts = op.run(&[t::<f32>(&[0], &[]), t(&[3], &[0i64; 3])]).unwrap();
        assert!(parts.iter().all(|p| p.dims() == [0]));
    }

    #[test]
    fn sizes_that_do_not_fill_the_axis_are_refused() {
        let x = t(&[3], &[1f32, 2., 3.]);
        for sizes in [[1, 1], [-1, 4], [i64::MAX, i64::MAX]] {
            let op = Op::onnx("Split", 13).outputs(2);
            let e = op.run(&[x.clone(), t(&[2], &sizes)]).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::InvalidInput);
        }
        let op = Op::onnx("Split", 13).outputs(2).constant(&[1]);
        let e = op.run(&[x, t(&[1], &[3i64])]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidModel);
    }
}

//! Reading by index: Gather, GatherElements, GatherND.

use super::registry::{Entry, microsoft, onnx};
use super::row::same_type;
use super::transpose::check_text;
use super::{Context, Inputs, Kernel, OpSpec, Outputs, RowNumber, RowOp, RowShape, one};
use crate::error::{Result, ensure};
use crate::tensor::{Element, ElementType, Shape, Tensor, for_each_carrier};
use smallvec::{SmallVec, smallvec};

pub(super) const OPS: &[Entry] = &[
    onnx("Gather", 1, prepare_gather),
    onnx("GatherElements", 11, prepare_elements),
    onnx("GatherND", 11, prepare_nd),
    microsoft("GatherND", prepare_nd),
];

/// An index into an axis of `dim` elements; a negative one counts from the end.
pub(super) fn resolve_index(index: i64, dim: usize) -> Result<usize> {
    let at = if index < 0 { index.saturating_add(dim as i64) } else { index };
    ensure!(
        (0..dim as i64).contains(&at),
        InvalidInput,
        "index {index} is out of range for an axis of {dim}"
    );
    Ok(at as usize)
}

struct Gather {
    axis: i64,
    /// The columns that it picks of each row, where it does nothing else.
    columns: Option<Vec<i64>>,
}

fn prepare_gather(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    let axis = spec.attributes.int("axis", 0)?;
    let columns = match spec.constant(1) {
        Some(indices) if indices.dims().len() == 1 && matches!(axis, 1 | -1) => {
            Some(indices.to_i64_vec()?)
        }
        _ => None,
    };
    Ok(Box::new(Gather { axis, columns }))
}

impl Kernel for Gather {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (tensor, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let axis = tensor.shape().axis(self.axis)?;
        let (outer, dim, inner) = tensor.shape().split_at(axis);
        let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(&tensor.dims()[..axis]);
        dims.extend_from_slice(indices.dims());
        dims.extend_from_slice(&tensor.dims()[axis + 1..]);
        let shape = Shape::new(&dims)?;
        let at: SmallVec<[usize; 16]> = indices
            .to_i64_vec()?
            .into_iter()
            .map(|i| resolve_index(i, dim))
            .collect::<Result<_>>()?;
        check_text(ctx, tensor, shape.len())?;
        fn copy<T: Element>(v: &[T], at: &[usize], inner: usize, out: &mut Vec<T>) {
            if inner == 1 {
                out.extend(at.iter().map(|&i| v[i].clone()));
            } else {
                for &i in at {
                    out.extend_from_slice(&v[i * inner..(i + 1) * inner]);
                }
            }
        }
        for_each_carrier!(tensor.data(), v => {
            let mut out = ctx.buffer(shape.len())?;
            if shape.len() > 0 {
                for o in 0..outer {
                    copy(&v[o * dim * inner..(o + 1) * dim * inner], &at, inner, &mut out);
                }
            }
            one(Tensor::moved(shape, out, tensor.dtype())?)
        })
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        self.columns.is_some().then_some(self)
    }

    fn wide_row_op(&self) -> Option<&dyn RowOp<f64>> {
        self.columns.is_some().then_some(self)
    }
}

impl<T: RowNumber> RowOp<T> for Gather {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let (&[width], Some(columns)) = (inputs, &self.columns) else { return None };
        let fits = columns.iter().all(|&i| resolve_index(i, width).is_ok());
        fits.then_some(RowShape { width: columns.len(), classes: None })
    }

    fn typed(&self, inputs: &[ElementType]) -> Option<ElementType> {
        same_type(inputs)
    }

    fn run_rows(&self, rows: usize, inputs: &[&[T]], out: &mut [T], _: &mut [u32]) {
        if let (Some(columns), [x], 1..) = (&self.columns, inputs, rows) {
            let width = (x.len() / rows).max(1);
            for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(columns.len().max(1)))
            {
                for (o, &i) in out.iter_mut().zip(columns) {
                    if let Some(x) = resolve_index(i, width).ok().and_then(|i| row.get(i)) {
                        *o = *x;
                    }
                }
            }
        }
    }
}

/// For each element of `indices`, in order, the element of a tensor of shape `data` that has its
/// place but for `axis`, where the index says: what GatherElements reads and ScatterElements
/// writes.
pub(super) fn element_offsets(data: &Shape, indices: &Tensor, axis: i64) -> Result<Vec<usize>> {
    let axis = data.axis(axis)?;
    let shape = indices.shape();
    ensure!(
        shape.rank() == data.rank()
            && shape
                .dims()
                .iter()
                .zip(data.dims())
                .enumerate()
                .all(|(i, (a, b))| i == axis || a <= b),
        InvalidInput,
        "indices of shape {shape} do not fit data of shape {data} along axis {axis}"
    );
    let values = indices.to_i64_vec()?;
    let (strides, dim) = (data.strides(), data.dim(axis));
    let (along, last) = (strides[axis], shape.rank() - 1);
    let width = shape.dim(last);
    let mut place: SmallVec<[usize; 6]> = smallvec![0; shape.rank()];
    let mut offsets = Vec::with_capacity(values.len());
    if values.is_empty() {
        return Ok(offsets);
    }
    for row in values.chunks(width) {
        let base: usize = (0..last).filter(|&i| i != axis).map(|i| place[i] * strides[i]).sum();
        for (c, &index) in row.iter().enumerate() {
            let at = resolve_index(index, dim)? * along;
            offsets.push(base + at + if axis == last { 0 } else { c });
        }
        for i in (0..last).rev() {
            place[i] += 1;
            if place[i] < shape.dim(i) {
                break;
            }
            place[i] = 0;
        }
    }
    Ok(offsets)
}

/// How the index tuples of GatherND and ScatterND address their data.
pub(super) struct Tuples {
    /// The first element of each addressed block.
    pub offsets: Vec<usize>,
    /// Elements of one block.
    pub block: usize,
    /// The shape of all blocks together.
    pub shape: Shape,
}

/// Resolves index tuples (the last axis of `indices`) into a tensor of shape `data`; the first
/// `batch` axes of both are walked together.
pub(super) fn tuples(
    ctx: &Context<'_>,
    data: &Shape,
    indices: &Tensor,
    batch: usize,
) -> Result<Tuples> {
    let at = indices.shape();
    let Some((&k, lead)) = at.dims().split_last() else {
        crate::error::bail!(InvalidInput, "indices of rank 0 hold no index tuples");
    };
    ensure!(
        batch <= lead.len()
            && k <= data.rank().saturating_sub(batch)
            && batch <= data.rank()
            && lead[..batch] == data.dims()[..batch],
        InvalidInput,
        "indices of shape {at} do not address data of shape {data} ({batch} batch axes)"
    );
    let strides = data.strides();
    let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(lead);
    dims.extend_from_slice(&data.dims()[batch + k..]);
    let shape = Shape::new(&dims)?;
    let count: usize = Shape::new(lead)?.len();
    let entries: usize = lead[..batch].iter().product();
    let per_entry = count.checked_div(entries).unwrap_or(1).max(1);
    let step: usize = data.dims()[batch..].iter().product();
    let block = data.dims()[batch + k..].iter().product();
    let values = indices.to_i64_vec()?;
    let mut offsets = Vec::new();
    if block > 0 {
        // Empty tuples take no room in the indices: any number of them may stand there.
        ctx.shape_of::<i64>(&[count])?;
        offsets.reserve(count);
        for i in 0..count {
            let mut offset = i / per_entry * step;
            for j in 0..k {
                let index = resolve_index(values[i * k + j], data.dim(batch + j))?;
                offset += index * strides[batch + j];
            }
            offsets.push(offset);
        }
    }
    Ok(Tuples { offsets, block, shape })
}

struct GatherElements {
    axis: i64,
}

fn prepare_elements(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    Ok(Box::new(GatherElements { axis: spec.attributes.int("axis", 0)? }))
}

impl Kernel for GatherElements {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (tensor, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let offsets = element_offsets(tensor.shape(), indices, self.axis)?;
        check_text(ctx, tensor, offsets.len())?;
        fn read<T: Element>(v: &[T], offsets: &[usize], out: &mut Vec<T>) {
            out.extend(offsets.iter().map(|&i| v[i].clone()));
        }
        for_each_carrier!(tensor.data(), v => {
            let mut out = ctx.buffer(offsets.len())?;
            read(v, &offsets, &mut out);
            one(Tensor::moved(indices.shape().clone(), out, tensor.dtype())?)
        })
    }
}

struct GatherNd {
    batch: usize,
}

fn prepare_nd(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    let batch = spec.attributes.int("batch_dims", 0)?;
    match usize::try_from(batch) {
        Ok(batch) => Ok(Box::new(GatherNd { batch })),
        Err(_) => Err(spec.invalid(format_args!("batch_dims is {batch}"))),
    }
}

impl Kernel for GatherNd {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.tensor(0)?;
        let indices = inputs.tensor(1)?;
        let Tuples { offsets, block, shape } = tuples(ctx, tensor.shape(), indices, self.batch)?;
        check_text(ctx, tensor, shape.len())?;
        for_each_carrier!(tensor.data(), v => {
            let mut out = ctx.buffer(shape.len())?;
            if shape.len() > 0 {
                for &at in &offsets {
                    out.extend_from_slice(&v[at..at + block]);
                }
            }
            one(Tensor::moved(shape, out, tensor.dtype())?)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, strings, t};

    #[test]
    fn gather_along_axes() {
        let x = t(&[2, 3], &[1f32, 2., 3., 4., 5., 6.]);
        let op = |axis| Op::onnx("Gather", 13).int("axis", axis);
        let y = op(1).run1(&[x.clone(), t(&[2, 2], &[0i64, -1, 1, 1])]);
        assert_eq!(y, t(&[2, 2, 2], &[1f32, 3., 2., 2., 4., 6., 5., 5.]));
        assert_eq!(op(0).run1(&[x.clone(), t(&[], &[-2i32])]), t(&[3], &[1f32, 2., 3.]));
        assert_eq!(op(0).run1(&[x.clone(), t::<i64>(&[0], &[])]).dims(), [0, 3]);
        for bad in [3i64, -4, i64::MIN, i64::MAX] {
            assert!(op(-1).run(&[x.clone(), t(&[1], &[bad])]).is_err());
        }
        assert!(op(0).run(&[t::<f32>(&[0, 3], &[]), t(&[1], &[0i64])]).is_err());
        let s = strings(&[2], &["a", "b"]);
        assert_eq!(op(0).run1(&[s, t(&[2], &[1i64, 0])]), strings(&[2], &["b", "a"]));
    }

    #[test]
    fn gather_elements_keeps_the_other_places() {
        let x = t(&[3, 3], &[1i64, 2, 3, 4, 5, 6, 7, 8, 9]);
        let y =
            Op::onnx("GatherElements", 13).run1(&[x.clone(), t(&[2, 3], &[1i64, 2, 0, -1, 0, 0])]);
        assert_eq!(y, t(&[2, 3], &[4i64, 8, 3, 7, 2, 3]));
        let op = Op::onnx("GatherElements", 13).int("axis", -1);
        let y = op.run1(&[x.clone(), t(&[2, 1], &[2i32, 0])]);
        assert_eq!(y, t(&[2, 1], &[3i64, 4]));
        assert!(op.run(&[x.clone(), t(&[4, 1], &[0i64; 4])]).is_err());
        assert!(op.run(&[x, t(&[1], &[0i64])]).is_err());
    }

    #[test]
    fn gather_nd_with_and_without_batches() {
        let x = t(&[2, 2, 2], &[0i64, 1, 2, 3, 4, 5, 6, 7]);
        let op = Op::onnx("GatherND", 13);
        let y = op.run1(&[x.clone(), t(&[2, 2], &[0i64, 1, 1, 0])]);
        assert_eq!(y, t(&[2, 2], &[2i64, 3, 4, 5]));
        let op = Op::onnx("GatherND", 13).int("batch_dims", 1);
        let y = op.run1(&[x.clone(), t(&[2, 1], &[1i64, 0])]);
        assert_eq!(y, t(&[2, 2], &[2i64, 3, 4, 5]));
        for bad in [t(&[2, 3], &[0i64; 6]), t(&[3, 1], &[0i64; 3]), t(&[], &[0i64])] {
            assert!(op.run(&[x.clone(), bad]).is_err());
        }
        let none = t::<i64>(&[1 << 20, 0], &[]);
        let y = Op::onnx("GatherND", 13).run(&[t::<f32>(&[0], &[]), none]).unwrap();
        assert_eq!(y[0].dims(), [1 << 20, 0]);
    }
}

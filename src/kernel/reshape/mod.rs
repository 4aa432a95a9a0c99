//! Operators that only relabel a tensor: Reshape, Flatten, Squeeze, Unsqueeze, Identity, Dropout, Shape, Size.

mod dropout;
mod expand_dims;
mod ints;

pub(super) use ints::Ints;

use super::registry::{Entry, microsoft, onnx};
use super::row::same_type;
use super::{Context, Inputs, Kernel, OpSpec, Outputs, RowNumber, RowOp, RowShape, one};
use crate::error::{Result, bail, ensure, err};
use crate::tensor::shape::resolve_axis;
use crate::tensor::{ElementType, Shape, Tensor};
use smallvec::{SmallVec, smallvec};

pub(super) const OPS: &[Entry] = &[
    onnx("Dropout", 1, dropout::prepare),
    onnx("Flatten", 1, prepare_flatten),
    onnx("Identity", 1, prepare_identity),
    onnx("Reshape", 5, prepare_reshape),
    onnx("Shape", 1, prepare_shape),
    onnx("Size", 1, prepare_size),
    onnx("Squeeze", 1, prepare_squeeze),
    onnx("Unsqueeze", 1, prepare_unsqueeze),
    microsoft("ExpandDims", expand_dims::prepare),
];

/// A kernel that hands its rows on as they are.
fn copy_rows<T: RowNumber>(rows: usize, inputs: &[&[T]], out: &mut [T]) {
    if let Some(x) = inputs.first()
        && x.len() == out.len()
        && rows > 0
    {
        out.copy_from_slice(x);
    }
}

struct Reshape {
    shape: Ints,
    allow_zero: bool,
}

fn check_target(target: &[i64], allow_zero: bool) -> Result<()> {
    let unknown = target.iter().filter(|&&d| d == -1).count();
    ensure!(
        unknown <= 1 && target.iter().all(|&d| d >= -1),
        InvalidInput,
        "Reshape: shape {target:?} (dimensions are 0 or more, and -1 at most once)"
    );
    ensure!(
        !(allow_zero && unknown == 1 && target.contains(&0)),
        InvalidInput,
        "Reshape: shape {target:?} holds both 0 and -1 although allowzero is set"
    );
    Ok(())
}

fn prepare_reshape(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    let allow_zero = spec.version >= 14 && spec.attributes.flag("allowzero", false)?;
    let shape = Ints::input(spec, 1)?;
    if let Ints::Known(target) = &shape {
        check_target(target, allow_zero).map_err(|e| spec.invalid(e))?;
    }
    Ok(Box::new(Reshape { shape, allow_zero }))
}

/// The shape that `target` means for a tensor of shape `from`.
fn resolve(from: &Shape, target: &[i64], allow_zero: bool) -> Result<Shape> {
    check_target(target, allow_zero)?;
    let mismatch =
        || err!(InvalidInput, "Reshape: a tensor of shape {from} does not fit shape {target:?}");
    let mut dims: SmallVec<[usize; 6]> = SmallVec::new();
    let mut unknown = None;
    for (i, &d) in target.iter().enumerate() {
        dims.push(match d {
            0 if !allow_zero => {
                ensure!(
                    i < from.rank(),
                    InvalidInput,
                    "Reshape: shape {target:?} copies dimension {i} of a tensor of shape {from}"
                );
                from.dim(i)
            }
            -1 => {
                unknown = Some(i);
                1
            }
            d => usize::try_from(d).map_err(|_| mismatch())?,
        });
    }
    if let Some(at) = unknown {
        let known = Shape::new(&dims)?.len();
        let dim = if known > 0 {
            (from.len().is_multiple_of(known)).then(|| from.len() / known)
        } else {
            // An empty batch copied by a 0: the other dimensions still say what -1 is.
            let product = |d: &[usize]| d.iter().map(|&d| d.max(1)).product::<usize>();
            let (all, known) = (product(from.dims()), product(&dims));
            (from.len() == 0 && all.is_multiple_of(known)).then(|| all / known)
        };
        dims[at] = dim.ok_or_else(mismatch)?;
    }
    let shape = Shape::new(&dims)?;
    ensure!(shape.len() == from.len(), InvalidInput, "{}", mismatch());
    Ok(shape)
}

impl Kernel for Reshape {
    fn run(&self, _: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let Some(target) = self.shape.get(inputs)? else {
            bail!(InvalidInput, "Reshape: the shape is missing");
        };
        let tensor = inputs.take_tensor(0)?;
        let shape = resolve(tensor.shape(), &target, self.allow_zero)?;
        one(tensor.reshaped(shape)?)
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        match &self.shape {
            Ints::Known(target) if target.len() == 2 && !self.allow_zero => Some(self),
            _ => None,
        }
    }

    fn wide_row_op(&self) -> Option<&dyn RowOp<f64>> {
        self.row_op().map(|_| self as &dyn RowOp<f64>)
    }
}

impl<T: RowNumber> RowOp<T> for Reshape {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let (&[width], Ints::Known(target)) = (inputs, &self.shape) else { return None };
        let keeps = match target[..] {
            [-1, w] => width > 0 && (w == 0 || usize::try_from(w) == Ok(width)),
            [0, w] => w == -1 || w == 0 || usize::try_from(w) == Ok(width),
            _ => false,
        };
        keeps.then_some(RowShape { width, classes: None })
    }

    fn run_rows(&self, rows: usize, inputs: &[&[T]], out: &mut [T], _: &mut [u32]) {
        copy_rows(rows, inputs, out);
    }

    fn typed(&self, inputs: &[ElementType]) -> Option<ElementType> {
        same_type(inputs)
    }

    fn keeps(&self, _: ElementType) -> bool {
        true
    }
}

struct Flatten {
    axis: i64,
}

fn prepare_flatten(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    Ok(Box::new(Flatten { axis: spec.attributes.int("axis", 1)? }))
}

impl Kernel for Flatten {
    fn run(&self, _: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.take_tensor(0)?;
        let rank = tensor.shape().rank();
        // The axis may stand behind the last one, too.
        let axis = if self.axis == rank as i64 { rank } else { tensor.shape().axis(self.axis)? };
        let (before, after) = tensor.dims().split_at(axis);
        let shape = Shape::new(&[before.iter().product(), after.iter().product()])?;
        one(tensor.reshaped(shape)?)
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        (self.axis == 1).then_some(self)
    }

    fn wide_row_op(&self) -> Option<&dyn RowOp<f64>> {
        (self.axis == 1).then_some(self)
    }
}

impl<T: RowNumber> RowOp<T> for Flatten {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let &[width] = inputs else { return None };
        Some(RowShape { width, classes: None })
    }

    fn run_rows(&self, rows: usize, inputs: &[&[T]], out: &mut [T], _: &mut [u32]) {
        copy_rows(rows, inputs, out);
    }

    fn typed(&self, inputs: &[ElementType]) -> Option<ElementType> {
        same_type(inputs)
    }

    fn keeps(&self, _: ElementType) -> bool {
        true
    }
}

/// Marks the axes `axes` of a tensor of rank `rank`, each at most once.
pub(super) fn mark_axes(axes: &[i64], rank: usize) -> Result<SmallVec<[bool; 6]>> {
    let mut marked: SmallVec<[bool; 6]> = smallvec![false; rank];
    for &axis in axes {
        let at = resolve_axis(axis, rank)?;
        ensure!(!marked[at], InvalidInput, "axes {axes:?} name axis {at} twice");
        marked[at] = true;
    }
    Ok(marked)
}

struct Squeeze {
    axes: Ints,
}

fn prepare_squeeze(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=if spec.version < 13 { 1 } else { 2 })?;
    Ok(Box::new(Squeeze { axes: Ints::moved(spec, "axes", 1, 13)? }))
}

impl Kernel for Squeeze {
    fn run(&self, _: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let axes = self.axes.get(inputs)?;
        let tensor = inputs.take_tensor(0)?;
        let shape = tensor.shape();
        let drop = match &axes {
            None => shape.dims().iter().map(|&d| d == 1).collect(),
            Some(axes) => mark_axes(axes, shape.rank())?,
        };
        let mut dims: SmallVec<[usize; 6]> = SmallVec::new();
        for (i, (&dim, drop)) in shape.dims().iter().zip(drop).enumerate() {
            if drop {
                ensure!(dim == 1, InvalidInput, "Squeeze: axis {i} of shape {shape} is not 1");
            } else {
                dims.push(dim);
            }
        }
        let shape = Shape::new(&dims)?;
        one(tensor.reshaped(shape)?)
    }
}

struct Unsqueeze {
    axes: Ints,
}

fn prepare_unsqueeze(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    let n = if spec.version < 13 { 1 } else { 2 };
    spec.arity(n..=n)?;
    let axes = Ints::moved(spec, "axes", 1, 13)?;
    ensure!(!matches!(axes, Ints::Absent), InvalidModel, "Unsqueeze: axes are missing");
    Ok(Box::new(Unsqueeze { axes }))
}

impl Kernel for Unsqueeze {
    fn run(&self, _: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let axes = self.axes.get(inputs)?.unwrap_or_default();
        let tensor = inputs.take_tensor(0)?;
        let rank = tensor.shape().rank().saturating_add(axes.len());
        ensure!(
            rank <= crate::limits::MAX_RANK,
            LimitExceeded,
            "Unsqueeze: a result of rank {rank} (at most {})",
            crate::limits::MAX_RANK
        );
        let added = mark_axes(&axes, rank)?;
        let mut old = tensor.dims().iter();
        let dims: SmallVec<[usize; 6]> = added
            .iter()
            .map(|&added| if added { 1 } else { old.next().copied().unwrap_or(1) })
            .collect();
        let shape = Shape::new(&dims)?;
        one(tensor.reshaped(shape)?)
    }
}

struct Identity;

fn prepare_identity(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    Ok(Box::new(Identity))
}

impl Kernel for Identity {
    fn run(&self, _: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        one(inputs.take(0)?)
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        Some(self)
    }

    fn wide_row_op(&self) -> Option<&dyn RowOp<f64>> {
        Some(self)
    }
}

impl<T: RowNumber> RowOp<T> for Identity {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let &[width] = inputs else { return None };
        Some(RowShape { width, classes: None })
    }

    fn run_rows(&self, rows: usize, inputs: &[&[T]], out: &mut [T], _: &mut [u32]) {
        copy_rows(rows, inputs, out);
    }

    fn typed(&self, inputs: &[ElementType]) -> Option<ElementType> {
        same_type(inputs)
    }

    fn keeps(&self, _: ElementType) -> bool {
        true
    }
}

struct ShapeOf {
    start: i64,
    end: i64,
}

fn prepare_shape(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let (mut start, mut end) = (0, i64::MAX);
    if spec.version >= 15 {
        start = spec.attributes.int("start", start)?;
        end = spec.attributes.int("end", end)?;
    }
    Ok(Box::new(ShapeOf { start, end }))
}

impl Kernel for ShapeOf {
    fn run(&self, _: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let dims = inputs.tensor(0)?.dims();
        let rank = dims.len() as i64;
        let clamp = |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank);
        let (start, end) = (clamp(self.start) as usize, clamp(self.end) as usize);
        let part = dims.get(start..end).unwrap_or(&[]);
        one(Tensor::from_vec(&[part.len()], part.iter().map(|&d| d as i64).collect())?)
    }
}

struct Size;

fn prepare_size(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    Ok(Box::new(Size))
}

impl Kernel for Size {
    fn run(&self, _: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        one(Tensor::scalar(inputs.tensor(0)?.len() as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::{Flatten, Ints, Kernel, Reshape, RowOp};
    use crate::error::ErrorKind;
    use crate::kernel::testing::{Op, t};
    use crate::tensor::{Tensor, Value};

    fn zeros(dims: &[usize]) -> Tensor {
        Tensor::from_vec(dims, vec![0f32; dims.iter().product()]).unwrap()
    }

    fn ints(v: &[i64]) -> Tensor {
        t(&[v.len()], v)
    }

    #[test]
    fn reshape_reads_zero_and_minus_one() {
        for (from, to, expected) in [
            (&[2, 3, 4][..], &[4, 2, 3][..], &[4, 2, 3][..]),
            (&[2, 3, 4], &[2, -1, 2], &[2, 6, 2]),
            (&[2, 3, 4], &[2, 0, 4, 1], &[2, 3, 4, 1]),
            (&[2, 3, 4], &[2, 0, 1, -1], &[2, 3, 1, 4]),
            (&[0, 3, 4], &[0, -1], &[0, 12]),
            (&[0, 4], &[-1, 2], &[0, 2]),
            (&[1], &[], &[]),
        ] {
            for constant in [&[][..], &[1]] {
                let op = Op::onnx("Reshape", 13).constant(constant);
                assert_eq!(op.run1(&[zeros(from), ints(to)]).dims(), expected, "{from:?} {to:?}");
            }
        }
        let op = Op::onnx("Reshape", 14).int("allowzero", 1);
        assert_eq!(op.run1(&[zeros(&[0, 3, 4]), ints(&[3, 4, 0])]).dims(), [3, 4, 0]);
        assert!(op.run(&[zeros(&[0, 3]), ints(&[0, -1])]).is_err());
        for to in [&[-1, -1][..], &[-2, 3], &[5], &[4, -1], &[0, 0, 0], &[i64::MAX, i64::MAX]] {
            assert!(Op::onnx("Reshape", 13).run(&[zeros(&[2, 3]), ints(to)]).is_err(), "{to:?}");
        }
        let e = Op::onnx("Reshape", 13).constant(&[1]).run(&[zeros(&[6]), ints(&[-1, -1])]);
        assert_eq!(e.unwrap_err().kind(), ErrorKind::InvalidModel);
    }

    #[test]
    fn a_reshape_that_keeps_rows_is_a_row_operator() {
        for (target, keeps) in [
            ([-1, 3], true),
            ([0, -1], true),
            ([0, 3], true),
            ([-1, 0], true),
            ([-1, 6], false),
            ([3, -1], false),
            ([0, 2], false),
        ] {
            let op = Reshape { shape: Ints::Known(target.to_vec()), allow_zero: false };
            let row = op.row_op().and_then(|r| r.shape(&[3]));
            assert_eq!(row.is_some(), keeps, "{target:?}");
        }
        let op = Reshape { shape: Ints::Known(vec![-1, 3]), allow_zero: false };
        let mut out = [0f32; 6];
        op.run_rows(2, &[&[1., 2., 3., 4., 5., 6.]], &mut out, &mut []);
        assert_eq!(out, [1., 2., 3., 4., 5., 6.]);
        assert!(Flatten { axis: 1 }.row_op().is_some());
        assert!(Flatten { axis: 0 }.row_op().is_none());
    }

    #[test]
    fn relabelling_shares_the_buffer() {
        let x = zeros(&[2, 3]);
        let at = x.as_slice::<f32>().unwrap().as_ptr();
        for y in [
            Op::onnx("Reshape", 13).run1(&[x.clone(), ints(&[6])]),
            Op::onnx("Flatten", 13).int("axis", 0).run1(std::slice::from_ref(&x)),
            Op::onnx("Unsqueeze", 13).run1(&[x.clone(), ints(&[0])]),
            Op::onnx("Identity", 13).run1(std::slice::from_ref(&x)),
            Op::onnx("Dropout", 13).run1(std::slice::from_ref(&x)),
        ] {
            assert_eq!(y.as_slice::<f32>().unwrap().as_ptr(), at);
        }
    }

    #[test]
    fn flatten_takes_every_axis() {
        for (axis, expected) in [(0, [1, 24]), (1, [2, 12]), (3, [24, 1]), (-1, [6, 4])] {
            let y = Op::onnx("Flatten", 13).int("axis", axis).run1(&[zeros(&[2, 3, 4])]);
            assert_eq!(y.dims(), expected);
        }
        assert!(Op::onnx("Flatten", 13).int("axis", 4).run(&[zeros(&[2, 3, 4])]).is_err());
        assert_eq!(Op::onnx("Flatten", 13).int("axis", 0).run1(&[zeros(&[])]).dims(), [1, 1]);
    }

    #[test]
    fn squeeze_and_unsqueeze_take_attributes_or_inputs() {
        let x = zeros(&[1, 3, 1, 5]);
        assert_eq!(
            Op::onnx("Squeeze", 11).ints("axes", &[-2]).run1(std::slice::from_ref(&x)).dims(),
            [1, 3, 5]
        );
        assert_eq!(Op::onnx("Squeeze", 13).run1(&[x.clone(), ints(&[0])]).dims(), [3, 1, 5]);
        assert_eq!(Op::onnx("Squeeze", 13).run1(std::slice::from_ref(&x)).dims(), [3, 5]);
        assert!(Op::onnx("Squeeze", 13).run(&[x.clone(), ints(&[1])]).is_err());
        assert!(Op::onnx("Squeeze", 13).run(&[x.clone(), ints(&[0, -4])]).is_err());
        let x = zeros(&[3, 4]);
        let y = Op::onnx("Unsqueeze", 11).ints("axes", &[0, 3]).run1(std::slice::from_ref(&x));
        assert_eq!(y.dims(), [1, 3, 4, 1]);
        let y = Op::onnx("Unsqueeze", 13).run1(&[x.clone(), ints(&[-1, 1])]);
        assert_eq!(y.dims(), [3, 1, 4, 1]);
        assert!(Op::onnx("Unsqueeze", 13).run(&[x.clone(), ints(&[0, -4])]).is_err());
        assert!(Op::onnx("Unsqueeze", 13).run(&[x, ints(&[5])]).is_err());
    }

    #[test]
    fn identity_passes_sequences() {
        let seq = Value::Sequence(vec![zeros(&[2]).into()]);
        let got = Op::onnx("Identity", 16).run_values(&[Some(seq.clone())]).unwrap();
        assert_eq!(got, [seq]);
    }

    #[test]
    fn shape_clamps_its_ends() {
        let x = zeros(&[3, 4, 5]);
        assert_eq!(Op::onnx("Shape", 13).run1(std::slice::from_ref(&x)), ints(&[3, 4, 5]));
        for (start, end, expected) in [
            (1, i64::MAX, &[4, 5][..]),
            (-1, 3, &[5]),
            (0, -1, &[3, 4]),
            (i64::MIN, 1, &[3]),
            (2, 1, &[]),
        ] {
            let op = Op::onnx("Shape", 15).int("start", start).int("end", end);
            assert_eq!(op.run1(std::slice::from_ref(&x)), ints(expected));
        }
        assert_eq!(Op::onnx("Size", 13).run1(&[x]), Tensor::scalar(60i64));
    }
}

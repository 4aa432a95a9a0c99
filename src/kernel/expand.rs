//! Repeating and choosing by broadcast: Expand, Tile, Where.

use super::elementwise::operands::Operands;
use super::registry::{Entry, onnx};
use super::reshape::Ints;
use super::transpose::{View, check_text};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, RowNumber, RowOp, RowShape, one};
use crate::error::{Result, bail, ensure};
use crate::tensor::{Carrier, ElementType, Shape, Tensor, for_each_carrier};
use smallvec::{SmallVec, smallvec};

pub(super) const OPS: &[Entry] = &[
    onnx("Expand", 8, prepare_expand),
    onnx("Tile", 6, prepare_tile),
    onnx("Where", 9, prepare_where),
];

struct Expand {
    shape: Ints,
}

fn prepare_expand(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    Ok(Box::new(Expand { shape: Ints::input(spec, 1)? }))
}

/// The strides at which `from` is walked to fill `to`, to which it broadcasts: 0 along an axis
/// that is repeated.
fn broadcast_strides(from: &Shape, to: &Shape) -> SmallVec<[usize; 6]> {
    let lead = to.rank() - from.rank();
    let mut strides: SmallVec<[usize; 6]> = smallvec![0; to.rank()];
    for (i, &stride) in from.strides().iter().enumerate() {
        if from.dim(i) != 1 {
            strides[lead + i] = stride;
        }
    }
    strides
}

/// `tensor` broadcast to `shape`, to which it fits.
fn expand(ctx: &mut Context<'_>, tensor: &Tensor, shape: Shape) -> Result<Tensor> {
    let mut view = View::new(0);
    for (&dim, stride) in shape.dims().iter().zip(broadcast_strides(tensor.shape(), &shape)) {
        view.push(dim, stride as isize);
    }
    view.tensor(ctx, tensor, shape)
}

impl Kernel for Expand {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let target = self.shape.get(inputs)?.unwrap_or_default();
        let tensor = inputs.tensor(0)?;
        let mut dims: SmallVec<[usize; 6]> = SmallVec::new();
        for &d in target.iter() {
            match usize::try_from(d) {
                Ok(d) => dims.push(d),
                Err(_) => bail!(InvalidInput, "Expand: dimension {d} in shape {target:?}"),
            }
        }
        let shape = tensor.shape().broadcast(&Shape::new(&dims)?)?;
        one(expand(ctx, tensor, shape)?)
    }
}

struct Tile {
    repeats: Ints,
}

fn prepare_tile(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    Ok(Box::new(Tile { repeats: Ints::input(spec, 1)? }))
}

impl Kernel for Tile {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let repeats = self.repeats.get(inputs)?.unwrap_or_default();
        let tensor = inputs.tensor(0)?;
        let from = tensor.shape();
        ensure!(
            repeats.len() == from.rank(),
            InvalidInput,
            "Tile: {} repeats for a tensor of shape {from}",
            repeats.len()
        );
        let mut view = View::new(0);
        let mut dims: SmallVec<[usize; 6]> = SmallVec::new();
        for ((&dim, &stride), &n) in from.dims().iter().zip(&from.strides()).zip(repeats.iter()) {
            let Some(n) = usize::try_from(n).ok().filter(|n| dim.checked_mul(*n).is_some()) else {
                bail!(InvalidInput, "Tile: repeats {repeats:?} of a tensor of shape {from}");
            };
            view.push(n, 0);
            view.push(dim, stride as isize);
            dims.push(dim * n);
        }
        let shape = Shape::new(&dims)?;
        one(view.tensor(ctx, tensor, shape)?)
    }
}

struct Where {
    operands: Operands<3>,
}

fn prepare_where(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=3)?;
    Ok(Box::new(Where { operands: Operands::new(spec) }))
}

impl Kernel for Where {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (condition, x, y) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
        ensure!(
            x.dtype() == y.dtype(),
            InvalidInput,
            "Where: X is {}, Y is {}",
            x.dtype(),
            y.dtype()
        );
        let shape = condition.shape().broadcast(x.shape())?.broadcast(y.shape())?;
        check_text(ctx, x, shape.len())?;
        check_text(ctx, y, shape.len())?;
        let chosen = condition.as_slice::<bool>()?;
        for_each_carrier!(x.data(), v => {
            let out = choose(ctx, (condition.shape(), chosen), (x.shape(), v), y, &shape)?;
            one(Tensor::moved(shape, out, x.dtype())?)
        })
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        let fits = self.operands.is_input(0) && self.operands.fits::<f32>();
        fits.then_some(self as &dyn RowOp)
    }

    fn wide_row_op(&self) -> Option<&dyn RowOp<f64>> {
        let fits = self.operands.is_input(0) && self.operands.fits::<f64>();
        fits.then_some(self as &dyn RowOp<f64>)
    }
}

impl<T: RowNumber> RowOp<T> for Where {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        Some(RowShape { width: self.operands.width(inputs)?, classes: None })
    }

    fn typed(&self, inputs: &[ElementType]) -> Option<ElementType> {
        let (condition, rest) = inputs.split_first()?;
        let fits = *condition == ElementType::Bool && rest.iter().all(|&t| t == T::TYPE);
        fits.then_some(T::TYPE)
    }

    fn run_rows(&self, rows: usize, inputs: &[&[T]], out: &mut [T], _: &mut [u32]) {
        let Some(operands) = self.operands.rows(rows, inputs) else { return };
        let width = operands.iter().map(|o| o.width).max().unwrap_or(1).max(1);
        for (i, out) in out.chunks_exact_mut(width).enumerate() {
            // An operand of one value is read over and over.
            let [chosen, x, y] = operands.map(|o| o.row(i).iter().cycle());
            for (o, ((&chosen, &x), &y)) in out.iter_mut().zip(chosen.zip(x).zip(y)) {
                *o = if chosen == T::default() { y } else { x };
            }
        }
    }
}

fn choose<T: Carrier>(
    ctx: &mut Context<'_>,
    (c_shape, c): (&Shape, &[bool]),
    (x_shape, x): (&Shape, &[T]),
    y: &Tensor,
    shape: &Shape,
) -> Result<Vec<T>> {
    let elements = y.carried::<T>(y.dtype())?;
    let (y_shape, y): (&Shape, &[T]) = (y.shape(), &elements);
    let mut out = ctx.buffer(shape.len())?;
    if shape.len() == 0 {
        return Ok(out);
    }
    if c_shape == shape && x_shape == shape && y_shape == shape {
        out.extend(c.iter().zip(x).zip(y).map(|((&c, x), y)| if c { x } else { y }.clone()));
        return Ok(out);
    }
    let steps = [c_shape, x_shape, y_shape].map(|s| broadcast_strides(s, shape));
    let last = shape.rank().saturating_sub(1);
    let width = shape.dim(last);
    let step = steps.each_ref().map(|s| s.get(last).copied().unwrap_or(0));
    let mut index: SmallVec<[usize; 6]> = smallvec![0; last];
    for _ in 0..shape.len() / width {
        let base = steps
            .each_ref()
            .map(|s| index.iter().zip(s).map(|(&i, &stride)| i * stride).sum::<usize>());
        for i in 0..width {
            let from = |k: usize| base[k] + i * step[k];
            out.push(if c[from(0)] { x[from(1)].clone() } else { y[from(2)].clone() });
        }
        for axis in (0..last).rev() {
            index[axis] += 1;
            if index[axis] < shape.dim(axis) {
                break;
            }
            index[axis] = 0;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, strings, t};
    use crate::tensor::Tensor;

    #[test]
    fn expand_broadcasts_both_ways() {
        let x = t(&[3, 1], &[1i64, 2, 3]);
        let op = Op::onnx("Expand", 13);
        let y = op.run1(&[x.clone(), t(&[3], &[2i64, 1, 2])]);
        assert_eq!(y, t(&[2, 3, 2], &[1i64, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3]));
        assert_eq!(op.run1(&[x.clone(), t(&[1], &[1i64])]), x);
        assert_eq!(op.run1(&[x.clone(), t(&[2], &[3i64, 0])]).dims(), [3, 0]);
        assert_eq!(op.run1(&[Tensor::scalar(7f32), t(&[1], &[3i64])]), t(&[3], &[7f32; 3]));
        for bad in [t(&[1], &[-1i64]), t(&[2], &[2i64, 2]), t(&[2], &[i64::MAX; 2])] {
            assert!(op.run(&[x.clone(), bad]).is_err());
        }
        let long = strings(&[1], &["x".repeat(5000).as_str()]);
        assert!(op.run(&[long, t(&[1], &[1i64 << 20])]).is_err());
    }

    #[test]
    fn tile_repeats_each_axis() {
        let x = t(&[2, 2], &[1i64, 2, 3, 4]);
        let op = Op::onnx("Tile", 13);
        let y = op.run1(&[x.clone(), t(&[2], &[2i64, 2])]);
        assert_eq!(y, t(&[4, 4], &[1i64, 2, 1, 2, 3, 4, 3, 4, 1, 2, 1, 2, 3, 4, 3, 4]));
        assert_eq!(op.run1(&[x.clone(), t(&[2], &[1i64, 0])]).dims(), [2, 0]);
        for bad in [t(&[1], &[1i64]), t(&[2], &[-1i64, 1]), t(&[2], &[i64::MAX; 2])] {
            assert!(op.run(&[x.clone(), bad]).is_err());
        }
    }

    #[test]
    fn where_broadcasts_three_ways() {
        let c = t(&[2, 1], &[true, false]);
        let (x, y) = (t(&[3], &[1f32, 2., 3.]), Tensor::scalar(9f32));
        let op = Op::onnx("Where", 16);
        assert_eq!(op.run1(&[c.clone(), x.clone(), y]), t(&[2, 3], &[1f32, 2., 3., 9., 9., 9.]));
        let (a, b) = (strings(&[2, 1], &["a", "b"]), strings(&[2, 1], &["c", "d"]));
        assert_eq!(op.run1(&[c.clone(), a, b]), strings(&[2, 1], &["a", "d"]));
        assert!(op.run(&[c.clone(), x.clone(), t(&[3], &[1i64; 3])]).is_err());
        assert!(op.run(&[c, x, t(&[2], &[1f32; 2])]).is_err());
        let yes = Tensor::scalar(true);
        assert_eq!(op.run1(&[yes, Tensor::scalar(1i8), Tensor::scalar(2i8)]), Tensor::scalar(1i8));
    }
}

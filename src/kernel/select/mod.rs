//! Operators whose output size depends on the data: TopK, NonZero, Compress, Unique.

mod order;
mod top_k;
mod unique;

use super::registry::{Entry, microsoft, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::error::{Result, ensure};
use crate::tensor::{Element, Shape, Tensor, for_each_carrier, for_each_type};
use smallvec::SmallVec;

pub(super) const OPS: &[Entry] = &[
    onnx("Compress", 9, prepare_compress),
    onnx("NonZero", 9, prepare_non_zero),
    onnx("TopK", 1, top_k::prepare),
    onnx("Unique", 11, unique::prepare),
    microsoft("Unique", unique::prepare_in_order),
];

/// The elements at places `at` of `axis`.
fn pick(ctx: &mut Context<'_>, tensor: &Tensor, axis: usize, at: &[usize]) -> Result<Tensor> {
    let (outer, dim, inner) = tensor.shape().split_at(axis);
    let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(tensor.dims());
    dims[axis] = at.len();
    let shape = Shape::new(&dims)?;
    for_each_carrier!(tensor.data(), v => {
        let mut out = ctx.buffer(shape.len())?;
        if shape.len() > 0 {
            for o in 0..outer {
                for &i in at {
                    let from = (o * dim + i) * inner;
                    out.extend_from_slice(&v[from..from + inner]);
                }
            }
        }
        Tensor::moved(shape, out, tensor.dtype())
    })
}

struct NonZero;

fn prepare_non_zero(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    Ok(Box::new(NonZero))
}

impl Kernel for NonZero {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.tensor(0)?;
        // Every type's default is its zero (false, the empty string).
        fn places<T: Element>(v: &[T]) -> Vec<usize> {
            let zero = T::default();
            v.iter().enumerate().filter(|(_, x)| **x != zero).map(|(i, _)| i).collect()
        }
        let found = for_each_type!(tensor.data(), v => places(v));
        let shape = ctx.shape_of::<i64>(&[tensor.shape().rank(), found.len()])?;
        let mut out = ctx.buffer::<i64>(shape.len())?;
        for (stride, dim) in tensor.shape().strides().iter().zip(tensor.dims()) {
            out.extend(found.iter().map(|i| (i / stride % dim) as i64));
        }
        one(ctx.tensor(shape, out)?)
    }
}

/// The tensor and the axis to choose along; without one, all its elements in a line.
fn along(tensor: &Tensor, axis: Option<i64>) -> Result<(Tensor, usize)> {
    match axis {
        Some(axis) => Ok((tensor.clone(), tensor.shape().axis(axis)?)),
        None => Ok((tensor.clone().reshaped(Shape::new(&[tensor.len()])?)?, 0)),
    }
}

struct Compress {
    axis: Option<i64>,
}

fn prepare_compress(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    Ok(Box::new(Compress { axis: spec.attributes.int_opt("axis")? }))
}

impl Kernel for Compress {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let condition = inputs.tensor(1)?;
        ensure!(
            condition.shape().rank() == 1,
            InvalidInput,
            "Compress: condition of shape {}, expected one axis",
            condition.shape()
        );
        let (tensor, axis) = along(inputs.tensor(0)?, self.axis)?;
        let chosen = condition.as_slice::<bool>()?.iter().enumerate();
        let at: Vec<usize> = chosen.filter(|(_, c)| **c).map(|(i, _)| i).collect();
        ensure!(
            at.last().is_none_or(|&i| i < tensor.shape().dim(axis)),
            InvalidInput,
            "Compress: condition of {} for an axis of {}",
            condition.len(),
            tensor.shape().dim(axis)
        );
        one(pick(ctx, &tensor, axis, &at)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, strings, t};
    use crate::tensor::Tensor;

    #[test]
    fn places_of_what_is_not_zero() {
        let op = Op::onnx("NonZero", 13);
        let y = op.run1(&[t(&[2, 2], &[1f32, -0.0, f32::NAN, 1.0])]);
        assert_eq!(y, t(&[2, 3], &[0i64, 1, 1, 0, 0, 1]));
        assert_eq!(op.run1(&[strings(&[2], &["", "a"])]), t(&[1, 1], &[1i64]));
        assert_eq!(op.run1(&[Tensor::scalar(3i32)]).dims(), [0, 1]);
        assert_eq!(op.run1(&[t::<i32>(&[2, 0], &[])]).dims(), [2, 0]);
    }

    #[test]
    fn compress_along_an_axis_or_flat() {
        let x = t(&[3, 2], &[1f32, 2., 3., 4., 5., 6.]);
        let op = |axis| Op::onnx("Compress", 11).int("axis", axis);
        let y = op(0).run1(&[x.clone(), t(&[3], &[false, true, true])]);
        assert_eq!(y, t(&[2, 2], &[3f32, 4., 5., 6.]));
        let y = op(-1).run1(&[x.clone(), t(&[2], &[false, true])]);
        assert_eq!(y, t(&[3, 1], &[2f32, 4., 6.]));
        let y = Op::onnx("Compress", 11)
            .run1(&[x.clone(), t(&[5], &[false, true, false, false, true])]);
        assert_eq!(y, t(&[2], &[2f32, 5.]));
        assert!(op(1).run(&[x.clone(), t(&[3], &[true; 3])]).is_err());
        assert!(op(1).run(&[x, t(&[1], &[1i64])]).is_err());
    }
}

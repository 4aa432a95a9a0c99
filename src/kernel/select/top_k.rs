//! TopK: the largest or smallest elements along an axis, with their places.

use super::order::Order;
use crate::error::{Result, bail, ensure};
use crate::kernel::reshape::Ints;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::{ElementType, Shape, Tensor, Value, for_each_common_type};
use smallvec::{SmallVec, smallvec};
use std::cmp::Ordering;

struct TopK {
    axis: i64,
    k: Ints,
    largest: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    let k = if spec.version < 10 {
        spec.arity(1..=1)?;
        match spec.attributes.int_opt("k")? {
            Some(k) => Ints::Known(vec![k]),
            None => return Err(spec.invalid("attribute 'k' is missing")),
        }
    } else {
        spec.arity(2..=2)?;
        Ints::input(spec, 1)?
    };
    if let Ints::Known(k) = &k {
        ensure!(
            k.len() == 1 && k[0] >= 0,
            InvalidModel,
            "TopK: k is {k:?}, expected one number of 0 or more"
        );
    }
    // `sorted` may be ignored: an answer in order is one of those that sorted = 0 allows.
    Ok(Box::new(TopK {
        axis: spec.attributes.int("axis", -1)?,
        k,
        largest: spec.version < 11 || spec.attributes.flag("largest", true)?,
    }))
}

impl Kernel for TopK {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let k = self.k.get(inputs)?.unwrap_or_default();
        let tensor = inputs.tensor(0)?;
        let axis = tensor.shape().axis(self.axis)?;
        let dim = tensor.shape().dim(axis);
        let k = match k[..] {
            [k] => usize::try_from(k).ok().filter(|&k| k <= dim),
            _ => None,
        };
        let Some(k) = k else {
            bail!(InvalidInput, "TopK: k is no number from 0 to {dim} (the size of axis {axis})");
        };
        ensure!(
            !matches!(tensor.dtype(), ElementType::String | ElementType::Bool),
            InvalidInput,
            "TopK: expected numbers, got {}",
            tensor.dtype()
        );
        let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(tensor.dims());
        dims[axis] = k;
        let shape = Shape::new(&dims)?;
        for_each_common_type!(tensor.data(), v => {
            let (values, places) = top_k(ctx, v, tensor, axis, k, self.largest)?;
            let values: Tensor = ctx.tensor(shape.clone(), values)?;
            Ok(smallvec![Value::Tensor(values), Value::Tensor(ctx.tensor(shape, places)?)])
        }, other => bail!(InvalidInput, "TopK of {}", other.dtype()))
    }
}

fn top_k<T: Order>(
    ctx: &mut Context<'_>,
    v: &[T],
    tensor: &Tensor,
    axis: usize,
    k: usize,
    largest: bool,
) -> Result<(Vec<T>, Vec<i64>)> {
    let (outer, dim, inner) = tensor.shape().split_at(axis);
    let len = outer * k * inner;
    let mut values = ctx.filled(len, T::default())?;
    let mut places = ctx.filled(len, 0i64)?;
    if len == 0 {
        return Ok((values, places));
    }
    let mut order: Vec<usize> = Vec::with_capacity(dim);
    for o in 0..outer {
        for i in 0..inner {
            let at = |j: usize| &v[(o * dim + j) * inner + i];
            // Equal elements stand in the order of their places.
            let before = |a: &usize, b: &usize| -> Ordering {
                let order = at(*a).order(at(*b));
                (if largest { order.reverse() } else { order }).then(a.cmp(b))
            };
            order.clear();
            order.extend(0..dim);
            if k < dim {
                order.select_nth_unstable_by(k, before);
                order.truncate(k);
            }
            order.sort_unstable_by(before);
            for (r, &j) in order.iter().enumerate() {
                let to = (o * k + r) * inner + i;
                values[to] = at(j).clone();
                places[to] = j as i64;
            }
        }
    }
    Ok((values, places))
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, t};
    use crate::tensor::Tensor;

    #[test]
    fn values_and_places_of_all_versions() {
        let x = t(&[2, 4], &[0f32, 3., 1., 3., 7., 4., 5., 6.]);
        let expected = [t(&[2, 2], &[3f32, 3., 7., 6.]), t(&[2, 2], &[1i64, 3, 0, 3])];
        let k = t(&[1], &[2i64]);
        assert_eq!(
            Op::onnx("TopK", 9).int("k", 2).outputs(2).run(std::slice::from_ref(&x)).unwrap(),
            expected
        );
        let op = Op::onnx("TopK", 11).outputs(2);
        assert_eq!(op.run(&[x.clone(), k.clone()]).unwrap(), expected);
        let op = Op::onnx("TopK", 11).outputs(2).int("largest", 0).int("axis", 0);
        let got = op.run(&[x.clone(), t(&[1], &[1i64])]).unwrap();
        assert_eq!(got, [t(&[1, 4], &[0f32, 3., 1., 3.]), t(&[1, 4], &[0i64; 4])]);
        for bad in [-1, 3, i64::MAX] {
            assert!(op.run(&[x.clone(), t(&[1], &[bad])]).is_err());
        }
        assert_eq!(op.run(&[x, t(&[1], &[0i64])]).unwrap()[0].dims(), [0, 4]);
    }

    #[test]
    fn nan_is_the_greatest() {
        let nan = f32::NAN;
        let x = t(&[5], &[nan, 1., 2., nan, 0.]);
        let places = |largest| {
            let op = Op::onnx("TopK", 11).outputs(2).int("largest", largest);
            op.run(&[x.clone(), t(&[1], &[3i64])]).unwrap().remove(1)
        };
        assert_eq!(places(1), t(&[3], &[0i64, 3, 2]));
        assert_eq!(places(0), t(&[3], &[4i64, 1, 2]));
        let zeros: Tensor = t(&[3], &[0f32, -0.0, 0.0]);
        let got = Op::onnx("TopK", 11).outputs(2).run(&[zeros, t(&[1], &[2i64])]).unwrap();
        assert_eq!(got[1], t(&[2], &[0i64, 1]));
    }
}

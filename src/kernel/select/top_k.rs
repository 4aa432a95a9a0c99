//! TopK: the largest or smallest elements along an axis, with their places.

use super::order;
use crate::error::{Result, bail, ensure};
use crate::kernel::reshape::Ints;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::{Data, Element, Shape, Tensor, Value, for_each_carrier};
use smallvec::{SmallVec, smallvec};

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
        let dtype = tensor.dtype();
        ensure!(
            dtype.is_float() || dtype.is_integer(),
            InvalidInput,
            "TopK: expected numbers, got {dtype}"
        );
        let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(tensor.dims());
        dims[axis] = k;
        let shape = Shape::new(&dims)?;
        let layout = tensor.shape().split_at(axis);
        let places = top_k(ctx, tensor.data(), layout, k, self.largest)?;
        let values = for_each_carrier!(tensor.data(), v => {
            let values = at_places(ctx, v, layout, k, &places)?;
            Tensor::moved(shape.clone(), values, dtype)
        })?;
        Ok(smallvec![Value::Tensor(values), Value::Tensor(ctx.tensor(shape, places)?)])
    }
}

/// The places of the first `k` elements of each line, in their order.
fn top_k(
    ctx: &mut Context<'_>,
    data: &Data,
    (outer, dim, inner): (usize, usize, usize),
    k: usize,
    largest: bool,
) -> Result<Vec<i64>> {
    let len = outer * k * inner;
    let mut places = ctx.filled(len, 0i64)?;
    if len == 0 {
        return Ok(places);
    }
    let mut keys: Vec<u64> = Vec::with_capacity(dim);
    // Equal elements stand in the order of their places.
    let mut line: Vec<(u64, usize)> = Vec::with_capacity(dim);
    for o in 0..outer {
        for i in 0..inner {
            order::keys("TopK", data, (o * dim * inner + i, inner, dim), &mut keys)?;
            line.clear();
            line.extend(keys.iter().map(|&key| if largest { !key } else { key }).zip(0..));
            if k < dim {
                line.select_nth_unstable(k);
                line.truncate(k);
            }
            line.sort_unstable();
            for (r, &(_, j)) in line.iter().enumerate() {
                places[(o * k + r) * inner + i] = j as i64;
            }
        }
    }
    Ok(places)
}

/// The elements at the places of each line.
fn at_places<T: Element>(
    ctx: &mut Context<'_>,
    v: &[T],
    (_, dim, inner): (usize, usize, usize),
    k: usize,
    places: &[i64],
) -> Result<Vec<T>> {
    let mut out = ctx.buffer(places.len())?;
    for (o, places) in places.chunks((k * inner).max(1)).enumerate() {
        for (n, &j) in places.iter().enumerate() {
            out.push(v[(o * dim + j as usize) * inner + n % inner].clone());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, t};
    use crate::tensor::{Element, Tensor};

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
    fn every_type_of_numbers_in_order_along_any_axis() {
        fn check<T: Element + Copy>(of: impl Fn(i8) -> T) {
            // Two lines side by side; equal ones in the order of their places.
            let x = [5, 1, 7, 4, 7, 1, 3, 9].map(&of);
            let op =
                |largest| Op::onnx("TopK", 11).outputs(2).int("axis", 0).int("largest", largest);
            let inputs = [t(&[4, 2], &x), t(&[1], &[3i64])];
            let got = op(1).run(&inputs).unwrap();
            assert_eq!(got[0], t(&[3, 2], &[7, 9, 7, 4, 5, 1].map(&of)));
            assert_eq!(got[1], t(&[3, 2], &[1i64, 3, 2, 1, 0, 0]));
            let got = op(0).run(&inputs).unwrap();
            assert_eq!(got[0], t(&[3, 2], &[3, 1, 5, 1, 7, 4].map(&of)));
            assert_eq!(got[1], t(&[3, 2], &[3i64, 0, 0, 2, 1, 1]));
        }
        check(|v| v);
        check(|v| v as u8);
        check(i16::from);
        check(|v| v as u16);
        check(i32::from);
        check(|v| v as u32);
        check(i64::from);
        check(|v| v as u64);
        check(f32::from);
        check(f64::from);
        check(half::f16::from);
        check(|v| half::bf16::from_f32(v.into()));
        let small = t(&[2], &[crate::tensor::Int4::default(); 2]);
        let k = t(&[1], &[1i64]);
        assert!(Op::onnx("TopK", 11).outputs(2).run(&[small, k.clone()]).is_err());
        assert!(Op::onnx("TopK", 11).outputs(2).run(&[t(&[1], &[true]), k]).is_err());
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

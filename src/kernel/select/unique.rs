//! Unique: distinct elements or slices, where they stand, and how often.

use super::{along, order, pick};
use crate::error::Result;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::{Data, Shape, Tensor, Value};
use smallvec::smallvec;
use std::cmp::Ordering;

struct Unique {
    axis: Option<i64>,
    sorted: bool,
    /// Whether the places of the first ones are an output, after the elements.
    places: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    Ok(Box::new(Unique {
        axis: spec.attributes.int_opt("axis")?,
        sorted: spec.attributes.flag("sorted", true)?,
        places: true,
    }))
}

/// ONNX Runtime's own one: elements in the order of their first appearance, then for each element
/// of the input which it is, then how often.
pub(super) fn prepare_in_order(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    Ok(Box::new(Unique { axis: None, sorted: false, places: false }))
}

/// Slices of a tensor that are the same.
struct Group {
    first: usize,
    count: usize,
}

/// The groups of equal slices in their order, and each slice's group.
fn groups<T: Ord>(v: &[T], shape: &Shape, axis: usize, sorted: bool) -> (Vec<Group>, Vec<i64>) {
    let (outer, dim, inner) = shape.split_at(axis);
    let compare = |&a: &usize, &b: &usize| -> Ordering {
        if v.is_empty() {
            return Ordering::Equal; // whatever the axes around the empty one promise
        }
        for o in 0..outer {
            for i in 0..inner {
                let at = |j: usize| &v[(o * dim + j) * inner + i];
                let order = at(a).cmp(at(b));
                if order.is_ne() {
                    return order;
                }
            }
        }
        Ordering::Equal
    };
    let mut order: Vec<usize> = (0..dim).collect();
    // Stable: the first of equal slices comes first.
    order.sort_by(compare);
    let mut groups: Vec<Group> = Vec::new();
    let mut inverse = vec![0; dim];
    for j in order {
        match groups.last_mut() {
            Some(group) if compare(&group.first, &j).is_eq() => group.count += 1,
            _ => groups.push(Group { first: j, count: 1 }),
        }
        inverse[j] = groups.len() as i64 - 1;
    }
    if !sorted {
        groups.sort_unstable_by_key(|g| g.first);
        // The first of a group has the group's old number: that says which is which now.
        let mut renumbered = vec![0; groups.len()];
        for (new, group) in groups.iter().enumerate() {
            renumbered[inverse[group.first] as usize] = new as i64;
        }
        for number in &mut inverse {
            *number = renumbered[*number as usize];
        }
    }
    (groups, inverse)
}

impl Kernel for Unique {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (tensor, axis) = along(inputs.tensor(0)?, self.axis)?;
        // Slices without elements cost nothing to hold, but each takes part in the answer.
        ctx.shape_of::<i64>(&[tensor.shape().dim(axis)])?;
        let (groups, inverse) = match tensor.data() {
            Data::String(v) => groups(v, tensor.shape(), axis, self.sorted),
            numbers => {
                ctx.shape_of::<u64>(tensor.dims())?;
                let mut keys = Vec::new();
                order::keys("Unique", numbers, (0, 1, tensor.len()), &mut keys)?;
                groups(&keys, tensor.shape(), axis, self.sorted)
            }
        };
        let first: Vec<usize> = groups.iter().map(|g| g.first).collect();
        let y = pick(ctx, &tensor, axis, &first)?;
        let ints = |v: Vec<i64>| Tensor::from_vec(&[v.len()], v).map(Value::Tensor);
        let mut outputs: Outputs = smallvec![Value::Tensor(y)];
        if self.places {
            outputs.push(ints(first.iter().map(|&i| i as i64).collect())?);
        }
        outputs.push(ints(inverse)?);
        outputs.push(ints(groups.iter().map(|g| g.count as i64).collect())?);
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, strings, t};

    #[test]
    fn sorted_and_in_order_of_appearance() {
        let x = t(&[6], &[2f32, 1., 1., 3., 4., 3.]);
        let op = Op::onnx("Unique", 11).outputs(4);
        let expected = [
            t(&[4], &[1f32, 2., 3., 4.]),
            t(&[4], &[1i64, 0, 3, 4]),
            t(&[6], &[1i64, 0, 0, 2, 3, 2]),
            t(&[4], &[2i64, 1, 2, 1]),
        ];
        assert_eq!(op.run(std::slice::from_ref(&x)).unwrap(), expected);
        let expected = [
            t(&[4], &[2f32, 1., 3., 4.]),
            t(&[4], &[0i64, 1, 3, 4]),
            t(&[6], &[0i64, 1, 1, 2, 3, 2]),
            t(&[4], &[1i64, 2, 2, 1]),
        ];
        assert_eq!(op.int("sorted", 0).run(&[x]).unwrap(), expected);
    }

    #[test]
    fn in_order_without_places() {
        let op = Op::new("com.microsoft", "Unique", 1).outputs(3);
        let got = op.run(&[t(&[5], &[2f32, 1., 2., 3., 2.])]).unwrap();
        let counts = t(&[3], &[3i64, 1, 1]);
        assert_eq!(got, [t(&[3], &[2f32, 1., 3.]), t(&[5], &[0i64, 1, 0, 2, 0]), counts]);
    }

    #[test]
    fn slices_along_an_axis() {
        let x = t(&[3, 2], &[3i64, 1, 1, 2, 3, 1]);
        let got = Op::onnx("Unique", 11).outputs(4).int("axis", 0).run(&[x]).unwrap();
        assert_eq!(got[0], t(&[2, 2], &[1i64, 2, 3, 1]));
        assert_eq!(got[1], t(&[2], &[1i64, 0]));
        assert_eq!(got[2], t(&[3], &[1i64, 0, 1]));
        assert_eq!(got[3], t(&[2], &[1i64, 2]));
        let got = Op::onnx("Unique", 11).int("axis", -1).run1(&[t::<i64>(&[2, 0], &[])]);
        assert_eq!(got.dims(), [2, 0]);
        let hollow = t::<i64>(&[1 << 35, 3, 0], &[]);
        let got = Op::onnx("Unique", 11).int("axis", 1).run1(&[hollow]);
        assert_eq!(got.dims(), [1 << 35, 1, 0]);
    }

    #[test]
    fn strings_and_nan() {
        let got = Op::onnx("Unique", 11).run1(&[strings(&[3], &["b", "a", "b"])]);
        assert_eq!(got, strings(&[2], &["a", "b"]));
        let nan = f64::NAN;
        let got = Op::onnx("Unique", 11).outputs(4).run(&[t(&[4], &[nan, 1., nan, 0.])]).unwrap();
        assert_eq!(got[3], t(&[3], &[1i64, 1, 2]));
    }
}

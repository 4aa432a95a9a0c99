//! Operators that permute a tensor's elements: Transpose, DepthToSpace, SpaceToDepth.

mod depth;
mod strided;

pub(super) use strided::{View, check_text};

use super::registry::{Entry, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::error::{Result, ensure};
use crate::tensor::{Shape, Tensor};
use smallvec::SmallVec;

pub(super) const OPS: &[Entry] = &[
    onnx("DepthToSpace", 1, depth::prepare_depth_to_space),
    onnx("SpaceToDepth", 1, depth::prepare_space_to_depth),
    onnx("Transpose", 1, prepare),
];

/// `tensor` with its axes in the order `perm`, which names each of them once.
pub(super) fn permute(ctx: &mut Context<'_>, tensor: &Tensor, perm: &[usize]) -> Result<Tensor> {
    let strides = tensor.shape().strides();
    let mut view = View::new(0);
    let mut dims: SmallVec<[usize; 6]> = SmallVec::new();
    for &axis in perm {
        let dim = tensor.shape().dim(axis);
        view.push(dim, strides.get(axis).map_or(0, |&s| s as isize));
        dims.push(dim);
    }
    view.tensor(ctx, tensor, Shape::new(&dims)?)
}

struct Transpose {
    /// `None` reverses all axes.
    perm: Option<Vec<usize>>,
}

fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let perm = match spec.attributes.ints_opt("perm")? {
        None => None,
        Some(perm) => {
            let mut sorted = perm.to_vec();
            sorted.sort_unstable();
            ensure!(
                sorted.iter().copied().eq(0..sorted.len() as i64),
                InvalidModel,
                "Transpose: perm {perm:?} is no permutation"
            );
            Some(perm.iter().map(|&p| p as usize).collect())
        }
    };
    Ok(Box::new(Transpose { perm }))
}

impl Kernel for Transpose {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.tensor(0)?;
        let rank = tensor.shape().rank();
        match &self.perm {
            Some(perm) => {
                ensure!(
                    perm.len() == rank,
                    InvalidInput,
                    "Transpose: perm {perm:?} does not fit a tensor of shape {}",
                    tensor.shape()
                );
                one(permute(ctx, tensor, perm)?)
            }
            None => {
                let perm: SmallVec<[usize; 6]> = (0..rank).rev().collect();
                one(permute(ctx, tensor, &perm)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, strings, t};
    use crate::tensor::Tensor;

    fn iota(dims: &[usize]) -> Tensor {
        let n: usize = dims.iter().product();
        Tensor::from_vec(dims, (0..n as i64).collect()).unwrap()
    }

    /// The definition, element by element.
    fn slowly(x: &Tensor, perm: &[usize]) -> Vec<i64> {
        let strides = x.shape().strides();
        let dims: Vec<usize> = perm.iter().map(|&p| x.dims()[p]).collect();
        let n: usize = dims.iter().product();
        let v = x.as_slice::<i64>().unwrap();
        (0..n)
            .map(|mut i| {
                let mut at = 0;
                for (k, &d) in dims.iter().enumerate().rev() {
                    at += i % d * strides[perm[k]];
                    i /= d;
                }
                v[at]
            })
            .collect()
    }

    #[test]
    fn every_permutation_of_four_axes_moves_each_element_to_its_place() {
        for dims in [[2, 3, 4, 5], [1, 7, 1, 6], [5, 1, 33, 18], [40, 40, 1, 17]] {
            let x = iota(&dims);
            for code in 0..256usize {
                let perm = [code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6];
                if (0..4).any(|a| !perm.contains(&a)) {
                    continue;
                }
                let as_i64 = perm.map(|p| p as i64);
                for threads in [1, 3] {
                    let op = Op::onnx("Transpose", 13).ints("perm", &as_i64).threads(threads);
                    let y = op.run1(std::slice::from_ref(&x));
                    assert_eq!(
                        y.as_slice::<i64>().unwrap(),
                        slowly(&x, &perm),
                        "{dims:?} {perm:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_permutation_of_unit_axes_moves_nothing() {
        let x = iota(&[1, 6, 1]);
        let at = x.as_slice::<i64>().unwrap().as_ptr();
        let y = Op::onnx("Transpose", 13).ints("perm", &[1, 0, 2]).run1(&[x]);
        assert_eq!((y.dims(), y.as_slice::<i64>().unwrap().as_ptr()), (&[6, 1, 1][..], at));
    }

    #[test]
    fn strings_scalars_and_empty_tensors_transpose() {
        let y = Op::onnx("Transpose", 13).run1(&[strings(&[2, 2], &["a", "b", "c", "d"])]);
        assert_eq!(y, strings(&[2, 2], &["a", "c", "b", "d"]));
        assert_eq!(Op::onnx("Transpose", 13).run1(&[t(&[], &[7i32])]), t(&[], &[7i32]));
        assert_eq!(Op::onnx("Transpose", 13).run1(&[t::<f32>(&[0, 3], &[])]).dims(), [3, 0]);
    }

    #[test]
    fn wrong_permutations_are_refused() {
        for perm in [&[0, 0][..], &[1, 2], &[-1, 0], &[0]] {
            assert!(Op::onnx("Transpose", 13).ints("perm", perm).run(&[iota(&[2, 3])]).is_err());
        }
    }
}

//! ExpandDims of ONNX Runtime's own domain: one more axis of 1.

use crate::error::{Result, bail};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::Shape;
use crate::tensor::shape::resolve_axis;
use smallvec::SmallVec;

struct ExpandDims;

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    Ok(Box::new(ExpandDims))
}

impl Kernel for ExpandDims {
    fn run(&self, _: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let axis = match inputs.tensor(1)?.to_i64_vec()?[..] {
            [axis] => axis,
            ref other => bail!(InvalidInput, "ExpandDims: axes {other:?}, expected one"),
        };
        let tensor = inputs.take_tensor(0)?;
        let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(tensor.dims());
        dims.insert(resolve_axis(axis, dims.len() + 1)?, 1);
        one(tensor.reshaped(Shape::new(&dims)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, t};
    use crate::tensor::Tensor;

    #[test]
    fn one_axis_more_anywhere() {
        let op = Op::new("com.microsoft", "ExpandDims", 1);
        let x = t(&[2, 3], &[1i32, 2, 3, 4, 5, 6]);
        for (axis, dims) in [(0, [1, 2, 3]), (1, [2, 1, 3]), (2, [2, 3, 1]), (-1, [2, 3, 1])] {
            assert_eq!(op.run1(&[x.clone(), Tensor::scalar(axis)]).dims(), dims);
        }
        assert_eq!(op.run1(&[x.clone(), t(&[1], &[-3i32])]).dims(), [1, 2, 3]);
        for bad in [3i32, -4] {
            assert!(op.run(&[x.clone(), Tensor::scalar(bad)]).is_err());
        }
        assert!(op.run(&[x, t(&[2], &[0i32, 1])]).is_err());
    }
}

//! SumTo: the sum over what broadcasting repeated, an operator of the library's own that the
//! derivatives of broadcasting operators are made of.

use super::{Axes, Reduce, Reduction};
use crate::error::{Result, ensure};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};

struct SumTo {
    sum: Reduce,
}

/// Prepares the operator: a tensor, and one of the shape it comes to.
pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    let axes = Axes { listed: None, keep_dims: true, noop_with_empty_axes: false };
    Ok(Box::new(SumTo { sum: Reduce { reduction: Reduction::Sum, axes, rowwise: false } }))
}

impl Kernel for SumTo {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let to = inputs.tensor(1)?.shape().clone();
        let tensor = inputs.take_tensor(0)?;
        let shape = tensor.shape();
        if *shape == to {
            return one(tensor);
        }
        ensure!(
            shape.rank() >= to.rank(),
            InvalidInput,
            "SumTo: {shape} is no broadcast form of {to}"
        );
        let more = shape.rank() - to.rank();
        let reduced: Vec<bool> = shape
            .dims()
            .iter()
            .enumerate()
            .map(|(axis, &dim)| axis < more || (to.dim(axis - more) == 1 && dim != 1))
            .collect();
        one(self.sum.along(ctx, &tensor, &reduced)?.reshaped(to)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::ensemble::DOMAIN;
    use crate::kernel::testing::{Op, t};

    #[test]
    fn what_was_repeated_is_summed() {
        let op = || Op::new(DOMAIN, "SumTo", 1);
        let x = t(&[2, 3], &[1f32, 2., 3., 4., 5., 6.]);
        let y = op().run1(&[x.clone(), t(&[3], &[0f32; 3])]);
        assert_eq!(y, t(&[3], &[5f32, 7., 9.]));
        let y = op().run1(&[x.clone(), t(&[2, 1], &[0f32; 2])]);
        assert_eq!(y, t(&[2, 1], &[6f32, 15.]));
        let y = op().run1(&[x.clone(), t(&[], &[0f32])]);
        assert_eq!(y, t(&[], &[21f32]));
        assert!(op().run(&[t(&[3], &[0f32; 3]), x]).is_err());
    }
}

//! An operator of the registry inside the kernel of another one.

use super::{Arg, Context, InputSpec, Inputs, Kernel, OpSpec, registry};
use crate::attribute::Attributes;
use crate::error::{Result, err};
use crate::tensor::Tensor;

/// A kernel whose inputs another kernel chooses, and of which it wants the first output.
pub(super) struct Inner {
    op: &'static str,
    kernel: Box<dyn Kernel>,
}

impl Inner {
    /// Operator `op` of a domain in a version of it, within the node of `spec`.
    ///
    /// # Errors
    /// What the operator's preparation says.
    pub(super) fn new(
        spec: &OpSpec<'_>,
        (domain, op, version): (&'static str, &'static str, i64),
        attributes: &Attributes,
        inputs: &[InputSpec<'_>],
    ) -> Result<Inner> {
        let kernel = registry::prepare(&OpSpec {
            op,
            domain,
            version,
            attributes,
            inputs,
            outputs: &[true],
            ..*spec
        })?;
        Ok(Inner { op, kernel })
    }

    /// Its first output.
    ///
    /// # Errors
    /// What the operator says of the inputs.
    pub(super) fn run<'a>(
        &self,
        ctx: &mut Context<'_>,
        inputs: impl IntoIterator<Item = Arg<'a>>,
    ) -> Result<Tensor> {
        let mut inputs = Inputs::new(inputs.into_iter().collect());
        let value = self.kernel.run(ctx, &mut inputs)?.into_iter().next();
        value.ok_or_else(|| err!(Internal, "{}: no result", self.op))?.into_tensor()
    }

    /// As [`Kernel::holds`].
    pub(super) fn holds(&self, i: usize) -> bool {
        self.kernel.holds(i)
    }

    /// As [`Kernel::packed_bytes`].
    pub(super) fn packed_bytes(&self) -> u64 {
        self.kernel.packed_bytes()
    }
}

/// Input `i` of an outer kernel as one of an inner one.
pub(super) fn lent<'a>(inputs: &'a Inputs<'_>, i: usize) -> Arg<'a> {
    inputs.get(i).map_or(Arg::Absent, Arg::Borrowed)
}

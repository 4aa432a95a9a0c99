//! If.

use super::{Body, condition};
use crate::error::{Result, ensure, err};
use crate::graph::Node;
use crate::kernel::{Context, Inputs, Kernel, Outputs};

/// Runs one of two bodies.
pub(super) struct If {
    then_branch: Body,
    else_branch: Body,
}

impl If {
    pub(super) fn new(then_branch: Body, else_branch: Body, node: &Node) -> Result<If> {
        for (name, body) in [("then_branch", &then_branch), ("else_branch", &else_branch)] {
            ensure!(
                body.own_inputs() == 0 && body.plan.output_count() >= node.outputs.len(),
                InvalidModel,
                "If: {name} takes {} inputs and gives {} outputs, expected 0 and {}",
                body.own_inputs(),
                body.plan.output_count(),
                node.outputs.len()
            );
        }
        Ok(If { then_branch, else_branch })
    }
}

impl Kernel for If {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let chosen = inputs.get(0).ok_or_else(|| err!(InvalidInput, "If without a condition"))?;
        let body = if condition(chosen)? { &self.then_branch } else { &self.else_branch };
        let captured = body.captured(inputs)?;
        Ok(body.run(ctx, [], &captured)?.into())
    }

    fn is_random(&self) -> bool {
        self.then_branch.plan.is_random() || self.else_branch.plan.is_random()
    }

    fn packed_bytes(&self) -> u64 {
        self.then_branch.plan.weight_bytes().saturating_add(self.else_branch.plan.weight_bytes())
    }
}

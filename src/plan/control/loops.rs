//! Loop.

use super::{Body, condition, stack::Stack};
use crate::error::{Result, ensure, err};
use crate::graph::Node;
use crate::kernel::{Context, Inputs, Kernel, Outputs};
use crate::tensor::{Tensor, Value};

/// Runs a body until its condition says no, or a number of times.
pub(super) struct Loop {
    body: Body,
    /// Loop-carried values.
    carried: usize,
    scans: usize,
}

impl Loop {
    pub(super) fn new(body: Body, node: &Node) -> Result<Loop> {
        let carried = node.inputs.len().saturating_sub(2);
        ensure!(
            body.own_inputs() == carried + 2 && body.plan.output_count() > carried,
            InvalidModel,
            "Loop: the body takes {} inputs and gives {} outputs, expected {} and at least {}",
            body.own_inputs(),
            body.plan.output_count(),
            carried + 2,
            carried + 1
        );
        let scans = body.plan.output_count() - 1 - carried;
        Ok(Loop { body, carried, scans })
    }
}

impl Kernel for Loop {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let trips = match inputs.tensor_opt(0)? {
            Some(t) => match t.to_i64_vec()?.as_slice() {
                [n] => Some(u64::try_from(*n).unwrap_or(0)),
                _ => return Err(err!(InvalidInput, "Loop: a trip count of shape {}", t.shape())),
            },
            None => None,
        };
        let mut go_on = inputs.get(1).map(condition).transpose()?.unwrap_or(true);
        let captured = self.body.captured(inputs)?;
        let mut carried =
            (0..self.carried).map(|i| inputs.take(i + 2)).collect::<Result<Vec<Value>>>()?;
        let mut scans: Vec<Stack> = (0..self.scans).map(|_| Stack::default()).collect();
        let mut turn = 0u64;
        while go_on && trips.is_none_or(|n| turn < n) {
            ensure!(
                turn < ctx.limits.loop_iterations,
                LimitExceeded,
                "Loop passes {} iterations (RequestLimits::loop_iterations)",
                ctx.limits.loop_iterations
            );
            ctx.check_deadline()?;
            let counter = Tensor::scalar(turn as i64).into();
            let own = [counter, Tensor::scalar(true).into()].into_iter().chain(carried);
            let mut results = self.body.run(ctx, own, &captured)?.into_iter();
            let next =
                results.next().ok_or_else(|| err!(Internal, "Loop body without condition"))?;
            go_on = condition(&next)?;
            carried = results.by_ref().take(self.carried).collect();
            for (stack, value) in scans.iter_mut().zip(results) {
                stack.push(ctx, value.into_tensor()?)?;
            }
            turn += 1;
        }
        let mut outputs: Outputs = carried.into();
        for (i, stack) in scans.into_iter().enumerate() {
            let declared = self.body.declared(1 + self.carried + i);
            outputs.push(stack.finish(ctx, 0, false, declared)?.into());
        }
        Ok(outputs)
    }

    fn is_random(&self) -> bool {
        self.body.plan.is_random()
    }

    fn packed_bytes(&self) -> u64 {
        self.body.plan.weight_bytes()
    }
}

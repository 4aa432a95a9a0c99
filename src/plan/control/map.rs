//! SequenceMap.

use super::Body;
use crate::error::{Result, bail, ensure, err};
use crate::graph::Node;
use crate::kernel::{Context, Inputs, Kernel, Outputs};
use crate::tensor::Value;

/// Runs a body once for each element of a sequence.
pub(super) struct SequenceMap {
    body: Body,
    inputs: usize,
}

impl SequenceMap {
    pub(super) fn new(body: Body, node: &Node) -> Result<SequenceMap> {
        let inputs = node.inputs.len();
        ensure!(
            inputs > 0
                && body.own_inputs() == inputs
                && body.plan.output_count() >= node.outputs.len(),
            InvalidModel,
            "SequenceMap: the body takes {} inputs and gives {} outputs, expected {inputs} and {}",
            body.own_inputs(),
            body.plan.output_count(),
            node.outputs.len()
        );
        Ok(SequenceMap { body, inputs })
    }
}

impl Kernel for SequenceMap {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let captured = self.body.captured(inputs)?;
        let own = (0..self.inputs)
            .map(|i| inputs.get(i).ok_or_else(|| err!(InvalidInput, "input {i} is missing")))
            .collect::<Result<Vec<&Value>>>()?;
        let Some(Value::Sequence(first)) = own.first() else {
            bail!(InvalidInput, "SequenceMap: the first input is no sequence");
        };
        for (i, value) in own.iter().enumerate() {
            if let Value::Sequence(items) = value {
                ensure!(
                    items.len() == first.len(),
                    InvalidInput,
                    "SequenceMap: {} elements in sequence {i}, {} in the first",
                    items.len(),
                    first.len()
                );
            }
        }
        let mut sequences: Vec<Vec<Value>> = vec![Vec::new(); self.body.plan.output_count()];
        let mut bytes = 0u64;
        for turn in 0..first.len() {
            ctx.check_deadline()?;
            let given = own.iter().map(|value| match value {
                Value::Sequence(items) => items[turn].clone(),
                other => (*other).clone(),
            });
            for (sequence, value) in sequences.iter_mut().zip(self.body.run(ctx, given, &captured)?)
            {
                bytes = bytes.saturating_add(value.byte_len());
                ensure!(
                    bytes <= ctx.limits.run_bytes,
                    LimitExceeded,
                    "sequences pass {} bytes (RequestLimits::run_bytes)",
                    ctx.limits.run_bytes
                );
                sequence.push(value);
            }
        }
        Ok(sequences.into_iter().map(Value::Sequence).collect())
    }

    fn is_random(&self) -> bool {
        self.body.plan.is_random()
    }

    fn packed_bytes(&self) -> u64 {
        self.body.plan.weight_bytes()
    }
}

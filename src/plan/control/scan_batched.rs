//! Scan of opset 8: every input has a batch axis in front, and each entry of the batch its own
//! number of turns.

use super::Body;
use super::scan::Scan;
use super::stack::{Stack, pick};
use crate::error::{Result, bail, ensure};
use crate::graph::Node;
use crate::kernel::{Context, Inputs, Kernel, Outputs};
use crate::tensor::{Tensor, Value};

/// Runs a [`Scan`] for each entry of the batch.
pub(super) struct BatchedScan {
    scan: Scan,
}

impl BatchedScan {
    pub(super) fn new(body: Body, node: &Node) -> Result<BatchedScan> {
        ensure!(!node.inputs.is_empty(), InvalidModel, "Scan without inputs");
        // The first input is the number of turns of each entry.
        Ok(BatchedScan { scan: Scan::with_inputs(body, node, node.inputs.len() - 1)? })
    }
}

/// The number of turns of each entry, at most `longest`.
fn lengths(given: Option<&Tensor>, batch: usize, longest: usize) -> Result<Vec<usize>> {
    let Some(given) = given else { return Ok(vec![longest; batch]) };
    let lengths: Option<Vec<usize>> = given
        .to_i64_vec()?
        .into_iter()
        .map(|n| usize::try_from(n).ok().filter(|n| *n <= longest))
        .collect();
    match lengths {
        Some(lengths) if lengths.len() == batch => Ok(lengths),
        _ => bail!(
            InvalidInput,
            "Scan: sequence_lens of shape {}, expected {batch} numbers of at most {longest}",
            given.shape()
        ),
    }
}

impl Kernel for BatchedScan {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let captured = self.scan.captured(inputs)?;
        let (states, scanned) = (self.scan.state_count(), self.scan.scanned_count());
        let all: Vec<Tensor> = (1..=states + scanned)
            .map(|i| inputs.tensor(i).cloned())
            .collect::<Result<_>>()?;
        let batch = all.first().map_or(0, |t| t.shape().dim(0));
        for tensor in &all {
            ensure!(
                tensor.shape().rank() > 0 && tensor.shape().dim(0) == batch,
                InvalidInput,
                "Scan: an input of shape {} where another has {batch} entries",
                tensor.shape()
            );
        }
        let (first, over) = all.split_at(states);
        let longest = match over.first() {
            Some(t) if t.shape().rank() > 1 => t.shape().dim(1),
            _ => bail!(InvalidInput, "Scan: a scan input without a sequence axis"),
        };
        ensure!(
            over.iter().all(|t| t.shape().rank() > 1 && t.shape().dim(1) == longest),
            InvalidInput,
            "Scan: scan inputs of different lengths"
        );
        let lengths = lengths(inputs.tensor_opt(0)?, batch, longest)?;
        let mut stacks: Vec<Stack> = Vec::new();
        for (entry, &turns) in lengths.iter().enumerate() {
            let own = first
                .iter()
                .map(|t| pick(ctx, t, 0, entry).map(Value::Tensor))
                .collect::<Result<Vec<_>>>()?;
            let slices = over
                .iter()
                .map(|t| Ok((pick(ctx, t, 0, entry)?, 0)))
                .collect::<Result<Vec<_>>>()?;
            let (last, outputs) = self.scan.turns(ctx, own, &slices, turns, &captured)?;
            let mut results = Vec::with_capacity(last.len() + outputs.len());
            for value in last {
                results.push(value.into_tensor()?);
            }
            for mut stack in outputs {
                stack.fill(ctx, longest)?;
                results.push(stack.finish(ctx, 0, false)?);
            }
            stacks.resize_with(results.len(), Stack::default);
            for (stack, result) in stacks.iter_mut().zip(results) {
                stack.push(ctx, result)?;
            }
        }
        ensure!(!stacks.is_empty(), InvalidInput, "Scan: a batch without entries");
        let mut outputs = Outputs::new();
        for stack in stacks {
            outputs.push(stack.finish(ctx, 0, false)?.into());
        }
        Ok(outputs)
    }

    fn packed_bytes(&self) -> u64 {
        self.scan.packed_bytes()
    }
}

//! Scan of opset 9 and later.

use super::{Body, stack::Stack, stack::pick};
use crate::error::{Result, bail, ensure, err};
use crate::graph::Node;
use crate::kernel::{Context, Inputs, Kernel, Outputs};
use crate::tensor::shape::resolve_axis;

/// Runs a body over the slices of its scan inputs.
pub(super) struct Scan {
    body: Body,
    states: usize,
    scan_inputs: Vec<Along>,
    scan_outputs: Vec<Along>,
}

/// Along which axis, and in which direction, a scan input is read or an output is stacked.
struct Along {
    axis: i64,
    reversed: bool,
}

fn along(node: &Node, what: &str, count: usize) -> Result<Vec<Along>> {
    let axes = node.attributes.ints(&format!("scan_{what}_axes"))?;
    let directions = node.attributes.ints(&format!("scan_{what}_directions"))?;
    Ok((0..count)
        .map(|i| Along {
            axis: axes.get(i).copied().unwrap_or(0),
            reversed: directions.get(i).copied().unwrap_or(0) == 1,
        })
        .collect())
}

impl Scan {
    pub(super) fn new(body: Body, node: &Node) -> Result<Scan> {
        let scanned = node.attributes.int("num_scan_inputs", 0)?;
        let scanned = usize::try_from(scanned).unwrap_or(0);
        if scanned == 0 || scanned > node.inputs.len() {
            bail!(
                InvalidModel,
                "Scan: num_scan_inputs = {scanned} of {} inputs",
                node.inputs.len()
            );
        }
        let states = node.inputs.len() - scanned;
        ensure!(
            body.own_inputs() == node.inputs.len() && body.plan.output_count() >= states,
            InvalidModel,
            "Scan: the body takes {} inputs and gives {} outputs, expected {} and at least {states}",
            body.own_inputs(),
            body.plan.output_count(),
            node.inputs.len()
        );
        let scan_outputs = along(node, "output", body.plan.output_count() - states)?;
        Ok(Scan { body, states, scan_inputs: along(node, "input", scanned)?, scan_outputs })
    }
}

impl Kernel for Scan {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let captured = self.body.captured(inputs)?;
        let mut states = (0..self.states).map(|i| inputs.take(i)).collect::<Result<Vec<_>>>()?;
        let mut scanned = Vec::with_capacity(self.scan_inputs.len());
        let mut turns: Option<usize> = None;
        for (i, along) in self.scan_inputs.iter().enumerate() {
            let tensor = inputs.take_tensor(self.states + i)?;
            let axis = resolve_axis(along.axis, tensor.shape().rank())?;
            let length = tensor.shape().dim(axis);
            ensure!(
                turns.is_none_or(|n| n == length),
                InvalidInput,
                "Scan: scan inputs of different lengths ({length} at input {i})"
            );
            turns = Some(length);
            scanned.push((tensor, axis));
        }
        let turns = turns.unwrap_or(0);
        let mut stacks: Vec<Stack> = self.scan_outputs.iter().map(|_| Stack::default()).collect();
        for turn in 0..turns {
            ctx.check_deadline()?;
            let mut own = std::mem::take(&mut states);
            for ((tensor, axis), along) in scanned.iter().zip(&self.scan_inputs) {
                let at = if along.reversed { turns - 1 - turn } else { turn };
                own.push(pick(ctx, tensor, *axis, at)?.into());
            }
            let mut results = self.body.run(ctx, own, &captured)?.into_iter();
            states = results.by_ref().take(self.states).collect();
            for stack in &mut stacks {
                let value =
                    results.next().ok_or_else(|| err!(Internal, "Scan body without an output"))?;
                stack.push(ctx, value.into_tensor()?)?;
            }
        }
        let mut outputs: Outputs = states.into();
        for (i, (stack, along)) in stacks.into_iter().zip(&self.scan_outputs).enumerate() {
            let declared = self.body.declared(self.states + i);
            outputs.push(stack.finish(ctx, along.axis, along.reversed, declared)?.into());
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

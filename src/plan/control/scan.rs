//! Scan. That of opset 8 has a batch axis of its own, see `scan_batched`.

use super::{Body, stack::Stack, stack::pick};
use crate::error::{Result, bail, ensure, err};
use crate::graph::Node;
use crate::kernel::{Context, Inputs, Kernel, Outputs};
use crate::tensor::shape::resolve_axis;
use crate::tensor::{Tensor, Value};
use smallvec::SmallVec;

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
    // Opset 8 knows directions of inputs only.
    let directions = match (node.version, what) {
        (8, "input") => node.attributes.ints("directions")?,
        _ => node.attributes.ints(&format!("scan_{what}_directions"))?,
    };
    Ok((0..count)
        .map(|i| Along {
            axis: axes.get(i).copied().unwrap_or(0),
            reversed: directions.get(i).copied().unwrap_or(0) == 1,
        })
        .collect())
}

impl Scan {
    pub(super) fn new(body: Body, node: &Node) -> Result<Scan> {
        Scan::with_inputs(body, node, node.inputs.len())
    }

    /// As [`Scan::new`], for a node of which `taken` inputs are the body's.
    pub(super) fn with_inputs(body: Body, node: &Node, taken: usize) -> Result<Scan> {
        let scanned = node.attributes.int("num_scan_inputs", 0)?;
        let scanned = usize::try_from(scanned).unwrap_or(0);
        if scanned == 0 || scanned > taken {
            bail!(InvalidModel, "Scan: num_scan_inputs = {scanned} of {taken} inputs");
        }
        let states = taken - scanned;
        ensure!(
            body.own_inputs() == taken && body.plan.output_count() >= states,
            InvalidModel,
            "Scan: the body takes {} inputs and gives {} outputs, expected {taken} and at least \
             {states}",
            body.own_inputs(),
            body.plan.output_count()
        );
        let scan_outputs = along(node, "output", body.plan.output_count() - states)?;
        Ok(Scan { body, states, scan_inputs: along(node, "input", scanned)?, scan_outputs })
    }
}

impl Scan {
    /// How many values are carried from turn to turn.
    pub(super) fn state_count(&self) -> usize {
        self.states
    }

    /// How many inputs are scanned.
    pub(super) fn scanned_count(&self) -> usize {
        self.scan_inputs.len()
    }

    /// The captured values of this run.
    pub(super) fn captured(&self, inputs: &Inputs<'_>) -> Result<SmallVec<[Value; 4]>> {
        self.body.captured(inputs)
    }

    /// Runs `turns` turns over the slices of `scanned`, tensors with the axis to go along: the
    /// last states, and the results of all turns by scan output.
    pub(super) fn turns(
        &self,
        ctx: &mut Context<'_>,
        mut states: Vec<Value>,
        scanned: &[(Tensor, usize)],
        turns: usize,
        captured: &[Value],
    ) -> Result<(Vec<Value>, Vec<Stack>)> {
        let mut stacks: Vec<Stack> = self.scan_outputs.iter().map(|_| Stack::default()).collect();
        for turn in 0..turns {
            ctx.check_deadline()?;
            let mut own = std::mem::take(&mut states);
            for ((tensor, axis), along) in scanned.iter().zip(&self.scan_inputs) {
                let at = if along.reversed { turns - 1 - turn } else { turn };
                own.push(pick(ctx, tensor, *axis, at)?.into());
            }
            let mut results = self.body.run(ctx, own, captured)?.into_iter();
            states = results.by_ref().take(self.states).collect();
            for stack in &mut stacks {
                let value =
                    results.next().ok_or_else(|| err!(Internal, "Scan body without an output"))?;
                stack.push(ctx, value.into_tensor()?)?;
            }
        }
        Ok((states, stacks))
    }
}

impl Kernel for Scan {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let captured = self.body.captured(inputs)?;
        let states = (0..self.states).map(|i| inputs.take(i)).collect::<Result<Vec<_>>>()?;
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
        let (states, stacks) = self.turns(ctx, states, &scanned, turns, &captured)?;
        let mut outputs: Outputs = states.into();
        for (stack, along) in stacks.into_iter().zip(&self.scan_outputs) {
            outputs.push(stack.finish(ctx, along.axis, along.reversed)?.into());
        }
        Ok(outputs)
    }

    fn packed_bytes(&self) -> u64 {
        self.body.plan.weight_bytes()
    }
}

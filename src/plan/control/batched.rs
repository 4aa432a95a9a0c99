//! Scan of opset 8, whose inputs have a batch axis before the one that is scanned.

use super::{Body, stack::Stack, stack::pick};
use crate::error::{Result, ensure, err};
use crate::graph::Node;
use crate::kernel::{Context, Inputs, Kernel, Outputs};
use crate::tensor::{Element, Shape, Tensor, Value, for_each_carrier};

/// Runs a body over the steps of each sequence of a batch.
pub(super) struct Scan {
    body: Body,
    states: usize,
    /// For each scan input whether it is read from its end.
    reversed: Vec<bool>,
}

impl Scan {
    pub(super) fn new(body: Body, node: &Node) -> Result<Scan> {
        // The first input holds the lengths of the sequences, or is left out.
        let inputs = node.inputs.len().saturating_sub(1);
        let scanned = usize::try_from(node.attributes.int("num_scan_inputs", 0)?).unwrap_or(0);
        ensure!(
            (1..=inputs).contains(&scanned),
            InvalidModel,
            "Scan: num_scan_inputs = {scanned} of {inputs} inputs"
        );
        let states = inputs - scanned;
        ensure!(
            body.own_inputs() == inputs && body.plan.output_count() >= states,
            InvalidModel,
            "Scan: the body takes {} inputs and gives {} outputs, expected {inputs} and {states} or more",
            body.own_inputs(),
            body.plan.output_count(),
        );
        let directions = node.attributes.ints("directions")?;
        let reversed = (0..scanned).map(|i| directions.get(i) == Some(&1)).collect();
        Ok(Scan { body, states, reversed })
    }

    /// The scan inputs, and how many sequences of how many steps they hold.
    fn scanned(&self, inputs: &mut Inputs<'_>) -> Result<(Vec<Tensor>, usize, usize)> {
        let first = 1 + self.states;
        let scanned: Vec<Tensor> = (first..first + self.reversed.len())
            .map(|i| inputs.take_tensor(i))
            .collect::<Result<_>>()?;
        let size = |t: &Tensor| Some((*t.dims().first()?, *t.dims().get(1)?));
        let common = scanned.first().and_then(size);
        match common.filter(|_| scanned.iter().all(|t| size(t) == common)) {
            Some((batch, steps)) => Ok((scanned, batch, steps)),
            None => Err(err!(InvalidInput, "Scan: scan inputs without a common batch and length")),
        }
    }

    /// How many steps each sequence has.
    fn lengths(&self, inputs: &Inputs<'_>, batch: usize, steps: usize) -> Result<Vec<usize>> {
        let Some(lengths) = inputs.tensor_opt(0)? else { return Ok(vec![steps; batch]) };
        let lengths = lengths.to_i64_vec()?;
        ensure!(
            lengths.len() == batch,
            InvalidInput,
            "Scan: {} lengths of {batch} sequences",
            lengths.len()
        );
        lengths
            .iter()
            .map(|&n| {
                usize::try_from(n)
                    .ok()
                    .filter(|&n| n <= steps)
                    .ok_or_else(|| err!(InvalidInput, "Scan: a sequence of {n} steps of {steps}"))
            })
            .collect()
    }
}

impl Kernel for Scan {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let captured = self.body.captured(inputs)?;
        let initial =
            (0..self.states).map(|i| inputs.take_tensor(1 + i)).collect::<Result<Vec<_>>>()?;
        let (scanned, batch, steps) = self.scanned(inputs)?;
        ensure!(
            initial.iter().all(|t| t.dims().first() == Some(&batch)),
            InvalidInput,
            "Scan: an initial state that is not of {batch} sequences"
        );
        // Each step is a value of its own: so many of no elements are not free.
        let places = ctx.shape_of::<String>(&[batch, steps])?.len();
        let lengths = self.lengths(inputs, batch, steps)?;
        let mut last: Vec<Stack> = initial.iter().map(|_| Stack::default()).collect();
        let outputs = self.body.plan.output_count() - self.states;
        let mut results: Vec<Vec<Option<Tensor>>> = vec![Vec::with_capacity(places); outputs];
        for (b, &length) in lengths.iter().enumerate() {
            let mut states: Vec<Value> = Vec::with_capacity(self.states);
            for state in &initial {
                states.push(pick(ctx, state, 0, b)?.into());
            }
            for turn in 0..length {
                ctx.check_deadline()?;
                let mut own = std::mem::take(&mut states);
                for (tensor, &reversed) in scanned.iter().zip(&self.reversed) {
                    let at = if reversed { length - 1 - turn } else { turn };
                    own.push(step(ctx, tensor, b, at)?.into());
                }
                let mut answers = self.body.run(ctx, own, &captured)?.into_iter();
                states = answers.by_ref().take(self.states).collect();
                for (result, value) in results.iter_mut().zip(answers) {
                    result.push(Some(value.into_tensor()?));
                }
            }
            for (stack, state) in last.iter_mut().zip(states) {
                stack.push(ctx, state.into_tensor()?)?;
            }
            for result in &mut results {
                result.resize((b + 1) * steps, None);
            }
        }
        let mut answers = Outputs::new();
        for (i, stack) in last.into_iter().enumerate() {
            answers.push(stack.finish(ctx, 0, false, self.body.declared(i))?.into());
        }
        for (i, result) in results.into_iter().enumerate() {
            let declared = self.body.declared(self.states + i);
            // What lies behind the end of a sequence is zero.
            let like = result.iter().flatten().next();
            let blank = like.map(|like| zeros(ctx, like)).transpose()?;
            let mut stack = Stack::default();
            for item in result {
                if let Some(item) = item.or_else(|| blank.clone()) {
                    stack.push(ctx, item)?;
                }
            }
            let all = stack.finish(ctx, 0, false, declared)?;
            let mut dims = vec![batch, if blank.is_some() { steps } else { 0 }];
            dims.extend_from_slice(all.dims().get(1..).unwrap_or(&[]));
            answers.push(all.reshaped(Shape::new(&dims)?)?.into());
        }
        Ok(answers)
    }

    fn is_random(&self) -> bool {
        self.body.plan.is_random()
    }

    fn packed_bytes(&self) -> u64 {
        self.body.plan.weight_bytes()
    }
}

/// Step `at` of sequence `b`.
fn step(ctx: &mut Context<'_>, tensor: &Tensor, b: usize, at: usize) -> Result<Tensor> {
    let (batch, steps) = (tensor.shape().dim(0), tensor.shape().dim(1));
    let mut dims = vec![batch * steps];
    dims.extend_from_slice(tensor.dims().get(2..).unwrap_or(&[]));
    let flat = tensor.clone().reshaped(Shape::new(&dims)?)?;
    pick(ctx, &flat, 0, b * steps + at)
}

/// A tensor of zeros that is otherwise like another.
fn zeros(ctx: &mut Context<'_>, like: &Tensor) -> Result<Tensor> {
    fn of<T: Element>(ctx: &mut Context<'_>, like: &[T]) -> Result<Vec<T>> {
        ctx.filled(like.len(), T::default())
    }
    for_each_carrier!(like.data(), v => {
        let zeros = of(ctx, v)?;
        Tensor::moved(like.shape().clone(), zeros, like.dtype())
    })
}

//! Running a plan.

use super::{Operand, Plan, Step};
use crate::error::{Result, ensure, err};
use crate::kernel::{Arg, Context, Inputs};
use crate::limits::RequestLimits;
use crate::tensor::Value;
use crate::threads::Threads;
use smallvec::SmallVec;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// What a run may use.
#[derive(Debug, Clone, Copy)]
pub struct RunOptions<'a> {
    /// Worker threads for large steps.
    pub threads: &'a Threads,
    /// What the request may cost.
    pub limits: &'a RequestLimits,
    /// When the answer is of no use any more.
    pub deadline: Option<Instant>,
    /// Set when the caller does not want the answer any more.
    pub cancel: Option<&'a AtomicBool>,
}

/// Arenas kept between runs; more concurrent runs than this allocate anew.
const KEPT_ARENAS: usize = 16;
/// Bytes that one kept arena may hold: a single huge request must not pin its buffers for ever.
const KEPT_ARENA_BYTES: u64 = 64 << 20;

impl Plan {
    /// Runs the plan. `inputs` are in graph order; `wanted` says which outputs to compute (all
    /// when empty), and only those are answered, in graph order.
    ///
    /// # Errors
    /// `InvalidInput`, `LimitExceeded`, `DeadlineExceeded` or `Execution`, naming the node.
    pub fn run(
        &self,
        inputs: SmallVec<[Value; 4]>,
        wanted: &[usize],
        options: RunOptions<'_>,
    ) -> Result<Vec<Value>> {
        let mut arena = self.arenas.lock().pop().unwrap_or_default();
        let mut ctx = Context {
            threads: options.threads,
            limits: options.limits,
            arena: &mut arena,
            deadline: options.deadline,
            cancel: options.cancel,
        };
        let result = self.execute(&mut ctx, inputs, wanted);
        arena.end_run();
        if arena.held_bytes() <= KEPT_ARENA_BYTES {
            let mut arenas = self.arenas.lock();
            if arenas.len() < KEPT_ARENAS {
                arenas.push(arena);
            }
        }
        result
    }

    /// As [`Plan::run`], within a run that is under way (bodies of control flow).
    pub(super) fn execute(
        &self,
        ctx: &mut Context<'_>,
        inputs: SmallVec<[Value; 4]>,
        wanted: &[usize],
    ) -> Result<Vec<Value>> {
        ensure!(
            inputs.len() == self.inputs.len(),
            InvalidInput,
            "expected {} inputs, got {}",
            self.inputs.len(),
            inputs.len()
        );
        let needed = wanted.iter().fold(0u64, |m, &i| m | output_bit(i));
        let needed = if wanted.is_empty() { u64::MAX } else { needed };
        let mut frame: Vec<Option<Value>> = Vec::new();
        frame.resize_with(self.slots, || None);
        for (slot, value) in self.inputs.iter().zip(inputs) {
            if let Some(slot) = slot {
                frame[*slot as usize] = Some(value);
            }
        }
        for step in &self.steps {
            if step.serves & needed != 0 {
                ctx.check_deadline()?;
                self.run_step(step, ctx, &mut frame).map_err(|e| e.context(&step.label))?;
            }
        }
        let all: SmallVec<[usize; 8]>;
        let wanted = if wanted.is_empty() {
            all = (0..self.outputs.len()).collect();
            all.as_slice()
        } else {
            wanted
        };
        let mut results = Vec::with_capacity(wanted.len());
        for &i in wanted {
            let operand =
                self.outputs.get(i).ok_or_else(|| err!(InvalidInput, "there is no output {i}"))?;
            let value = match operand {
                Operand::Constant(c) => self.constants.get(*c as usize).cloned(),
                Operand::Slot(s) | Operand::LastUse(s) => frame[*s as usize].clone(),
                Operand::Absent => None,
            };
            results.push(value.ok_or_else(|| err!(Internal, "output {i} was not computed"))?);
        }
        Ok(results)
    }

    fn run_step(
        &self,
        step: &Step,
        ctx: &mut Context<'_>,
        frame: &mut [Option<Value>],
    ) -> Result<()> {
        // First what moves out of the frame, then what is borrowed from it.
        let mut args: SmallVec<[Arg<'_>; 4]> = step
            .inputs
            .iter()
            .map(|operand| match operand {
                Operand::LastUse(s) => frame[*s as usize].take().map_or(Arg::Absent, Arg::Owned),
                _ => Arg::Absent,
            })
            .collect();
        let shared: &[Option<Value>] = frame;
        for (arg, operand) in args.iter_mut().zip(&step.inputs) {
            let value = match operand {
                Operand::Constant(c) => self.constants.get(*c as usize),
                Operand::Slot(s) => shared[*s as usize].as_ref(),
                _ => continue,
            };
            if let Some(value) = value {
                *arg = Arg::Borrowed(value);
            }
        }
        let mut inputs = Inputs::new(args);
        let outputs = step.kernel.run(ctx, &mut inputs)?;
        for arg in inputs.into_args() {
            if let Arg::Owned(value) = arg {
                ctx.recycle_value(value);
            }
        }
        for &slot in &step.ends {
            if let Some(value) = frame[slot as usize].take() {
                ctx.recycle_value(value);
            }
        }
        let mut outputs = outputs.into_iter();
        for (i, slot) in step.outputs.iter().enumerate() {
            match (slot, outputs.next()) {
                (Some(slot), Some(value)) => frame[*slot as usize] = Some(value),
                (Some(_), None) => return Err(err!(Unsupported, "output {i} is not implemented")),
                (None, Some(value)) => ctx.recycle_value(value),
                (None, None) => {}
            }
        }
        Ok(())
    }
}

/// The bit of [`Step::serves`] that stands for output `i`.
pub(super) fn output_bit(i: usize) -> u64 {
    1 << i.min(63)
}

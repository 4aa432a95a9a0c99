//! The plan: a graph compiled for running.
//!
//! Names are resolved to slots of a frame, constants are folded, dead nodes are dropped, kernels
//! are prepared with their weights, and each value's last reader is known, so that its buffer can
//! be reused. At run time nothing is looked up by name, parsed or re-packed.

mod compile;
mod control;
mod exec;
mod fold;
mod rowwise;

pub use compile::{CompileOptions, compile};
pub use exec::RunOptions;
pub use rowwise::{RowOutput, RowProgram, RowScratch};

use crate::kernel::{Arena, Kernel};
use crate::tensor::Value;
use parking_lot::Mutex;
use smallvec::SmallVec;

/// Where a step finds one of its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    /// Left out.
    Absent,
    /// A constant of the plan.
    Constant(u32),
    /// A slot of the frame that others still read.
    Slot(u32),
    /// A slot of the frame whose last reader this step is.
    LastUse(u32),
}

/// One kernel with its operands.
struct Step {
    kernel: Box<dyn Kernel>,
    inputs: SmallVec<[Operand; 4]>,
    /// Slots the outputs go to; `None` where nobody reads one.
    outputs: SmallVec<[Option<u32>; 2]>,
    /// Slots that end here although the step could not take them over (it reads them twice).
    ends: SmallVec<[u32; 2]>,
    /// Which plan outputs need this step, one bit each (the last bit stands for all from 63 on).
    serves: u64,
    /// `node 'name' (Op)`, for errors.
    label: Box<str>,
}

/// A compiled graph. Immutable and shared by any number of threads; each run has its own frame.
pub struct Plan {
    steps: Vec<Step>,
    constants: Vec<Value>,
    slots: usize,
    /// Slot of each input; `None` where no step reads it.
    inputs: Vec<Option<u32>>,
    outputs: Vec<Operand>,
    row_program: Option<RowProgram>,
    /// Buffers of finished runs, waiting for the next ones.
    arenas: Mutex<Vec<Arena>>,
}

impl Plan {
    /// Number of inputs a run takes.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// Number of outputs a run answers.
    pub fn output_count(&self) -> usize {
        self.outputs.len()
    }

    /// The plan as one function of rows, where every step is one (the tabular fast path).
    pub fn row_program(&self) -> Option<&RowProgram> {
        self.row_program.as_ref()
    }

    /// Bytes of constants and of what kernels packed from them.
    pub fn weight_bytes(&self) -> u64 {
        self.constant_bytes().saturating_add(self.packed_bytes())
    }

    /// Bytes of constants.
    pub fn constant_bytes(&self) -> u64 {
        self.constants.iter().map(Value::byte_len).fold(0, u64::saturating_add)
    }

    /// Bytes of what kernels packed from constants.
    pub fn packed_bytes(&self) -> u64 {
        self.steps.iter().map(|s| s.kernel.packed_bytes()).fold(0, u64::saturating_add)
    }

    /// Bytes of buffers that wait for the next runs.
    pub fn scratch_bytes(&self) -> u64 {
        self.arenas.lock().iter().map(Arena::held_bytes).fold(0, u64::saturating_add)
    }
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("steps", &self.steps.iter().map(|s| &s.label).collect::<Vec<_>>())
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

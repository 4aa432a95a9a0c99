//! The plan: a graph compiled for running.
//!
//! Names are resolved to slots of a frame, constants are folded, dead nodes are dropped, kernels
//! are prepared with their weights, and each value's last reader is known, so that its buffer can
//! be reused. At run time nothing is looked up by name, parsed or re-packed.

mod compile;
mod control;
mod diagnose;
mod exec;
mod fold;
mod gradient;
mod rowwise;

pub use compile::{CompileOptions, compile};
pub use diagnose::implements;
pub use exec::RunOptions;
pub use rowwise::{RowColumn, RowInput, RowOutput, RowProgram, RowScratch};

use crate::kernel::{Arena, Kernel};
use crate::tensor::Value;
use parking_lot::Mutex;
use smallvec::SmallVec;

/// How a graph is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PlanKind {
    /// Constants folded, weights packed, buffers worked on in place, rows as one program where the
    /// model allows it: the fastest the library has.
    #[default]
    Optimised,
    /// Every node for itself and as it stands, by candle's operator where candle has it right. For
    /// comparing the other plan with. It is slow, and the last bits of a row's answer may depend
    /// on the batch it is asked in.
    Plain,
}

impl PlanKind {
    /// `optimised` or `plain`.
    pub fn name(self) -> &'static str {
        match self {
            PlanKind::Optimised => "optimised",
            PlanKind::Plain => "plain",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<PlanKind> {
        [PlanKind::Optimised, PlanKind::Plain].into_iter().find(|kind| kind.name() == name)
    }
}

/// A step of a model's plan, for those who want to see how it is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanStep {
    /// The operator, with its domain unless that is `ai.onnx`.
    pub operator: String,
    /// How many runs of the step candle's operator has computed so far, the trial at load
    /// included; `None` where only the library's own kernel is there. That kernel computed the
    /// other runs: candle is not asked where it would fail, be wrong or start threads of its own.
    pub candle_runs: Option<u64>,
}

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

/// Every implemented operator as `(domain, name)`, sorted; the domain of `ai.onnx` is empty.
pub fn operators() -> Vec<(&'static str, &'static str)> {
    let mut all = crate::kernel::registry::operators();
    all.extend(control::OPERATORS.map(|op| ("", op)));
    all.sort_unstable();
    all
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
    /// The operator, with its domain unless that is `ai.onnx`.
    operator: Box<str>,
}

/// A compiled graph. Immutable and shared by any number of threads; each run has its own frame.
pub struct Plan {
    steps: Vec<Step>,
    constants: Vec<Value>,
    slots: usize,
    /// Slot of each input; `None` where no step reads it.
    inputs: Vec<Option<u32>>,
    outputs: Vec<Operand>,
    row_program: Option<RowProgram<f32>>,
    wide_row_program: Option<RowProgram<f64>>,
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
    pub fn row_program(&self) -> Option<&RowProgram<f32>> {
        self.row_program.as_ref()
    }

    /// As [`Plan::row_program`], for a plan whose input is of `f64`.
    pub fn wide_row_program(&self) -> Option<&RowProgram<f64>> {
        self.wide_row_program.as_ref()
    }

    /// The steps in the order in which they run; bodies of control flow are not entered.
    pub fn steps(&self) -> Vec<PlanStep> {
        let step = |s: &Step| PlanStep {
            operator: s.operator.to_string(),
            candle_runs: s.kernel.candle_runs(),
        };
        self.steps.iter().map(step).collect()
    }

    /// Whether some step draws random numbers, bodies of control flow included: equal requests may
    /// get different answers.
    pub fn is_random(&self) -> bool {
        self.steps.iter().any(|s| s.kernel.is_random())
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

//! The tabular fast path: a plan whose every step is a function of rows, as one program over
//! registers in a scratch slice. It makes no tensor and, once warm, allocates nothing.

use super::fold::Known;
use super::{Plan, Step};
use crate::graph::{Dim, Graph, Node, ValueType};
use crate::kernel::{Arena, Arg, Context, Inputs, RowNumber};
use crate::limits::RequestLimits;
use crate::tensor::{Tensor, Value};
use crate::threads::Threads;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::marker::PhantomData;

/// Where a row instruction reads from: the caller's rows or an earlier result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Input,
    Register { offset: usize, width: usize },
}

/// What a value of the graph is, seen row by row.
#[derive(Debug, Clone)]
enum Register {
    /// Numbers.
    Floats(Source),
    /// The index of a class, with the labels by index.
    Class { index: usize, labels: Tensor },
}

enum Operation {
    /// The row operator of this step's kernel.
    Kernel(usize),
    /// The index of the largest value, the first of equals.
    ArgMax,
}

struct Instruction {
    operation: Operation,
    inputs: SmallVec<[Source; 2]>,
    offset: usize,
    width: usize,
    class: Option<usize>,
}

/// What the program knows of one output of the plan.
#[derive(Debug, Clone)]
pub enum RowOutput {
    /// `width` numbers a row.
    Floats {
        /// Place in the scratch of one row.
        offset: usize,
        /// Numbers a row.
        width: usize,
    },
    /// The index of a class.
    Class {
        /// Number of the class register.
        index: usize,
        /// Labels by index (`int64` or strings).
        labels: Tensor,
    },
}

/// A plan as one function of rows of `T`.
pub struct RowProgram<T> {
    input_width: usize,
    instructions: Vec<Instruction>,
    scratch_width: usize,
    classes: usize,
    outputs: Vec<Option<RowOutput>>,
    number: PhantomData<T>,
}

/// The registers of one thread, kept between calls.
#[derive(Debug, Default)]
pub struct RowScratch<T> {
    floats: Vec<T>,
    classes: Vec<u32>,
    rows: usize,
}

/// Floats of scratch that a block of rows may take: within a core's second-level cache.
const BLOCK_FLOATS: usize = 32 * 1024;

impl<T: RowNumber> RowProgram<T> {
    /// The program of a compiled graph, or `None` where a step is no function of rows of `T`.
    pub(super) fn build(
        graph: &Graph,
        nodes: &[Node],
        steps: &[Step],
        known: &Known,
    ) -> Option<RowProgram<T>> {
        let [input] = graph.inputs.as_slice() else { return None };
        let input_width = match &graph.value(*input).declared {
            Some(ValueType::Tensor { dtype, dims: Some(dims) })
                if *dtype == <T as RowNumber>::TYPE =>
            {
                match dims.as_slice() {
                    [_, Dim::Fixed(width)] if *width > 0 => *width,
                    _ => return None,
                }
            }
            _ => return None,
        };
        let mut builder = Builder {
            input_width,
            registers: HashMap::from([(input.index(), Register::Floats(Source::Input))]),
            instructions: Vec::new(),
            scratch_width: 0,
            classes: 0,
        };
        for (i, node) in nodes.iter().enumerate() {
            builder.node::<T>(node, i, &steps[i], known)?;
        }
        let outputs = graph
            .outputs
            .iter()
            .map(|id| match builder.registers.get(&id.index())? {
                Register::Floats(Source::Register { offset, width }) => {
                    Some(RowOutput::Floats { offset: *offset, width: *width })
                }
                Register::Floats(Source::Input) => None,
                Register::Class { index, labels } => {
                    Some(RowOutput::Class { index: *index, labels: labels.clone() })
                }
            })
            .collect();
        Some(RowProgram {
            input_width,
            instructions: builder.instructions,
            scratch_width: builder.scratch_width,
            classes: builder.classes,
            outputs,
            number: PhantomData,
        })
    }

    /// Values a row takes.
    pub fn input_width(&self) -> usize {
        self.input_width
    }

    /// What the program computes for output `i` of the plan.
    pub fn output(&self, i: usize) -> Option<&RowOutput> {
        self.outputs.get(i)?.as_ref()
    }

    /// Rows to run at once, so that the registers stay in cache.
    pub fn block_rows(&self) -> usize {
        (BLOCK_FLOATS / self.scratch_width.max(self.input_width).max(1)).clamp(1, 1024)
    }

    /// Runs `rows` rows; `input` holds `rows × input_width` values. The results stay in
    /// `scratch` until the next run.
    pub fn run(&self, plan: &Plan, rows: usize, input: &[T], scratch: &mut RowScratch<T>) {
        let floats = rows * self.scratch_width;
        if scratch.floats.len() < floats {
            scratch.floats.resize(floats, T::default());
        }
        if scratch.classes.len() < rows * self.classes {
            scratch.classes.resize(rows * self.classes, 0);
        }
        scratch.rows = rows;
        for instruction in &self.instructions {
            let (before, after) = scratch.floats.split_at_mut(instruction.offset * rows);
            let out = &mut after[..instruction.width * rows];
            let read: SmallVec<[&[T]; 4]> = instruction
                .inputs
                .iter()
                .map(|source| match *source {
                    Source::Input => input,
                    Source::Register { offset, width } => {
                        &before[offset * rows..(offset + width) * rows]
                    }
                })
                .collect();
            let classes = match instruction.class {
                Some(index) => &mut scratch.classes[index * rows..(index + 1) * rows],
                None => &mut [],
            };
            match instruction.operation {
                Operation::Kernel(step) => {
                    if let Some(op) = plan.steps.get(step).and_then(|s| T::op(s.kernel.as_ref())) {
                        op.run_rows(rows, &read, out, classes);
                    }
                }
                Operation::ArgMax => {
                    for (class, row) in
                        classes.iter_mut().zip(read[0].chunks_exact(read[0].len() / rows))
                    {
                        let mut best = 0;
                        for (i, x) in row.iter().enumerate() {
                            if *x > row[best] {
                                best = i;
                            }
                        }
                        *class = best as u32;
                    }
                }
            }
        }
    }
}

impl<T> RowScratch<T> {
    /// The numbers of a [`RowOutput::Floats`], `rows × width` row-major.
    pub fn floats(&self, offset: usize, width: usize) -> &[T] {
        self.floats.get(offset * self.rows..(offset + width) * self.rows).unwrap_or_default()
    }

    /// The class index of each row of a [`RowOutput::Class`].
    pub fn classes(&self, index: usize) -> &[u32] {
        self.classes.get(index * self.rows..(index + 1) * self.rows).unwrap_or_default()
    }
}

impl<T> std::fmt::Debug for RowProgram<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowProgram")
            .field("input_width", &self.input_width)
            .field("instructions", &self.instructions.len())
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

struct Builder {
    input_width: usize,
    registers: HashMap<usize, Register>,
    instructions: Vec<Instruction>,
    scratch_width: usize,
    classes: usize,
}

impl Builder {
    /// Adds a node; `None` ends the attempt.
    fn node<T: RowNumber>(
        &mut self,
        node: &Node,
        position: usize,
        step: &Step,
        known: &Known,
    ) -> Option<()> {
        let mut inputs: SmallVec<[Register; 2]> = SmallVec::new();
        for id in node.inputs.iter().flatten().filter(|id| known[id.index()].is_none()) {
            inputs.push(self.registers.get(&id.index())?.clone());
        }
        let constant = |i: usize| -> Option<&Tensor> {
            match known[node.inputs.get(i)?.as_ref()?.index()].as_ref()? {
                Value::Tensor(t) => Some(t),
                _ => None,
            }
        };
        match (node.op.as_str(), inputs.as_slice()) {
            ("Identity", [same]) => {
                let same = same.clone();
                return self.set(node, 0, same);
            }
            ("ZipMap", [Register::Floats(source)]) => {
                let source = *source;
                return self.set(node, 0, Register::Floats(source));
            }
            ("Cast", [Register::Class { index, labels }]) => {
                let labels = apply(step, labels)?;
                let register = Register::Class { index: *index, labels };
                return self.set(node, 0, register);
            }
            ("Reshape", [Register::Class { .. }]) => {
                let keeps_rows =
                    matches!(constant(1)?.to_i64_vec().ok()?.as_slice(), [-1] | [-1, 1]);
                return keeps_rows.then(|| self.set(node, 0, inputs[0].clone()))?;
            }
            ("ArrayFeatureExtractor", [Register::Class { index, labels }])
                if constant(0).is_some() =>
            {
                let table = constant(0)?;
                let picks = labels.as_slice::<i64>().ok()?;
                let labels = pick(table, picks)?;
                let register = Register::Class { index: *index, labels };
                return self.set(node, 0, register);
            }
            ("ArgMax", [Register::Floats(source)]) => {
                let width = self.width(*source);
                let axis = node.attributes.int("axis", 0).ok()?;
                let last = node.attributes.int("select_last_index", 0).ok()?;
                if !(axis == 1 || axis == -1) || last != 0 || width == 0 {
                    return None;
                }
                let labels = Tensor::from_vec(&[width], (0..width as i64).collect()).ok()?;
                let class = self.class();
                self.push(Operation::ArgMax, smallvec::smallvec![*source], 0, Some(class));
                return self.set(node, 0, Register::Class { index: class, labels });
            }
            _ => {}
        }
        let op = T::op(step.kernel.as_ref())?;
        let mut sources: SmallVec<[Source; 2]> = SmallVec::new();
        for register in &inputs {
            match register {
                Register::Floats(source) => sources.push(*source),
                Register::Class { .. } => return None,
            }
        }
        let widths: SmallVec<[usize; 4]> = sources.iter().map(|s| self.width(*s)).collect();
        let shape = op.shape(&widths)?;
        let offset = self.scratch_width;
        let floats = Register::Floats(Source::Register { offset, width: shape.width });
        match shape.classes {
            None => {
                self.push(Operation::Kernel(position), sources, shape.width, None);
                self.set(node, 0, floats)
            }
            Some(_) => {
                let class = self.class();
                let labels = op.labels()?;
                self.push(Operation::Kernel(position), sources, shape.width, Some(class));
                self.set(node, 0, Register::Class { index: class, labels })?;
                self.set(node, 1, floats)
            }
        }
    }

    fn width(&self, source: Source) -> usize {
        match source {
            Source::Input => self.input_width,
            Source::Register { width, .. } => width,
        }
    }

    fn class(&mut self) -> usize {
        self.classes += 1;
        self.classes - 1
    }

    fn push(
        &mut self,
        operation: Operation,
        inputs: SmallVec<[Source; 2]>,
        width: usize,
        class: Option<usize>,
    ) {
        let offset = self.scratch_width;
        self.instructions.push(Instruction { operation, inputs, offset, width, class });
        self.scratch_width += width;
    }

    fn set(&mut self, node: &Node, output: usize, register: Register) -> Option<()> {
        if let Some(Some(id)) = node.outputs.get(output) {
            self.registers.insert(id.index(), register);
        }
        Some(())
    }
}

/// The labels after the step's own kernel, so that a cast there and here is one rule.
fn apply(step: &Step, labels: &Tensor) -> Option<Tensor> {
    let threads = Threads::new(1);
    let limits = RequestLimits::default();
    let mut arena = Arena::default();
    let mut ctx = Context {
        threads: &threads,
        limits: &limits,
        arena: &mut arena,
        deadline: None,
        cancel: None,
    };
    let mut inputs = Inputs::new(smallvec::smallvec![Arg::Owned(labels.clone().into())]);
    step.kernel.run(&mut ctx, &mut inputs).ok()?.into_iter().next()?.into_tensor().ok()
}

/// `table[picks]` for label tables of one row.
fn pick(table: &Tensor, picks: &[i64]) -> Option<Tensor> {
    let at = |i: &i64| usize::try_from(*i).ok();
    if let Ok(v) = table.as_slice::<i64>() {
        let picked: Option<Vec<i64>> = picks.iter().map(|i| v.get(at(i)?).copied()).collect();
        return Tensor::from_vec(&[picks.len()], picked?).ok();
    }
    if let Ok(v) = table.as_slice::<i32>() {
        let picked: Option<Vec<i32>> = picks.iter().map(|i| v.get(at(i)?).copied()).collect();
        return Tensor::from_vec(&[picks.len()], picked?).ok();
    }
    let v = table.as_slice::<String>().ok()?;
    let picked: Option<Vec<String>> = picks.iter().map(|i| v.get(at(i)?).cloned()).collect();
    Tensor::from_vec(&[picks.len()], picked?).ok()
}

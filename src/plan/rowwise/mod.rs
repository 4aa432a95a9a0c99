//! The tabular fast path: a plan whose every step is a function of rows, as one program over
//! registers in a scratch slice. It makes no tensor and, once warm, allocates nothing.
//!
//! Counts of words are *sparse* registers: a slice that is zero whenever no program runs, and the
//! list of the columns that a row has set. Operators that leave zeros zero ([`RowOp::sparsity`])
//! visit the list; any other reads the slice as it reads every register. A program with such
//! registers runs row by row.
//!
//! [`RowOp::sparsity`]: crate::kernel::RowOp::sparsity

mod build;
mod labels;
#[cfg(test)]
mod tests;

use super::{Plan, Step};
use crate::kernel::{Follower, Followers, RowNumber, TextPart};
use crate::tensor::{ElementType, Tensor};
use smallvec::SmallVec;
use std::marker::PhantomData;

/// Where a row instruction reads numbers from: the caller's rows or an earlier result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Input(usize),
    Register {
        offset: usize,
        width: usize,
    },
    /// A place in the slice of zeros, and the number of the list of what is not zero.
    Sparse {
        offset: usize,
        width: usize,
        list: usize,
    },
}

/// One text of each row: a column of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TextColumn {
    input: usize,
    column: usize,
}

enum Operation<T> {
    /// The row operator of this step's kernel.
    Kernel(usize),
    /// A product that does later steps' work as well: it adds the row of one, and takes over a
    /// Relu.
    Product { step: usize, add: Option<usize>, relu: bool },
    /// The index of the largest value, the first of equals.
    ArgMax,
    /// The value of a known text or number, by the encoder of this step's kernel.
    Encode { step: usize, reads: Key, code: Code<T> },
    /// The row operator of this step's kernel, over the columns that are not zero.
    Sparse(usize),
    /// The numbers as they are.
    Copy,
    /// The tokens of a text counted.
    Count { text: TextColumn, maps: SmallVec<[usize; 1]>, split: usize, count: usize },
}

/// What an encoder reads.
#[derive(Debug, Clone, Copy)]
enum Key {
    Text(TextColumn),
    Numbers(Source),
}

/// What it writes.
enum Code<T> {
    OneHot { zeros: bool },
    Values { values: Vec<T>, default: T },
}

struct Instruction<T> {
    operation: Operation<T>,
    inputs: SmallVec<[Source; 2]>,
    offset: usize,
    width: usize,
    class: Option<usize>,
    /// The list of its result, where that is a sparse register: `offset` is one of zeros then.
    list: Option<usize>,
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

/// What an input of the program holds a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowColumn {
    /// Numbers that ONNX has in the type `dtype`: whole ones must be exact in the program's own.
    Numbers {
        /// Numbers a row.
        width: usize,
        /// `f32`, `f64`, `int32`, `int64` or `bool`.
        dtype: ElementType,
    },
    /// Texts.
    Texts {
        /// Texts a row.
        width: usize,
    },
}

impl RowColumn {
    /// Values a row.
    pub fn width(&self) -> usize {
        match *self {
            RowColumn::Numbers { width, .. } | RowColumn::Texts { width } => width,
        }
    }
}

/// The rows of one input, row-major.
#[derive(Debug, Clone, Copy)]
pub enum RowInput<'a, T> {
    /// Numbers.
    Numbers(&'a [T]),
    /// Texts.
    Texts(&'a [String]),
}

impl<'a, T> RowInput<'a, T> {
    /// Rows `start..start + rows` of `width` values each.
    pub fn part(&self, start: usize, rows: usize, width: usize) -> RowInput<'a, T> {
        let range = start * width..(start + rows) * width;
        match self {
            RowInput::Numbers(values) => RowInput::Numbers(values.get(range).unwrap_or_default()),
            RowInput::Texts(texts) => RowInput::Texts(texts.get(range).unwrap_or_default()),
        }
    }

    fn numbers(&self) -> &'a [T] {
        match self {
            RowInput::Numbers(values) => values,
            RowInput::Texts(_) => &[],
        }
    }

    fn text(&self, at: usize) -> &'a str {
        match self {
            RowInput::Numbers(_) => "",
            RowInput::Texts(texts) => texts.get(at).map_or("", String::as_str),
        }
    }
}

/// A plan as one function of rows of `T`.
pub struct RowProgram<T> {
    columns: SmallVec<[RowColumn; 1]>,
    instructions: Vec<Instruction<T>>,
    scratch_width: usize,
    /// Offset and list of each sparse register.
    sparse: Vec<(usize, usize)>,
    sparse_width: usize,
    lists: usize,
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
    /// A text after each step that changes it, and before it.
    text: [String; 2],
    /// The numbers of a text's tokens.
    tokens: Vec<u32>,
    /// The sparse registers: all zeros between two runs.
    zeros: Vec<T>,
    /// The columns of sparse registers that are not zero, ascending.
    lists: Vec<Vec<u32>>,
}

/// Floats of scratch that a block of rows may take: within a core's second-level cache.
const BLOCK_FLOATS: usize = 32 * 1024;

impl<T: RowNumber> RowProgram<T> {
    /// What each input of the plan holds.
    pub fn columns(&self) -> &[RowColumn] {
        &self.columns
    }

    /// What the program computes for output `i` of the plan.
    pub fn output(&self, i: usize) -> Option<&RowOutput> {
        self.outputs.get(i)?.as_ref()
    }

    /// Whether a value of the rows can make [`RowProgram::run`] answer `false`.
    pub fn may_refuse(&self) -> bool {
        let refuses = |i: &Instruction<T>| {
            matches!(i.operation, Operation::Encode { code: Code::OneHot { zeros: false }, .. })
        };
        self.instructions.iter().any(refuses)
    }

    /// Rows to run at once, so that the registers stay in cache.
    pub fn block_rows(&self) -> usize {
        if self.sparse_width > 0 {
            return 1;
        }
        let inputs: usize = self.columns.iter().map(RowColumn::width).sum();
        (BLOCK_FLOATS / self.scratch_width.max(inputs).max(1)).clamp(1, 1024)
    }

    /// Runs `rows` rows of the inputs, each as [`RowProgram::columns`] says. The results stay in
    /// `scratch` until the next run. Answers `false` where an operator refuses a value: the plan
    /// itself then says why.
    pub fn run(
        &self,
        plan: &Plan,
        rows: usize,
        inputs: &[RowInput<'_, T>],
        scratch: &mut RowScratch<T>,
    ) -> bool {
        let floats = rows * self.scratch_width;
        if scratch.floats.len() < floats {
            scratch.floats.resize(floats, T::default());
        }
        if scratch.classes.len() < rows * self.classes {
            scratch.classes.resize(rows * self.classes, 0);
        }
        scratch.rows = rows;
        if self.sparse_width == 0 {
            let ran = |i| self.step(plan, i, rows, inputs, scratch, &mut [], &mut []).is_some();
            return self.instructions.iter().all(ran);
        }
        // Taken, so that what a panic leaves behind is never read as zeros.
        let mut zeros = std::mem::take(&mut scratch.zeros);
        let mut lists = std::mem::take(&mut scratch.lists);
        if zeros.len() < self.sparse_width {
            zeros.resize(self.sparse_width, T::default());
        }
        if lists.len() < self.lists {
            lists.resize(self.lists, Vec::new());
        }
        lists.iter_mut().for_each(Vec::clear);
        let ran = |i| self.step(plan, i, rows, inputs, scratch, &mut zeros, &mut lists).is_some();
        let ran = rows == 1 && self.instructions.iter().all(ran);
        for &(offset, list) in &self.sparse {
            for &column in &lists[list] {
                zeros[offset + column as usize] = T::default();
            }
        }
        (scratch.zeros, scratch.lists) = (zeros, lists);
        ran
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one scratch, borrowed apart")]
    fn step(
        &self,
        plan: &Plan,
        instruction: &Instruction<T>,
        rows: usize,
        inputs: &[RowInput<'_, T>],
        scratch: &mut RowScratch<T>,
        zeros: &mut [T],
        lists: &mut [Vec<u32>],
    ) -> Option<()> {
        let RowScratch { floats, classes, text, tokens, .. } = scratch;
        // What is read lies before what is written.
        let (dense, sparse) = match instruction.list {
            None => (instruction.offset * rows, zeros.len()),
            Some(_) => (floats.len(), instruction.offset),
        };
        let (before, after) = floats.split_at_mut(dense);
        let (zeros, zeros_after) = zeros.split_at_mut(sparse);
        let out = match instruction.list {
            None => &mut after[..instruction.width * rows],
            Some(_) => &mut zeros_after[..instruction.width],
        };
        let numbers = |source: &Source| match *source {
            Source::Input(i) => inputs.get(i).map_or(&[][..], RowInput::numbers),
            Source::Register { offset, width } => &before[offset * rows..(offset + width) * rows],
            Source::Sparse { offset, width, .. } => &zeros[offset..offset + width],
        };
        let classes = match instruction.class {
            Some(index) => &mut classes[index * rows..(index + 1) * rows],
            None => &mut [],
        };
        match &instruction.operation {
            Operation::Kernel(step) => {
                let op = T::op(plan.steps.get(*step)?.kernel.as_ref())?;
                // Most have one input, and a row is soon computed.
                if let [one] = instruction.inputs.as_slice() {
                    op.run_rows(rows, &[numbers(one)], out, classes);
                } else {
                    let read: SmallVec<[&[T]; 32]> =
                        instruction.inputs.iter().map(numbers).collect();
                    op.run_rows(rows, &read, out, classes);
                }
            }
            Operation::Product { step, add, relu } => {
                let read: SmallVec<[&[T]; 1]> = instruction.inputs.iter().map(numbers).collect();
                let add = add.and_then(|step| added_row(&plan.steps, step));
                let followers = Followers { add, relu: *relu };
                T::op(plan.steps.get(*step)?.kernel.as_ref())?
                    .run_rows_with(rows, &read, out, followers);
            }
            Operation::Sparse(step) => {
                let Some(Source::Sparse { list, .. }) = instruction.inputs.first() else {
                    return None;
                };
                let read: SmallVec<[&[T]; 2]> = instruction.inputs.iter().map(numbers).collect();
                let op = T::op(plan.steps.get(*step)?.kernel.as_ref())?;
                op.run_sparse(lists.get(*list)?, &read, out, classes).then_some(())?;
            }
            Operation::Copy => out.copy_from_slice(instruction.inputs.first().map(numbers)?),
            Operation::ArgMax => {
                let read = instruction.inputs.first().map(numbers)?;
                for (class, row) in classes.iter_mut().zip(read.chunks_exact(read.len() / rows)) {
                    *class = first_largest(row) as u32;
                }
            }
            Operation::Encode { step, reads, code } => {
                let TextPart::Encode(encoder) = part(&plan.steps, *step)? else { return None };
                let mut slots = out.chunks_exact_mut(match code {
                    Code::OneHot { .. } => instruction.width.max(1),
                    Code::Values { .. } => 1,
                });
                match reads {
                    Key::Text(column) => {
                        for row in 0..rows {
                            let key = self.text(column, row, inputs);
                            code.write(encoder.of_text(key), slots.next()?)?;
                        }
                    }
                    Key::Numbers(source) => {
                        for &key in numbers(source) {
                            code.write(encoder.of_number(key.into()), slots.next()?)?;
                        }
                    }
                }
            }
            Operation::Count { text: column, maps, split, count } => {
                let TextPart::Split(splitter) = part(&plan.steps, *split)? else { return None };
                let TextPart::Count(counter) = part(&plan.steps, *count)? else { return None };
                let list = lists.get_mut(instruction.list?)?;
                let mut given = self.text(column, 0, inputs);
                let [now, next] = &mut *text;
                for map in maps {
                    let TextPart::Map(map) = part(&plan.steps, *map)? else { return None };
                    next.clear();
                    map.map(given, next);
                    std::mem::swap(now, next);
                    given = now;
                }
                tokens.clear();
                splitter.split(given, &mut |token| tokens.push(counter.number(token)));
                counter.tally(tokens, &mut |column| {
                    if let Some(count) = out.get_mut(column as usize) {
                        let before: f64 = (*count).into();
                        if before == 0.0 {
                            list.push(column);
                        }
                        *count = T::of(before + 1.0);
                    }
                });
                list.sort_unstable();
                for &column in list.iter() {
                    let count: f64 = out[column as usize].into();
                    out[column as usize] = T::of(counter.weigh(column, count as f32).into());
                }
            }
        }
        Some(())
    }

    fn text<'a>(&self, at: &TextColumn, row: usize, inputs: &[RowInput<'a, T>]) -> &'a str {
        let width = self.columns.get(at.input).map_or(1, RowColumn::width);
        inputs.get(at.input).map_or("", |input| input.text(row * width + at.column))
    }
}

impl<T: RowNumber> Code<T> {
    /// Writes what the key at this position becomes; `None` where an unknown one is an error.
    fn write(&self, position: Option<usize>, out: &mut [T]) -> Option<()> {
        match self {
            Code::OneHot { zeros } => {
                out.fill(T::default());
                match position {
                    Some(p) => *out.get_mut(p)? = T::of(1.0),
                    None if !zeros => return None,
                    None => {}
                }
            }
            Code::Values { values, default } => {
                *out.first_mut()? =
                    position.and_then(|p| values.get(p)).copied().unwrap_or(*default);
            }
        }
        Some(())
    }
}

/// What the kernel of a step does to texts.
fn part(steps: &[Step], step: usize) -> Option<TextPart<'_>> {
    steps.get(step)?.kernel.text_part()
}

/// The row that a step adds to each row.
fn added_row<T: RowNumber>(steps: &[Step], step: usize) -> Option<&[T]> {
    match T::op(steps.get(step)?.kernel.as_ref())?.follower()? {
        Follower::Add(row) => Some(row),
        Follower::Relu => None,
    }
}

fn first_largest<T: PartialOrd + Copy + Default>(row: &[T]) -> usize {
    let (mut best, mut top) = (0, row.first().copied().unwrap_or_default());
    for (i, &x) in row.iter().enumerate() {
        // Without a branch: which number wins cannot be foreseen.
        let better = x > top;
        top = if better { x } else { top };
        best = if better { i } else { best };
    }
    best
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
            .field("columns", &self.columns)
            .field("instructions", &self.instructions.len())
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

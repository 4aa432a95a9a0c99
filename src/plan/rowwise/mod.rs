//! The tabular fast path: a plan whose every step is a function of rows, as one program over
//! registers in a scratch slice. It makes no tensor and, once warm, allocates nothing.

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
    Register { offset: usize, width: usize },
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
    counts: Vec<f32>,
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
        self.instructions.iter().all(|i| self.step(plan, i, rows, inputs, scratch).is_some())
    }

    fn step(
        &self,
        plan: &Plan,
        instruction: &Instruction<T>,
        rows: usize,
        inputs: &[RowInput<'_, T>],
        scratch: &mut RowScratch<T>,
    ) -> Option<()> {
        let RowScratch { floats, classes, text, tokens, counts, .. } = scratch;
        let (before, after) = floats.split_at_mut(instruction.offset * rows);
        let out = &mut after[..instruction.width * rows];
        let numbers = |source: &Source| match *source {
            Source::Input(i) => inputs.get(i).map_or(&[][..], RowInput::numbers),
            Source::Register { offset, width } => &before[offset * rows..(offset + width) * rows],
        };
        let classes = match instruction.class {
            Some(index) => &mut classes[index * rows..(index + 1) * rows],
            None => &mut [],
        };
        match &instruction.operation {
            Operation::Kernel(step) => {
                let read: SmallVec<[&[T]; 32]> = instruction.inputs.iter().map(numbers).collect();
                T::op(plan.steps.get(*step)?.kernel.as_ref())?.run_rows(rows, &read, out, classes);
            }
            Operation::Product { step, add, relu } => {
                let read: SmallVec<[&[T]; 1]> = instruction.inputs.iter().map(numbers).collect();
                let add = add.and_then(|step| added_row(&plan.steps, step));
                let followers = Followers { add, relu: *relu };
                T::op(plan.steps.get(*step)?.kernel.as_ref())?
                    .run_rows_with(rows, &read, out, followers);
            }
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
                for (row, out) in out.chunks_exact_mut(instruction.width.max(1)).enumerate() {
                    let mut given = self.text(column, row, inputs);
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
                    counts.resize(instruction.width, 0.0);
                    counter.count(tokens, counts);
                    match T::from_f32(counts) {
                        Some(same) => out.copy_from_slice(same),
                        None => {
                            let wide = counts.iter().map(|&c| T::of(c.into()));
                            out.iter_mut().zip(wide).for_each(|(o, c)| *o = c);
                        }
                    }
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

//! The tabular fast path of a loaded model: rows through its row program, no tensor made.

mod rows;

use super::graph_model::contain;
use super::interpret::Reading;
use super::request::check_rows;
use super::{Answer, Answers, Ctx, Features, GraphModel, Prediction, Predictions, Receipt, Task};
use crate::error::{Result, err};
use crate::kernel::RowNumber;
use crate::plan::{Plan, RowInput, RowOutput, RowProgram, RowScratch};
use crate::tensor::{Data, Tensor};
use parking_lot::Mutex;
pub(super) use rows::{bound, own_row};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Where the row program leaves the answer.
#[derive(Debug, Clone)]
pub(super) struct FastPath {
    /// Class register and labels by index.
    pub(super) class: Option<(usize, Labels)>,
    /// Offset and width of scores or values.
    pub(super) floats: Option<(usize, usize)>,
}

#[derive(Debug, Clone)]
pub(super) enum Labels {
    Int(Vec<i64>),
    Str(Vec<Arc<str>>),
}

impl FastPath {
    /// The fast path for this reading, where a row program computes all of it.
    pub(super) fn new(plan: &Plan, reading: &Reading, task: Task) -> Option<FastPath> {
        match (plan.row_program(), plan.wide_row_program()) {
            (Some(program), _) => FastPath::over(program, reading, task),
            (None, Some(program)) => FastPath::over(program, reading, task),
            (None, None) => None,
        }
    }

    fn over<T: RowNumber>(
        program: &RowProgram<T>,
        reading: &Reading,
        task: Task,
    ) -> Option<FastPath> {
        if matches!(task, Task::Tensors | Task::Multilabel) || reading.logits {
            return None;
        }
        let class = match reading.label {
            None => None,
            Some(i) => match program.output(i)? {
                RowOutput::Class { index, labels } => Some((*index, labels_of(labels)?)),
                RowOutput::Floats { .. } => return None,
            },
        };
        let floats = match reading.scores {
            None => None,
            Some(i) => match program.output(i)? {
                RowOutput::Floats { offset, width } => Some((*offset, *width)),
                RowOutput::Class { .. } => return None,
            },
        };
        // A classifier without a label output takes the class of the largest score: general path.
        if task == Task::Classifier && class.is_none() {
            return None;
        }
        Some(FastPath { class, floats })
    }

    fn copy_block<T: Copy>(
        &self,
        at: usize,
        n: usize,
        scratch: &RowScratch<T>,
        floats: &mut [T],
        classes: &mut [u32],
    ) {
        if let Some((offset, width)) = self.floats
            && let Some(out) = floats.get_mut(at * width..(at + n) * width)
        {
            out.copy_from_slice(scratch.floats(offset, width));
        }
        if let Some((index, _)) = &self.class
            && let Some(out) = classes.get_mut(at..at + n)
        {
            out.copy_from_slice(scratch.classes(*index));
        }
    }
}

fn labels_of(tensor: &Tensor) -> Option<Labels> {
    match tensor.data() {
        Data::String(v) => Some(Labels::Str(v.iter().map(|s| s.as_str().into()).collect())),
        _ => tensor.to_i64_vec().ok().map(Labels::Int),
    }
}

/// Numbers that a row program may be one of.
pub(super) trait Registers: RowNumber {
    /// Lends this thread's registers, kept between calls so that a prediction allocates nothing.
    fn scratch<R>(f: impl FnOnce(&mut RowScratch<Self>) -> R) -> R;

    /// Lends memory, kept as the registers are, for rows that come as other numbers.
    fn converted<R>(f: impl FnOnce(&mut Vec<Self>) -> R) -> R;
}

/// Numbers of a thread's converted rows that are kept; a larger batch gives its memory back.
const KEPT: usize = 1 << 16;

macro_rules! registers {
    ($($t:ident),+) => {$(
        impl Registers for $t {
            fn scratch<R>(f: impl FnOnce(&mut RowScratch<$t>) -> R) -> R {
                thread_local! {
                    static OWN: RefCell<RowScratch<$t>> = RefCell::default();
                }
                OWN.with_borrow_mut(f)
            }

            fn converted<R>(f: impl FnOnce(&mut Vec<$t>) -> R) -> R {
                thread_local! {
                    static OWN: RefCell<Vec<$t>> = RefCell::default();
                }
                // Taken, not borrowed: a thread that waits for others may answer a second request.
                let mut converted = OWN.take();
                let result = f(&mut converted);
                converted.clear();
                if converted.capacity() <= KEPT {
                    OWN.set(converted);
                }
                result
            }
        }
    )+};
}
registers!(f32, f64);

impl GraphModel {
    /// The answer for one row, where its form and the model allow the fast path.
    pub(super) fn quick_row(&self, features: &Features<'_>) -> Option<Result<Prediction>> {
        let fast = self.fast.as_ref()?;
        match self.plan.row_program() {
            Some(program) => self.row_by(fast, program, features),
            None => self.row_by(fast, self.plan.wide_row_program()?, features),
        }
    }

    fn row_by<T: Registers>(
        &self,
        fast: &FastPath,
        program: &RowProgram<T>,
        features: &Features<'_>,
    ) -> Option<Result<Prediction>> {
        if let Some(row) = own_row(program, features) {
            let row = [RowInput::Numbers(row)];
            return contain(|| self.fast_row(fast, program, &row)).transpose();
        }
        T::converted(|converted| {
            let (rows, inputs) =
                bound(program, &self.signature, &self.limits, features, converted)?;
            if rows != 1 {
                return None;
            }
            contain(|| self.fast_row(fast, program, &inputs)).transpose()
        })
    }

    /// The answers for a batch, where its form and the model allow the fast path.
    pub(super) fn quick_batch(
        &self,
        features: &Features<'_>,
        ctx: &Ctx,
    ) -> Option<Result<Predictions>> {
        let fast = self.fast.as_ref()?;
        match self.plan.row_program() {
            Some(program) => self.batch_by(fast, program, features, ctx),
            None => self.batch_by(fast, self.plan.wide_row_program()?, features, ctx),
        }
    }

    fn batch_by<T: Registers>(
        &self,
        fast: &FastPath,
        program: &RowProgram<T>,
        features: &Features<'_>,
        ctx: &Ctx,
    ) -> Option<Result<Predictions>> {
        T::converted(|converted| {
            let (rows, inputs) =
                bound(program, &self.signature, &self.limits, features, converted)?;
            if let Err(error) = check_rows(rows, &self.limits) {
                return Some(Err(error));
            }
            contain(|| self.fast_batch(fast, program, rows, &inputs, ctx)).transpose()
        })
    }

    /// Runs the row program over all rows in blocks, until the request ends early; `store` gets
    /// each block's first row. `false` where the program refuses a value.
    pub(super) fn run_rows<T: Registers>(
        &self,
        program: &RowProgram<T>,
        rows: Range<usize>,
        inputs: &[RowInput<'_, T>],
        ctx: Option<&Ctx>,
        mut store: impl FnMut(usize, usize, &RowScratch<T>),
    ) -> Result<bool> {
        let block = program.block_rows();
        T::scratch(|scratch| {
            if rows == (0..1) {
                let ran = program.run(&self.plan, 1, inputs, scratch);
                if ran {
                    store(0, 1, scratch);
                }
                return Ok(ran);
            }
            let mut start = rows.start;
            while start < rows.end {
                if let Some(ctx) = ctx.filter(|_| start > rows.start) {
                    ctx.check()?;
                }
                let n = block.min(rows.end - start);
                let part: SmallVec<[RowInput<'_, T>; 4]> = inputs
                    .iter()
                    .zip(program.columns())
                    .map(|(input, column)| input.part(start, n, column.width()))
                    .collect();
                if !program.run(&self.plan, n, &part, scratch) {
                    return Ok(false);
                }
                store(start, n, scratch);
                start += n;
            }
            Ok(true)
        })
    }

    /// Runs the row program over all rows of a batch, on several threads where that pays; else as
    /// [`GraphModel::run_rows`].
    pub(super) fn run_batch<T: Registers>(
        &self,
        program: &RowProgram<T>,
        rows: usize,
        inputs: &[RowInput<'_, T>],
        ctx: Option<&Ctx>,
        store: impl FnMut(usize, usize, &RowScratch<T>) + Send,
    ) -> Result<bool> {
        let ns = usize::try_from(self.row_ns).unwrap_or(usize::MAX);
        if self.threads.size() <= 1 || rows.saturating_mul(ns) <= 200_000 {
            return self.run_rows(program, 0..rows, inputs, ctx, store);
        }
        let (store, outcome) = (Mutex::new(store), Mutex::new(Ok(true)));
        self.threads.split(rows, ns, program.block_rows(), |range| {
            let ran = self.run_rows(program, range, inputs, ctx, |at, n, scratch| {
                (*store.lock())(at, n, scratch);
            });
            if !matches!(ran, Ok(true)) {
                *outcome.lock() = ran;
            }
        });
        outcome.into_inner()
    }

    fn fast_row<T: Registers>(
        &self,
        fast: &FastPath,
        program: &RowProgram<T>,
        row: &[RowInput<'_, T>],
    ) -> Result<Option<Prediction>> {
        let mut answer = Answer::Value(f64::NAN);
        let mut probability = None;
        let mut scores: Option<SmallVec<[f64; 8]>> = None;
        let ran = self.run_rows(program, 0..1, row, None, |_, _, scratch| {
            let floats = fast.floats.map(|(offset, width)| scratch.floats(offset, width));
            match &fast.class {
                Some((index, labels)) => {
                    let class = scratch.classes(*index).first().copied().unwrap_or(0) as usize;
                    answer = match labels {
                        Labels::Int(v) => Answer::Int(v.get(class).copied().unwrap_or_default()),
                        Labels::Str(v) => v
                            .get(class)
                            .map_or_else(|| Answer::Str("".into()), |s| Answer::Str(s.clone())),
                    };
                    if let Some(floats) = floats {
                        scores = Some(floats.iter().map(|&x| x.into()).collect());
                        if self.signature.has_probabilities {
                            probability = floats.get(class).map(|&p| p.into());
                        }
                    }
                }
                None => {
                    let floats = floats.unwrap_or_default();
                    answer = match floats {
                        [one] if self.signature.task == Task::Regressor => {
                            Answer::Value((*one).into())
                        }
                        many => Answer::Values(many.iter().map(|&x| x.into()).collect()),
                    };
                }
            }
        })?;
        Ok(ran.then(|| Prediction {
            answer,
            probability,
            scores,
            scores_kind: self.reading.kind,
            classes: self.signature.classes.clone(),
            model_version: self.info.version,
            latency: Duration::ZERO,
            receipt: Receipt::default(),
        }))
    }

    fn fast_batch<T: Registers>(
        &self,
        fast: &FastPath,
        program: &RowProgram<T>,
        rows: usize,
        inputs: &[RowInput<'_, T>],
        ctx: &Ctx,
    ) -> Result<Option<Predictions>> {
        let width = fast.floats.map_or(0, |(_, w)| w);
        let mut floats = vec![T::default(); rows * width];
        let mut classes = vec![0u32; if fast.class.is_some() { rows } else { 0 }];
        let ran = self.run_batch(program, rows, inputs, Some(ctx), |at, n, scratch| {
            fast.copy_block(at, n, scratch, &mut floats, &mut classes);
        })?;
        if !ran {
            return Ok(None);
        }
        let scores = match fast.floats {
            Some(_) => Some(Tensor::from_vec(&[rows, width], floats)?),
            None => None,
        };
        let answers = match &fast.class {
            Some((_, Labels::Int(v))) => {
                let labels = classes
                    .iter()
                    .map(|&c| v.get(c as usize).copied().unwrap_or_default())
                    .collect();
                Answers::Labels(Tensor::from_vec::<i64>(&[rows], labels)?)
            }
            Some((_, Labels::Str(v))) => {
                let labels = classes
                    .iter()
                    .map(|&c| v.get(c as usize).map_or_else(String::new, |s| s.to_string()))
                    .collect();
                Answers::Labels(Tensor::from_vec::<String>(&[rows], labels)?)
            }
            None => {
                let values =
                    scores.ok_or_else(|| err!(Internal, "a fast path without an answer"))?;
                return Ok(Some(self.predictions(rows, Answers::Values(values), None)));
            }
        };
        Ok(Some(self.predictions(rows, answers, scores)))
    }
}

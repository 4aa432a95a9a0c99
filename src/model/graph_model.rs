//! A model that runs a plan.

use super::interpret::Reading;
use super::outputs::{as_labels, largest, probabilities_of, score_tensor};
use super::request::{Bound, bind, bind_tensors, check_rows, conform};
use super::{
    Answer, Answers, CancelToken, Ctx, Features, Model, ModelInfo, ModelMemory, Prediction,
    Predictions, Receipt, Reply, Request, Signature, Task,
};
use crate::error::{Result, bail, ensure, err};
use crate::limits::RequestLimits;
use crate::plan::{Plan, PlanStep, RowOutput, RowProgram, RowScratch, RunOptions};
use crate::tensor::{Data, Tensor, Value};
use crate::threads::Threads;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

thread_local! {
    /// The row program's registers, kept between calls so that a prediction allocates nothing.
    static SCRATCH: RefCell<RowScratch> = RefCell::default();
}

/// A loaded model: a compiled graph and what its outputs mean. Immutable; any number of threads
/// predict side by side.
#[derive(Debug)]
pub struct GraphModel {
    pub(super) plan: Plan,
    pub(super) signature: Arc<Signature>,
    pub(super) reading: Reading,
    pub(super) fast: Option<FastPath>,
    pub(super) threads: Threads,
    pub(super) limits: RequestLimits,
    pub(super) info: ModelInfo,
    /// Nanoseconds of one row, measured at load; 0 where no probe could run.
    pub(super) row_ns: u64,
}

/// Where the row program leaves the answer.
#[derive(Debug, Clone)]
pub(super) struct FastPath {
    /// Class register and labels by index.
    class: Option<(usize, Labels)>,
    /// Offset and width of scores or values.
    floats: Option<(usize, usize)>,
}

#[derive(Debug, Clone)]
enum Labels {
    Int(Vec<i64>),
    Str(Vec<Arc<str>>),
}

impl FastPath {
    /// The fast path for this reading, where the row program computes all of it.
    pub(super) fn new(program: &RowProgram, reading: &Reading, task: Task) -> Option<FastPath> {
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
}

fn labels_of(tensor: &Tensor) -> Option<Labels> {
    match tensor.data() {
        Data::String(v) => Some(Labels::Str(v.iter().map(|s| s.as_str().into()).collect())),
        _ => tensor.to_i64_vec().ok().map(Labels::Int),
    }
}

impl GraphModel {
    /// What a request of this model may cost.
    pub fn request_limits(&self) -> &RequestLimits {
        &self.limits
    }

    /// The steps of the model's plan, in the order in which they run.
    pub fn steps(&self) -> Vec<PlanStep> {
        self.plan.steps()
    }

    fn run_plan(
        &self,
        values: SmallVec<[Value; 4]>,
        wanted: &[usize],
        ctx: &Ctx,
    ) -> Result<Vec<Value>> {
        let options = RunOptions {
            threads: &self.threads,
            limits: &self.limits,
            deadline: ctx.deadline,
            cancel: ctx.cancel.as_ref().map(CancelToken::flag),
        };
        contain(|| self.plan.run(values, wanted, options))
    }

    /// The fast path for these features, where both allow it.
    fn fast(&self, width: usize) -> Option<(&FastPath, &RowProgram)> {
        let program = self.plan.row_program()?;
        let fast = self.fast.as_ref()?;
        (program.input_width() == width).then_some((fast, program))
    }

    /// Runs the row program over all rows in blocks; `store` gets each block's first row.
    fn run_rows(
        &self,
        program: &RowProgram,
        rows: usize,
        data: &[f32],
        mut store: impl FnMut(usize, usize, &RowScratch),
    ) {
        let (block, width) = (program.block_rows(), program.input_width());
        SCRATCH.with_borrow_mut(|scratch| {
            let mut start = 0;
            while start < rows {
                let n = block.min(rows - start);
                program.run(&self.plan, n, &data[start * width..(start + n) * width], scratch);
                store(start, n, scratch);
                start += n;
            }
        });
    }

    fn fast_row(&self, fast: &FastPath, program: &RowProgram, row: &[f32]) -> Prediction {
        let mut answer = Answer::Value(f64::NAN);
        let mut probability = None;
        let mut scores: Option<SmallVec<[f64; 8]>> = None;
        self.run_rows(program, 1, row, |_, _, scratch| {
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
        });
        Prediction {
            answer,
            probability,
            scores,
            scores_kind: self.reading.kind,
            classes: self.signature.classes.clone(),
            model_version: self.info.version,
            latency: Duration::ZERO,
            receipt: Receipt::default(),
        }
    }

    fn fast_batch(
        &self,
        fast: &FastPath,
        program: &RowProgram,
        rows: usize,
        data: &[f32],
    ) -> Result<Predictions> {
        let width = fast.floats.map_or(0, |(_, w)| w);
        let input_width = program.input_width();
        let mut floats = vec![0f32; rows * width];
        let mut classes = vec![0u32; if fast.class.is_some() { rows } else { 0 }];
        let ns = usize::try_from(self.row_ns).unwrap_or(usize::MAX);
        let pieces = self.threads.size().max(1);
        if pieces > 1 && rows.saturating_mul(ns) > 200_000 {
            let results = parking_lot::Mutex::new((&mut floats, &mut classes));
            self.threads.split(rows, ns, program.block_rows(), |range| {
                let part = &data[range.start * input_width..range.end * input_width];
                self.run_rows(program, range.len(), part, |start, n, scratch| {
                    let at = range.start + start;
                    let mut results = results.lock();
                    let (floats, classes) = &mut *results;
                    copy_block(fast, at, n, scratch, floats, classes);
                });
            });
        } else {
            self.run_rows(program, rows, data, |at, n, scratch| {
                copy_block(fast, at, n, scratch, &mut floats, &mut classes);
            });
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
                return Ok(self.predictions(rows, Answers::Values(values), None));
            }
        };
        Ok(self.predictions(rows, answers, scores))
    }

    fn predictions(&self, rows: usize, answers: Answers, scores: Option<Tensor>) -> Predictions {
        Predictions {
            rows,
            task: self.signature.task,
            answers,
            scores,
            scores_kind: self.reading.kind,
            classes: self.signature.classes.clone(),
            model_version: self.info.version,
            latency: Duration::ZERO,
            receipt: Receipt::default(),
        }
    }

    fn general(&self, features: Features<'_>, ctx: &Ctx) -> Result<Predictions> {
        let Bound { values, rows } = bind(&self.signature, features, &self.limits)?;
        if self.signature.task == Task::Tensors {
            let outputs = self.run_plan(values, &[], ctx)?;
            let names = self.signature.outputs.iter().map(|o| o.name.clone());
            return Ok(self.predictions(
                rows,
                Answers::Outputs(names.zip(outputs).collect()),
                None,
            ));
        }
        let wanted: SmallVec<[usize; 2]> =
            self.reading.label.into_iter().chain(self.reading.scores).collect();
        let mut outputs = self.run_plan(values, &wanted, ctx)?.into_iter();
        let label = match self.reading.label {
            Some(_) => outputs.next().map(Value::into_tensor).transpose()?,
            None => None,
        };
        let mut scores = outputs.next().map(|v| score_tensor(v, rows)).transpose()?;
        if self.reading.logits {
            scores = scores.map(|logits| probabilities_of(&logits, rows)).transpose()?;
        }
        let answers = match (self.signature.task, label) {
            (Task::Regressor | Task::Transform, _) | (_, None)
                if self.signature.task != Task::Classifier =>
            {
                let values = scores.take().ok_or_else(|| err!(Internal, "no values output"))?;
                Answers::Values(values)
            }
            (Task::Multilabel, Some(label)) => Answers::Multilabel(as_labels(label, None)?),
            (_, Some(label)) => Answers::Labels(as_labels(label, Some(rows))?),
            (_, None) => {
                let scores = scores.as_ref().ok_or_else(|| err!(Internal, "no scores output"))?;
                Answers::Labels(largest(scores, rows, self.signature.classes.as_deref())?)
            }
        };
        if let Answers::Labels(t) = &answers {
            ensure!(
                t.len() == rows,
                Execution,
                "the model answered {} labels for {rows} rows",
                t.len()
            );
        }
        Ok(self.predictions(rows, answers, scores))
    }
}

fn copy_block(
    fast: &FastPath,
    at: usize,
    n: usize,
    scratch: &RowScratch,
    floats: &mut [f32],
    classes: &mut [u32],
) {
    if let Some((offset, width)) = fast.floats
        && let Some(out) = floats.get_mut(at * width..(at + n) * width)
    {
        out.copy_from_slice(scratch.floats(offset, width));
    }
    if let Some((index, _)) = &fast.class
        && let Some(out) = classes.get_mut(at..at + n)
    {
        out.copy_from_slice(scratch.classes(*index));
    }
}

/// Runs `f` with panics turned into errors: a defect of one operator must not take the host down.
pub(crate) fn contain<R>(f: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        let what = payload
            .downcast_ref::<&str>()
            .map(|s| (*s).to_string())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "unknown panic".to_string());
        // A payload whose own drop panics must not get out either.
        std::mem::forget(payload);
        Err(err!(Internal, "a defect of modelserve, please report it: {what}"))
    })
}

impl GraphModel {
    /// One row by the row program, where that is possible.
    fn row(&self, features: Features<'_>, ctx: &Ctx) -> Result<Prediction> {
        if let Some(data) = one_f32_row(&features)
            && let Some((fast, program)) = self.fast(data.len())
        {
            return contain(|| Ok(self.fast_row(fast, program, data)));
        }
        let answer = self.general(features, ctx)?;
        ensure!(
            answer.rows == 1,
            InvalidInput,
            "predict takes one row, got {}: use predict_batch",
            answer.rows
        );
        answer.row(0)
    }

    fn batch(&self, features: Features<'_>, ctx: &Ctx) -> Result<Predictions> {
        if let Some((data, rows, width)) = f32_rows(&features)
            && let Some((fast, program)) = self.fast(width)
        {
            check_rows(rows, &self.limits)?;
            return contain(|| self.fast_batch(fast, program, rows, data));
        }
        self.general(features, ctx)
    }

    fn tensors(
        &self,
        inputs: &[(String, Value)],
        outputs: &[String],
        ctx: &Ctx,
    ) -> Result<Vec<(String, Value)>> {
        let specs = &self.signature.inputs;
        let listed = || specs.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
        let mut slots: Vec<Option<Value>> = vec![None; specs.len()];
        for (name, value) in inputs {
            let Some(i) = specs.iter().position(|s| s.name == *name) else {
                bail!(InvalidInput, "'{name}' is no input of the model; it takes {}", listed());
            };
            ensure!(slots[i].is_none(), InvalidInput, "input '{name}' is given twice");
            slots[i] = Some(match value {
                Value::Tensor(t) => Value::Tensor(conform(t.clone(), &specs[i])?),
                other => other.clone(),
            });
        }
        let bytes: u64 = slots.iter().flatten().map(Value::byte_len).fold(0, u64::saturating_add);
        ensure!(
            bytes <= self.limits.request_bytes,
            LimitExceeded,
            "a request of {bytes} bytes (at most {}, RequestLimits::request_bytes)",
            self.limits.request_bytes
        );
        let mut values = SmallVec::new();
        for (slot, spec) in slots.into_iter().zip(specs) {
            values.push(slot.ok_or_else(|| {
                err!(InvalidInput, "input '{}' is missing; the model takes {}", spec.name, listed())
            })?);
        }
        let all = &self.signature.outputs;
        let wanted = outputs
            .iter()
            .map(|name| {
                all.iter().position(|o| o.name == *name).ok_or_else(|| {
                    let known = all.iter().map(|o| o.name.as_str()).collect::<Vec<_>>().join(", ");
                    err!(InvalidInput, "'{name}' is no output of the model; it has {known}")
                })
            })
            .collect::<Result<Vec<usize>>>()?;
        let results = self.run_plan(values, &wanted, ctx)?;
        let order: Vec<usize> = if wanted.is_empty() { (0..all.len()).collect() } else { wanted };
        Ok(order.into_iter().zip(results).map(|(i, v)| (all[i].name.clone(), v)).collect())
    }

    fn sign(&self, receipt: &mut Receipt, rows: usize, took: Duration) {
        receipt.version = self.info.version;
        receipt.digest = Some(self.info.digest.clone());
        receipt.batch_rows = u32::try_from(rows).unwrap_or(u32::MAX);
        receipt.run = took;
    }
}

/// The values of features that are exactly one row of `f32`.
fn one_f32_row<'a>(features: &'a Features<'_>) -> Option<&'a [f32]> {
    match f32_rows(features) {
        Some((data, 1, _)) => Some(data),
        _ => None,
    }
}

/// Features that are rows of `f32` as `(values, rows, width)`.
fn f32_rows<'a>(features: &'a Features<'_>) -> Option<(&'a [f32], usize, usize)> {
    let tensor = match features {
        Features::F32 { data, rows, width } => {
            return (rows.checked_mul(*width) == Some(data.len())).then_some((data, *rows, *width));
        }
        Features::Tensor(tensor) => tensor,
        Features::Inputs(tensors) => match tensors.as_slice() {
            [tensor] => tensor,
            _ => return None,
        },
        Features::Columns(_) => return None,
    };
    match (tensor.as_slice::<f32>(), tensor.dims()) {
        (Ok(data), [rows, width]) => Some((data, *rows, *width)),
        _ => None,
    }
}

impl Model for GraphModel {
    fn signature(&self) -> Arc<Signature> {
        self.signature.clone()
    }

    fn info(&self) -> ModelInfo {
        self.info.clone()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        let began = ctx.begin_run();
        ctx.check()?;
        let (mut reply, rows) = match request {
            Request::Row(features) => (self.row(features.clone(), ctx)?.into(), 1),
            Request::Batch(features) => {
                let predictions = self.batch(features.clone(), ctx)?;
                let rows = predictions.rows;
                (predictions.into(), rows)
            }
            Request::Run { inputs, outputs } => {
                (Reply::Tensors(self.tensors(inputs, outputs, ctx)?), request.rows())
            }
        };
        let took = ctx.end_run(began);
        reply.set_latency(took);
        self.sign(&mut ctx.receipt, rows, took);
        Ok(reply)
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        bind_tensors(&self.signature, features, &self.limits)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.row_ns.saturating_mul(rows as u64)
    }

    fn memory(&self) -> ModelMemory {
        ModelMemory {
            weights: self.plan.constant_bytes(),
            packed: self.plan.packed_bytes(),
            scratch: self.plan.scratch_bytes(),
        }
    }

    fn call_row(&self, row: &[f32], ctx: &mut Ctx) -> Result<Prediction> {
        let began = ctx.begin_run();
        ctx.check()?;
        let mut prediction = match self.fast(row.len()) {
            Some((fast, program)) => contain(|| Ok(self.fast_row(fast, program, row)))?,
            None => self.row(Features::F32 { data: row, rows: 1, width: row.len() }, ctx)?,
        };
        prediction.latency = ctx.end_run(began);
        self.sign(&mut ctx.receipt, 1, prediction.latency);
        Ok(prediction)
    }
}

//! A model that runs a plan.

use super::fast::FastPath;
use super::interpret::Reading;
use super::outputs::{as_labels, largest, probabilities_of, score_tensor};
use super::request::{Bound, bind, bind_tensors, conform};
use super::{
    Answers, Buffers, CancelToken, Ctx, Features, Insight, Model, ModelInfo, ModelMemory,
    Prediction, Predictions, Receipt, Reply, Request, Signature, Task, Written,
};
use crate::error::{Result, bail, ensure, err};
use crate::graph::ValueType;
use crate::limits::RequestLimits;
use crate::plan::{Plan, PlanStep, RunOptions};
use crate::tensor::{Tensor, Value};
use crate::threads::Threads;
use smallvec::SmallVec;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// Whether requests with numbers that are not finite are refused.
    pub(super) finite_inputs: bool,
    pub(super) info: ModelInfo,
    /// What explains its answers.
    pub(super) insight: Option<Arc<Insight>>,
    /// Nanoseconds of one row, measured at load; 0 where no probe could run.
    pub(super) row_ns: u64,
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

    pub(super) fn predictions(
        &self,
        rows: usize,
        answers: Answers,
        scores: Option<Tensor>,
    ) -> Predictions {
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
    fn row(&self, features: &Features<'_>, ctx: &Ctx) -> Result<Prediction> {
        if let Some(answer) = self.quick_row(features) {
            return answer;
        }
        let answer = self.general(features.clone(), ctx)?;
        ensure!(
            answer.rows == 1,
            InvalidInput,
            "predict takes one row, got {}: use predict_batch",
            answer.rows
        );
        answer.row(0)
    }

    fn batch(&self, features: &Features<'_>, ctx: &Ctx) -> Result<Predictions> {
        match self.quick_batch(features, ctx) {
            Some(answers) => answers,
            None => self.general(features.clone(), ctx),
        }
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
            let optional = matches!(spec.ty, Some(ValueType::Optional(_)));
            let absent = optional.then_some(Value::Optional(None));
            values.push(slot.or(absent).ok_or_else(|| {
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

    /// Begins a run, if the request may still run and, where that matters, is finite.
    fn begin(
        &self,
        ctx: &mut Ctx,
        is_finite: impl FnOnce(&Signature) -> Result<()>,
    ) -> Result<Instant> {
        let began = ctx.begin_run();
        ctx.check()?;
        if self.finite_inputs {
            is_finite(&self.signature)?;
        }
        Ok(began)
    }

    fn sign(&self, receipt: &mut Receipt, rows: usize, took: Duration) {
        receipt.version = self.info.version;
        receipt.digest = Some(self.info.digest.clone());
        receipt.batch_rows = u32::try_from(rows).unwrap_or(u32::MAX);
        receipt.run = took;
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
        let began = self.begin(ctx, |signature| request.check_finite(signature))?;
        let (mut reply, rows) = match request {
            Request::Row(features) => (self.row(features, ctx)?.into(), 1),
            Request::Batch(features) => {
                let predictions = self.batch(features, ctx)?;
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

    fn call_into(
        &self,
        request: &Request<'_>,
        out: &mut Buffers<'_>,
        ctx: &mut Ctx,
    ) -> Result<Written> {
        let began = self.begin(ctx, |signature| request.check_finite(signature))?;
        let mut written = match (self.quick_into(request, out, ctx), request) {
            (Some(written), _) => written?,
            (None, Request::Row(features)) => self.row(features, ctx)?.write(out)?,
            (None, Request::Batch(features)) => self.batch(features, ctx)?.write(out)?,
            (None, Request::Run { .. }) => return self.call(request, ctx)?.write(out),
        };
        written.latency = ctx.end_run(began);
        self.sign(&mut ctx.receipt, written.rows, written.latency);
        Ok(written)
    }

    fn insight(&self) -> Option<Arc<Insight>> {
        self.insight.clone()
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
        let features = Features::F32 { data: row, rows: 1, width: row.len() };
        let began = self.begin(ctx, |signature| features.check_finite(signature))?;
        let mut prediction = self.row(&features, ctx)?;
        prediction.latency = ctx.end_run(began);
        self.sign(&mut ctx.receipt, 1, prediction.latency);
        Ok(prediction)
    }
}

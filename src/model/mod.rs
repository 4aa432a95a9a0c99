//! A model: what it takes, what it answers, and the request that passes through it.

mod answer;
mod call;
mod compare;
mod ctx;
mod distribution;
mod fast;
mod fast_into;
mod finite;
mod function;
mod future;
pub mod golden;
mod graph_model;
mod insight;
mod interpret;
mod into;
mod load;
mod mismatch;
mod options;
mod outputs;
mod request;
mod signature;
mod turn;

pub use answer::{Answer, Answers, Prediction, Predictions, ScoreKind};
pub use call::{Done, Reply, Request};
pub use compare::{Difference, Tolerance, compare};
pub use ctx::{CacheUse, CancelToken, Ctx, FallbackReason, Receipt, Route, Target};
pub use function::FnModel;
pub use future::{ReplyFuture, call_async};
pub use golden::Golden;
pub use graph_model::GraphModel;
pub use insight::{Explanations, ImportanceKind, Insight};
pub use into::{AnswerKind, Buffers, RowAnswer, TooShort, Written};
pub use load::{load, load_bytes};
pub use options::{Format, LoadOptions, ModelInfo, ModelMemory, OutputKind};
pub use request::{Features, convert_input};
pub use signature::{Classes, Signature, Task, TensorSpec};

pub(crate) use graph_model::contain;
pub(crate) use load::{format_of, import, meaning, outline};
pub(crate) use mismatch::Comparison;
pub(crate) use turn::Turn;

use crate::error::Result;
use crate::limits::RequestLimits;
use crate::tensor::{Tensor, Value};
use std::sync::Arc;

/// Something that answers requests: a loaded model, a function, or a policy around another
/// model. Every method may be called from any number of threads at once.
///
/// An implementation provides [`Model::call`]; the other ways to ask are made of it.
pub trait Model: Send + Sync + 'static {
    /// The model's interface.
    fn signature(&self) -> Arc<Signature>;

    /// Version, format, size and origin.
    fn info(&self) -> ModelInfo;

    /// Answers a request in the calling thread, and writes into `ctx.receipt` how.
    ///
    /// # Errors
    /// `InvalidInput` when the request does not fit the signature; `LimitExceeded` above a
    /// request limit; `DeadlineExceeded` or `Cancelled` as `ctx` says; `Execution` from the
    /// model's own arithmetic; what a policy adds.
    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply>;

    /// Answers a request on another thread: returns at once, and calls `done` exactly once. A
    /// policy may call it before it returns when no model needs to run.
    fn submit(self: Arc<Self>, request: Request<'static>, mut ctx: Ctx, done: Done) {
        crate::executor::spawn(move || {
            let result = contain(|| self.call(&request, &mut ctx));
            done.call(result, ctx);
        });
    }

    /// Rows as the model's inputs want them: one tensor an input, in input order, each of the
    /// input's element type, and the number of rows. What is answered is fit for
    /// [`Features::Inputs`].
    ///
    /// # Errors
    /// `InvalidInput` naming the input, what it expects and what it got; `LimitExceeded`.
    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        request::bind_tensors(&self.signature(), features, &RequestLimits::default())
    }

    /// Roughly how many nanoseconds one core needs for `rows` rows, measured when the model was
    /// loaded; 0 where that is not known. For hosts that decide whether to leave their thread.
    fn estimated_ns(&self, _rows: usize) -> u64 {
        0
    }

    /// Bytes that the model holds.
    fn memory(&self) -> ModelMemory {
        ModelMemory { weights: self.info().weight_bytes, packed: 0, scratch: 0 }
    }

    /// Predicts one row of `f32` features. For classical models and small networks this makes
    /// no tensor and enters no thread pool.
    ///
    /// # Errors
    /// As [`Model::call`].
    fn predict_row(&self, row: &[f32]) -> Result<Prediction> {
        let mut ctx = Ctx::default();
        let mut prediction = self.call_row(row, &mut ctx)?;
        prediction.receipt = ctx.receipt;
        Ok(prediction)
    }

    /// As [`Model::call`] for one row of `f32`: the way of [`Model::predict_row`].
    #[doc(hidden)]
    fn call_row(&self, row: &[f32], ctx: &mut Ctx) -> Result<Prediction> {
        let features = Features::F32 { data: row, rows: 1, width: row.len() };
        self.call(&Request::Row(features), ctx)?.into_row()
    }

    /// Predicts exactly one row given in any form.
    ///
    /// # Errors
    /// As [`Model::call`].
    fn predict(&self, row: Features<'_>) -> Result<Prediction> {
        let mut ctx = Ctx::default();
        let mut prediction = self.call(&Request::Row(row), &mut ctx)?.into_row()?;
        prediction.receipt = ctx.receipt;
        Ok(prediction)
    }

    /// Predicts a batch of rows. Each row is answered as it would be alone.
    ///
    /// # Errors
    /// As [`Model::call`]; `LimitExceeded` above `RequestLimits::rows`.
    fn predict_batch(&self, rows: Features<'_>) -> Result<Predictions> {
        let mut ctx = Ctx::default();
        let mut predictions = self.call(&Request::Batch(rows), &mut ctx)?.into_batch()?;
        predictions.receipt = ctx.receipt;
        Ok(predictions)
    }

    /// As [`Model::call`] for a row or a batch, with the answer written into the caller's memory:
    /// where the model has a row program nothing is allocated, unless the batch is large enough to
    /// be split between threads. A buffer that is too short is told by [`Written::too_short`];
    /// then, and on any error, nothing is written.
    ///
    /// # Errors
    /// As [`Model::call`]; `Unsupported` where the answer is named tensors.
    fn call_into(
        &self,
        request: &Request<'_>,
        out: &mut Buffers<'_>,
        ctx: &mut Ctx,
    ) -> Result<Written> {
        self.call(request, ctx)?.write(out)
    }

    /// Predicts any number of rows into the caller's memory, as [`Model::call_into`]. Each row is
    /// answered as it would be alone, and by [`Model::predict_batch`].
    ///
    /// Labels are `i64` `[rows, labels]`, scores `f32` or `f64` `[rows, scores]`, row-major, where
    /// [`Written::labels`] and [`Written::scores`] say how many a row has (without buffers only
    /// they are told).
    ///
    /// ```
    /// # fn main() -> modelserve::Result<()> {
    /// use modelserve::{Buffers, Features, FnModel, Model};
    ///
    /// let model = FnModel::regressor(2, |row| Ok(row[0] + row[1]));
    /// let rows = Features::F32 { data: &[1.0, 2.0, 3.0, 4.0], rows: 2, width: 2 };
    /// let mut sums = [0f32; 2];
    /// let written = model.predict_into(rows, &mut Buffers::default().scores_f32(&mut sums))?;
    /// assert_eq!((written.rows, written.scores, sums), (2, 1, [3.0, 7.0]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Model::call_into`]; `InvalidArgument` naming the buffer that is too short, what it
    /// has room for and what the answer needs.
    fn predict_into(&self, rows: Features<'_>, out: &mut Buffers<'_>) -> Result<Written> {
        let mut ctx = Ctx::default();
        let mut written = self.call_into(&Request::Batch(rows), out, &mut ctx)?;
        written.receipt = ctx.receipt;
        written.fitting()
    }

    /// What the model keeps to explain its answers with, where it was loaded with
    /// [`LoadOptions::explain`].
    #[doc(hidden)]
    fn insight(&self) -> Option<Arc<Insight>> {
        None
    }

    /// What each feature adds to the margins of these rows: Shapley values of the trees, with
    /// the training data's way through them for what is not known (Lundberg et al. 2020,
    /// "tree path dependent"). XGBoost's `pred_contribs`, LightGBM's `pred_contrib`.
    ///
    /// # Errors
    /// `Unsupported` for a model that is no native booster or was loaded without
    /// [`LoadOptions::explain`], for linear leaves, and where the file does not say how much
    /// training data reached each node; `InvalidInput` for the rows; `LimitExceeded`.
    fn explain(&self, rows: Features<'_>) -> Result<Explanations> {
        insight::explain(self, rows)
    }

    /// The number of the leaf that each row ends at in each tree, by the trainer's own count
    /// (XGBoost: the node's number; LightGBM: the leaf's): how many trees there are, and
    /// `[rows, trees]` row-major. XGBoost's and LightGBM's `pred_leaf`.
    ///
    /// # Errors
    /// As [`Model::explain`].
    fn apply(&self, rows: Features<'_>) -> Result<(usize, Vec<u32>)> {
        insight::apply(self, rows)
    }

    /// How much each feature matters to the whole model, by feature.
    ///
    /// # Errors
    /// As [`Model::explain`]; `Unsupported` where the file has not what it is told by.
    fn importance(&self, kind: ImportanceKind) -> Result<Vec<f64>> {
        insight::importance(self, kind)
    }

    /// Runs the model on named inputs and answers named outputs: the ones asked for, in that
    /// order, or all in graph order when `outputs` is empty. Steps that only serve other outputs
    /// are not run.
    ///
    /// # Errors
    /// As [`Model::call`]; `InvalidInput` naming a missing, unknown or repeated input or an
    /// unknown output.
    fn run(&self, inputs: Vec<(String, Value)>, outputs: &[&str]) -> Result<Vec<(String, Value)>> {
        let outputs = outputs.iter().map(|name| (*name).to_string()).collect();
        self.call(&Request::Run { inputs, outputs }, &mut Ctx::default())?.into_tensors()
    }
}

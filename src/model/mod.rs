//! A loaded model: what it takes, what it answers, and the fast path to it.

mod answer;
mod distribution;
mod graph_model;
mod interpret;
mod load;
mod options;
mod request;
mod signature;

pub use answer::{Answer, Answers, Prediction, Predictions, ScoreKind};
pub use graph_model::GraphModel;
pub use load::{load, load_bytes};
pub use options::{Format, LoadOptions, ModelInfo, OutputKind};
pub use request::Features;
pub use signature::{Classes, Signature, Task, TensorSpec};

use crate::error::Result;
use crate::tensor::Value;

/// Something that answers rows: a loaded model, or a policy around one. Every method may be
/// called from any number of threads at once.
pub trait Model: Send + Sync {
    /// The model's interface.
    fn signature(&self) -> &Signature;

    /// Version, format, size and origin.
    fn info(&self) -> ModelInfo;

    /// Predicts one row of `f32` features. For classical models and small networks this makes
    /// no tensor and enters no thread pool.
    ///
    /// # Errors
    /// `InvalidInput` when the row does not fit the signature; `Execution` or `LimitExceeded`
    /// from the model's own arithmetic.
    fn predict_row(&self, row: &[f32]) -> Result<Prediction>;

    /// Predicts exactly one row given in any form.
    ///
    /// # Errors
    /// As [`Model::predict_row`].
    fn predict(&self, row: Features<'_>) -> Result<Prediction>;

    /// Predicts a batch of rows. Each row is answered as it would be alone.
    ///
    /// # Errors
    /// As [`Model::predict_row`]; `LimitExceeded` above `RequestLimits::rows`.
    fn predict_batch(&self, rows: Features<'_>) -> Result<Predictions>;

    /// Runs the model on named inputs and answers named outputs: the ones asked for, in that
    /// order, or all in graph order when `outputs` is empty. Steps that only serve other outputs
    /// are not run.
    ///
    /// # Errors
    /// As [`Model::predict_row`]; `InvalidInput` naming a missing, unknown or repeated input or
    /// an unknown output.
    fn run(&self, inputs: Vec<(String, Value)>, outputs: &[&str]) -> Result<Vec<(String, Value)>>;

    /// Roughly how many nanoseconds one core needs for `rows` rows, measured when the model was
    /// loaded; 0 where that is not known. For hosts that decide whether to leave their thread.
    fn estimated_ns(&self, rows: usize) -> u64;
}

//! One request and its reply, as they pass through the policies to a model.

use super::{Ctx, Features, Prediction, Predictions};
use crate::error::{Result, err};
use crate::tensor::{Tensor, Value};
use std::sync::Arc;
use std::time::Duration;

/// A request. Cheap to clone: tensors are shared, borrowed rows stay borrowed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Request<'a> {
    /// Exactly one row; answered by [`Reply::Row`].
    Row(Features<'a>),
    /// Any number of rows; answered by [`Reply::Batch`].
    Batch(Features<'a>),
    /// Named inputs to named outputs; answered by [`Reply::Tensors`].
    Run {
        /// The inputs by name.
        inputs: Vec<(String, Value)>,
        /// The outputs wanted, in that order; all in graph order when empty.
        outputs: Arc<[String]>,
    },
}

impl Request<'_> {
    /// The same request, owning its rows.
    ///
    /// # Errors
    /// `InvalidInput` when `rows × width` is not the number of values.
    pub fn into_owned(self) -> Result<Request<'static>> {
        Ok(match self {
            Request::Row(features) => Request::Row(features.into_owned()?),
            Request::Batch(features) => Request::Batch(features.into_owned()?),
            Request::Run { inputs, outputs } => Request::Run { inputs, outputs },
        })
    }

    /// The rows asked for, as far as the request itself tells: 1 for [`Request::Row`], the first
    /// dimension of the first tensor otherwise (1 where there is none).
    pub fn rows(&self) -> usize {
        match self {
            Request::Row(_) => 1,
            Request::Batch(features) => features.rows(),
            Request::Run { inputs, .. } => {
                let first = inputs.first().and_then(|(_, value)| value.as_tensor().ok());
                first.and_then(|t| t.dims().first().copied()).unwrap_or(1)
            }
        }
    }

    /// Bytes of the request's values.
    pub fn byte_len(&self) -> u64 {
        let sum = |a: u64, b: u64| a.saturating_add(b);
        match self {
            Request::Row(features) | Request::Batch(features) => features.byte_len(),
            Request::Run { inputs, .. } => inputs.iter().map(|(_, v)| v.byte_len()).fold(0, sum),
        }
    }
}

impl Features<'_> {
    /// The same rows in memory of their own: borrowed ones are copied into a tensor.
    ///
    /// # Errors
    /// `InvalidInput` when `rows × width` is not the number of values.
    pub fn into_owned(self) -> Result<Features<'static>> {
        Ok(match self {
            Features::F32 { data, rows, width } => {
                Features::Tensor(Tensor::from_vec(&[rows, width], data.to_vec())?)
            }
            Features::F64 { data, rows, width } => {
                Features::Tensor(Tensor::from_vec(&[rows, width], data.to_vec())?)
            }
            Features::Tensor(tensor) => Features::Tensor(tensor),
            Features::Columns(columns) => Features::Columns(columns),
            Features::Inputs(tensors) => Features::Inputs(tensors),
        })
    }

    /// The number of rows, as far as the features tell (1 where they have no rows).
    pub fn rows(&self) -> usize {
        let first = |t: Option<&Tensor>| t.and_then(|t| t.dims().first().copied()).unwrap_or(1);
        match self {
            Features::F32 { rows, .. } | Features::F64 { rows, .. } => *rows,
            Features::Tensor(tensor) => first(Some(tensor)),
            Features::Columns(columns) => first(columns.first().map(|(_, t)| t)),
            Features::Inputs(tensors) => first(tensors.first()),
        }
    }

    /// Bytes of the values.
    pub fn byte_len(&self) -> u64 {
        let sum = |a: u64, b: u64| a.saturating_add(b);
        match self {
            Features::F32 { data, .. } => size_of_val(*data) as u64,
            Features::F64 { data, .. } => size_of_val(*data) as u64,
            Features::Tensor(tensor) => tensor.byte_len(),
            Features::Columns(columns) => columns.iter().map(|(_, t)| t.byte_len()).fold(0, sum),
            Features::Inputs(tensors) => tensors.iter().map(Tensor::byte_len).fold(0, sum),
        }
    }
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// To [`Request::Row`]. Boxed, as every policy hands the answer on.
    Row(Box<Prediction>),
    /// To [`Request::Batch`].
    Batch(Box<Predictions>),
    /// To [`Request::Run`].
    Tensors(Vec<(String, Value)>),
}

impl From<Prediction> for Reply {
    fn from(row: Prediction) -> Reply {
        Reply::Row(Box::new(row))
    }
}

impl From<Predictions> for Reply {
    fn from(batch: Predictions) -> Reply {
        Reply::Batch(Box::new(batch))
    }
}

impl Reply {
    /// Says how long the call took inside the library.
    pub(crate) fn set_latency(&mut self, latency: Duration) {
        match self {
            Reply::Row(row) => row.latency = latency,
            Reply::Batch(batch) => batch.latency = latency,
            Reply::Tensors(_) => {}
        }
    }

    /// Says which version answered.
    pub(crate) fn set_version(&mut self, version: u64) {
        match self {
            Reply::Row(row) => row.model_version = version,
            Reply::Batch(batch) => batch.model_version = version,
            Reply::Tensors(_) => {}
        }
    }

    /// The prediction of one row.
    ///
    /// # Errors
    /// `Internal` when this answers another kind of request (a defect of a [`super::Model`]).
    pub fn into_row(self) -> Result<Prediction> {
        match self {
            Reply::Row(prediction) => Ok(*prediction),
            _ => Err(err!(Internal, "a row was asked for, and something else answered")),
        }
    }

    /// The predictions of a batch.
    ///
    /// # Errors
    /// As [`Reply::into_row`].
    pub fn into_batch(self) -> Result<Predictions> {
        match self {
            Reply::Batch(predictions) => Ok(*predictions),
            _ => Err(err!(Internal, "a batch was asked for, and something else answered")),
        }
    }

    /// The named outputs.
    ///
    /// # Errors
    /// As [`Reply::into_row`].
    pub fn into_tensors(self) -> Result<Vec<(String, Value)>> {
        match self {
            Reply::Tensors(outputs) => Ok(outputs),
            _ => Err(err!(Internal, "outputs were asked for, and something else answered")),
        }
    }
}

/// What is called with the outcome of a submitted request: exactly once, on whatever thread the
/// answer was made. It must not block for long.
///
/// One that is dropped uncalled (a worker ended) reports an `Internal` error, so that no caller
/// waits for ever.
pub struct Done(Option<Completion>);

type Completion = Box<dyn FnOnce(Result<Reply>, Ctx) + Send>;

impl Done {
    /// A completion that calls `f`.
    pub fn new(f: impl FnOnce(Result<Reply>, Ctx) + Send + 'static) -> Done {
        Done(Some(Box::new(f)))
    }

    /// Delivers the outcome.
    pub fn call(mut self, result: Result<Reply>, ctx: Ctx) {
        if let Some(f) = self.0.take() {
            f(result, ctx);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f(Err(err!(Internal, "the request was dropped unanswered")), Ctx::default());
        }
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Done")
    }
}

//! `Model`: a model served by a manager, or one loaded alone.

use crate::aio::{Question, coroutine};
use crate::array::{outputs_out, tensor_out, value_in, value_out};
use crate::asked::context;
use crate::budget::Budget;
use crate::dlpack::PyTensor;
use crate::error::{OrRaise, raise};
use crate::gil::{LONG, enter, enter_interruptible, is_interruptible};
use crate::info::{Info, Stats};
use crate::input::Input;
use crate::options::{Source, load_options};
use crate::prediction::{Prediction, Predictions};
use crate::signature::Signature;
use modelserve::tensor::Value;
use modelserve::{
    Ctx, Done, ErrorKind, Features, GraphModel, Model as _, ModelHandle, Receipt, Reply, Request,
    Target,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::sync::Arc;

enum Serving {
    Managed(ModelHandle),
    Alone(Arc<GraphModel>),
}

/// `each!(self, m => expression)`: the expression for whichever model this is.
macro_rules! each {
    ($model:expr, $m:ident => $body:expr) => {
        match &$model.0 {
            Serving::Managed($m) => $body,
            Serving::Alone($m) => $body,
        }
    };
}

/// A model to predict with. From a manager it follows reloads, unless pinned. May be used from
/// any number of threads at once.
#[pyclass(frozen, module = "modelserve")]
pub(crate) struct Model(Serving);

/// Loads a model without a manager, from a path or from bytes.
#[pyfunction]
#[pyo3(signature = (source, **options))]
pub(crate) fn load(
    py: Python<'_>,
    source: Source,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<Model> {
    let options = load_options(options)?;
    let model = enter(py, LONG, || match source {
        Source::Path(path) => modelserve::load(path, &options),
        Source::Bytes(bytes) => modelserve::load_bytes(bytes, &options),
    })?;
    Ok(Model(Serving::Alone(Arc::new(model))))
}

impl Model {
    pub(crate) fn managed(handle: ModelHandle) -> Model {
        Model(Serving::Managed(handle))
    }

    /// Whether it can be asked without being loaded first.
    pub(crate) fn is_ready(&self) -> bool {
        match &self.0 {
            Serving::Managed(handle) => handle.ready_signature().is_some(),
            Serving::Alone(_) => true,
        }
    }

    pub(crate) fn interface(&self, py: Python<'_>) -> PyResult<Arc<modelserve::Signature>> {
        match &self.0 {
            Serving::Managed(handle) => match handle.ready_signature() {
                Some(signature) => Ok(signature),
                None => enter(py, LONG, || handle.signature()),
            },
            Serving::Alone(model) => Ok(model.signature()),
        }
    }

    fn information(&self, py: Python<'_>) -> PyResult<modelserve::ModelInfo> {
        match &self.0 {
            Serving::Managed(handle) => enter(py, LONG, || handle.info()),
            Serving::Alone(model) => Ok(model.info()),
        }
    }

    /// Most bytes of a request that the model takes.
    pub(crate) fn max_request_bytes(&self) -> u64 {
        match &self.0 {
            Serving::Managed(handle) => handle.max_request_bytes(),
            Serving::Alone(model) => model.request_limits().request_bytes,
        }
    }

    /// What a call for so many rows is expected to take; [`LONG`] when it may wait.
    fn cost(&self, rows: usize) -> u64 {
        match &self.0 {
            Serving::Managed(handle) => handle.expected_ns(rows).unwrap_or(LONG),
            Serving::Alone(model) => model.estimated_ns(rows),
        }
    }

    /// Refuses a version or label where there is only one version to ask.
    pub(crate) fn check_target(&self, py: Python<'_>, ctx: &Ctx) -> PyResult<()> {
        if ctx.target == Target::Serving || !self.pinned() {
            return Ok(());
        }
        let message = "it keeps to one version: ask the manager for another version or a label";
        Err(raise(py, ErrorKind::InvalidArgument, message))
    }

    /// Whether a call of this cost can be interrupted: the model itself runs long, too.
    fn is_interruptible(&self, cost: u64, rows: usize) -> bool {
        is_interruptible(cost) && is_interruptible(each!(self, m => m.estimated_ns(rows)))
    }

    /// Answers a request that asks for more than the model alone.
    fn ask(
        &self,
        py: Python<'_>,
        request: &Request<'_>,
        mut ctx: Ctx,
    ) -> PyResult<(Reply, Receipt)> {
        self.check_target(py, &ctx)?;
        let call = move |mut ctx: Ctx| {
            let reply = each!(self, m => m.call(request, &mut ctx))?;
            Ok((reply, ctx.receipt))
        };
        let cost = if ctx.deadline.is_some() { LONG } else { self.cost(request.rows()) };
        if self.is_interruptible(cost, request.rows()) {
            let cancel = ctx.cancel.get_or_insert_default().clone();
            return enter_interruptible(py, &cancel, move || call(ctx));
        }
        enter(py, cost, move || call(ctx))
    }

    /// Submits a request; `done` is called on another thread, or here where no model has to run.
    pub(crate) fn submit(&self, request: Request<'static>, ctx: Ctx, done: Done) {
        match &self.0 {
            Serving::Managed(handle) => handle.submit(request, ctx, done),
            Serving::Alone(model) => Arc::clone(model).submit(request, ctx, done),
        }
    }

    /// What answers, as the library has it.
    pub(crate) fn shared(&self) -> Arc<dyn modelserve::Model> {
        match &self.0 {
            Serving::Managed(handle) => handle.model(),
            Serving::Alone(model) => Arc::clone(model) as _,
        }
    }

    fn another(&self) -> Model {
        Model(match &self.0 {
            Serving::Managed(handle) => Serving::Managed(handle.clone()),
            Serving::Alone(model) => Serving::Alone(Arc::clone(model)),
        })
    }

    fn batch(
        &self,
        rows: &Bound<'_, PyAny>,
        asked: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<modelserve::Predictions> {
        let py = rows.py();
        let input = Input::many(rows, self.interface(py)?.as_ref(), &Budget::of(self))?;
        let cost = self.cost(input.rows());
        let long = || self.is_interruptible(cost, input.rows()).then(Ctx::default);
        if let Some(ctx) = context(py, asked)?.or_else(long) {
            let (reply, receipt) = self.ask(py, &Request::Batch(input.features()?), ctx)?;
            let mut predictions = reply.into_batch().or_raise(py)?;
            predictions.receipt = receipt;
            return Ok(predictions);
        }
        let call = |features: Features<'_>| {
            enter(py, cost, || each!(self, m => m.predict_batch(features)))
        };
        match input {
            Input::Owned(features) => call(features),
            borrowed => call(borrowed.features()?),
        }
    }
}

/// A run of named inputs as a request to `model`.
pub(crate) fn run_request(
    model: &Model,
    inputs: &Bound<'_, PyDict>,
    outputs: Option<&[String]>,
    signature: &modelserve::Signature,
) -> PyResult<Request<'static>> {
    let budget = Budget::of(model);
    let mut named = Vec::with_capacity(inputs.len());
    for (name, value) in inputs.iter() {
        let name: String = name.extract()?;
        let spec = signature.inputs.iter().find(|i| i.name == name);
        named.push((name, value_in(&value, spec.and_then(|s| s.ty.as_ref()), &budget)?));
    }
    Ok(Request::Run { inputs: named, outputs: outputs.unwrap_or_default().into() })
}

#[pymethods]
impl Model {
    /// Predicts one row.
    #[pyo3(signature = (row, **asked))]
    pub(crate) fn predict(
        &self,
        row: &Bound<'_, PyAny>,
        asked: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Prediction> {
        let py = row.py();
        let input = Input::one(row, self.interface(py)?.as_ref(), &Budget::of(self))?;
        let cost = self.cost(input.rows());
        let long = || self.is_interruptible(cost, input.rows()).then(Ctx::default);
        if let Some(ctx) = context(py, asked)?.or_else(long) {
            let (reply, receipt) = self.ask(py, &Request::Row(input.features()?), ctx)?;
            let mut prediction = reply.into_row().or_raise(py)?;
            prediction.receipt = receipt;
            return Ok(Prediction::new(prediction));
        }
        let prediction = match input {
            Input::Row(row) => enter(py, cost, || each!(self, m => m.predict_row(&row))),
            Input::Owned(features) => enter(py, cost, || each!(self, m => m.predict(features))),
            borrowed => {
                let features = borrowed.features()?;
                enter(py, cost, || each!(self, m => m.predict(features)))
            }
        };
        prediction.map(Prediction::new)
    }

    /// Predicts many rows at once; the answers are columns.
    #[pyo3(signature = (rows, **asked))]
    pub(crate) fn predict_batch(
        &self,
        rows: &Bound<'_, PyAny>,
        asked: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Predictions> {
        self.batch(rows, asked).map(Predictions::new)
    }

    /// The probabilities `[rows, classes]` of many rows.
    #[pyo3(signature = (rows, **asked))]
    pub(crate) fn predict_proba(
        &self,
        rows: &Bound<'_, PyAny>,
        asked: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let py = rows.py();
        let none = || {
            let message = "the model has no probabilities: predict_batch gives its scores; load it \
                           with output_kind=\"probabilities\" or \"logits\" if its scores are those";
            raise(py, ErrorKind::Unsupported, message)
        };
        if !self.interface(py)?.has_probabilities {
            return Err(none());
        }
        let predictions = self.batch(rows, asked)?;
        if predictions.probabilities().is_none() {
            return Err(none());
        }
        predictions.scores.ok_or_else(none).and_then(|scores| tensor_out(py, scores))
    }

    /// Runs the model on named inputs; all outputs, or the wanted ones, by name.
    #[pyo3(signature = (inputs, outputs=None, **asked))]
    pub(crate) fn run(
        &self,
        py: Python<'_>,
        inputs: &Bound<'_, PyDict>,
        outputs: Option<Vec<String>>,
        asked: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let ctx = context(py, asked)?.unwrap_or_default();
        let signature = self.interface(py)?;
        let request = run_request(self, inputs, outputs.as_deref(), &signature)?;
        let (reply, _) = self.ask(py, &request, ctx)?;
        outputs_out(py, reply.into_tensors().or_raise(py)?)
    }

    /// As `run`, with the tensors among the outputs as `Tensor`, for libraries that understand DLPack.
    #[pyo3(signature = (inputs, outputs=None, **asked))]
    fn run_tensors<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyDict>,
        outputs: Option<Vec<String>>,
        asked: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let ctx = context(py, asked)?.unwrap_or_default();
        let signature = self.interface(py)?;
        let request = run_request(self, inputs, outputs.as_deref(), &signature)?;
        let (reply, _) = self.ask(py, &request, ctx)?;
        let told = PyDict::new(py);
        for (name, value) in reply.into_tensors().or_raise(py)? {
            match value {
                Value::Tensor(tensor) => told.set_item(name, Bound::new(py, PyTensor(tensor))?)?,
                other => told.set_item(name, value_out(py, other)?)?,
            }
        }
        Ok(told)
    }

    /// As `predict`, to be awaited. The model runs on another thread; cancelling the task cancels
    /// the request.
    #[pyo3(signature = (row, **asked))]
    pub(crate) fn predict_async<'py>(
        &self,
        row: &Bound<'py, PyAny>,
        asked: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        coroutine(row.py(), self.another(), Question::Row(row.clone().unbind()), asked)
    }

    /// As `predict_batch`, to be awaited.
    #[pyo3(signature = (rows, **asked))]
    pub(crate) fn predict_batch_async<'py>(
        &self,
        rows: &Bound<'py, PyAny>,
        asked: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        coroutine(rows.py(), self.another(), Question::Batch(rows.clone().unbind()), asked)
    }

    /// As `run`, to be awaited.
    #[pyo3(signature = (inputs, outputs=None, **asked))]
    pub(crate) fn run_async<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyDict>,
        outputs: Option<Vec<String>>,
        asked: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        coroutine(py, self.another(), Question::Run(inputs.clone().unbind(), outputs), asked)
    }

    /// What each feature adds to the margins of these rows.
    fn explain(&self, rows: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        crate::explain::explain(self, rows)
    }

    /// The leaf that each row ends at in each tree: integers `[rows, trees]`.
    fn apply(&self, rows: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        crate::explain::apply(self, rows)
    }

    /// How much each feature matters to the whole model, by its name.
    #[pyo3(signature = (kind="gain"))]
    fn importance<'py>(&self, py: Python<'py>, kind: &str) -> PyResult<Bound<'py, PyDict>> {
        crate::explain::importance(py, self, kind)
    }

    /// A model that keeps answering with the version serving now.
    fn pin(&self, py: Python<'_>) -> PyResult<Model> {
        Ok(Model(match &self.0 {
            Serving::Managed(handle) => Serving::Managed(enter(py, LONG, || handle.pin())?),
            Serving::Alone(model) => Serving::Alone(Arc::clone(model)),
        }))
    }

    /// Whether it keeps answering with one version.
    #[getter]
    fn pinned(&self) -> bool {
        match &self.0 {
            Serving::Managed(handle) => handle.is_pinned(),
            Serving::Alone(_) => true,
        }
    }

    /// The name it is served under; None without a manager.
    #[getter]
    fn name(&self) -> Option<&str> {
        match &self.0 {
            Serving::Managed(handle) => Some(handle.name()),
            Serving::Alone(_) => None,
        }
    }

    /// The number of the version that answers now.
    #[getter]
    fn version(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.information(py)?.version)
    }

    /// What it takes and answers.
    #[getter]
    fn signature(&self, py: Python<'_>) -> PyResult<Signature> {
        Ok(Signature(self.interface(py)?))
    }

    /// What is known of the version that answers now.
    fn info(&self, py: Python<'_>) -> PyResult<Info> {
        Ok(Info(self.information(py)?))
    }

    /// Counts and latencies by version; only for models of a manager.
    fn stats(&self, py: Python<'_>) -> PyResult<Stats> {
        match &self.0 {
            Serving::Managed(handle) => Ok(Stats(handle.stats().or_raise(py)?)),
            Serving::Alone(_) => Err(raise(
                py,
                ErrorKind::Unsupported,
                "a model loaded without a manager keeps no statistics",
            )),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let name = self.name().map(|n| {
            format!(
                "{} ",
                PyString::new(py, n).repr().map_or_else(|_| n.to_string(), |r| r.to_string())
            )
        });
        match self.information(py) {
            Ok(info) => {
                let name = name.unwrap_or_default();
                format!("<modelserve.Model {name}version {}: {}>", info.version, info.signature)
            }
            Err(_) => format!("<modelserve.Model {}unloaded>", name.unwrap_or_default()),
        }
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("modelserve.pickling")?.call_method1("reduce_model", (slf,))
    }
}

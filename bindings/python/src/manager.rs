//! `ModelManager`: named models behind one object.

use crate::asked::seconds;
use crate::error::{OrRaise, raise};
use crate::events::{Events, callback};
use crate::gate::Gate;
use crate::gil::{LONG, enter};
use crate::http::{Fields, Http, Response, http_options};
use crate::info::{Info, Stats};
use crate::model::Model;
use crate::options::{Source, load_options};
use crate::policies::{as_toml, without_places};
use crate::prediction::{Prediction, Predictions};
use crate::record::{self, record_options};
use crate::reports::{
    cache_out, circuit_out, gate_out, memory_out, refresh_out, report, status_out,
};
use crate::snapshot::Snapshot;
use modelserve::repo::WatchOptions;
use modelserve::{
    ErrorKind, ManagerOptions, MemoryPolicy, ModelSource, ReloadOptions, RepositoryRules, Target,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Loads, serves, reloads and unloads models by name. May be used from any number of threads at
/// once; a reload never disturbs predictions.
#[pyclass(frozen, module = "modelserve")]
pub(crate) struct ModelManager {
    core: modelserve::ModelManager,
    /// How it came to be: a `modelserve.pickling.Made`.
    made: Py<PyAny>,
}

/// The notes of how a manager came to be: a `modelserve.pickling.Made`.
fn made(
    py: Python<'_>,
    config: Option<PathBuf>,
    options: Option<Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let made = py.import("modelserve.pickling")?.getattr("Made")?;
    Ok(made.call1((config, options))?.unbind())
}

impl Drop for ModelManager {
    fn drop(&mut self) {
        // May wait for the repository's watcher, and frees the models.
        let last = std::mem::take(&mut self.core);
        let _ = Python::try_attach(|py| py.detach(move || drop(last)));
    }
}

impl ModelManager {
    fn reload_options(
        &self,
        py: Python<'_>,
        name: &str,
        allow_signature_change: bool,
        gate: Option<Gate<'_>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<ReloadOptions> {
        let load = match options {
            // A keyword of None asks for nothing: loaded as before.
            Some(given) if given.values().iter().any(|value| !value.is_none()) => {
                Some(load_options(Some(given))?)
            }
            _ => None,
        };
        let gate = match gate {
            Some(gate) => Some(gate.build(py, self.model(py, name)?.interface(py)?.as_ref())?),
            None => None,
        };
        Ok(ReloadOptions { load, allow_signature_change, gate })
    }
}

#[pymethods]
impl ModelManager {
    #[new]
    #[pyo3(signature = (*, threads=0, keep_versions=1, memory_budget=None, memory_policy="refuse"))]
    fn new(
        py: Python<'_>,
        threads: usize,
        keep_versions: usize,
        memory_budget: Option<u64>,
        memory_policy: &str,
    ) -> PyResult<Self> {
        let policy = match memory_policy {
            "refuse" => MemoryPolicy::Refuse,
            "evict" => MemoryPolicy::Evict,
            other => {
                let message = format!("memory_policy = '{other}': expected 'refuse' or 'evict'");
                return Err(raise(py, ErrorKind::InvalidArgument, message));
            }
        };
        let options = ManagerOptions {
            threads,
            keep_versions,
            memory_budget,
            memory_policy: policy,
            ..ManagerOptions::default()
        };
        let given = PyDict::new(py);
        given.set_item("threads", threads)?;
        given.set_item("keep_versions", keep_versions)?;
        given.set_item("memory_budget", memory_budget)?;
        given.set_item("memory_policy", memory_policy)?;
        let manager = enter(py, LONG, || Ok(modelserve::ModelManager::new(options)))?;
        Ok(ModelManager { core: manager, made: made(py, None, Some(given))? })
    }

    /// A manager as a TOML file describes it: models loaded, repository served, policies set.
    #[staticmethod]
    fn from_config(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let manager = enter(py, LONG, || modelserve::ModelManager::from_config(&path))?;
        Ok(ModelManager { core: manager, made: made(py, Some(path), None)? })
    }

    /// Loads a model from a path or from bytes and serves it as `name`.
    #[pyo3(signature = (name, source, **options))]
    fn load(
        &self,
        py: Python<'_>,
        name: &str,
        source: Source,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Model> {
        let options = load_options(options)?;
        let load = || self.core.load_from(name, ModelSource::from(source), &options);
        Ok(Model::managed(enter(py, LONG, load)?))
    }

    /// Replaces a model by a new version: from the same path again, another one, or bytes. The
    /// old version serves until the new one is ready, and goes on if it cannot be loaded or does
    /// not pass the gate.
    #[pyo3(signature = (name, source=None, *, allow_signature_change=false, gate=None, **options))]
    fn reload(
        &self,
        py: Python<'_>,
        name: &str,
        source: Option<Source>,
        allow_signature_change: bool,
        gate: Option<Gate<'_>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Info> {
        let options = self.reload_options(py, name, allow_signature_change, gate, options)?;
        let info = enter(py, LONG, || match source {
            Some(source) => self.core.reload_from(name, ModelSource::from(source), &options),
            None => self.core.reload(name, None, &options),
        })?;
        Ok(Info(info))
    }

    /// Loads another version beside the serving one: it is asked by its number or a label.
    #[pyo3(signature = (name, source, *, allow_signature_change=false, gate=None, **options))]
    fn load_version(
        &self,
        py: Python<'_>,
        name: &str,
        source: Source,
        allow_signature_change: bool,
        gate: Option<Gate<'_>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Info> {
        let options = self.reload_options(py, name, allow_signature_change, gate, options)?;
        let source = ModelSource::from(source);
        Ok(Info(enter(py, LONG, || self.core.load_version(name, source, &options))?))
    }

    /// What the last gate of `name` found; None before the first.
    fn gate_report<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let found = enter(py, LONG, || self.core.gate_report(name))?;
        found.map(|found| gate_out(py, &found)).transpose()
    }

    /// Lets an available version answer the requests that name none.
    fn serve(&self, py: Python<'_>, name: &str, version: u64) -> PyResult<()> {
        enter(py, LONG, || self.core.serve(name, version))
    }

    /// Lets the version serve again that served before the present one.
    fn rollback(&self, py: Python<'_>, name: &str) -> PyResult<Info> {
        enter(py, LONG, || self.core.rollback(name)).map(Info)
    }

    /// Takes one version that does not serve out of service.
    fn unload_version(&self, py: Python<'_>, name: &str, version: u64) -> PyResult<()> {
        enter(py, LONG, || self.core.unload_version(name, version))
    }

    /// The versions of a model and where each is in its life, failed ones with their error.
    fn versions<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let all = enter(py, LONG, || self.core.versions(name))?;
        all.into_iter().map(|status| status_out(py, status)).collect()
    }

    /// Points a label to an available version.
    fn set_label(&self, py: Python<'_>, name: &str, label: &str, version: u64) -> PyResult<()> {
        enter(py, LONG, || self.core.set_label(name, label, version))
    }

    /// Removes a label; the version stays.
    fn remove_label(&self, py: Python<'_>, name: &str, label: &str) -> PyResult<()> {
        enter(py, LONG, || self.core.remove_label(name, label))
    }

    /// The labels of a model and the versions they point to.
    fn labels(&self, py: Python<'_>, name: &str) -> PyResult<BTreeMap<String, u64>> {
        let labels = self.core.labels(name).or_raise(py)?;
        Ok(labels.into_iter().map(|(label, version)| (label.to_string(), version)).collect())
    }

    /// One consistent set of versions of several models, as a context manager.
    #[pyo3(signature = (*names))]
    fn pin(&self, py: Python<'_>, names: &Bound<'_, PyTuple>) -> PyResult<Snapshot> {
        let names: Vec<String> = names.extract()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        enter(py, LONG, || self.core.pin(&names)).map(Snapshot::new)
    }

    /// Sets the policies of a model, in the words of the configuration file; True means with the
    /// defaults. Policies that are not named are off.
    #[pyo3(signature = (name, **policies))]
    fn configure(
        &self,
        py: Python<'_>,
        name: &str,
        policies: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let text = as_toml(py, policies)?;
        enter(py, LONG, || self.core.configure(name, &text).map_err(|e| without_places(&e)))?;
        self.made.call_method1(py, "configured", (name, text))?;
        Ok(())
    }

    /// What each arm of a model's canary did; None without a canary.
    fn traffic(&self, py: Python<'_>, name: &str) -> PyResult<Option<Py<PyAny>>> {
        let found = enter(py, LONG, || self.core.traffic(name))?;
        found.map(|r| report(py, r.to_json(), &r)).transpose()
    }

    /// Where a canary's promotion stands, with every decision; None without one.
    fn promotion(&self, py: Python<'_>, name: &str) -> PyResult<Option<Py<PyAny>>> {
        let found = enter(py, LONG, || self.core.promotion(name))?;
        found.map(|r| report(py, r.to_json(), &r)).transpose()
    }

    /// What a model's shadow found; None without a shadow.
    fn shadow(&self, py: Python<'_>, name: &str) -> PyResult<Option<Py<PyAny>>> {
        let found = enter(py, LONG, || self.core.shadow(name))?;
        found.map(|r| report(py, r.to_json(), &r)).transpose()
    }

    /// What a model's response cache did; None without a cache.
    fn cache(&self, py: Python<'_>, name: &str) -> PyResult<Option<Py<PyAny>>> {
        self.core.cache(name).or_raise(py)?.map(|stats| cache_out(py, &stats)).transpose()
    }

    /// Where the circuit breaker of a version stands; None without one.
    #[pyo3(signature = (name, version=None))]
    fn circuit(
        &self,
        py: Python<'_>,
        name: &str,
        version: Option<u64>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let target = version.map_or(Target::Serving, Target::Version);
        let found = enter(py, LONG, || self.core.circuit(name, &target))?;
        found.map(|circuit| circuit_out(py, &circuit)).transpose()
    }

    /// Sets a canary's share of the requests, in percent. A promotion ends with it.
    fn set_canary_percent(&self, py: Python<'_>, name: &str, percent: f64) -> PyResult<()> {
        enter(py, LONG, || self.core.set_canary_percent(name, percent))
    }

    /// Records a sample (0 to 1) of a model's requests with their answers in a new file.
    #[pyo3(signature = (name, path, *, sample=0.01, max_bytes=None))]
    fn record(
        &self,
        py: Python<'_>,
        name: &str,
        path: PathBuf,
        sample: f64,
        max_bytes: Option<u64>,
    ) -> PyResult<()> {
        enter(py, LONG, || self.core.record(name, path, record_options(sample, max_bytes)))
    }

    /// How the recording of a model stands; None when it is not recorded.
    fn recording(&self, py: Python<'_>, name: &str) -> PyResult<Option<Py<PyAny>>> {
        let status = self.core.recording(name).or_raise(py)?;
        status.map(|status| record::status_out(py, &status)).transpose()
    }

    /// Ends the recording of a model, and says how it stood; None when it was not recorded.
    fn stop_recording(&self, py: Python<'_>, name: &str) -> PyResult<Option<Py<PyAny>>> {
        let status = enter(py, LONG, || self.core.stop_recording(name))?;
        status.map(|status| record::status_out(py, &status)).transpose()
    }

    /// What happens to models from now on, as an iterator.
    fn events(&self) -> Events {
        Events::new(self.core.events())
    }

    /// Calls `callback(event)` with each event from now on, on a thread of the library, until the
    /// manager is gone. What it raises is logged.
    fn on_event(&self, py: Python<'_>, callback: Py<PyAny>) -> PyResult<()> {
        self.core.on_event(self::callback(callback)).or_raise(py)
    }

    /// Serves a folder of models, `<root>/<model>/<version>/<files>`, and follows its changes.
    #[pyo3(signature = (root, *, version_policy="latest(1)", watch=true, poll_interval=2.0,
                        settle=None, unload_missing=false))]
    #[expect(clippy::too_many_arguments, reason = "keywords of one Python method")]
    fn serve_repository(
        &self,
        py: Python<'_>,
        root: PathBuf,
        version_policy: &str,
        watch: bool,
        poll_interval: f64,
        settle: Option<f64>,
        unload_missing: bool,
    ) -> PyResult<Py<PyAny>> {
        let mut rules = RepositoryRules { unload_missing, ..RepositoryRules::default() };
        rules.version_policy = version_policy.parse().or_raise(py)?;
        if let Some(settle) = settle {
            rules.files.settle = seconds(py, "settle", settle)?;
        }
        let mut options = WatchOptions::default();
        options.poll_interval = seconds(py, "poll_interval", poll_interval)?;
        rules.watch = watch.then_some(options);
        let given = PyDict::new(py);
        given.set_item("version_policy", version_policy)?;
        given.set_item("watch", watch)?;
        given.set_item("poll_interval", poll_interval)?;
        given.set_item("settle", settle)?;
        given.set_item("unload_missing", unload_missing)?;
        let report = enter(py, LONG, || self.core.serve_repository(&root, rules))?;
        self.made.call_method1(py, "served", (root, given))?;
        refresh_out(py, report)
    }

    /// Looks at the repository now, and does what there is to do.
    fn refresh(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        refresh_out(py, enter(py, LONG, || self.core.refresh())?)
    }

    /// What each available version holds in memory.
    fn memory<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.core.memory().into_iter().map(|held| memory_out(py, held)).collect()
    }

    /// Stops serving a model; predictions under way finish.
    fn unload(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        enter(py, LONG, || self.core.unload(name))?;
        self.made.call_method1(py, "unloaded", (name,))?;
        Ok(())
    }

    /// The model served as `name`, following reloads.
    fn model(&self, py: Python<'_>, name: &str) -> PyResult<Model> {
        Ok(Model::managed(self.core.model(name).or_raise(py)?))
    }

    /// The names of all models, sorted.
    fn models(&self) -> Vec<String> {
        self.core.models()
    }

    /// Predicts one row with the model `name`.
    #[pyo3(signature = (name, row, **asked))]
    fn predict(
        &self,
        name: &str,
        row: &Bound<'_, PyAny>,
        asked: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Prediction> {
        self.model(row.py(), name)?.predict(row, asked)
    }

    /// Predicts many rows at once with the model `name`.
    #[pyo3(signature = (name, rows, **asked))]
    fn predict_batch(
        &self,
        name: &str,
        rows: &Bound<'_, PyAny>,
        asked: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Predictions> {
        self.model(rows.py(), name)?.predict_batch(rows, asked)
    }

    /// The probabilities `[rows, classes]` of many rows by the model `name`.
    #[pyo3(signature = (name, rows, **asked))]
    fn predict_proba(
        &self,
        name: &str,
        rows: &Bound<'_, PyAny>,
        asked: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        self.model(rows.py(), name)?.predict_proba(rows, asked)
    }

    /// Runs the model `name` on named inputs; all outputs, or the wanted ones, by name.
    #[pyo3(signature = (name, inputs, outputs=None, **asked))]
    fn run(
        &self,
        py: Python<'_>,
        name: &str,
        inputs: &Bound<'_, PyDict>,
        outputs: Option<Vec<String>>,
        asked: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        self.model(py, name)?.run(py, inputs, outputs, asked)
    }

    /// As `predict`, to be awaited. The model runs on another thread; cancelling the task cancels
    /// the request.
    #[pyo3(signature = (name, row, **asked))]
    fn predict_async<'py>(
        &self,
        name: &str,
        row: &Bound<'py, PyAny>,
        asked: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.model(row.py(), name)?.predict_async(row, asked)
    }

    /// As `predict_batch`, to be awaited.
    #[pyo3(signature = (name, rows, **asked))]
    fn predict_batch_async<'py>(
        &self,
        name: &str,
        rows: &Bound<'py, PyAny>,
        asked: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.model(rows.py(), name)?.predict_batch_async(rows, asked)
    }

    /// As `run`, to be awaited.
    #[pyo3(signature = (name, inputs, outputs=None, **asked))]
    fn run_async<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        inputs: &Bound<'py, PyDict>,
        outputs: Option<Vec<String>>,
        asked: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.model(py, name)?.run_async(py, inputs, outputs, asked)
    }

    /// What is known of the version of `name` serving now, or of another one.
    #[pyo3(signature = (name, version=None))]
    fn info(&self, py: Python<'_>, name: &str, version: Option<u64>) -> PyResult<Info> {
        enter(py, LONG, || match version {
            None => self.core.info(name),
            Some(version) => self.core.lease(name, &Target::Version(version))?.info(),
        })
        .map(Info)
    }

    /// Counts and latencies of `name` by version.
    fn stats(&self, py: Python<'_>, name: &str) -> PyResult<Stats> {
        Ok(Stats(self.core.stats(name).or_raise(py)?))
    }

    /// This manager's models in HTTP's protocols, without a network (docs/http.md). Keyword
    /// arguments change what the configuration file's section `[http]` says, or the defaults.
    #[pyo3(signature = (**options))]
    fn http(&self, options: Option<&Bound<'_, PyDict>>) -> PyResult<Http> {
        Ok(Http::new(&self.core, http_options(self.core.http_options(), options)?))
    }

    /// Answers one HTTP request as bytes, without a network: the reference server, TensorFlow
    /// Serving's REST interface, the Open Inference Protocol and metrics. Answers the status, the
    /// headers and the body. For other options than the configuration file's: `http`.
    #[pyo3(signature = (method, target, headers=Vec::new(), body=Cow::Borrowed(b"".as_slice())))]
    fn http_handle<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        target: &str,
        headers: Fields,
        body: Cow<'_, [u8]>,
    ) -> PyResult<Response<'py>> {
        Http::new(&self.core, self.core.http_options()).handle(py, method, target, headers, body)
    }

    /// As `http_handle`, to be awaited: reading the request and running the model happen on other
    /// threads.
    #[pyo3(signature = (method, target, headers=Vec::new(), body=Cow::Borrowed(b"".as_slice())))]
    fn http_handle_async<'py>(
        &self,
        py: Python<'py>,
        method: String,
        target: String,
        headers: Fields,
        body: Cow<'_, [u8]>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Http::new(&self.core, self.core.http_options())
            .handle_async(py, method, target, headers, body)
    }

    /// All metrics in Prometheus' text format.
    fn metrics_text(&self, py: Python<'_>) -> PyResult<String> {
        enter(py, LONG, || Ok(self.core.metrics_text()))
    }

    /// Seconds since the manager was made.
    #[getter]
    fn uptime(&self) -> f64 {
        self.core.uptime().as_secs_f64()
    }

    fn __repr__(&self) -> String {
        format!(
            "<modelserve.ModelManager of {} models: {}>",
            self.core.models().len(),
            self.core.models().join(", ")
        )
    }

    /// How it came to be, for `modelserve.pickling`.
    #[getter]
    fn _made(&self, py: Python<'_>) -> Py<PyAny> {
        self.made.clone_ref(py)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("modelserve.pickling")?.call_method1("reduce_manager", (slf,))
    }
}

//! Load options from keyword arguments.

use crate::error::raise;
use crate::signature::classes_out;
use modelserve::limits::RequestLimits;
use modelserve::{
    Classes, ErrorKind, Format, LoadOptions, ModelSource, OutputKind, PlanKind, Task,
};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMemoryView};
use std::path::PathBuf;

/// Where a model comes from.
pub(crate) enum Source {
    /// A model file.
    Path(PathBuf),
    /// The file's content.
    Bytes(Vec<u8>),
}

impl From<Source> for ModelSource {
    fn from(source: Source) -> Self {
        match source {
            Source::Path(path) => ModelSource::from(path),
            Source::Bytes(bytes) => ModelSource::from(bytes),
        }
    }
}

impl<'py> FromPyObject<'_, 'py> for Source {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Source::Bytes(bytes.as_bytes().to_vec()));
        }
        if object.is_instance_of::<PyByteArray>() || object.is_instance_of::<PyMemoryView>() {
            return Ok(Source::Bytes(PyBuffer::<u8>::get(&object)?.to_vec(object.py())?));
        }
        // Kept as it is meant now: it is told, and read again, when the folder is another one.
        let path: PathBuf = object.extract()?;
        Ok(Source::Path(std::path::absolute(&path).unwrap_or(path)))
    }
}

/// The options named in keyword arguments; unknown names are a `TypeError`.
pub(crate) fn load_options(given: Option<&Bound<'_, PyDict>>) -> PyResult<LoadOptions> {
    let mut options = LoadOptions::default();
    for (name, value) in given.into_iter().flat_map(|g| g.iter()) {
        let name: String = name.extract()?;
        if value.is_none() {
            continue;
        }
        match name.as_str() {
            "format" => options.format = Some(named(&value, "format", format_of)?),
            "config" => options.config = Some(config(&value)?),
            "task" => options.task = Some(named(&value, "task", Task::from_name)?),
            "classes" => options.classes = Some(classes(&value)?),
            "output_kind" => {
                options.output_kind = Some(named(&value, "output_kind", OutputKind::from_name)?);
            }
            "label_output" => options.label_output = Some(value.extract()?),
            "scores_output" => options.scores_output = Some(value.extract()?),
            "feature_names" => {
                let names: PyResult<_> =
                    value.try_iter()?.map(|n| n?.extract::<String>()).collect();
                options.feature_names = Some(names?);
            }
            "version" => options.version = Some(value.extract()?),
            "display_version" => options.display_version = Some(value.extract()?),
            "plan" => options.plan = named(&value, "plan", PlanKind::from_name)?,
            "threads" => options.threads = value.extract()?,
            "explain" => options.explain = value.extract()?,
            "finite_inputs" => options.finite_inputs = value.extract()?,
            "max_rows" => options.request_limits.rows = value.extract()?,
            "max_request_bytes" => options.request_limits.request_bytes = value.extract()?,
            _ => {
                let message = format!("unexpected keyword argument '{name}'");
                return Err(PyTypeError::new_err(message));
            }
        }
    }
    Ok(options)
}

/// The keyword arguments that give these options: those that are not the defaults.
pub(crate) fn options_out<'py>(
    py: Python<'py>,
    options: &LoadOptions,
) -> PyResult<Bound<'py, PyDict>> {
    let given = PyDict::new(py);
    let texts = [
        ("format", options.format.map(Format::name)),
        ("config", options.config.as_deref()),
        ("task", options.task.map(Task::name)),
        ("output_kind", options.output_kind.map(OutputKind::name)),
        ("label_output", options.label_output.as_deref()),
        ("scores_output", options.scores_output.as_deref()),
        ("display_version", options.display_version.as_deref()),
        ("plan", Some(options.plan).filter(|p| *p != PlanKind::default()).map(PlanKind::name)),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            given.set_item(name, text)?;
        }
    }
    if let Some(classes) = classes_out(py, options.classes.as_ref())? {
        given.set_item("classes", classes)?;
    }
    if let Some(names) = &options.feature_names {
        given.set_item("feature_names", names)?;
    }
    if let Some(version) = options.version {
        given.set_item("version", version)?;
    }
    if options.threads != 0 {
        given.set_item("threads", options.threads)?;
    }
    if options.explain {
        given.set_item("explain", true)?;
    }
    if options.finite_inputs {
        given.set_item("finite_inputs", true)?;
    }
    let (limits, usual) = (&options.request_limits, RequestLimits::default());
    if limits.rows != usual.rows {
        given.set_item("max_rows", limits.rows)?;
    }
    if limits.request_bytes != usual.request_bytes {
        given.set_item("max_request_bytes", limits.request_bytes)?;
    }
    Ok(given)
}

fn format_of(name: &str) -> Option<Format> {
    Format::FILES.into_iter().find(|f| f.name() == name)
}

fn named<T>(value: &Bound<'_, PyAny>, what: &str, find: fn(&str) -> Option<T>) -> PyResult<T> {
    let name: String = value.extract()?;
    find(&name).ok_or_else(|| {
        raise(value.py(), ErrorKind::InvalidArgument, format!("no {what} is called '{name}'"))
    })
}

/// The layer description as JSON text, or as the dict it describes.
fn config(value: &Bound<'_, PyAny>) -> PyResult<String> {
    if value.is_instance_of::<PyDict>() {
        return value.py().import("json")?.call_method1("dumps", (value,))?.extract();
    }
    value.extract()
}

fn classes(value: &Bound<'_, PyAny>) -> PyResult<Classes> {
    let labels: Vec<Bound<'_, PyAny>> = value.try_iter()?.collect::<PyResult<_>>()?;
    if let Ok(ints) = labels.iter().map(|l| l.extract()).collect::<PyResult<Vec<i64>>>() {
        return Ok(Classes::Int(ints));
    }
    let texts = labels.iter().map(|l| Ok(l.extract::<String>()?.into())).collect::<PyResult<_>>();
    texts.map(Classes::Str).map_err(|_: PyErr| {
        let message = "classes are all integers or all strings";
        raise(value.py(), ErrorKind::InvalidArgument, message)
    })
}

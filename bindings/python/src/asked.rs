//! What a caller asks of one request, from keyword arguments.

use crate::error::raise;
use modelserve::{Ctx, ErrorKind, Target};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::fmt::Display;
use std::time::{Duration, Instant};

fn wrong(py: Python<'_>, message: impl Display) -> PyErr {
    raise(py, ErrorKind::InvalidArgument, message.to_string())
}

/// A time in seconds.
pub(crate) fn seconds(py: Python<'_>, name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|e| wrong(py, format_args!("{name} = {seconds}: {e}")))
}

/// The context that the keyword arguments ask for; `None` when they ask for nothing. A timeout
/// counts from now.
pub(crate) fn context(py: Python<'_>, given: Option<&Bound<'_, PyDict>>) -> PyResult<Option<Ctx>> {
    let mut ctx = Ctx::default();
    let mut any = false;
    for (name, value) in given.into_iter().flat_map(|g| g.iter()) {
        let name: String = name.extract()?;
        if value.is_none() && matches!(&*name, "version" | "label" | "key" | "timeout") {
            continue;
        }
        any = true;
        let free = ctx.target == Target::Serving;
        match &*name {
            "version" | "label" if !free => {
                return Err(wrong(py, "version and label are both given: give one of them"));
            }
            "version" => ctx.target = Target::Version(value.extract()?),
            "label" => ctx.target = Target::Label(value.extract::<String>()?.into()),
            "key" => ctx.key = Some(value.extract::<String>()?.into()),
            "timeout" => {
                let timeout = seconds(py, "timeout", value.extract()?)?;
                ctx.deadline = Instant::now().checked_add(timeout);
            }
            "priority" => {
                let priority: i64 = value.extract()?;
                ctx.priority = i8::try_from(priority).map_err(|_| {
                    wrong(py, format_args!("priority = {priority} is outside -128 to 127"))
                })?;
            }
            "no_cache" => ctx.no_cache = value.extract()?,
            _ => {
                let message = format!("unexpected keyword argument '{name}'");
                return Err(PyTypeError::new_err(message));
            }
        }
    }
    Ok(any.then_some(ctx))
}

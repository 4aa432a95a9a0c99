//! The library's log records, for Python's `logging`.

use crate::attach::attach;
use crate::error::raise;
use modelserve::ErrorKind;
use modelserve::metrics::log::{LogLevel, LogRecord, flush_log, set_log_sink as set};
use pyo3::prelude::*;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Hands records of `level` and more important ones to `sink(level, target, text, model, version,
/// seconds since 1970)`, on a thread of the library; None ends it.
#[pyfunction]
pub(crate) fn set_log_sink(py: Python<'_>, sink: Option<Py<PyAny>>, level: &str) -> PyResult<()> {
    let level = LogLevel::ALL.into_iter().find(|l| l.name() == level).ok_or_else(|| {
        raise(py, ErrorKind::InvalidArgument, format!("no log level is called '{level}'"))
    })?;
    let sink = sink.map(|sink| {
        let hand_on = move |record: &LogRecord| {
            attach(|py| {
                let time = record.time.duration_since(UNIX_EPOCH).unwrap_or_default();
                let fields = (
                    record.level.name(),
                    record.target,
                    record.to_string(),
                    record.model.as_deref(),
                    record.version,
                    time.as_secs_f64(),
                );
                if let Err(raised) = sink.call1(py, fields) {
                    raised.write_unraisable(py, None);
                }
            });
        };
        Arc::new(hand_on) as _
    });
    py.detach(|| set(sink, level));
    Ok(())
}

/// Waits up to `timeout` seconds until every record so far was handed on; whether that was so.
#[pyfunction]
pub(crate) fn flush_logs(py: Python<'_>, timeout: f64) -> PyResult<bool> {
    let timeout: Duration = crate::asked::seconds(py, "timeout", timeout)?;
    Ok(py.detach(|| flush_log(timeout)))
}

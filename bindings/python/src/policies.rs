//! Policies given as Python dicts, in the words of the configuration file.

use modelserve::Error;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The section of a configuration file that says the same: `modelserve.policies.as_toml`.
pub(crate) fn as_toml(py: Python<'_>, policies: Option<&Bound<'_, PyDict>>) -> PyResult<String> {
    match policies {
        None => Ok(String::new()),
        Some(given) => {
            py.import("modelserve.policies")?.call_method1("as_toml", (given,))?.extract()
        }
    }
}

/// The error without the places in a text that its reader has never seen.
pub(crate) fn without_places(error: &Error) -> Error {
    let mut message = String::new();
    let mut rest = error.message();
    while let Some((before, after)) = rest.split_once(" at line ") {
        message.push_str(before);
        let digits = |text: &str| text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let line = after.get(after.len() - digits(after)..).unwrap_or_default();
        match line.strip_prefix(", column ") {
            Some(column) => {
                rest = column.get(column.len() - digits(column)..).unwrap_or_default();
            }
            None => {
                message.push_str(" at line ");
                rest = after;
            }
        }
    }
    message.push_str(rest);
    let plain = Error::new(error.kind(), message);
    match error.model() {
        Some(model) => plain.with_model(model),
        None => plain,
    }
}

//! How reports are laid out for people and written for programs.

use crate::tensor::{Tensor, Value, for_each_type};
use serde::Serializer;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Values of a tensor that a report shows; the rest is counted.
const SHOWN: usize = 16;

/// Prints rows as aligned columns: the first to the left, the others to the right. The first row
/// is the heading.
pub(super) fn table(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|s| s.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match i {
                0 => write!(f, "{cell:<width$}")?,
                _ => write!(f, "  {cell:>width$}")?,
            }
        }
        writeln!(f)?;
    }
    Ok(())
}

/// A row of a table, from anything that prints.
pub(super) fn row<'a>(cells: impl IntoIterator<Item = &'a dyn fmt::Display>) -> Vec<String> {
    cells.into_iter().map(ToString::to_string).collect()
}

/// A rate as a percentage.
pub(super) fn percentage(rate: f64) -> String {
    format!("{:.2} %", rate * 100.0)
}

/// A duration in the unit that suits it.
pub(super) fn time(duration: Duration) -> String {
    format!("{duration:.2?}")
}

/// Writes a duration in seconds.
pub(super) fn seconds<S: Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_f64(duration.as_secs_f64())
}

/// Writes a moment in seconds since 1970.
pub(super) fn unix_time<S: Serializer>(at: &SystemTime, s: S) -> Result<S::Ok, S::Error> {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    s.serialize_f64(since.as_secs_f64())
}

/// A tensor's first values.
pub(super) fn tensor(tensor: &Tensor) -> String {
    for_each_type!(tensor.data(), v => {
        let more = v.len().saturating_sub(SHOWN);
        let shown = v.get(..SHOWN.min(v.len())).unwrap_or_default();
        match more {
            0 => format!("{shown:?}"),
            _ => format!("{shown:?} and {more} more"),
        }
    })
}

/// A value's first values.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Tensor(t) => tensor(t),
        other => other.type_name().to_string(),
    }
}

/// Things with names: `name = text, …`.
pub(super) fn named<T>(things: &[(String, T)], text: impl Fn(&T) -> String) -> String {
    let parts: Vec<String> = things.iter().map(|(n, t)| format!("{n} = {}", text(t))).collect();
    parts.join(", ")
}

//! The answers of the reference server.

use super::super::fault::{Fault, Outcome};
use super::super::json::{JsonWrite, Style, string};
use crate::error::ErrorKind;
use crate::model::{Answer, Prediction, Predictions};
use std::io::Write as _;

/// Appends an object for each row.
pub(super) fn all(predictions: &Predictions, out: &mut Vec<u8>) -> Outcome<()> {
    for i in 0..predictions.rows {
        out.extend_from_slice(if i > 0 { b",{" } else { b"{" });
        one(&predictions.row(i)?, out)?;
        out.push(b'}');
    }
    Ok(())
}

/// `"prediction": …, "probability": …`
pub(super) fn one(prediction: &Prediction, out: &mut Vec<u8>) -> Outcome<()> {
    out.extend_from_slice(b"\"prediction\":");
    match &prediction.answer {
        // A float, as there: clients compare with 1.0.
        Answer::Int(label) => {
            let _ = write!(out, "{label}.0");
        }
        Answer::Str(label) => string(label, out),
        Answer::Value(value) => float(*value, out),
        Answer::Values(values) => list(values, float, out),
        Answer::Labels(labels) => list(labels, |label, out| label.write(Style::Plain, out), out),
        Answer::Outputs(_) => {
            return Err(Fault::own(
                ErrorKind::Unsupported,
                "the model has named outputs, and no one prediction a row: ask it by /v1 or /v2",
            ));
        }
    }
    out.extend_from_slice(b",\"probability\":");
    let largest = prediction.probabilities().and_then(|all| all.iter().copied().reduce(f64::max));
    match largest {
        Some(probability) => float(probability, out),
        None => out.extend_from_slice(b"null"),
    }
    Ok(())
}

fn list<T: Copy>(values: &[T], write: impl Fn(T, &mut Vec<u8>), out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(*value, out);
    }
    out.push(b']');
}

/// JSON has no NaN and no infinities: they are null, as pydantic writes them.
fn float(value: f64, out: &mut Vec<u8>) {
    match value.is_finite() {
        true => value.write(Style::Plain, out),
        false => out.extend_from_slice(b"null"),
    }
}

pub(super) fn echo(id: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"request_id\":");
    match id {
        Some(id) => string(id, out),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

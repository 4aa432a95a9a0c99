//! An answer against the expected one.

use super::Expected;
use crate::model::{Answer, Prediction, Reply};
use crate::tensor::{Data, Tensor, Value};
use std::fmt;

/// Where an answer is furthest from the expected one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Mismatch {
    /// The entry: `row 2: probability 1`, `output 'y'[3]`.
    pub what: String,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub got: String,
    /// How far it is off: for numbers the distance, infinite for anything else.
    pub difference: f64,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, got {}", self.what, self.expected, self.got)?;
        if self.difference.is_finite() {
            write!(f, " (off by {:e})", self.difference)?;
        }
        Ok(())
    }
}

/// Keeps the worst mismatch.
struct Worst {
    tolerance: f64,
    found: Option<Mismatch>,
}

impl Worst {
    fn add(&mut self, difference: f64, make: impl FnOnce() -> (String, String, String)) {
        if self.found.as_ref().is_none_or(|worst| difference > worst.difference) {
            let (what, expected, got) = make();
            self.found = Some(Mismatch { what, expected, got, difference });
        }
    }

    fn unlike(&mut self, what: String, expected: impl fmt::Display, got: impl fmt::Display) {
        self.add(f64::INFINITY, || (what, expected.to_string(), got.to_string()));
    }

    fn number(&mut self, what: impl FnOnce() -> String, expected: f64, got: f64) {
        if expected == got || (expected.is_nan() && got.is_nan()) {
            return;
        }
        let distance = (expected - got).abs();
        if distance <= self.tolerance || distance <= self.tolerance * expected.abs() {
            // An infinite expectation is met by itself alone.
            if expected.is_finite() {
                return;
            }
        }
        let difference = if distance.is_nan() { f64::INFINITY } else { distance };
        self.add(difference, || (what(), expected.to_string(), got.to_string()));
    }

    fn numbers(&mut self, what: impl Fn(usize) -> String, expected: &[f64], got: &[f64]) {
        if expected.len() != got.len() {
            return self.unlike(
                what(0),
                format_args!("{} values", expected.len()),
                format_args!("{} values", got.len()),
            );
        }
        for (i, (e, g)) in expected.iter().zip(got).enumerate() {
            self.number(|| what(i), *e, *g);
        }
    }
}

pub(super) fn check(expected: &Expected, tolerance: f64, reply: &Reply) -> Result<(), Mismatch> {
    let mut worst = Worst { tolerance, found: None };
    match reply {
        Reply::Row(row) => rows(&mut worst, expected, 1, |_| Some(row.clone())),
        Reply::Batch(batch) => rows(&mut worst, expected, batch.rows, |i| batch.row(i).ok()),
        Reply::Tensors(outputs) => {
            named(&mut worst, &expected.outputs, outputs);
            if expected.answers.is_some() || expected.probabilities.is_some() {
                worst.unlike("the answer".to_string(), "a prediction", "named outputs");
            }
        }
    }
    worst.found.map_or(Ok(()), Err)
}

fn rows(
    worst: &mut Worst,
    expected: &Expected,
    count: usize,
    row: impl Fn(usize) -> Option<Prediction>,
) {
    let wanted = expected.answers.as_ref().map(Vec::len);
    let wanted = wanted.or(expected.probabilities.as_ref().map(Vec::len)).unwrap_or(count);
    if wanted != count {
        return worst.unlike("rows".to_string(), wanted, count);
    }
    for i in 0..count {
        let Some(got) = row(i) else {
            // Outputs without a known meaning have no rows to compare one by one.
            if expected.answers.is_some() || expected.probabilities.is_some() {
                worst.unlike(format!("row {i}"), "a prediction", "none");
            }
            continue;
        };
        if let Some(answer) = expected.answers.as_ref().and_then(|a| a.get(i)) {
            compare_answer(worst, i, answer, &got.answer);
        }
        if let Some(probabilities) = expected.probabilities.as_ref().and_then(|p| p.get(i)) {
            match got.probabilities() {
                Some(p) => worst.numbers(|k| format!("row {i}: probability {k}"), probabilities, p),
                None => worst.unlike(format!("row {i}"), "probabilities", "none"),
            }
        }
        if let (0, Answer::Outputs(outputs)) = (i, &got.answer) {
            named(worst, &expected.outputs, outputs);
        } else if i == 0 && !expected.outputs.is_empty() {
            worst.unlike("the answer".to_string(), "named outputs", "a prediction");
        }
    }
}

fn compare_answer(worst: &mut Worst, row: usize, expected: &Answer, got: &Answer) {
    let what = |i: usize| format!("row {row}: value {i}");
    match (expected, got) {
        (Answer::Value(e), Answer::Value(g)) => worst.number(|| what(0), *e, *g),
        (Answer::Values(e), Answer::Values(g)) => worst.numbers(what, e, g),
        (Answer::Value(e), Answer::Values(g)) => worst.numbers(what, &[*e], g),
        (Answer::Values(e), Answer::Value(g)) => worst.numbers(what, e, &[*g]),
        _ if expected == got => {}
        _ => worst.unlike(format!("row {row}"), shown(expected), shown(got)),
    }
}

fn shown(answer: &Answer) -> String {
    match answer {
        Answer::Int(label) => label.to_string(),
        Answer::Str(label) => format!("{label:?}"),
        Answer::Value(value) => value.to_string(),
        Answer::Values(values) => format!("{values:?}"),
        Answer::Labels(labels) => format!("{labels:?}"),
        Answer::Outputs(_) => "named outputs".to_string(),
    }
}

fn named(worst: &mut Worst, expected: &[(String, Value)], got: &[(String, Value)]) {
    for (name, value) in expected {
        match got.iter().find(|(n, _)| n == name) {
            Some((_, got)) => compare_value(worst, name, value, got),
            None => worst.unlike(format!("output '{name}'"), "a value", "none"),
        }
    }
}

fn compare_value(worst: &mut Worst, name: &str, expected: &Value, got: &Value) {
    let (Value::Tensor(e), Value::Tensor(g)) = (expected, got) else {
        if expected != got {
            let (e, g) = (expected.type_name(), got.type_name());
            worst.unlike(format!("output '{name}'"), e, format_args!("another {g}"));
        }
        return;
    };
    if e.dims() != g.dims() {
        return worst.unlike(format!("output '{name}': shape"), e.shape(), g.shape());
    }
    compare_tensor(worst, name, e, g);
}

fn compare_tensor(worst: &mut Worst, name: &str, e: &Tensor, g: &Tensor) {
    let what = |i: usize| format!("output '{name}'[{i}]");
    match (e.data(), g.data()) {
        (Data::String(e), Data::String(g)) => {
            if let Some((i, (e, g))) = e.iter().zip(g).enumerate().find(|(_, (e, g))| e != g) {
                worst.unlike(what(i), format_args!("{e:?}"), format_args!("{g:?}"));
            }
        }
        // As 64-bit floats they would not all be told apart.
        (Data::I64(e), Data::I64(g)) => {
            if let Some((i, (e, g))) = e.iter().zip(g).enumerate().find(|(_, (e, g))| e != g) {
                worst.unlike(what(i), e, g);
            }
        }
        _ => match (e.to_f64_vec(), g.to_f64_vec()) {
            (Ok(e), Ok(g)) => worst.numbers(what, &e, &g),
            _ => worst.unlike(format!("output '{name}'"), e.dtype(), g.dtype()),
        },
    }
}

//! An answer against the expected one.

use super::Expected;
use crate::model::mismatch::{Comparison, Mismatch};
use crate::model::{Answer, Prediction, Reply};

pub(super) fn check(expected: &Expected, tolerance: f64, reply: &Reply) -> Result<(), Mismatch> {
    let mut comparison = Comparison::new(tolerance);
    match reply {
        Reply::Row(row) => rows(&mut comparison, expected, 1, |_| Some((**row).clone())),
        Reply::Batch(batch) => rows(&mut comparison, expected, batch.rows, |i| batch.row(i).ok()),
        Reply::Tensors(outputs) => {
            comparison.named(&expected.outputs, outputs);
            if expected.answers.is_some() || expected.probabilities.is_some() {
                comparison.unlike("the answer", "a prediction", "named outputs");
            }
        }
    }
    let disagrees = comparison.disagrees();
    match comparison.worst() {
        Some(mismatch) if disagrees => Err(mismatch),
        _ => Ok(()),
    }
}

fn rows(
    comparison: &mut Comparison,
    expected: &Expected,
    count: usize,
    row: impl Fn(usize) -> Option<Prediction>,
) {
    let answers = expected.answers.as_ref().map(Vec::len);
    let probabilities = expected.probabilities.as_ref().map(Vec::len);
    for wanted in [answers, probabilities].into_iter().flatten() {
        if wanted != count {
            return comparison.unlike("rows", wanted, count);
        }
    }
    for i in 0..count {
        let Some(got) = row(i) else {
            // Outputs without a known meaning have no rows to compare one by one.
            if expected.answers.is_some() || expected.probabilities.is_some() {
                comparison.unlike(format_args!("row {i}"), "a prediction", "none");
            }
            continue;
        };
        if let Some(answer) = expected.answers.as_ref().and_then(|a| a.get(i)) {
            compare_answer(comparison, i, answer, &got.answer);
        }
        if let Some(probabilities) = expected.probabilities.as_ref().and_then(|p| p.get(i)) {
            match got.probabilities() {
                Some(p) => {
                    comparison.numbers(|k| format!("row {i}: probability {k}"), probabilities, p)
                }
                None => comparison.unlike(format_args!("row {i}"), "probabilities", "none"),
            }
        }
        if let (0, Answer::Outputs(outputs)) = (i, &got.answer) {
            comparison.named(&expected.outputs, outputs);
        } else if i == 0 && !expected.outputs.is_empty() {
            comparison.unlike("the answer", "named outputs", "a prediction");
        }
    }
}

fn compare_answer(comparison: &mut Comparison, row: usize, expected: &Answer, got: &Answer) {
    let what = |i: usize| format!("row {row}: value {i}");
    match (expected, got) {
        (Answer::Value(e), Answer::Value(g)) => comparison.number(|| what(0), *e, *g),
        (Answer::Values(e), Answer::Values(g)) => comparison.numbers(what, e, g),
        (Answer::Value(e), Answer::Values(g)) => comparison.numbers(what, &[*e], g),
        (Answer::Values(e), Answer::Value(g)) => comparison.numbers(what, e, &[*g]),
        _ if expected == got => {}
        _ => comparison.unlike(format_args!("row {row}"), shown(expected), shown(got)),
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

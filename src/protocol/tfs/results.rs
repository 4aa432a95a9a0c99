//! `"results"`: what `:classify` and `:regress` answer.

use super::super::fault::{Fault, Outcome};
use super::super::json::{JsonWrite, Style, string};
use super::super::outputs;
use crate::model::{Answer, Answers, Classes, Predictions, ScoreKind};

/// `{"results": [[["label", score], …], …]}`: every class of every row.
pub(super) fn classifications(predictions: &Predictions) -> Outcome<Vec<u8>> {
    let classes = predictions.classes.as_deref();
    let mut out = b"{\n    \"results\": [".to_vec();
    for row in 0..predictions.rows {
        out.extend_from_slice(if row > 0 { b", [" } else { b"[" });
        for (i, (label, score)) in scored(predictions, classes, row)?.into_iter().enumerate() {
            out.extend_from_slice(if i > 0 { b", [" } else { b"[" });
            string(&label, &mut out);
            out.extend_from_slice(b", ");
            (score as f32).write(Style::TensorFlow, &mut out);
            out.push(b']');
        }
        out.push(b']');
    }
    out.extend_from_slice(b"\n    ]\n}");
    Ok(out)
}

/// The classes of a row with their scores. A model without scores has its answer, scored 1.
fn scored(
    predictions: &Predictions,
    classes: Option<&Classes>,
    row: usize,
) -> Outcome<Vec<(String, f64)>> {
    let label = |i: usize| outputs::class_label(classes, i).unwrap_or_default();
    let row = predictions.row(row)?;
    let probabilities = row.scores_kind == ScoreKind::Probabilities;
    let two = classes.is_some_and(|classes| classes.len() == 2);
    Ok(match row.scores.as_deref() {
        // One number for two classes: the second one's.
        Some([p]) if probabilities && two => vec![(label(0), 1.0 - p), (label(1), *p)],
        Some(scores) if classes.is_none_or(|classes| classes.len() == scores.len()) => {
            scores.iter().enumerate().map(|(i, score)| (label(i), *score)).collect()
        }
        scores => {
            let score = scores.and_then(|s| s.first().copied()).unwrap_or(1.0);
            let answer = match row.answer {
                Answer::Int(label) => label.to_string(),
                Answer::Str(label) => label.to_string(),
                _ => String::new(),
            };
            vec![(answer, score)]
        }
    })
}

/// `{"results": [value, …]}`.
pub(super) fn regressions(predictions: &Predictions) -> Outcome<Vec<u8>> {
    let Answers::Values(values) = &predictions.answers else {
        return Err(Fault::bad("Expected a regression: the model answers labels"));
    };
    if values.len() != predictions.rows {
        return Err(Fault::bad(format!(
            "Expected one value for each of {} examples, got shape {}",
            predictions.rows,
            values.shape()
        )));
    }
    let mut out = b"{\n    \"results\": [".to_vec();
    for (i, value) in values.to_f32_vec()?.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        value.write(Style::TensorFlow, &mut out);
    }
    out.extend_from_slice(b"]\n}");
    Ok(out)
}

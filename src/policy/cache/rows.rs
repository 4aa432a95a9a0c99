//! Rows that were kept one by one, put together as a batch.

use crate::error::{Result, bail, ensure, err};
use crate::model::{Answer, Answers, Prediction, Predictions};
use crate::tensor::{Data, ElementType, Shape, Tensor};

/// The rows as a batch of the form of `form`: its kinds of columns and their element types, and
/// all that is not a row. A row keeps numbers as `f64`, which holds the model's `f32` exactly.
///
/// # Errors
/// `Execution` when the rows are of another form than `form`, or of different widths.
pub(super) fn assemble<'a>(
    form: &Predictions,
    rows: impl ExactSizeIterator<Item = &'a Prediction> + Clone,
) -> Result<Predictions> {
    let count = rows.len();
    let answers = match &form.answers {
        Answers::Labels(like) => match like.data() {
            Data::String(_) => {
                let texts = rows.clone().map(|row| match &row.answer {
                    Answer::Str(text) => Ok(text.to_string()),
                    _ => Err(unlike()),
                });
                Answers::Labels(Tensor::from_vec(&[count], texts.collect::<Result<Vec<_>>>()?)?)
            }
            _ => {
                let labels = rows.clone().map(|row| match &row.answer {
                    Answer::Int(label) => Ok(*label),
                    _ => Err(unlike()),
                });
                Answers::Labels(Tensor::from_vec(&[count], labels.collect::<Result<Vec<_>>>()?)?)
            }
        },
        Answers::Values(like) => Answers::Values(numbers(
            like,
            rows.clone().map(|row| match &row.answer {
                Answer::Value(value) => Some(std::slice::from_ref(value)),
                Answer::Values(values) => Some(values.as_slice()),
                _ => None,
            }),
        )?),
        Answers::Multilabel(like) => {
            let mut all: Vec<i64> = Vec::new();
            for row in rows.clone() {
                let Answer::Labels(labels) = &row.answer else { return Err(unlike()) };
                all.extend_from_slice(labels);
            }
            Answers::Multilabel(Tensor::new(shape(like, count, all.len())?, Data::I64(all))?)
        }
        Answers::Outputs(_) => return Err(unlike()),
    };
    let scores = match &form.scores {
        Some(like) => Some(numbers(like, rows.map(|row| row.scores.as_deref()))?),
        None => None,
    };
    Ok(Predictions { rows: count, answers, scores, ..form.clone() })
}

/// A column of numbers like `like`.
fn numbers<'a>(
    like: &Tensor,
    rows: impl ExactSizeIterator<Item = Option<&'a [f64]>>,
) -> Result<Tensor> {
    let count = rows.len();
    let mut all: Vec<f64> = Vec::new();
    let mut width = None;
    for row in rows {
        let row = row.ok_or_else(unlike)?;
        ensure!(
            width.is_none_or(|w| w == row.len()),
            Execution,
            "the model answered rows of different widths"
        );
        width = Some(row.len());
        all.extend_from_slice(row);
    }
    let shape = shape(like, count, all.len())?;
    match like.dtype() {
        ElementType::F32 => {
            Tensor::new(shape, Data::F32(all.into_iter().map(|x| x as f32).collect()))
        }
        ElementType::F64 => Tensor::new(shape, Data::F64(all)),
        other => bail!(Execution, "the model answered numbers of type {other}"),
    }
}

/// `[rows]` or `[rows, width]`, as `like` is.
fn shape(like: &Tensor, rows: usize, len: usize) -> Result<Shape> {
    match like.dims() {
        [_] => Shape::new(&[rows]),
        [_, _] => Shape::new(&[rows, len / rows.max(1)]),
        _ => Err(unlike()),
    }
}

fn unlike() -> crate::Error {
    err!(Execution, "the model answers rows of a form that cannot be put together")
}

/// Whether rows of this form can be put together again as they were.
pub(super) fn fits(form: &Predictions) -> bool {
    let numeric = |t: &Tensor| {
        matches!(t.dtype(), ElementType::F32 | ElementType::F64) && matches!(t.dims(), [_] | [_, _])
    };
    let answers = match &form.answers {
        Answers::Labels(t) => {
            matches!(t.dtype(), ElementType::I64 | ElementType::String) && t.dims().len() == 1
        }
        Answers::Values(t) => numeric(t),
        Answers::Multilabel(t) => t.dtype() == ElementType::I64 && t.dims().len() == 2,
        Answers::Outputs(_) => false,
    };
    answers && form.scores.as_ref().is_none_or(numeric)
}

//! Answers: of one row, and of a batch.

use super::{Classes, Receipt, Task};
use crate::error::{Result, ensure, err};
use crate::tensor::{Data, Tensor, Value};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Whether the numbers beside a label are probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreKind {
    /// A distribution over the classes: the producing operators, or the caller, say so.
    Probabilities,
    /// Decision values, distances, votes…
    Scores,
}

/// The answer for one row.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// An integer label (classifier, outlier, cluster).
    Int(i64),
    /// A string label.
    Str(Arc<str>),
    /// One number (regressor with one target).
    Value(f64),
    /// Several numbers (more targets, transforms).
    Values(Vec<f64>),
    /// Several labels (multilabel).
    Labels(Vec<i64>),
    /// The named outputs, where no meaning is known.
    Outputs(Vec<(String, Value)>),
}

/// The prediction for one row.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Prediction {
    /// The label or value.
    pub answer: Answer,
    /// The probability of the label, where the scores are probabilities.
    pub probability: Option<f64>,
    /// One number a class (or distance a cluster, or outlier score).
    pub scores: Option<SmallVec<[f64; 8]>>,
    /// What the scores are.
    pub scores_kind: ScoreKind,
    /// The class labels, in the order of the scores.
    pub classes: Option<Arc<Classes>>,
    /// The version that answered.
    pub model_version: u64,
    /// How long the call took inside the library.
    pub latency: Duration,
    /// How the answer came about.
    pub receipt: Receipt,
}

impl Prediction {
    /// All probabilities, where the scores are probabilities.
    pub fn probabilities(&self) -> Option<&[f64]> {
        match self.scores_kind {
            ScoreKind::Probabilities => self.scores.as_deref(),
            ScoreKind::Scores => None,
        }
    }
}

/// The answers for a batch, as columns.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Answers {
    /// Labels `[rows]`, int64 or string.
    Labels(Tensor),
    /// Numbers `[rows, targets]`, float32 or float64.
    Values(Tensor),
    /// Yes/no labels `[rows, labels]`, int64.
    Multilabel(Tensor),
    /// The named outputs, where no meaning is known.
    Outputs(Vec<(String, Value)>),
}

/// The predictions for a batch of rows.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Predictions {
    /// Number of rows.
    pub rows: usize,
    /// What the answers mean.
    pub task: Task,
    /// The labels or values.
    pub answers: Answers,
    /// Scores `[rows, classes]`, float32 or float64.
    pub scores: Option<Tensor>,
    /// What the scores are.
    pub scores_kind: ScoreKind,
    /// The class labels, in the order of the scores.
    pub classes: Option<Arc<Classes>>,
    /// The version that answered every row.
    pub model_version: u64,
    /// How long the call took inside the library.
    pub latency: Duration,
    /// How the answer came about.
    pub receipt: Receipt,
}

impl Predictions {
    /// Probabilities `[rows, classes]`, where the scores are probabilities.
    pub fn probabilities(&self) -> Option<&Tensor> {
        match self.scores_kind {
            ScoreKind::Probabilities => self.scores.as_ref(),
            ScoreKind::Scores => None,
        }
    }

    /// The prediction of row `i`. For models without a known meaning only a batch of one row
    /// has a row answer: its outputs.
    ///
    /// # Errors
    /// `InvalidInput` when there is no such row.
    pub fn row(&self, i: usize) -> Result<Prediction> {
        ensure!(i < self.rows, InvalidInput, "row {i} of a batch of {} rows", self.rows);
        let scores: Option<SmallVec<[f64; 8]>> = match &self.scores {
            Some(t) => Some(row_of(t, self.rows, i)?),
            None => None,
        };
        let answer = match &self.answers {
            Answers::Labels(t) => match t.data() {
                Data::String(v) => Answer::Str(v.get(i).map_or("", String::as_str).into()),
                _ => Answer::Int(t.as_slice::<i64>()?.get(i).copied().unwrap_or_default()),
            },
            Answers::Values(t) => {
                let values: SmallVec<[f64; 8]> = row_of(t, self.rows, i)?;
                match (self.task, values.as_slice()) {
                    (Task::Transform, _) => Answer::Values(values.into_vec()),
                    (_, [one]) => Answer::Value(*one),
                    _ => Answer::Values(values.into_vec()),
                }
            }
            Answers::Multilabel(t) => {
                let all = t.as_slice::<i64>()?;
                let width = all.len() / self.rows;
                Answer::Labels(all.iter().skip(i * width).take(width).copied().collect())
            }
            Answers::Outputs(v) => Answer::Outputs(v.clone()),
        };
        let probability = match (self.scores_kind, &scores, self.task) {
            (ScoreKind::Probabilities, Some(s), Task::Classifier) => {
                label_probability(&answer, s, self.classes.as_deref())
            }
            _ => None,
        };
        Ok(Prediction {
            answer,
            probability,
            scores,
            scores_kind: self.scores_kind,
            classes: self.classes.clone(),
            model_version: self.model_version,
            latency: self.latency,
            receipt: self.receipt.clone(),
        })
    }
}

impl Predictions {
    /// The predictions of the rows `range`, as a batch of their own.
    ///
    /// # Errors
    /// `InvalidInput` when there are no such rows; `Execution` when a named output has not one
    /// entry a row.
    pub fn slice(&self, range: Range<usize>) -> Result<Predictions> {
        ensure!(
            range.start <= range.end && range.end <= self.rows,
            InvalidInput,
            "rows {range:?} of a batch of {} rows",
            self.rows
        );
        let cut = |t: &Tensor| {
            ensure!(
                t.dims().first() == Some(&self.rows),
                Execution,
                "an output of shape {} has not one entry for each of {} rows",
                t.shape(),
                self.rows
            );
            t.rows(range.clone())
        };
        let answers = match &self.answers {
            Answers::Labels(t) => Answers::Labels(cut(t)?),
            Answers::Values(t) => Answers::Values(cut(t)?),
            Answers::Multilabel(t) => Answers::Multilabel(cut(t)?),
            Answers::Outputs(outputs) => Answers::Outputs(
                outputs
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), cut(value.as_tensor()?)?.into())))
                    .collect::<Result<_>>()?,
            ),
        };
        let scores = self.scores.as_ref().map(cut).transpose()?;
        Ok(Predictions { rows: range.len(), answers, scores, ..self.clone() })
    }

    /// The batches joined, in order; everything that is not a row is the first one's.
    ///
    /// # Errors
    /// `Internal` when there are none or they are of different kinds (a defect of the caller).
    pub fn concat(parts: &[Predictions]) -> Result<Predictions> {
        let first = parts.first().ok_or_else(|| err!(Internal, "no predictions to join"))?;
        let join = |part: fn(&Predictions) -> Option<&Tensor>| {
            let tensors: Option<Vec<Tensor>> = parts.iter().map(|p| part(p).cloned()).collect();
            let tensors = tensors.ok_or_else(|| err!(Internal, "predictions of unlike kinds"))?;
            Tensor::concat_rows(&tensors)
        };
        let answers = match &first.answers {
            Answers::Labels(_) => Answers::Labels(join(|p| match &p.answers {
                Answers::Labels(t) => Some(t),
                _ => None,
            })?),
            Answers::Values(_) => Answers::Values(join(|p| match &p.answers {
                Answers::Values(t) => Some(t),
                _ => None,
            })?),
            Answers::Multilabel(_) => Answers::Multilabel(join(|p| match &p.answers {
                Answers::Multilabel(t) => Some(t),
                _ => None,
            })?),
            Answers::Outputs(outputs) => {
                let joined = outputs.iter().enumerate().map(|(i, (name, _))| {
                    let tensors = parts
                        .iter()
                        .map(|p| match &p.answers {
                            Answers::Outputs(o) => match o.get(i) {
                                Some((n, value)) if n == name => value.as_tensor().cloned(),
                                _ => Err(err!(Internal, "predictions of unlike kinds")),
                            },
                            _ => Err(err!(Internal, "predictions of unlike kinds")),
                        })
                        .collect::<Result<Vec<_>>>()?;
                    Ok((name.clone(), Tensor::concat_rows(&tensors)?.into()))
                });
                Answers::Outputs(joined.collect::<Result<_>>()?)
            }
        };
        let scores = match &first.scores {
            Some(_) => Some(join(|p| p.scores.as_ref())?),
            None => None,
        };
        let rows = parts.iter().map(|p| p.rows).sum();
        Ok(Predictions { rows, answers, scores, ..first.clone() })
    }
}

/// The score of the answered label's own class: the label rule of a model need not be argmax.
fn label_probability(answer: &Answer, scores: &[f64], classes: Option<&Classes>) -> Option<f64> {
    let index = match (answer, classes) {
        (Answer::Int(label), Some(Classes::Int(all))) => all.iter().position(|c| c == label),
        (Answer::Str(label), Some(Classes::Str(all))) => all.iter().position(|c| c == label),
        _ => None,
    };
    match index {
        Some(i) => scores.get(i).copied(),
        None => scores.iter().copied().reduce(f64::max),
    }
}

fn row_of(tensor: &Tensor, rows: usize, i: usize) -> Result<SmallVec<[f64; 8]>> {
    let width = tensor.len() / rows.max(1);
    let range = i * width..(i + 1) * width;
    Ok(match tensor.data() {
        Data::F32(v) => v.get(range).unwrap_or_default().iter().map(|&x| x.into()).collect(),
        Data::F64(v) => v.get(range).unwrap_or_default().iter().copied().collect(),
        _ => tensor.to_f64_vec()?.get(range).unwrap_or_default().iter().copied().collect(),
    })
}

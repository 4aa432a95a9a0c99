//! Answers written into memory of the caller.

use super::{Answer, Answers, Classes, Prediction, Predictions, Receipt, Reply, ScoreKind, Task};
use crate::error::{Result, bail, err};
use crate::tensor::{Data, Tensor};
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

/// A caller's memory for the answers of some rows. What is not given is not written.
///
/// Each buffer is row-major and may be longer than the answer; the rest of it stays as it is.
///
/// ```
/// # use modelserve::Buffers;
/// let (mut labels, mut scores) = ([0; 2], [0f32; 6]);
/// let buffers = Buffers::default().labels(&mut labels).scores_f32(&mut scores);
/// # drop(buffers);
/// ```
#[derive(Debug, Default)]
pub struct Buffers<'a> {
    labels: Option<Place<'a, i64>>,
    scores: Option<Scores<'a>>,
}

#[derive(Debug)]
enum Place<'a, T> {
    Init(&'a mut [T]),
    Uninit(&'a mut [MaybeUninit<T>]),
}

#[derive(Debug)]
enum Scores<'a> {
    F32(Place<'a, f32>),
    F64(Place<'a, f64>),
}

impl<T: Copy> Place<'_, T> {
    fn len(&self) -> usize {
        match self {
            Place::Init(all) => all.len(),
            Place::Uninit(all) => all.len(),
        }
    }

    /// Writes `values` from element `at` on; the room was checked.
    fn put(&mut self, at: usize, values: impl Iterator<Item = T>) {
        match self {
            Place::Init(all) => {
                let places = all.get_mut(at..).unwrap_or_default();
                places.iter_mut().zip(values).for_each(|(place, value)| *place = value);
            }
            Place::Uninit(all) => {
                for (place, value) in all.get_mut(at..).unwrap_or_default().iter_mut().zip(values) {
                    place.write(value);
                }
            }
        }
    }
}

impl<'a> Buffers<'a> {
    /// Labels, [`Written::labels`] a row: integer labels, or the index among the classes of text
    /// ones (-1 for a label that is no class). Stays as it is where the answers are numbers.
    #[must_use]
    pub fn labels(mut self, labels: &'a mut [i64]) -> Self {
        self.labels = Some(Place::Init(labels));
        self
    }

    /// As [`Buffers::labels`], into memory that nobody wrote to yet.
    #[must_use]
    pub fn labels_uninit(mut self, labels: &'a mut [MaybeUninit<i64>]) -> Self {
        self.labels = Some(Place::Uninit(labels));
        self
    }

    /// Scores, probabilities or distances beside a label, or the numbers of a regressor or
    /// transform: [`Written::scores`] a row. Numbers of `f64` are rounded to the nearest `f32`.
    #[must_use]
    pub fn scores_f32(mut self, scores: &'a mut [f32]) -> Self {
        self.scores = Some(Scores::F32(Place::Init(scores)));
        self
    }

    /// As [`Buffers::scores_f32`], in doubles, which hold every number exactly.
    #[must_use]
    pub fn scores_f64(mut self, scores: &'a mut [f64]) -> Self {
        self.scores = Some(Scores::F64(Place::Init(scores)));
        self
    }

    /// As [`Buffers::scores_f64`], into memory that nobody wrote to yet.
    #[must_use]
    pub fn scores_f64_uninit(mut self, scores: &'a mut [MaybeUninit<f64>]) -> Self {
        self.scores = Some(Scores::F64(Place::Uninit(scores)));
        self
    }

    /// The buffer in which so many labels or scores have no room.
    fn too_short(&self, labels: usize, scores: usize) -> Option<TooShort> {
        let short = |buffer, has: Option<usize>, needs| match has {
            Some(has) if has < needs => Some(TooShort { buffer, has, needs }),
            _ => None,
        };
        let room = self.scores.as_ref().map(|scores| match scores {
            Scores::F32(place) => place.len(),
            Scores::F64(place) => place.len(),
        });
        short("labels", self.labels.as_ref().map(Place::len), labels)
            .or_else(|| short("scores", room, scores))
    }

    /// Writes labels from element `at` on.
    pub(super) fn put_labels(&mut self, at: usize, labels: impl Iterator<Item = i64>) {
        if let Some(place) = &mut self.labels {
            place.put(at, labels);
        }
    }

    /// Writes scores from element `at` on.
    pub(super) fn put_scores<T: Copy + Into<f64>>(
        &mut self,
        at: usize,
        scores: impl Iterator<Item = T>,
    ) {
        match &mut self.scores {
            Some(Scores::F32(place)) => place.put(at, scores.map(|x| x.into() as f32)),
            Some(Scores::F64(place)) => place.put(at, scores.map(Into::into)),
            None => {}
        }
    }

    fn put_tensor(&mut self, scores: &Tensor) -> Result<()> {
        match scores.data() {
            Data::F32(all) => self.put_scores(0, all.iter().copied()),
            Data::F64(all) => self.put_scores(0, all.iter().copied()),
            _ => self.put_scores(0, scores.to_f64_vec()?.into_iter()),
        }
        Ok(())
    }
}

/// What the answers of some rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AnswerKind {
    /// An integer label a row.
    Int,
    /// A text label a row.
    Str,
    /// One number a row, among the scores.
    Value,
    /// Several numbers a row, among the scores.
    Values,
    /// Several yes/no labels a row; where the model has no scores they stand there, too.
    Labels,
}

/// What was written into [`Buffers`], and how the answers came about.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Written {
    /// Number of rows.
    pub rows: usize,
    /// What the answers are.
    pub answer: AnswerKind,
    /// Labels a row: 1, or more for [`AnswerKind::Labels`]; 0 where the answers are numbers.
    pub labels: usize,
    /// Scores or numbers a row; 0 where there are none.
    pub scores: usize,
    /// What the scores are; `None` where they are answers, or there are none.
    pub scores_kind: Option<ScoreKind>,
    /// What a prediction says beside its scores, where one row was asked for
    /// ([`super::Request::Row`]); told without any buffer.
    pub row: Option<RowAnswer>,
    /// The class labels, in the order of the scores.
    pub classes: Option<Arc<Classes>>,
    /// The version that answered every row.
    pub model_version: u64,
    /// How long the call took inside the library.
    pub latency: Duration,
    /// How the answers came about.
    pub receipt: Receipt,
    /// The buffer that had no room for the answers: then nothing was written.
    pub too_short: Option<TooShort>,
}

/// The answer of one row, its scores apart.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RowAnswer {
    /// The label, as [`Buffers::labels`] has it; 0 where the answer is not one label.
    pub label: i64,
    /// A text label.
    pub text: Option<Arc<str>>,
    /// The number answered, or the first of several; NaN where the answer is a label.
    pub value: f64,
    /// The probability of the label, where the scores are probabilities.
    pub probability: Option<f64>,
}

/// A buffer that is too short for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TooShort {
    /// `labels` or `scores`.
    pub buffer: &'static str,
    /// Elements it has.
    pub has: usize,
    /// Elements the answer needs.
    pub needs: usize,
}

impl fmt::Display for TooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' has room for {}, the answer needs {}", self.buffer, self.has, self.needs)
    }
}

impl Written {
    /// Fails where a buffer was too short.
    pub(super) fn fitting(self) -> Result<Written> {
        match &self.too_short {
            None => Ok(self),
            Some(short) => Err(err!(InvalidArgument, "{short}")),
        }
    }

    /// Notes whether all of the answers have room.
    pub(super) fn measure(&mut self, out: &Buffers<'_>) -> bool {
        let of = |a_row: usize| self.rows.saturating_mul(a_row);
        self.too_short = out.too_short(of(self.labels), of(self.scores));
        self.too_short.is_none()
    }
}

/// The number of a label: its own, or its index among the classes.
pub(super) fn class_index(classes: Option<&Classes>, label: &str) -> i64 {
    let found = match classes {
        Some(Classes::Str(all)) => all.iter().position(|class| class.as_ref() == label),
        _ => None,
    };
    found.and_then(|i| i64::try_from(i).ok()).unwrap_or(-1)
}

fn no_rows<T>() -> Result<T> {
    bail!(Unsupported, "the model answers named tensors and no labels or values: use run")
}

/// Elements a row.
fn width_of(tensor: &Tensor, rows: usize) -> usize {
    let dims = tensor.dims().get(1..).unwrap_or_default();
    tensor.len().checked_div(rows).unwrap_or_else(|| dims.iter().product())
}

impl Reply {
    /// Writes the answer into the caller's memory. A buffer that is too short is told by
    /// [`Written::too_short`].
    ///
    /// # Errors
    /// `Unsupported` for named outputs.
    pub fn write(&self, out: &mut Buffers<'_>) -> Result<Written> {
        match self {
            Reply::Row(prediction) => prediction.write(out),
            Reply::Batch(predictions) => predictions.write(out),
            Reply::Tensors(_) => no_rows(),
        }
    }
}

impl Predictions {
    /// As [`Reply::write`].
    ///
    /// # Errors
    /// As [`Reply::write`].
    pub fn write(&self, out: &mut Buffers<'_>) -> Result<Written> {
        let rows = self.rows;
        let (answer, labels, scores) = match &self.answers {
            Answers::Labels(all) => {
                let text = matches!(all.data(), Data::String(_));
                let answer = if text { AnswerKind::Str } else { AnswerKind::Int };
                (answer, Some(all), self.scores.as_ref())
            }
            Answers::Values(all) => {
                let one = width_of(all, rows) == 1 && self.task != Task::Transform;
                let answer = if one { AnswerKind::Value } else { AnswerKind::Values };
                (answer, None, Some(all))
            }
            Answers::Multilabel(all) => {
                (AnswerKind::Labels, Some(all), Some(self.scores.as_ref().unwrap_or(all)))
            }
            Answers::Outputs(_) => return no_rows(),
        };
        let mut written = Written {
            rows,
            answer,
            labels: labels.map_or(0, |all| width_of(all, rows)),
            scores: scores.map_or(0, |all| width_of(all, rows)),
            scores_kind: self.scores.is_some().then_some(self.scores_kind),
            row: None,
            classes: self.classes.clone(),
            model_version: self.model_version,
            latency: self.latency,
            receipt: self.receipt.clone(),
            too_short: None,
        };
        if !written.measure(out) {
            return Ok(written);
        }
        if let Some(all) = scores {
            out.put_tensor(all)?;
        }
        let classes = self.classes.as_deref();
        match labels.map(Tensor::data) {
            Some(Data::String(all)) => {
                out.put_labels(0, all.iter().map(|label| class_index(classes, label)));
            }
            Some(Data::I64(all)) => out.put_labels(0, all.iter().copied()),
            _ => {}
        }
        Ok(written)
    }
}

impl Prediction {
    /// As [`Reply::write`].
    ///
    /// # Errors
    /// As [`Reply::write`].
    pub fn write(&self, out: &mut Buffers<'_>) -> Result<Written> {
        let label = match &self.answer {
            Answer::Int(label) => *label,
            Answer::Str(label) => class_index(self.classes.as_deref(), label),
            _ => 0,
        };
        let labels = match &self.answer {
            Answer::Int(_) | Answer::Str(_) => std::slice::from_ref(&label),
            Answer::Labels(all) => all,
            _ => &[],
        };
        let scores = match &self.answer {
            Answer::Value(value) => std::slice::from_ref(value),
            Answer::Values(all) => all,
            _ => self.scores.as_deref().unwrap_or_default(),
        };
        let answer = match &self.answer {
            Answer::Int(_) => AnswerKind::Int,
            Answer::Str(_) => AnswerKind::Str,
            Answer::Value(_) => AnswerKind::Value,
            Answer::Values(_) => AnswerKind::Values,
            Answer::Labels(_) => AnswerKind::Labels,
            Answer::Outputs(_) => return no_rows(),
        };
        let as_scores = answer == AnswerKind::Labels && self.scores.is_none();
        let mut written = Written {
            rows: 1,
            answer,
            labels: labels.len(),
            scores: if as_scores { labels.len() } else { scores.len() },
            scores_kind: self.scores.is_some().then_some(self.scores_kind),
            row: Some(RowAnswer {
                label,
                text: match &self.answer {
                    Answer::Str(text) => Some(text.clone()),
                    _ => None,
                },
                value: match &self.answer {
                    Answer::Value(value) => *value,
                    Answer::Values(all) => all.first().copied().unwrap_or(f64::NAN),
                    _ => f64::NAN,
                },
                probability: self.probability,
            }),
            classes: self.classes.clone(),
            model_version: self.model_version,
            latency: self.latency,
            receipt: self.receipt.clone(),
            too_short: None,
        };
        if written.measure(out) {
            match as_scores {
                // A count of yes and no is exact in a double.
                true => out.put_scores(0, labels.iter().map(|&label| label as f64)),
                false => out.put_scores(0, scores.iter().copied()),
            }
            out.put_labels(0, labels.iter().copied());
        }
        Ok(written)
    }
}

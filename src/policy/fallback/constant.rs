//! A constant that answers in a model's place.

use super::fit;
use crate::error::{Result, bail, ensure};
use crate::limits::RequestLimits;
use crate::model::{Answer, Answers, Predictions, Reply, Request, ScoreKind, Signature, Task};
use crate::tensor::{Tensor, Value};
use std::sync::Arc;
use std::time::Instant;

/// What a [`ConstantAnswer`] says of every row.
#[derive(Debug, Clone, Default)]
pub struct Constant {
    /// The label or value. Default: for a classifier of known classes the class of the largest
    /// probability; otherwise it must be given, except for a model without a known meaning,
    /// which answers its outputs.
    pub answer: Option<Answer>,
    /// One probability a class. Default: none.
    pub probabilities: Option<Vec<f64>>,
    /// Named outputs, for [`Request::Run`] and for models without a known meaning: each tensor
    /// is one row (1 along the axis that counts rows) and repeated as often as there are rows.
    /// Default: none, and `run` is not answered.
    pub outputs: Vec<(String, Tensor)>,
}

impl Constant {
    /// A label, a value, or whatever else `answer` is.
    pub fn new(answer: Answer) -> Constant {
        Constant { answer: Some(answer), ..Constant::default() }
    }

    /// A distribution over the classes.
    pub fn probabilities(probabilities: Vec<f64>) -> Constant {
        Constant { probabilities: Some(probabilities), ..Constant::default() }
    }

    /// The same, with these named outputs.
    #[must_use]
    pub fn with_outputs(mut self, outputs: Vec<(String, Tensor)>) -> Constant {
        self.outputs = outputs;
        self
    }
}

/// A constant that fits a model's signature: it answers one row, batches, and, where named
/// outputs are given, `run`. It never looks at the features. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ConstantAnswer {
    signature: Arc<Signature>,
    /// One row.
    row: Arc<Predictions>,
    outputs: Arc<[(String, Tensor)]>,
    max_rows: usize,
}

impl ConstantAnswer {
    /// A constant for models of `signature`.
    ///
    /// # Errors
    /// `InvalidArgument` saying what does not fit: a label that is no class, a wrong number of
    /// values or probabilities, an unknown output, a tensor of another type or shape.
    pub fn new(signature: Arc<Signature>, constant: Constant) -> Result<ConstantAnswer> {
        let Constant { answer, probabilities, outputs } = constant;
        for (i, (name, tensor)) in outputs.iter().enumerate() {
            let before = outputs.get(..i).unwrap_or_default();
            let twice = before.iter().any(|(other, _)| other == name);
            ensure!(!twice, InvalidArgument, "output '{name}' is given twice");
            fit::check_output(&signature, name, tensor)?;
        }
        if let Some(probabilities) = &probabilities {
            fit::check_probabilities(&signature, probabilities)?;
        }
        let answer = match answer {
            Some(answer) if signature.task != Task::Tensors => answer,
            _ => fit::implied(&signature, probabilities.as_deref(), &outputs)?,
        };
        let scores = probabilities.map(|p| Tensor::from_vec(&[1, p.len()], p)).transpose()?;
        let row = Predictions {
            rows: 1,
            task: signature.task,
            answers: fit::answers(&signature, answer)?,
            scores_kind: match scores {
                Some(_) => ScoreKind::Probabilities,
                None => ScoreKind::Scores,
            },
            scores,
            classes: signature.classes.clone(),
            model_version: 0,
            latency: Default::default(),
            receipt: Default::default(),
        };
        let max_rows = RequestLimits::default().rows;
        Ok(ConstantAnswer { signature, row: row.into(), outputs: outputs.into(), max_rows })
    }

    /// The same constant, for a model of other limits than the default ones.
    #[must_use]
    pub fn with_limits(mut self, limits: &RequestLimits) -> ConstantAnswer {
        self.max_rows = limits.rows;
        self
    }

    /// The answer to `request`.
    ///
    /// # Errors
    /// `LimitExceeded` above the limit of rows; `NotFound` when an output is asked for that was
    /// not given.
    pub fn answer(&self, request: &Request<'_>) -> Result<Reply> {
        let began = Instant::now();
        let rows = request.rows();
        // Nothing has looked at the request yet: the number may be anything.
        ensure!(
            rows <= self.max_rows,
            LimitExceeded,
            "a batch of {rows} rows (at most {}, RequestLimits::rows): split it",
            self.max_rows
        );
        Ok(match request {
            Request::Row(_) => {
                let mut row = self.batch(1)?.row(0)?;
                row.latency = began.elapsed();
                row.into()
            }
            Request::Batch(_) => {
                let mut batch = self.batch(rows)?;
                batch.latency = began.elapsed();
                batch.into()
            }
            Request::Run { outputs, .. } => Reply::Tensors(self.named(outputs, rows)?),
        })
    }

    fn batch(&self, rows: usize) -> Result<Predictions> {
        let answers = match &self.row.answers {
            Answers::Labels(t) => Answers::Labels(repeat(t, rows)?),
            Answers::Values(t) => Answers::Values(repeat(t, rows)?),
            Answers::Multilabel(t) => Answers::Multilabel(repeat(t, rows)?),
            Answers::Outputs(_) => Answers::Outputs(self.named(&[], rows)?),
        };
        let scores = self.row.scores.as_ref().map(|t| repeat(t, rows)).transpose()?;
        Ok(Predictions { rows, answers, scores, ..(*self.row).clone() })
    }

    /// The outputs of these names, all in the model's order when none is named.
    fn named(&self, names: &[String], rows: usize) -> Result<Vec<(String, Value)>> {
        let all = &self.signature.outputs;
        let wanted: Vec<&String> = if names.is_empty() {
            all.iter().map(|o| &o.name).collect()
        } else {
            names.iter().collect()
        };
        let one = |name: &String| {
            let given = self.outputs.iter().find(|(n, _)| n == name);
            let Some((_, tensor)) = given else {
                bail!(
                    NotFound,
                    "the constant has no output '{name}': give it in Constant::outputs"
                );
            };
            let by_row = all.iter().any(|o| o.name == *name && o.batch_axis == Some(0));
            let tensor = if by_row { repeat(tensor, rows)? } else { tensor.clone() };
            Ok((name.clone(), Value::Tensor(tensor)))
        };
        wanted.into_iter().map(one).collect()
    }
}

/// One row, `rows` times.
fn repeat(row: &Tensor, rows: usize) -> Result<Tensor> {
    match rows {
        0 => row.rows(0..0),
        _ => Tensor::concat_rows(&vec![row.clone(); rows]),
    }
}

//! One record as a line of JSON. `docs/repository.md` describes it.

use super::tensors::{TensorForm, ValueForm};
use crate::error::{ErrorKind, Result, ensure, err};
use crate::model::{Answer, Answers, Features, Reply, Request};
use crate::tensor::{Tensor, Value};
use serde::{Deserialize, Serialize};

/// The version of the format, in the first line of a file.
pub(super) const FORMAT: u32 = 1;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    /// The format's version.
    pub modelserve_record: u32,
}

/// A record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// Microseconds since 1970, when the answer was there.
    pub at: u64,
    pub model: String,
    pub version: u64,
    /// How long the request took, in nanoseconds.
    pub took: u64,
    pub request: RequestForm,
    pub outcome: OutcomeForm,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RequestForm {
    Row(FeaturesForm),
    Batch(FeaturesForm),
    Run { inputs: Vec<(String, ValueForm)>, outputs: Vec<String> },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FeaturesForm {
    Tensor(TensorForm),
    Columns(Vec<(String, TensorForm)>),
    Inputs(Vec<TensorForm>),
}

/// What was answered, as named values; or what kind of error.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OutcomeForm {
    Answer(Vec<(String, ValueForm)>),
    Error(String),
}

/// What was answered, reduced to what can be compared.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    Answer(Vec<(String, Value)>),
    Error(ErrorKind),
}

impl RequestForm {
    pub(super) fn of(request: &Request<'_>) -> Result<RequestForm> {
        Ok(match request {
            Request::Row(features) => RequestForm::Row(FeaturesForm::of(features)?),
            Request::Batch(features) => RequestForm::Batch(FeaturesForm::of(features)?),
            Request::Run { inputs, outputs } => RequestForm::Run {
                inputs: inputs.iter().map(|(n, v)| (n.clone(), ValueForm::of(v))).collect(),
                outputs: outputs.to_vec(),
            },
        })
    }

    pub(super) fn request(self) -> Result<Request<'static>> {
        Ok(match self {
            RequestForm::Row(features) => Request::Row(features.features()?),
            RequestForm::Batch(features) => Request::Batch(features.features()?),
            RequestForm::Run { inputs, outputs } => {
                let inputs = inputs.into_iter().map(|(n, v)| Ok((n, v.value()?)));
                Request::Run { inputs: inputs.collect::<Result<_>>()?, outputs: outputs.into() }
            }
        })
    }
}

impl FeaturesForm {
    fn of(features: &Features<'_>) -> Result<FeaturesForm> {
        Ok(match features {
            Features::F32 { .. } | Features::F64 { .. } => match features.clone().into_owned()? {
                Features::Tensor(tensor) => FeaturesForm::Tensor(TensorForm::of(&tensor)),
                _ => return Err(err!(Internal, "rows of no known form")),
            },
            Features::Tensor(tensor) => FeaturesForm::Tensor(TensorForm::of(tensor)),
            Features::Columns(columns) => FeaturesForm::Columns(
                columns.iter().map(|(n, t)| (n.clone(), TensorForm::of(t))).collect(),
            ),
            Features::Inputs(tensors) => {
                FeaturesForm::Inputs(tensors.iter().map(TensorForm::of).collect())
            }
        })
    }

    fn features(self) -> Result<Features<'static>> {
        Ok(match self {
            FeaturesForm::Tensor(tensor) => Features::Tensor(tensor.tensor()?),
            FeaturesForm::Columns(columns) => Features::Columns(
                columns.into_iter().map(|(n, t)| Ok((n, t.tensor()?))).collect::<Result<_>>()?,
            ),
            FeaturesForm::Inputs(tensors) => Features::Inputs(
                tensors.into_iter().map(TensorForm::tensor).collect::<Result<_>>()?,
            ),
        })
    }
}

impl Outcome {
    /// A reply reduced to named values: `label`, `labels` or `value`, and `scores`; or the named
    /// outputs.
    pub(super) fn of(outcome: &Result<Reply>) -> Result<Outcome> {
        let reply = match outcome {
            Ok(reply) => reply,
            Err(e) => return Ok(Outcome::Error(e.kind())),
        };
        let mut values: Vec<(String, Value)> = Vec::new();
        let mut add = |name: &str, tensor: Tensor| values.push((name.to_string(), tensor.into()));
        match reply {
            Reply::Tensors(outputs) => return Ok(Outcome::Answer(outputs.clone())),
            Reply::Row(row) => {
                match &row.answer {
                    Answer::Int(label) => add("label", Tensor::from_vec(&[1], vec![*label])?),
                    Answer::Str(label) => {
                        add("label", Tensor::from_vec(&[1], vec![label.to_string()])?);
                    }
                    Answer::Value(value) => add("value", Tensor::from_vec(&[1, 1], vec![*value])?),
                    Answer::Values(v) => add("value", Tensor::from_vec(&[1, v.len()], v.clone())?),
                    Answer::Labels(v) => add("labels", Tensor::from_vec(&[1, v.len()], v.clone())?),
                    Answer::Outputs(outputs) => return Ok(Outcome::Answer(outputs.clone())),
                }
                if let Some(scores) = &row.scores {
                    add("scores", Tensor::from_vec(&[1, scores.len()], scores.to_vec())?);
                }
            }
            Reply::Batch(batch) => {
                match &batch.answers {
                    Answers::Labels(t) => add("label", t.clone()),
                    Answers::Values(t) => add("value", t.clone()),
                    Answers::Multilabel(t) => add("labels", t.clone()),
                    Answers::Outputs(outputs) => return Ok(Outcome::Answer(outputs.clone())),
                }
                if let Some(scores) = &batch.scores {
                    add("scores", scores.clone());
                }
            }
        }
        Ok(Outcome::Answer(values))
    }

    pub(super) fn form(&self) -> OutcomeForm {
        match self {
            Outcome::Answer(values) => OutcomeForm::Answer(
                values.iter().map(|(n, v)| (n.clone(), ValueForm::of(v))).collect(),
            ),
            Outcome::Error(kind) => OutcomeForm::Error(kind.name().to_string()),
        }
    }

    pub(super) fn read(form: OutcomeForm) -> Result<Outcome> {
        Ok(match form {
            OutcomeForm::Answer(values) => Outcome::Answer(
                values.into_iter().map(|(n, v)| Ok((n, v.value()?))).collect::<Result<_>>()?,
            ),
            OutcomeForm::Error(name) => {
                let kind = ErrorKind::ALL.into_iter().find(|kind| kind.name() == name);
                Outcome::Error(kind.ok_or_else(|| err!(InvalidInput, "unknown error {name:?}"))?)
            }
        })
    }

    /// Bytes of the values.
    pub(super) fn byte_len(&self) -> u64 {
        match self {
            Outcome::Answer(values) => {
                values.iter().map(|(_, v)| v.byte_len()).fold(0, u64::saturating_add)
            }
            Outcome::Error(_) => 0,
        }
    }
}

/// Reads the first line of a file.
pub(super) fn check_header(line: &[u8]) -> Result<()> {
    let header: Header = serde_json::from_slice(line).map_err(|_| {
        err!(InvalidArgument, "this is no recording: its first line is not a recording's header")
    })?;
    ensure!(
        header.modelserve_record == FORMAT,
        Unsupported,
        "a recording of format {} (this build reads {FORMAT})",
        header.modelserve_record
    );
    Ok(())
}

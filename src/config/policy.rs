//! The sections of a model that turn policies on.

use super::value::{self, SizeText, TimeText};
use crate::error::ErrorKind;
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// One deadline over waiting and running.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct DeadlineConfig {
    /// The time a request has that brings no deadline of its own. Default: no deadline.
    #[serde(deserialize_with = "value::time")]
    #[schemars(with = "Option<TimeText>")]
    pub default: Option<Duration>,
}

/// Requests that arrive together run together.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct BatchingConfig {
    /// Most rows that run together; a larger request runs alone, whole. Default: 32; with 1
    /// nothing is batched.
    pub max_batch_size: Option<usize>,
    /// How long a batch that formed while the model was busy may wait for more rows. An idle
    /// model never waits. Default: 0.
    #[serde(deserialize_with = "value::time")]
    #[schemars(with = "Option<TimeText>")]
    pub max_queue_delay: Option<Duration>,
    /// Numbers of rows that the model likes best, ascending: a batch is cut to the largest that
    /// can be filled. Default: any.
    pub preferred_batch_sizes: Vec<usize>,
    /// Most requests that wait; one more is refused as overloaded. Default: 1024.
    pub max_queue_size: Option<usize>,
    /// Most runs side by side, up to 1024. Default: 0, one where batches form, else the process's
    /// CPU quota.
    pub concurrency: Option<usize>,
    /// Only batch a model whose rows have the same bits alone and in a batch, which is probed
    /// when it is loaded. Default: false.
    pub batch_invariant: bool,
}

impl BatchingConfig {
    /// Asking for batching without a size means batching.
    pub(crate) const DEFAULT_MAX_BATCH_SIZE: usize = 32;
}

/// Answers kept by row.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct CacheConfig {
    /// Most bytes of kept answers and their keys. Default: 64 MiB.
    #[serde(deserialize_with = "value::size")]
    #[schemars(with = "Option<SizeText>")]
    pub capacity: Option<u64>,
    /// How long an answer is kept at most. Default: as long as its version is loaded.
    #[serde(deserialize_with = "value::time")]
    #[schemars(with = "Option<TimeText>")]
    pub ttl: Option<Duration>,
}

/// Refusal at the door when too much waits.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct AdmissionConfig {
    /// Most requests of a version at once, waiting ones included. Default: 1024.
    pub max_in_flight: Option<usize>,
    /// Refuse a request at once when its predicted wait passes its deadline. Default: true.
    pub shed_on_predicted_wait: Option<bool>,
}

/// Rest for a version that fails or is slow: a circuit breaker.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct BreakerConfig {
    /// How far back answers are judged. Default: 10 s.
    #[serde(deserialize_with = "value::time")]
    #[schemars(with = "Option<TimeText>")]
    pub window: Option<Duration>,
    /// Fewest requests in the window before it may open. Default: 20.
    pub min_requests: Option<u64>,
    /// The part of failed requests, above 0 to 1, at which it opens. Default: 0.5.
    pub failure_ratio: Option<f64>,
    /// An answer that takes longer is a slow one. Default: slowness is not judged.
    #[serde(deserialize_with = "value::time")]
    #[schemars(with = "Option<TimeText>")]
    pub slow_call: Option<Duration>,
    /// The part of slow answers, above 0 to 1, at which it opens. Default: 0.5.
    pub slow_ratio: Option<f64>,
    /// How long it stays open before the first probe; doubled each time that probes fail. Default:
    /// 5 s.
    #[serde(deserialize_with = "value::time")]
    #[schemars(with = "Option<TimeText>")]
    pub open_for: Option<Duration>,
    /// The longest that repeated failures make it stay open. Default: 60 s, or `open_for` where
    /// that is more.
    #[serde(deserialize_with = "value::time")]
    #[schemars(with = "Option<TimeText>")]
    pub max_open_for: Option<Duration>,
    /// Probes that have to succeed before it closes. Default: 3.
    pub probes: Option<u32>,
}

/// Another version or model: exactly one of the fields is set.
#[derive(Debug, Clone, PartialEq)]
pub enum TargetConfig<'a> {
    /// A version of the same model.
    Version(u64),
    /// A version of the same model, by label.
    Label(&'a str),
    /// Another model.
    Model(&'a str),
    /// A fixed answer (fallbacks only).
    Constant(&'a ConstantConfig),
}

/// One fallback: exactly one of `version`, `label`, `model` and `constant`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct FallbackConfig {
    /// Another version of this model.
    pub version: Option<u64>,
    /// Another version of this model, by label.
    pub label: Option<String>,
    /// Another model.
    pub model: Option<String>,
    /// A fixed answer.
    pub constant: Option<ConstantConfig>,
    /// The errors on which this fallback is asked, by name; not those of the caller's doing
    /// (`invalid_input`, `invalid_argument`, `cancelled`). Default: `execution`, `internal`,
    /// `deadline_exceeded`, `not_ready`, `overloaded`, `io`.
    pub on: Option<Vec<ErrorName>>,
    /// The time that is kept out of the deadline for this fallback; those of all fallbacks add
    /// up. Default: none.
    #[serde(deserialize_with = "value::time")]
    #[schemars(with = "Option<TimeText>")]
    pub reserve: Option<Duration>,
}

/// An error's kind, in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the ErrorKind of its name, documented there")]
pub enum ErrorName {
    InvalidModel,
    Unsupported,
    LimitExceeded,
    InvalidInput,
    InvalidArgument,
    NotFound,
    AlreadyExists,
    NotReady,
    Overloaded,
    DeadlineExceeded,
    Cancelled,
    PermissionDenied,
    Io,
    Execution,
    Internal,
}

impl ErrorName {
    /// The kind of that name.
    pub fn kind(self) -> ErrorKind {
        match self {
            ErrorName::InvalidModel => ErrorKind::InvalidModel,
            ErrorName::Unsupported => ErrorKind::Unsupported,
            ErrorName::LimitExceeded => ErrorKind::LimitExceeded,
            ErrorName::InvalidInput => ErrorKind::InvalidInput,
            ErrorName::InvalidArgument => ErrorKind::InvalidArgument,
            ErrorName::NotFound => ErrorKind::NotFound,
            ErrorName::AlreadyExists => ErrorKind::AlreadyExists,
            ErrorName::NotReady => ErrorKind::NotReady,
            ErrorName::Overloaded => ErrorKind::Overloaded,
            ErrorName::DeadlineExceeded => ErrorKind::DeadlineExceeded,
            ErrorName::Cancelled => ErrorKind::Cancelled,
            ErrorName::PermissionDenied => ErrorKind::PermissionDenied,
            ErrorName::Io => ErrorKind::Io,
            ErrorName::Execution => ErrorKind::Execution,
            ErrorName::Internal => ErrorKind::Internal,
        }
    }
}

/// A fixed answer for each row: `label` with or without `probabilities`, or `value`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ConstantConfig {
    /// The label of a classifier: an integer or a string.
    pub label: Option<Label>,
    /// One probability a class, in the order of the classes, 1 together. Default: none.
    pub probabilities: Option<Vec<f64>>,
    /// The value of a regressor.
    pub value: Option<f64>,
}

/// A class label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    /// An integer.
    Int(i64),
    /// A string.
    Str(String),
}

/// A part of the traffic for another version or model: exactly one of `version`, `label` and
/// `model`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct CanaryConfig {
    /// The version of this model that is tried.
    pub version: Option<u64>,
    /// The version that is tried, by label.
    pub label: Option<String>,
    /// The model that is tried.
    pub model: Option<String>,
    /// Its part of the traffic, 0 to 100. Default: the first step of `promote`; needed without
    /// one.
    pub percent: Option<f64>,
    /// What the assignment of keys is mixed with: canaries of one salt choose the same keys.
    /// Default: the model's name.
    pub salt: Option<String>,
    /// Ask the serving version when the canary fails. Default: true.
    pub on_error_use_stable: Option<bool>,
    /// Raise the canary's part step by step, or take it back.
    pub promote: Option<PromoteConfig>,
}

/// Raises a canary's part step by step, or takes it back.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct PromoteConfig {
    /// The parts of the traffic, in percent, ascending to 100. Default: `[1, 5, 25, 100]`.
    pub steps: Option<Vec<f64>>,
    /// Fewest requests of the canary in a step. Default: 500.
    pub min_requests: Option<u64>,
    /// How long a step takes at least. Default: 60 s.
    #[serde(deserialize_with = "value::time")]
    #[schemars(with = "Option<TimeText>")]
    pub min_duration: Option<Duration>,
    /// The probability, between 0 and 1, that a canary as good as the serving version is taken
    /// back. Default: 0.01.
    pub alpha: Option<f64>,
    /// Most that the canary's latency may be of the serving version's, 1 or more: 1.2 for a fifth
    /// more. Default: 1.5.
    pub max_latency_ratio: Option<f64>,
    /// Most of the answers, 0 to below 1, in which the two may disagree. Default: 0.05.
    pub max_disagreement: Option<f64>,
    /// Most that the error rate may rise, 0 to below 1. Default: 0.
    pub max_error_increase: Option<f64>,
}

/// A copy of the traffic for another version or model: exactly one of `version`, `label` and
/// `model`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ShadowConfig {
    /// The version of this model that is compared.
    pub version: Option<u64>,
    /// The version that is compared, by label.
    pub label: Option<String>,
    /// The model that is compared.
    pub model: Option<String>,
    /// The part of the requests that is copied, 0 to 100. Default: 10.
    pub percent: Option<f64>,
    /// Most copies that wait; one more is dropped and counted. Default: 64.
    pub max_pending: Option<usize>,
    /// How long a copy may take, waiting included. Default: 5 s.
    #[serde(deserialize_with = "value::time")]
    #[schemars(with = "Option<TimeText>")]
    pub timeout: Option<Duration>,
    /// Most that a number may differ, in proportion to the larger one, before the answers
    /// disagree. Default: 0.02.
    pub tolerance: Option<f64>,
    /// How many of the worst differences are kept for a look. Default: 16.
    pub max_kept_examples: Option<usize>,
}

/// What a new version has to pass before it serves.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct GateConfig {
    /// How many of the last requests are asked again, of the new version and of the serving one.
    /// Default: 256.
    pub replay_last: Option<usize>,
    /// Most that a number of the answers may drift, in proportion to the larger one. Default: not
    /// judged.
    pub max_drift: Option<f64>,
    /// The part of the rows, 0 to 1, that may be answered otherwise. Default: not judged.
    pub max_disagreement: Option<f64>,
    /// Most that the new version's latency may be of the serving one's. Default: not judged.
    pub max_latency_ratio: Option<f64>,
}

/// A sample of requests and answers, written to a file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RecordConfig {
    /// The file, relative to the configuration's folder. Where it is there already, from an
    /// earlier start: the first free one of the same name with `.1`, `.2`, … behind it.
    pub path: PathBuf,
    /// The part of the requests, 0 to 1, that is written. Default: 0.01.
    #[serde(default)]
    pub sample: Option<f64>,
    /// Most bytes of the file. Default: 1 GiB.
    #[serde(default, deserialize_with = "value::size")]
    #[schemars(with = "Option<SizeText>")]
    pub max_bytes: Option<u64>,
}

/// The first set one of the fields that name a target.
fn target<'a>(
    version: Option<u64>,
    label: Option<&'a String>,
    model: Option<&'a String>,
) -> Option<TargetConfig<'a>> {
    version
        .map(TargetConfig::Version)
        .or_else(|| label.map(|l| TargetConfig::Label(l)))
        .or_else(|| model.map(|m| TargetConfig::Model(m)))
}

impl FallbackConfig {
    /// Who is meant; `None` only for a struct that was not read from a file.
    pub fn target(&self) -> Option<TargetConfig<'_>> {
        target(self.version, self.label.as_ref(), self.model.as_ref())
            .or_else(|| self.constant.as_ref().map(TargetConfig::Constant))
    }
}

impl CanaryConfig {
    /// Who is meant; `None` only for a struct that was not read from a file.
    pub fn target(&self) -> Option<TargetConfig<'_>> {
        target(self.version, self.label.as_ref(), self.model.as_ref())
    }
}

impl ShadowConfig {
    /// Who is meant; `None` only for a struct that was not read from a file.
    pub fn target(&self) -> Option<TargetConfig<'_>> {
        target(self.version, self.label.as_ref(), self.model.as_ref())
    }
}

//! The whole file, the manager's section and a model's own keys.

use super::policy::{
    AdmissionConfig, BatchingConfig, BreakerConfig, CacheConfig, CanaryConfig, DeadlineConfig,
    FallbackConfig, GateConfig, RecordConfig, ShadowConfig,
};
use super::value::{self, SizeText, TimeText, Token, VersionPolicyConfig};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A configuration of modelserve.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// What concerns all models together.
    pub manager: ManagerConfig,
    /// The models by name: 1 to 128 of `A-Z a-z 0-9 . _ -`, no dot first.
    pub models: BTreeMap<String, ModelConfig>,
    /// The Prometheus metrics.
    pub metrics: MetricsConfig,
    /// How the HTTP protocols are spoken.
    pub http: HttpConfig,
}

/// What concerns all models together.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ManagerConfig {
    /// Worker threads of models that do not ask for a number of their own. Default: 0, the
    /// process's CPU quota.
    pub threads: usize,
    /// Most bytes of all loaded versions together (weights, packed copies, scratch). Default: no
    /// bound.
    #[serde(deserialize_with = "value::size")]
    #[schemars(with = "Option<SizeText>")]
    pub memory_budget: Option<u64>,
    /// What happens to a load that would pass the budget. Default: `refuse`.
    pub memory_policy: MemoryPolicy,
    /// The folder of models, `<name>/<version>/model.onnx` (or `model.safetensors` with
    /// `config.json`). Default: none, every model has a `path`.
    pub model_repository: Option<PathBuf>,
    /// Look for new versions in the repository while serving. Default: false.
    pub watch: bool,
    /// How often the repository is looked at where the system does not report changes. Default:
    /// 2 s.
    #[serde(deserialize_with = "value::time")]
    #[schemars(with = "Option<TimeText>")]
    pub poll_interval: Option<Duration>,
    /// How long a version's files must have been unchanged before it is loaded. Default:
    /// 500 ms.
    #[serde(deserialize_with = "value::time")]
    #[schemars(with = "Option<TimeText>")]
    pub settle: Option<Duration>,
    /// Which versions of the repository are loaded, for models that do not say. Default:
    /// `latest(1)`.
    pub version_policy: Option<VersionPolicyConfig>,
}

/// What happens to a load that would pass the memory budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemoryPolicy {
    /// It is refused.
    #[default]
    Refuse,
    /// Idle models make room, the least recently used first, and are loaded again on demand.
    Evict,
}

/// The Prometheus metrics.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// Most versions with series of their own; more are counted together under `other`. Default:
    /// 1000.
    pub max_series: Option<usize>,
    /// Retired versions whose series are kept, for each model. Default: 4.
    pub keep_versions: Option<usize>,
}

/// How the HTTP protocols are spoken: what `http_handle` answers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct HttpConfig {
    /// The model that `/predict` and `/health` mean. Default: the only one there is.
    pub default_model: Option<String>,
    /// Whether a request may load, reload and unload models. Default: false.
    pub management: bool,
    /// What such a request has to show as a bearer token. Default: nothing.
    pub token: Option<Token>,
    /// The folder beneath which such a request may name models. Default: the model repository.
    pub root: Option<PathBuf>,
    /// Whether browsers on other sites may ask (CORS). Default: false.
    pub cors: bool,
    /// Most bytes of a request's body. Default: 64 MiB.
    #[serde(deserialize_with = "value::size")]
    #[schemars(with = "Option<SizeText>")]
    pub max_body_bytes: Option<u64>,
    /// How deep JSON may nest, at most 256. Default: 64.
    pub max_depth: Option<usize>,
    /// Most rows of one request. Default: 65536.
    pub max_rows: Option<usize>,
    /// Most bytes of one string. Default: 1 MiB.
    #[serde(deserialize_with = "value::size")]
    #[schemars(with = "Option<SizeText>")]
    pub max_string_bytes: Option<u64>,
}

/// One model: where it comes from, what it answers, and the policies around it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ModelConfig {
    /// The model file, relative to the configuration's folder. Default: the folder of the model's
    /// name in the repository.
    pub path: Option<PathBuf>,
    /// The file format. Default: told from the file.
    pub format: Option<FormatName>,
    /// The version's number, for a model with a `path`. Default: 1.
    pub version: Option<u64>,
    /// A free text to show beside the version, for a model with a `path`. Default: none.
    pub display_version: Option<String>,
    /// Which versions of the repository are loaded: `latest(n)`, `all`, or a list of numbers
    /// (`specific(7, 8)` or `[7, 8]`). Default: the manager's.
    pub version_policy: Option<VersionPolicyConfig>,
    /// Words that mean a version, `stable = 7`. Default: none.
    pub labels: BTreeMap<String, u64>,
    /// What the answer means. Default: told from the file.
    pub task: Option<TaskName>,
    /// The class labels in the order of the scores, all integers or all strings. Default: the
    /// file's.
    pub classes: Option<ClassList>,
    /// What the scores output holds. Default: told from the file.
    pub output_kind: Option<OutputKindName>,
    /// The name of the output that holds labels. Default: told from the file.
    pub label_output: Option<String>,
    /// The name of the output that holds scores, probabilities or values. Default: told from the
    /// file.
    pub scores_output: Option<String>,
    /// Names of the features of a single wide input. Default: the file's.
    pub feature_names: Option<Vec<String>>,
    /// Worker threads for large predictions; 0 is the process's CPU quota. Default: the manager's.
    pub threads: Option<usize>,
    /// Whether a native booster keeps what explaining its answers needs. Default: false.
    pub explain: Option<bool>,
    /// Whether requests with NaN or infinities among their numbers are refused. Default: false.
    pub finite_inputs: Option<bool>,
    /// How the model is run. Default: `optimised`.
    pub plan: Option<PlanName>,
    /// Most rows of one request. Default: 65536.
    pub max_rows: Option<usize>,
    /// Most bytes of one request. Default: 256 MiB.
    #[serde(deserialize_with = "value::size")]
    #[schemars(with = "Option<SizeText>")]
    pub max_request_bytes: Option<u64>,
    /// One deadline over waiting and running.
    pub deadline: Option<DeadlineConfig>,
    /// Who answers when the model does not: tried in this order, each once.
    pub fallback: Vec<FallbackConfig>,
    /// A part of the traffic for another version or model.
    pub canary: Option<CanaryConfig>,
    /// A copy of the traffic for another version or model, whose answers are compared only.
    pub shadow: Option<ShadowConfig>,
    /// Answers kept by row.
    pub cache: Option<CacheConfig>,
    /// Refusal at the door when too much waits.
    pub admission: Option<AdmissionConfig>,
    /// Rest for a version that fails or is slow.
    pub breaker: Option<BreakerConfig>,
    /// Requests that arrive together run together.
    pub batching: Option<BatchingConfig>,
    /// What a new version has to pass before it serves.
    pub gate: Option<GateConfig>,
    /// A sample of requests and answers, written to a file.
    pub record: Option<RecordConfig>,
    /// How many recent requests stay in memory for `gate.replay_last` and gates asked for in
    /// code; 0 keeps none. Default: 256, or `gate.replay_last` where that is more.
    pub recent_inputs: Option<usize>,
}

impl ModelConfig {
    /// The keys that say where a version comes from and how it is loaded, and whether each is
    /// given.
    pub(super) fn keys_of_loading(&self) -> [(&'static str, bool); 20] {
        [
            ("path", self.path.is_some()),
            ("format", self.format.is_some()),
            ("version", self.version.is_some()),
            ("display_version", self.display_version.is_some()),
            ("version_policy", self.version_policy.is_some()),
            ("labels", !self.labels.is_empty()),
            ("task", self.task.is_some()),
            ("classes", self.classes.is_some()),
            ("output_kind", self.output_kind.is_some()),
            ("label_output", self.label_output.is_some()),
            ("scores_output", self.scores_output.is_some()),
            ("feature_names", self.feature_names.is_some()),
            ("threads", self.threads.is_some()),
            ("explain", self.explain.is_some()),
            ("finite_inputs", self.finite_inputs.is_some()),
            ("plan", self.plan.is_some()),
            ("max_rows", self.max_rows.is_some()),
            ("max_request_bytes", self.max_request_bytes.is_some()),
            ("gate", self.gate.is_some()),
            ("record", self.record.is_some()),
        ]
    }
}

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FormatName {
    /// An `.onnx` file.
    Onnx,
    /// `model.safetensors` with a layer description in `config.json`.
    Safetensors,
    /// A `.json` or `.ubj` file of XGBoost.
    Xgboost,
    /// A `.txt` file of LightGBM.
    Lightgbm,
    /// A `.json` file of CatBoost.
    Catboost,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskName {
    /// One label a row, with scores or probabilities a class.
    Classifier,
    /// Several yes/no labels a row.
    Multilabel,
    /// One or more numbers a row.
    Regressor,
    /// 1 for an inlier, -1 for an outlier, with a score.
    Outlier,
    /// The number of a cluster, with distances.
    Cluster,
    /// Features to features.
    Transform,
    /// Named tensors in and out.
    Tensors,
}

/// What the scores output of a model holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputKindName {
    /// Probabilities.
    Probabilities,
    /// Logits: softmax makes them probabilities.
    Logits,
    /// Scores that are no probabilities.
    Scores,
    /// Values of a regressor.
    Values,
}

/// How a model is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanName {
    /// The fastest way the library has.
    Optimised,
    /// Every operator for itself, for comparing with the optimised plan: slow.
    Plain,
}

/// Class labels, all of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassList {
    /// Integers.
    Int(Vec<i64>),
    /// Strings.
    Str(Vec<String>),
}

impl ClassList {
    /// How many classes there are.
    pub fn len(&self) -> usize {
        match self {
            ClassList::Int(classes) => classes.len(),
            ClassList::Str(classes) => classes.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

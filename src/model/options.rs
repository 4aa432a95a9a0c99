//! How to load a model, and what to say of one that is loaded.

use super::{Classes, Signature, Task};
use crate::limits::{LoadLimits, RequestLimits};
use crate::plan::PlanKind;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// `.onnx`
    Onnx,
    /// `model.safetensors` with a layer description in `config.json`.
    Safetensors,
    /// A model of XGBoost: `.json` or `.ubj`, as its `save_model` writes them.
    XgBoost,
    /// A model of LightGBM: `.txt`, as its `save_model` writes it.
    LightGbm,
    /// A model of CatBoost: `.json`, as `save_model(…, format="json")` writes it.
    CatBoost,
    /// No file: a function of the host ([`super::FnModel`]).
    Native,
}

impl Format {
    /// The formats of files.
    pub const FILES: [Format; 5] =
        [Format::Onnx, Format::Safetensors, Format::XgBoost, Format::LightGbm, Format::CatBoost];

    /// `onnx`, `safetensors`, `xgboost`, `lightgbm`, `catboost` or `native`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Onnx => "onnx",
            Format::Safetensors => "safetensors",
            Format::XgBoost => "xgboost",
            Format::LightGbm => "lightgbm",
            Format::CatBoost => "catboost",
            Format::Native => "native",
        }
    }
}

/// What the scores output of a model holds, where the caller knows better than the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputKind {
    /// Probabilities: claimed as such.
    Probabilities,
    /// Logits: softmax (or the logistic function, for one column) makes them probabilities.
    Logits,
    /// Scores that are no probabilities.
    Scores,
    /// Values of a regressor.
    Values,
}

impl OutputKind {
    /// `probabilities`, `logits`, `scores` or `values`.
    pub fn name(self) -> &'static str {
        match self {
            OutputKind::Probabilities => "probabilities",
            OutputKind::Logits => "logits",
            OutputKind::Scores => "scores",
            OutputKind::Values => "values",
        }
    }

    /// The kind of that name: `probabilities`, `logits`, `scores` or `values`.
    pub fn from_name(name: &str) -> Option<OutputKind> {
        Some(match name {
            "probabilities" => OutputKind::Probabilities,
            "logits" => OutputKind::Logits,
            "scores" => OutputKind::Scores,
            "values" => OutputKind::Values,
            _ => return None,
        })
    }
}

/// How to load a model. Everything has a sensible default; what is given overrides what the
/// file says.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The format; by default told from the file's name and first bytes.
    pub format: Option<Format>,
    /// The layer description (`config.json`) of a safetensors model given as bytes.
    pub config: Option<String>,
    /// What the answer means.
    pub task: Option<Task>,
    /// The class labels, in the order of the scores.
    pub classes: Option<Classes>,
    /// What the scores output holds.
    pub output_kind: Option<OutputKind>,
    /// The name of the output that holds labels.
    pub label_output: Option<String>,
    /// The name of the output that holds scores, probabilities or values.
    pub scores_output: Option<String>,
    /// Names of the features of a single wide input, for input by column name.
    pub feature_names: Option<Vec<String>>,
    /// The version's number (1 to 2^63-1); by default one more than the last.
    pub version: Option<u64>,
    /// A free text to show beside the version.
    pub display_version: Option<String>,
    /// How it is computed.
    pub plan: PlanKind,
    /// Worker threads for large predictions; 0 means the process's CPU quota.
    pub threads: usize,
    /// Whether a native booster keeps what [`super::Model::explain`], [`super::Model::apply`] and
    /// [`super::Model::importance`] need: its trees as the file has them, some 50 bytes a node.
    pub explain: bool,
    /// Whether requests with NaN or infinities among their numbers are refused (`InvalidInput`,
    /// with the place of the first one). By default they are computed with, and NaN may mean a
    /// missing value.
    pub finite_inputs: bool,
    /// What loading may cost.
    pub limits: LoadLimits,
    /// What a request may cost.
    pub request_limits: RequestLimits,
}

/// What is known of a loaded model.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The name it is served under; `None` for a model loaded without a manager.
    pub name: Option<String>,
    /// The version's number.
    pub version: u64,
    /// The free text beside the version.
    pub display_version: Option<String>,
    /// The file format.
    pub format: Format,
    /// Its interface.
    pub signature: Arc<Signature>,
    /// Bytes of weights, packed copies included.
    pub weight_bytes: u64,
    /// SHA-256 of the model file, in lower-case hexadecimal.
    pub digest: Arc<str>,
    /// The same over the files read beside it (external data, `config.json`); empty without any.
    pub(crate) companions: Arc<str>,
    /// Where it was loaded from.
    pub path: Option<PathBuf>,
    /// How it was loaded.
    pub options: Arc<LoadOptions>,
    /// When it was loaded.
    pub loaded_at: SystemTime,
    /// How long loading took, probe included.
    pub load_duration: Duration,
    /// What the file says of itself.
    pub metadata: BTreeMap<String, String>,
    /// Whether predictions run as one row program (the tabular fast path).
    pub fast_path: bool,
    /// Whether equal requests get equal answers: no operator draws random numbers.
    pub deterministic: bool,
}

impl ModelInfo {
    /// What is known of a name whose model is gone: version 0, without a signature.
    pub(crate) fn unloaded(name: &str) -> ModelInfo {
        ModelInfo {
            name: Some(name.to_string()),
            version: 0,
            display_version: None,
            format: Format::Native,
            signature: Arc::default(),
            weight_bytes: 0,
            digest: "".into(),
            companions: "".into(),
            path: None,
            options: Arc::default(),
            loaded_at: SystemTime::UNIX_EPOCH,
            load_duration: Duration::ZERO,
            metadata: BTreeMap::new(),
            fast_path: false,
            deterministic: false,
        }
    }
}

/// Bytes that a model holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ModelMemory {
    /// Weights and other constants.
    pub weights: u64,
    /// What was made of them for speed (packed weights, compact trees).
    pub packed: u64,
    /// Work space kept between runs.
    pub scratch: u64,
}

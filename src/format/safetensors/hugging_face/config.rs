//! `config.json` of a transformers model.

use crate::error::{Result, bail, ensure, err};
use crate::format::safetensors::json::{At, Object};
use serde_json::Value;
use std::collections::BTreeMap;

/// The `model_type`s that are known.
pub(in super::super) const MODEL_TYPES: [&str; 5] =
    ["bert", "roberta", "xlm-roberta", "camembert", "distilbert"];

/// Which modules the tensors' names are those of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Bert,
    /// As BERT, with positions that count from behind the padding.
    Roberta,
    DistilBert,
}

/// What stands on the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// Nothing but the pooler, where there is one.
    None,
    Sequence,
    Token,
    Question,
    MaskedLm,
    /// One that is not known: fine where only the encoder is wanted.
    Other,
}

/// The configuration of an encoder.
#[derive(Debug)]
pub(in super::super) struct Config {
    pub(super) family: Family,
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// The width between a layer's two last products.
    pub(super) inner: usize,
    /// The operator of the activation, and Gelu's `approximate`.
    pub(super) activation: (&'static str, &'static str),
    pub(super) eps: f32,
    pub(super) vocabulary: usize,
    pub(super) positions: usize,
    /// Kinds of tokens; 0 where there are none.
    pub(super) types: usize,
    pub(super) pad: i64,
    pub(super) architecture: String,
    pub(super) head: Head,
    /// The labels of a classifier, by number.
    pub(super) labels: Vec<String>,
    /// What the labels are, where it is said.
    pub(super) problem: Option<String>,
    pub(super) ignore_unused: bool,
}

/// Most layers, and the largest size: sums and products of them cannot overflow.
const MOST_LAYERS: usize = 1_000;
const MOST: usize = 1 << 30;

impl Config {
    /// Reads a parsed document, where it is the configuration of a model that is known.
    pub(in super::super) fn read(document: &Value) -> Result<Option<Config>> {
        let model_type = document.get("model_type").and_then(Value::as_str);
        let Some(model_type) = model_type.filter(|name| MODEL_TYPES.contains(name)) else {
            return Ok(None);
        };
        if document.get("format").is_some() {
            return Ok(None);
        }
        let keys = Keys(At::root(document).object()?);
        keys.refuse(model_type)?;
        let family = match model_type {
            "bert" => Family::Bert,
            "distilbert" => Family::DistilBert,
            _ => Family::Roberta,
        };
        let named = |bert: &'static str, distilbert: &'static str| {
            if family == Family::DistilBert { distilbert } else { bert }
        };
        let hidden = keys.size(named("hidden_size", "dim"), None)?;
        let layers = keys.size(named("num_hidden_layers", "n_layers"), None)?;
        let heads = keys.size(named("num_attention_heads", "n_heads"), None)?;
        ensure!(
            layers <= MOST_LAYERS,
            LimitExceeded,
            "{layers} layers, at most {MOST_LAYERS} are allowed"
        );
        ensure!(
            hidden > 0 && hidden.checked_rem(heads) == Some(0),
            InvalidModel,
            "{heads} heads do not divide a hidden size of {hidden}"
        );
        let architecture = match keys.get("architectures") {
            None => String::new(),
            Some(at) => match at.list()?.first() {
                Some(first) => first.text()?.to_string(),
                None => String::new(),
            },
        };
        let types = match family {
            Family::DistilBert => 0,
            _ => keys.size("type_vocab_size", Some(2))?,
        };
        Ok(Some(Config {
            family,
            hidden,
            layers,
            heads,
            inner: keys.size(named("intermediate_size", "hidden_dim"), None)?,
            activation: keys.activation(named("hidden_act", "activation"))?,
            eps: match (family, keys.get("layer_norm_eps")) {
                (Family::DistilBert, _) | (_, None) => 1e-12,
                (_, Some(at)) => at.single()?,
            },
            vocabulary: keys.size("vocab_size", None)?,
            positions: keys.size("max_position_embeddings", Some(512))?,
            types,
            pad: match keys.get("pad_token_id") {
                Some(at) => at.integer()?,
                None => i64::from(family == Family::Roberta),
            },
            head: head(&architecture),
            architecture,
            labels: keys.labels()?,
            problem: match keys.get("problem_type") {
                Some(at) => Some(at.text()?.to_string()),
                None => None,
            },
            ignore_unused: keys.is_set("ignore_unused")?,
        }))
    }
}

fn head(architecture: &str) -> Head {
    let ends = [
        ("Model", Head::None),
        ("ForSequenceClassification", Head::Sequence),
        ("ForTokenClassification", Head::Token),
        ("ForQuestionAnswering", Head::Question),
        ("ForMaskedLM", Head::MaskedLm),
    ];
    if architecture.is_empty() {
        return Head::None;
    }
    let known = ends.iter().find(|(end, _)| architecture.ends_with(end));
    known.map_or(Head::Other, |(_, head)| *head)
}

/// The keys of a configuration, in which null means that a key is absent.
struct Keys<'a>(Object<'a>);

impl<'a> Keys<'a> {
    fn get(&self, key: &'static str) -> Option<At<'a>> {
        self.0.get(key).filter(|at| !at.is_null())
    }

    fn size(&self, key: &'static str, default: Option<usize>) -> Result<usize> {
        let size = match (self.get(key), default) {
            (Some(at), _) => at.size()?,
            (None, Some(default)) => default,
            (None, None) => bail!(InvalidModel, "$: key \"{key}\" is missing"),
        };
        ensure!(size <= MOST, LimitExceeded, "$.{key}: {size}, at most {MOST} is allowed");
        Ok(size)
    }

    fn is_set(&self, key: &'static str) -> Result<bool> {
        self.get(key).map_or(Ok(false), |at| at.flag())
    }

    /// Refuses what would have to be computed in another way.
    fn refuse(&self, model_type: &str) -> Result<()> {
        for key in ["is_decoder", "add_cross_attention", "is_encoder_decoder"] {
            ensure!(
                !self.is_set(key)?,
                Unsupported,
                "$.{key}: only encoders of model_type '{model_type}' are known"
            );
        }
        if let Some(at) = self.get("position_embedding_type") {
            let kind = at.text()?;
            ensure!(
                kind == "absolute",
                Unsupported,
                "$.position_embedding_type: \"{}\", only \"absolute\" is known",
                kind.chars().take(40).collect::<String>()
            );
        }
        for (key, why) in [
            ("auto_map", "the model has code of its own, which is not run"),
            ("quantization_config", "quantised tensors are not known"),
        ] {
            ensure!(self.get(key).is_none(), Unsupported, "$.{key}: {why}");
        }
        if let Some(at) = self.get("pruned_heads") {
            let none = if at.is_list() { at.list()?.is_empty() } else { at.object()?.is_empty() };
            ensure!(none, Unsupported, "$.pruned_heads: heads of several sizes are not known");
        }
        Ok(())
    }

    fn activation(&self, key: &'static str) -> Result<(&'static str, &'static str)> {
        Ok(match self.get(key).map(|at| at.text()).transpose()?.unwrap_or("gelu") {
            "gelu" => ("Gelu", "none"),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => ("Gelu", "tanh"),
            "relu" => ("Relu", ""),
            "tanh" => ("Tanh", ""),
            other => bail!(
                Unsupported,
                "$.{key}: activation \"{}\" is not known",
                other.chars().take(40).collect::<String>()
            ),
        })
    }

    /// The labels in the order of their numbers: 0, 1, …
    fn labels(&self) -> Result<Vec<String>> {
        let Some(at) = self.get("id2label") else {
            // What transformers leave out because it is their default.
            let count = self.size("num_labels", Some(2))?.min(MOST_LABELS);
            return Ok((0..count).map(|i| format!("LABEL_{i}")).collect());
        };
        let mut labels = BTreeMap::new();
        for (key, label) in at.texts()? {
            let number: usize =
                key.parse().map_err(|_| err!(InvalidModel, "$.id2label: '{key}' is no number"))?;
            labels.insert(number, label.to_string());
        }
        ensure!(
            labels.keys().copied().eq(0..labels.len()),
            InvalidModel,
            "$.id2label: the numbers are not 0 to {}",
            labels.len()
        );
        Ok(labels.into_values().collect())
    }
}

/// Most labels that have no names of their own.
const MOST_LABELS: usize = 100_000;

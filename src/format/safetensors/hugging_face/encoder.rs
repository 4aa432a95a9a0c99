//! The encoder: embeddings and layers of attention.

use super::config::{Config, Family};
use crate::attribute::Attribute;
use crate::error::Result;
use crate::format::safetensors::arrange::assembled;
use crate::format::safetensors::builder::Builder;
use crate::format::safetensors::container::Weights;
use crate::format::safetensors::layers::{self, Attention, attend, gather, linear};
use crate::format::safetensors::signal::Signal;
use crate::graph::Dim;
use crate::tensor::ElementType;

/// An encoder and how its tensors are named.
pub(super) struct Encoder<'c> {
    pub(super) config: &'c Config,
    /// What the names begin with: nothing, or the model's name where something stands on it.
    pub(super) prefix: String,
}

/// What the encoder answers.
pub(super) struct Encoded {
    /// `[batch, sequence]`: which tokens there are.
    pub(super) mask: Signal,
    /// `[batch, sequence, hidden]`.
    pub(super) hidden: Signal,
}

/// The names of a layer's tensors, behind the layer's own.
struct Names {
    layers: &'static str,
    query: &'static str,
    key: &'static str,
    value: &'static str,
    attention: &'static str,
    attention_norm: &'static str,
    inner: &'static str,
    outer: &'static str,
    norm: &'static str,
}

const BERT: Names = Names {
    layers: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    inner: "intermediate.dense",
    outer: "output.dense",
    norm: "output.LayerNorm",
};

const DISTILBERT: Names = Names {
    layers: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attention: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    inner: "ffn.lin1",
    outer: "ffn.lin2",
    norm: "output_layer_norm",
};

impl<'c> Encoder<'c> {
    pub(super) fn new(config: &'c Config, weights: &Weights) -> Encoder<'c> {
        let name = match config.family {
            Family::Bert => "bert.",
            Family::Roberta => "roberta.",
            Family::DistilBert => "distilbert.",
        };
        let whole = weights.has(&format!("{name}{WORDS}"));
        Encoder { config, prefix: if whole { name.to_string() } else { String::new() } }
    }

    /// A tensor's name, from the one it has in the encoder alone.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn build(&self, b: &mut Builder<'_>) -> Result<Encoded> {
        let config = self.config;
        let dims = || vec![Dim::Symbol("batch".into()), Dim::Symbol("sequence".into())];
        let ids = b.input("input_ids", ElementType::I64, dims(), 0)?;
        let mask = b.input("attention_mask", ElementType::I64, dims(), 0)?;
        b.enter("embeddings".into());
        let words = self.name(WORDS);
        let mut x = gather(b, &ids, &words, config.vocabulary, config.hidden)?;
        if config.types > 0 {
            x = self.add_types(b, x)?;
        }
        x = self.add_positions(b, x, &ids)?;
        let mut hidden = self.norm(b, &x, "embeddings.LayerNorm")?;
        for buffer in ["embeddings.position_ids", "embeddings.token_type_ids"] {
            b.weights.skip(&self.name(buffer));
        }
        b.enter("attention_mask".into());
        let added = layers::mask(b, &mask, false)?;
        let names = if config.family == Family::DistilBert { DISTILBERT } else { BERT };
        for i in 0..config.layers {
            let place = format!("{}.{i}", names.layers);
            b.enter(place.clone());
            hidden = self.layer(b, &hidden, &names, &place, added)?;
        }
        Ok(Encoded { mask, hidden })
    }

    /// Adds the row of each token's type. RoBERTa's tokens are all of type 0, and no input says so.
    fn add_types(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        let config = self.config;
        let name = self.name("embeddings.token_type_embeddings.weight");
        let (types, hidden) = (config.types, config.hidden);
        let row = if config.family == Family::Roberta {
            b.weight_as(&name, &[types, hidden], ".0", |table| {
                assembled(&[hidden], &[(table, 0..1)])
            })?
        } else {
            let dims = x.dims.iter().take(2).cloned().collect();
            let ids = b.input("token_type_ids", ElementType::I64, dims, 0)?;
            gather(b, &ids, &name, types, hidden)?.value
        };
        b.like("Add", &x, &[row], &[])
    }

    fn add_positions(&self, b: &mut Builder<'_>, x: Signal, ids: &Signal) -> Result<Signal> {
        let (positions, hidden) = (self.config.positions, self.config.hidden);
        let name = self.name("embeddings.position_embeddings.weight");
        let rows = if self.config.family == Family::Roberta {
            // Tokens count from behind the padding's number, which padding itself keeps.
            let pad = b.int("pad", self.config.pad);
            let dims = || ids.dims.clone();
            let padding = b.value("Equal", &[ids.value, pad], &[], ElementType::Bool, dims())?;
            let real = b.value("Not", &[padding], &[], ElementType::Bool, dims())?;
            let real = Signal { value: real, dtype: ElementType::Bool, ..ids.clone() };
            let real = b.cast_to(real, ElementType::I64)?;
            let axis = b.int("axis", 1);
            let counted = b.like("CumSum", &real, &[axis], &[])?;
            let counted = b.like("Mul", &counted, &[real.value], &[])?;
            let counted = b.like("Add", &counted, &[pad], &[])?;
            gather(b, &counted, &name, positions, hidden)?.value
        } else {
            layers::position_rows(b, ids, &name, positions, hidden)?
        };
        b.like("Add", &x, &[rows], &[])
    }

    fn layer(
        &self,
        b: &mut Builder<'_>,
        x: &Signal,
        names: &Names,
        place: &str,
        mask: crate::graph::ValueId,
    ) -> Result<Signal> {
        let (size, inner, heads) = (self.config.hidden, self.config.inner, self.config.heads);
        let named = |name: &str| format!("{}{place}.{name}", self.prefix);
        let q = linear(b, x, &named(names.query), size, size, true)?;
        let k = linear(b, x, &named(names.key), size, size, true)?;
        let v = linear(b, x, &named(names.value), size, size, true)?;
        let attention = Attention { size, heads, causal: false, mask: Some(mask) };
        let y = attend(b, &q, &k, &v, attention)?;
        let y = linear(b, &y, &named(names.attention), size, size, true)?;
        let y = b.like("Add", &y, &[x.value], &[])?;
        let x = self.norm(b, &y, &format!("{place}.{}", names.attention_norm))?;
        let y = linear(b, &x, &named(names.inner), size, inner, true)?;
        let y = self.activation(b, &y)?;
        let y = linear(b, &y, &named(names.outer), inner, size, true)?;
        let y = b.like("Add", &y, &[x.value], &[])?;
        self.norm(b, &y, &format!("{place}.{}", names.norm))
    }

    pub(super) fn activation(&self, b: &mut Builder<'_>, x: &Signal) -> Result<Signal> {
        activation(b, x, self.config.activation)
    }

    /// Layer normalisation by tensors of this name in the encoder.
    fn norm(&self, b: &mut Builder<'_>, x: &Signal, name: &str) -> Result<Signal> {
        self.norm_of(b, x, &self.name(name))
    }

    /// Layer normalisation by tensors of this whole name. Checkpoints that come from TensorFlow
    /// call them gamma and beta.
    pub(super) fn norm_of(&self, b: &mut Builder<'_>, x: &Signal, name: &str) -> Result<Signal> {
        let old = b.weights.has(&format!("{name}.gamma"));
        let (weight, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        let (weight, bias) = (format!("{name}.{weight}"), format!("{name}.{bias}"));
        let size = self.config.hidden;
        layers::layer_norm(b, x, Some(&weight), Some(&bias), size, self.config.eps)
    }
}

/// An activation by its operator and Gelu's `approximate`.
pub(super) fn activation(
    b: &mut Builder<'_>,
    x: &Signal,
    (op, approximate): (&str, &str),
) -> Result<Signal> {
    let form = [("approximate", Attribute::String(approximate.as_bytes().to_vec()))];
    b.like(op, x, &[], if op == "Gelu" { &form } else { &[] })
}

/// The table of words: the first tensor of an encoder.
pub(super) const WORDS: &str = "embeddings.word_embeddings.weight";

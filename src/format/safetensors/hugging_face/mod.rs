//! Encoders as Hugging Face's transformers write them: `config.json` says the sizes, the tensors
//! have the names of transformers' modules.
//!
//! Keys that do not change what is computed are passed over, those that do and are not known
//! here are refused.

mod config;
mod encoder;
mod heads;
mod pooling;
mod sentence;

pub(super) use config::{Config, MODEL_TYPES};
pub(super) use sentence::Sentence;

use super::builder::Builder;
use super::container::Weights;
use super::layers::in_model;
use crate::error::Result;
use crate::graph::Graph;
use crate::limits::LoadLimits;
use crate::tensor::ElementType;
use encoder::Encoder;

/// Builds the graph: the encoder, and what stands on it. With `sentence` that is the vector of a
/// text, as sentence-transformers has it; else it is what the architecture says.
pub(super) fn build(
    config: &Config,
    sentence: Option<&Sentence>,
    weights: &mut Weights,
    limits: &LoadLimits,
) -> Result<Graph> {
    let mut b = Builder::new(ElementType::F32, weights, limits);
    let encoder = Encoder::new(config, b.weights);
    let outputs = outputs(&mut b, &encoder, sentence).map_err(in_model)?;
    if !config.ignore_unused {
        b.weights.all_used()?;
    }
    b.outputs(outputs)?;
    b.say("format", "safetensors");
    if sentence.is_none() {
        heads::say(&mut b, config);
    }
    Ok(b.graph)
}

fn outputs(
    b: &mut Builder<'_>,
    encoder: &Encoder<'_>,
    sentence: Option<&Sentence>,
) -> Result<heads::Outputs> {
    let encoded = encoder.build(b)?;
    let Some(sentence) = sentence else { return heads::build(b, encoder, encoded) };
    heads::skip(b, encoder);
    let vector = sentence.build(b, &encoded)?;
    Ok(vec![
        ("last_hidden_state".to_string(), encoded.hidden),
        ("sentence_embedding".to_string(), vector),
    ])
}

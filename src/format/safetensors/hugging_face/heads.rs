//! What stands on an encoder: a pooler, classifiers, the words behind a mask.

use super::config::{Config, Family, Head};
use super::encoder::{Encoded, Encoder, WORDS, activation};
use crate::error::{Result, bail};
use crate::format::safetensors::arrange::transposed;
use crate::format::safetensors::builder::Builder;
use crate::format::safetensors::layers::{linear, select};
use crate::format::safetensors::signal::Signal;
use std::collections::BTreeSet;

pub(super) type Outputs = Vec<(String, Signal)>;

/// The outputs that the architecture has.
pub(super) fn build(
    b: &mut Builder<'_>,
    encoder: &Encoder<'_>,
    encoded: Encoded,
) -> Result<Outputs> {
    let config = encoder.config;
    let (hidden, labels) = (config.hidden, config.labels.len());
    let x = encoded.hidden;
    b.enter("head".into());
    let logits = match config.head {
        Head::None => {
            let mut outputs = vec![("last_hidden_state".to_string(), x.clone())];
            if b.weights.has(&encoder.name("pooler.dense.weight")) {
                outputs.push(("pooler_output".to_string(), pooled(b, encoder, &x)?));
            }
            return Ok(outputs);
        }
        Head::Sequence => {
            let first = match config.family {
                Family::Bert => pooled(b, encoder, &x)?,
                Family::Roberta => {
                    let x = select(b, &x, 1, 0)?;
                    let x = linear(b, &x, "classifier.dense", hidden, hidden, true)?;
                    let x = b.like("Tanh", &x, &[], &[])?;
                    let name = "classifier.out_proj";
                    return Ok(one(linear(b, &x, name, hidden, labels, true)?));
                }
                Family::DistilBert => {
                    let x = select(b, &x, 1, 0)?;
                    let x = linear(b, &x, "pre_classifier", hidden, hidden, true)?;
                    b.like("Relu", &x, &[], &[])?
                }
            };
            linear(b, &first, "classifier", hidden, labels, true)?
        }
        Head::Token => {
            skip_pooler(b, encoder);
            linear(b, &x, "classifier", hidden, labels, true)?
        }
        Head::Question => {
            skip_pooler(b, encoder);
            let both = linear(b, &x, "qa_outputs", hidden, 2, true)?;
            let start = select(b, &both, 2, 0)?;
            let end = select(b, &both, 2, 1)?;
            return Ok(vec![("start_logits".into(), start), ("end_logits".into(), end)]);
        }
        Head::MaskedLm => {
            skip_pooler(b, encoder);
            words(b, encoder, &x)?
        }
        Head::Other => bail!(
            Unsupported,
            "$.architectures: \"{}\" is not known; what ends with Model, \
             ForSequenceClassification, ForTokenClassification, ForQuestionAnswering or \
             ForMaskedLM is",
            config.architecture.chars().take(80).collect::<String>()
        ),
    };
    Ok(one(logits))
}

fn one(signal: Signal) -> Outputs {
    vec![("logits".to_string(), signal)]
}

/// The first token's state through the pooler.
fn pooled(b: &mut Builder<'_>, encoder: &Encoder<'_>, x: &Signal) -> Result<Signal> {
    let hidden = encoder.config.hidden;
    let first = select(b, x, 1, 0)?;
    let x = linear(b, &first, &encoder.name("pooler.dense"), hidden, hidden, true)?;
    b.like("Tanh", &x, &[], &[])
}

/// The score of each word for each token. The last product's weight is mostly that of the words'
/// embedding, and then not in the file.
fn words(b: &mut Builder<'_>, encoder: &Encoder<'_>, x: &Signal) -> Result<Signal> {
    let config = encoder.config;
    let (hidden, vocabulary) = (config.hidden, config.vocabulary);
    let (dense, norm, decoder, bias) = match config.family {
        Family::Bert => (
            "cls.predictions.transform.dense",
            "cls.predictions.transform.LayerNorm",
            "cls.predictions.decoder",
            "cls.predictions.bias",
        ),
        Family::Roberta => {
            ("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias")
        }
        Family::DistilBert => {
            ("vocab_transform", "vocab_layer_norm", "vocab_projector", "vocab_projector.bias")
        }
    };
    let x = linear(b, x, dense, hidden, hidden, true)?;
    let x = match config.family {
        Family::Roberta => activation(b, &x, ("Gelu", "none"))?,
        _ => encoder.activation(b, &x)?,
    };
    let x = encoder.norm_of(b, &x, norm)?;
    let own = format!("{decoder}.weight");
    let weight = if b.weights.has(&own) { own } else { encoder.name(WORDS) };
    let weight = b.weight_as(&weight, &[vocabulary, hidden], ".T", transposed)?;
    let bias = b.weight(bias, &[vocabulary])?;
    // A copy of the bias, and the head of another task that such checkpoints come with.
    b.weights.skip(&format!("{decoder}.bias"));
    b.weights.skip_all("cls.seq_relationship.");
    let y = b.then("MatMul", &x, &[weight], &[], x.with_last(vocabulary))?;
    b.like("Add", &y, &[bias], &[])
}

fn skip_pooler(b: &mut Builder<'_>, encoder: &Encoder<'_>) {
    b.weights.skip_all(&encoder.name("pooler."));
}

/// Passes over the tensors of all heads: only the encoder is wanted.
pub(super) fn skip(b: &mut Builder<'_>, encoder: &Encoder<'_>) {
    skip_pooler(b, encoder);
    for head in ["cls.", "lm_head.", "classifier.", "pre_classifier.", "qa_outputs.", "vocab_"] {
        b.weights.skip_all(head);
    }
}

/// Says what the outputs of a classifier of texts mean.
pub(super) fn say(b: &mut Builder<'_>, config: &Config) {
    if config.head != Head::Sequence {
        return;
    }
    match (config.problem.as_deref(), config.labels.len()) {
        (Some("multi_label_classification"), _) | (_, 0) => {}
        (Some("regression"), _) | (_, 1) => b.say("task", "regressor"),
        (_, count) => {
            b.say("task", "classifier");
            b.say("output_kind", "logits");
            let distinct: BTreeSet<&String> = config.labels.iter().collect();
            if distinct.len() == count {
                b.say("classes", serde_json::Value::from(config.labels.as_slice()).to_string());
            }
        }
    }
}

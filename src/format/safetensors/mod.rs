//! safetensors files with a description of what their tensors are.
//!
//! A safetensors file holds tensors and nothing that says how they are connected. That is in the
//! `config.json` beside it: a list of layers in PyTorch's terms, of which `docs/layers.md` is the
//! reference, or the configuration of an encoder as Hugging Face writes it. Both together are read
//! into a graph of ordinary operators.

mod arrange;
mod builder;
mod container;
mod description;
mod hugging_face;
mod json;
mod layers;
mod model;
mod shards;
mod signal;
#[cfg(test)]
mod tests;

pub use container::{Listed, listing};
pub use shards::is_index;

use crate::error::{Result, ensure, err};
use crate::graph::Graph;
use crate::limits::LoadLimits;
use crate::source::Source;
use container::Weights;
use description::Description;

/// The file beside the model that says what its tensors are.
pub const CONFIG: &str = "config.json";

/// Longest description in bytes. It holds layers, not weights; in memory it takes some 20 times
/// its size.
pub const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Reads `model.safetensors`, or the index of several such files, and the `config.json` beside it
/// into a graph.
///
/// # Errors
/// `InvalidModel`, `Unsupported` or `LimitExceeded`, naming what and where; errors of the file
/// system where `config.json` cannot be read.
pub fn import(source: &Source, limits: &LoadLimits) -> Result<Graph> {
    let config = source
        .companion(CONFIG, &config_limits(limits))
        .map_err(|e| e.context("a safetensors model needs the description of its layers"))?;
    let config = std::str::from_utf8(&config)
        .map_err(|e| err!(InvalidModel, "{CONFIG}: not valid UTF-8: {e}"))?;
    import_with_config(source, config, limits)
}

/// Reads a safetensors model whose description is given apart, as JSON text.
///
/// # Errors
/// As [`import`].
pub fn import_with_config(source: &Source, config: &str, limits: &LoadLimits) -> Result<Graph> {
    ensure!(
        config.len() as u64 <= MAX_CONFIG_BYTES,
        LimitExceeded,
        "{CONFIG}: {} bytes, at most {MAX_CONFIG_BYTES} are allowed",
        config.len()
    );
    let document = json::parse(config).map_err(|e| e.context(CONFIG))?;
    if let Some(encoder) = hugging_face::Config::read(&document).map_err(|e| e.context(CONFIG))? {
        let sentence = hugging_face::Sentence::beside(source, &config_limits(limits), limits)?;
        let mut weights = weights(source, limits)?;
        return hugging_face::build(&encoder, sentence.as_ref(), &mut weights, limits)
            .map_err(|e| e.context(CONFIG));
    }
    let description = Description::read(&document, limits).map_err(|e| e.context(CONFIG))?;
    let mut weights = weights(source, limits)?;
    model::build(&description, &mut weights, limits).map_err(|e| e.context(CONFIG))
}

fn config_limits(limits: &LoadLimits) -> LoadLimits {
    LoadLimits { file_bytes: limits.file_bytes.min(MAX_CONFIG_BYTES), ..limits.clone() }
}

fn weights(source: &Source, limits: &LoadLimits) -> Result<Weights> {
    match source.path() {
        Some(path) if is_index(path) => shards::read(source, limits),
        _ => Weights::parse(source.bytes(), limits),
    }
}

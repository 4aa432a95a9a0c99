//! safetensors files with a layer description.
//!
//! A safetensors file holds tensors and nothing that says how they are connected. That is in the
//! `config.json` beside it: a list of layers in candle-nn's terms, of which `docs/layers.md` is
//! the reference. Both together are read into a graph of ordinary operators.

mod build;
mod container;
mod description;
mod json;
mod layers;
mod spec;
#[cfg(test)]
mod tests;

pub use container::{Listed, listing};

use crate::error::{Result, ensure, err};
use crate::graph::Graph;
use crate::limits::LoadLimits;
use crate::source::Source;

/// The file beside the model that describes its layers.
pub const CONFIG: &str = "config.json";

/// Longest description in bytes. It holds layers, not weights; in memory it takes some 20 times
/// its size.
pub const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Reads `model.safetensors` and the `config.json` beside it into a graph.
///
/// # Errors
/// `InvalidModel`, `Unsupported` or `LimitExceeded`, naming what and where; errors of the file
/// system where `config.json` cannot be read.
pub fn import(source: &Source, limits: &LoadLimits) -> Result<Graph> {
    let mut config_limits = limits.clone();
    config_limits.file_bytes = limits.file_bytes.min(MAX_CONFIG_BYTES);
    let config = source
        .companion(CONFIG, &config_limits)
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
    let description = json::parse(config)
        .and_then(|document| description::Description::read(&document, limits))
        .map_err(|e| e.context(CONFIG))?;
    let mut weights = container::Weights::parse(source.bytes(), limits)?;
    build::build(&description, &mut weights, limits).map_err(|e| e.context(CONFIG))
}

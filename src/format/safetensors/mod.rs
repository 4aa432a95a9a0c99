//! safetensors files with a layer description.

use crate::error::{Result, bail};
use crate::graph::Graph;
use crate::limits::LoadLimits;
use crate::source::Source;

/// Reads `model.safetensors` and the `config.json` beside it into a graph.
///
/// # Errors
/// `InvalidModel`, `Unsupported` or `LimitExceeded`, naming what and where.
pub fn import(source: &Source, limits: &LoadLimits) -> Result<Graph> {
    let _ = (source, limits);
    bail!(Unsupported, "safetensors import")
}

//! ONNX files.

use crate::error::{Result, bail};
use crate::graph::Graph;
use crate::limits::LoadLimits;
use crate::source::Source;

/// Reads an ONNX model into a graph.
///
/// # Errors
/// `InvalidModel`, `Unsupported` or `LimitExceeded`, naming what and where.
pub fn import(source: &Source, limits: &LoadLimits) -> Result<Graph> {
    let _ = (source, limits);
    bail!(Unsupported, "ONNX import")
}

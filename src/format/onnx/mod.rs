//! ONNX files.
//!
//! The bytes are scanned ([`wire`]) before they are decoded ([`proto`]), so that decoding cannot
//! cost more than the limits say; then the graph is built ([`import`]) with every name resolved
//! to a number ([`scope`]), local functions expanded ([`function`]) and all tensors in memory of
//! their own ([`tensor`]). Whether an operator exists is for the plan to say.

mod attribute;
mod external;
mod function;
mod import;
mod native;
mod node;
mod opset;
pub mod proto;
mod scope;
mod sparse;
mod tensor;
mod types;
mod wire;

use crate::error::{Error, Result, ensure, err};
use crate::graph::Graph;
use crate::limits::LoadLimits;
use crate::source::Source;
use prost::Message;

/// Reads an ONNX model into a graph.
///
/// # Errors
/// `InvalidModel`, `Unsupported` or `LimitExceeded`, naming what and where.
pub fn import(source: &Source, limits: &LoadLimits) -> Result<Graph> {
    read(source, limits).map_err(|e: Error| match source.path() {
        Some(path) => e.context_of_host(path.display()),
        None => e,
    })
}

fn read(source: &Source, limits: &LoadLimits) -> Result<Graph> {
    let bytes = source.bytes();
    let most = limits.proto_bytes.min(limits.file_bytes);
    ensure!(!bytes.is_empty(), InvalidModel, "the file is empty");
    ensure!(
        bytes.len() as u64 <= most,
        LimitExceeded,
        "an ONNX file of {} bytes (at most {most})",
        bytes.len()
    );
    wire::scan(bytes, limits).map_err(|e| e.context("not a sound ONNX file"))?;
    let model = proto::ModelProto::decode(bytes.clone())
        .map_err(|e| err!(InvalidModel, "not a sound ONNX file: {e}"))?;
    import::model(model, source, limits)
}

#[cfg(test)]
mod tests;

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
mod packed;
pub mod proto;
mod scope;
mod sparse;
mod tensor;
mod types;
mod wire;

pub use external::place as external_place;
pub use opset::{plain as plain_domain, version as opset_version};

use crate::error::{Error, Result, ensure, err};
use crate::graph::Graph;
use crate::limits::LoadLimits;
use crate::problem::Problems;
use crate::source::Source;
use prost::Message;

/// Reads an ONNX model into a graph. What `problems` let pass is noted there, and missing in the
/// graph.
///
/// # Errors
/// `InvalidModel`, `Unsupported` or `LimitExceeded`, naming what and where.
pub fn import(source: &Source, limits: &LoadLimits, problems: &mut Problems) -> Result<Graph> {
    graph(decode(source, limits)?, source, limits, problems)
}

/// The messages of an ONNX file.
///
/// # Errors
/// `InvalidModel` or `LimitExceeded`.
pub fn decode(source: &Source, limits: &LoadLimits) -> Result<proto::ModelProto> {
    messages(source, limits).map_err(|e| said_of(source, e))
}

/// The graph of these messages, as [`import()`].
///
/// # Errors
/// As [`import()`].
pub fn graph(
    model: proto::ModelProto,
    source: &Source,
    limits: &LoadLimits,
    problems: &mut Problems,
) -> Result<Graph> {
    import::model(model, source, limits, problems).map_err(|e| said_of(source, e))
}

fn said_of(source: &Source, error: Error) -> Error {
    match source.path() {
        Some(path) => error.context_of_host(path.display()),
        None => error,
    }
}

fn messages(source: &Source, limits: &LoadLimits) -> Result<proto::ModelProto> {
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
    proto::ModelProto::decode(bytes.clone())
        .map_err(|e| err!(InvalidModel, "not a sound ONNX file: {e}"))
}

#[cfg(test)]
mod tests;

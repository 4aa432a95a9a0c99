//! Operator domains and the versions of them that a file is written for.

use super::proto::OperatorSetIdProto;
use crate::error::{Result, ensure, err};
use std::collections::BTreeMap;

/// Opset version by domain; `""` is `ai.onnx`.
pub(super) type Opsets = BTreeMap<String, i64>;

/// The domain by its one name.
pub(super) fn normalized(domain: String) -> String {
    if domain == "ai.onnx" { String::new() } else { domain }
}

/// The imports of a model or function.
///
/// # Errors
/// `InvalidModel` for one domain in two versions, `Unsupported` for versions of the standard
/// domains that this crate does not know.
pub(super) fn read(imports: Vec<OperatorSetIdProto>) -> Result<Opsets> {
    let mut opsets = Opsets::new();
    for OperatorSetIdProto { domain, version } in imports {
        let domain = normalized(domain);
        let known = match domain.as_str() {
            "" => 6..=28,
            "ai.onnx.ml" => 1..=5,
            _ => i64::MIN..=i64::MAX,
        };
        let shown = if domain.is_empty() { "ai.onnx" } else { &domain };
        ensure!(
            known.contains(&version),
            Unsupported,
            "opset {version} of {shown} (known are {} to {})",
            known.start(),
            known.end()
        );
        let other = opsets.get(&domain).copied().unwrap_or(version);
        ensure!(
            other == version,
            InvalidModel,
            "{shown} is imported in the versions {other} and {version}"
        );
        opsets.insert(domain, version);
    }
    Ok(opsets)
}

/// The version of a domain that nodes use.
///
/// # Errors
/// `InvalidModel` for a domain that is not imported, unless exporters are known to forget it.
pub(super) fn version(opsets: &Opsets, domain: &str) -> Result<i64> {
    if let Some(version) = opsets.get(domain) {
        return Ok(*version);
    }
    let forgotten = domain == "ai.onnx.ml" || domain.starts_with("com.microsoft");
    let shown = if domain.is_empty() { "ai.onnx" } else { domain };
    forgotten
        .then_some(1)
        .ok_or_else(|| err!(InvalidModel, "domain '{shown}' is used but no opset of it imported"))
}

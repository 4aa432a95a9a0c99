//! Operator domains and the versions of them that a file is written for.

use super::proto::OperatorSetIdProto;
use crate::error::{Result, err};
use crate::problem::Problems;
use std::collections::BTreeMap;

/// Opset version by domain; `""` is `ai.onnx`.
pub type Opsets = BTreeMap<String, i64>;

/// The domain by its one name.
pub(super) fn normalized(domain: String) -> String {
    plain(&domain).to_string()
}

/// As [`normalized`].
pub fn plain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// The imports of a model or function.
///
/// # Errors
/// `InvalidModel` for one domain in two versions, `Unsupported` for versions of the standard
/// domains that this crate does not know.
pub(super) fn read(imports: Vec<OperatorSetIdProto>, problems: &mut Problems) -> Result<Opsets> {
    let mut opsets = Opsets::new();
    for OperatorSetIdProto { domain, version } in imports {
        let domain = normalized(domain);
        let known = match domain.as_str() {
            "" => 6..=28,
            "ai.onnx.ml" => 1..=5,
            _ => i64::MIN..=i64::MAX,
        };
        let shown = if domain.is_empty() { "ai.onnx" } else { &domain };
        if !known.contains(&version) {
            let (from, to) = (known.start(), known.end());
            let error = err!(Unsupported, "opset {version} of {shown} (known are {from} to {to})");
            problems.note(error, None)?;
        }
        let other = opsets.get(&domain).copied().unwrap_or(version);
        if other != version {
            let error =
                err!(InvalidModel, "{shown} is imported in the versions {other} and {version}");
            problems.note(error, None)?;
        }
        opsets.insert(domain, version);
    }
    Ok(opsets)
}

/// The version of a domain that nodes use.
///
/// # Errors
/// `InvalidModel` for a domain that is not imported, unless exporters are known to forget it.
pub fn version(opsets: &Opsets, domain: &str) -> Result<i64> {
    if let Some(version) = opsets.get(domain) {
        return Ok(*version);
    }
    let forgotten = domain == "ai.onnx.ml" || domain.starts_with("com.microsoft");
    let shown = if domain.is_empty() { "ai.onnx" } else { domain };
    forgotten
        .then_some(1)
        .ok_or_else(|| err!(InvalidModel, "domain '{shown}' is used but no opset of it imported"))
}

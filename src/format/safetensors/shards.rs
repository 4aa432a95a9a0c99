//! Models whose tensors lie in several files: `model.safetensors.index.json` says where.

use super::container::{Weights, listed};
use super::json::{self, At};
use crate::error::{Result, ensure, err};
use crate::limits::LoadLimits;
use crate::source::Source;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How the name of an index ends.
const SUFFIX: &str = ".safetensors.index.json";

/// Whether the file at `path` is an index of safetensors files, by its name.
pub fn is_index(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(SUFFIX))
}

/// The tensors of all files that the index `source` names; they lie beside it.
pub(super) fn read(source: &Source, limits: &LoadLimits) -> Result<Weights> {
    let text = source.bytes();
    ensure!(
        text.len() <= limits.safetensors_header_bytes,
        LimitExceeded,
        "an index of {} bytes, at most {} are allowed",
        text.len(),
        limits.safetensors_header_bytes
    );
    let text = std::str::from_utf8(text)
        .map_err(|e| err!(InvalidModel, "the index is not valid UTF-8: {e}"))?;
    let document = json::parse(text).map_err(|e| e.context("the index"))?;
    let root = At::root(&document).object().map_err(|e| e.context("the index"))?;
    let map = root.need("weight_map").map_err(|e| e.context("the index"))?;
    let mut files: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, file) in map.texts().map_err(|e| e.context("the index"))? {
        files.entry(file).or_default().insert(name);
    }
    let mut weights = Weights::default();
    for (file, expected) in files {
        let bytes = source.companion(file, limits).map_err(|e| e.context("the index"))?;
        let names = weights.add(&bytes, limits).map_err(|e| e.context(file))?;
        let found: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let differ: Vec<&str> = found.symmetric_difference(&expected).copied().collect();
        ensure!(
            differ.is_empty(),
            InvalidModel,
            "the index and '{file}' differ in {}",
            listed(&differ)
        );
    }
    Ok(weights)
}

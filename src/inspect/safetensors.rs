//! safetensors files: tensors by name, and the description of the layers beside them.

use super::report::{Description, Inspection, Memory, StoredTensor, WeightKind};
use super::{from_graph, import};
use crate::error::{ErrorKind, Result};
use crate::format::safetensors::{CONFIG, Listed, MAX_CONFIG_BYTES, listing};
use crate::graph::Graph;
use crate::model::{Format, LoadOptions};
use crate::problem::Problems;
use crate::source::Source;
use bytes::Bytes;
use serde_json::Value;
use std::collections::BTreeMap;

/// Tensors that are listed.
const LISTED: usize = 10_000;
/// Entries of a description that are told, and characters of each.
const ENTRIES: usize = 64;
const CHARS: usize = 200;
/// Layers that are told.
const LAYERS: usize = 10_000;

/// Looks at the container and the description, and reads both into a graph.
///
/// # Errors
/// What reading them says.
pub(super) fn read(
    source: &Source,
    options: &LoadOptions,
    report: &mut Inspection,
    problems: &mut Problems,
) -> Result<Graph> {
    let (tensors, metadata) = listing(source.bytes(), &options.limits)?;
    report.readable = true;
    report.metadata = metadata;
    weigh(tensors, report);
    report.description = Some(describe(source, options));
    let graph = import(source, Format::Safetensors, options, problems)?;
    from_graph(&graph, report);
    Ok(graph)
}

fn weigh(tensors: Vec<Listed>, report: &mut Inspection) {
    let mut kinds: BTreeMap<String, WeightKind> = BTreeMap::new();
    report.tensor_count = tensors.len() as u64;
    let mut stored = Vec::with_capacity(tensors.len());
    for Listed { name, dtype, shape, bytes } in tensors {
        let elements = shape.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64));
        report.parameters = report.parameters.saturating_add(elements);
        let kind = kinds.entry(dtype.clone()).or_insert_with(|| WeightKind {
            dtype: dtype.clone(),
            tensors: 0,
            elements: 0,
            bytes: 0,
        });
        kind.tensors += 1;
        kind.elements = kind.elements.saturating_add(elements);
        kind.bytes = kind.bytes.saturating_add(bytes);
        let shape = shape.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect();
        stored.push(StoredTensor { name, dtype, shape, bytes, external: None });
    }
    // Equal sizes stay in the order of their names.
    stored.sort_by_key(|tensor| std::cmp::Reverse(tensor.bytes));
    stored.truncate(LISTED);
    report.tensors = stored;
    report.weights = kinds.into_values().collect();
    report.weights.sort_by_key(|kind| std::cmp::Reverse(kind.bytes));
    report.memory = Some(Memory { bytes: report.weight_bytes(), prepared: false });
}

/// What the description says. Whether it is one that is read is for the import to say.
fn describe(source: &Source, options: &LoadOptions) -> Description {
    let text: Bytes = match &options.config {
        Some(config) => config.clone().into(),
        None => {
            let mut limits = options.limits.clone();
            limits.file_bytes = limits.file_bytes.min(MAX_CONFIG_BYTES);
            match source.companion(CONFIG, &limits) {
                Ok(bytes) => bytes,
                Err(error) => {
                    let gone =
                        matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidModel);
                    return Description { found: !gone, ..Description::default() };
                }
            }
        }
    };
    let bytes = text.len() as u64;
    let mut description = Description { found: true, bytes, ..Description::default() };
    if bytes > MAX_CONFIG_BYTES {
        return description;
    }
    let Ok(Value::Object(entries)) = serde_json::from_slice::<Value>(&text) else {
        return description;
    };
    if let Some(Value::Array(layers)) = entries.get("layers") {
        let kinds = layers.iter().take(LAYERS).map(|layer| layer.get("type"));
        description.layers =
            kinds.map(|kind| short(kind.and_then(Value::as_str).unwrap_or("?"))).collect();
    }
    let told = entries.iter().take(ENTRIES).map(|(key, value)| (short(key), shown(value)));
    description.entries = told.collect();
    description
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => short(text),
        Value::Array(all) if all.iter().all(Value::is_string) && all.len() <= 4 => {
            short(&all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
        }
        Value::Array(all) => format!("a list of {}", all.len()),
        Value::Object(all) => format!("an object of {}", all.len()),
        other => other.to_string(),
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_string(),
    }
}

//! An inspection for people.

use super::report::{Booster, ExternalData, Inspection, Meaning, OperatorUse};
use crate::model::Format;
use std::fmt::{self, Display, Formatter};

/// Entries of a list that are shown; [`Inspection::to_json`] has all of them.
const SHOWN: usize = 12;
/// Characters of a text that are shown.
const CHARS: usize = 200;

impl Display for Inspection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let format = self.format.map_or("no format that is read", Format::name);
        match &self.path {
            Some(path) => writeln!(f, "{}", clean(&path.to_string_lossy()))?,
            None => writeln!(f, "model of bytes")?,
        }
        line(f, "format", format)?;
        line(f, "file", &format!("{}, sha256 {}", size(self.file_bytes), self.digest))?;
        let producer = [&self.producer, &self.producer_version].into_iter().flatten();
        let producer: Vec<&str> = producer.map(String::as_str).collect();
        some(f, "producer", &producer.join(" "))?;
        if let Some(version) = self.ir_version {
            line(f, "IR version", &version.to_string())?;
        }
        if let Some(version) = self.model_version {
            line(f, "model version", &version.to_string())?;
        }
        some(f, "domain", self.domain.as_deref().unwrap_or_default())?;
        some(f, "doc", &short(self.doc_string.as_deref().unwrap_or_default()))?;
        for (key, value) in self.metadata.iter().take(SHOWN) {
            line(f, "metadata", &short(&format!("{key} = {value}")))?;
        }
        let opsets = self.opsets.iter().map(|(domain, version)| format!("{domain} {version}"));
        some(f, "opsets", &listed(opsets))?;
        for input in &self.inputs {
            line(f, "input", &format!("{}: {}", input.name, input.type_name))?;
        }
        for output in &self.outputs {
            line(f, "output", &format!("{}: {}", output.name, output.type_name))?;
        }
        if let Some(meaning) = &self.meaning {
            line(f, "task", &task(meaning))?;
        }
        for booster in &self.boosters {
            line(f, "booster", &told(booster))?;
        }
        some(f, "operators", &listed(self.operators.iter().map(used)))?;
        let functions = self.functions.iter().map(|function| {
            format!("{}:{} ({} nodes)", function.domain, function.name, function.nodes)
        });
        some(f, "functions", &listed(functions))?;
        self.weights(f)?;
        if let Some(description) = &self.description {
            let layers = listed(description.layers.iter().cloned());
            let words = match (description.found, layers.as_str()) {
                (false, _) => "no config.json beside the file".to_string(),
                (true, "") => {
                    let entries = description.entries.iter();
                    format!("config.json: {}", listed(entries.map(|(k, v)| format!("{k} = {v}"))))
                }
                (true, layers) => format!("layers {layers}"),
            };
            line(f, "config", &words)?;
        }
        if let Some(memory) = self.memory {
            let how = if memory.prepared { "once loaded" } else { "of weights, at least" };
            line(f, "memory", &format!("{} {how}", size(memory.bytes)))?;
        }
        if self.loadable {
            return line(f, "problems", "none");
        }
        for problem in &self.problems {
            line(f, "problem", &format!("{}: {problem}", problem.kind))?;
        }
        if self.more_problems > 0 {
            line(f, "problem", &format!("and {} more", self.more_problems))?;
        }
        Ok(())
    }
}

impl Inspection {
    fn weights(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.tensor_count > 0 {
            let kinds = self
                .weights
                .iter()
                .map(|kind| format!("{} in {} of {}", size(kind.bytes), kind.tensors, kind.dtype));
            let all = format!(
                "{} parameters in {} tensors ({})",
                self.parameters,
                self.tensor_count,
                listed(kinds)
            );
            line(f, "weights", &all)?;
        }
        let largest = self.tensors.iter().take(3).map(|tensor| {
            format!("{} {}{:?}, {}", tensor.name, tensor.dtype, tensor.shape, size(tensor.bytes))
        });
        some(f, "largest", &listed(largest))?;
        for file in self.external.iter().take(SHOWN) {
            line(f, "data file", &beside(file))?;
        }
        Ok(())
    }
}

fn line(f: &mut Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(f, "  {name:14} {}", clean(text))
}

fn some(f: &mut Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    if text.is_empty() { Ok(()) } else { line(f, name, text) }
}

/// Without what could steer a terminal.
fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

fn short(text: &str) -> String {
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_string(),
    }
}

fn listed(all: impl Iterator<Item = String>) -> String {
    let mut all = all.map(|one| short(&one));
    let mut shown: Vec<String> = all.by_ref().take(SHOWN).collect();
    let more = all.count();
    if more > 0 {
        shown.push(format!("… {more} more"));
    }
    shown.join(", ")
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS.get(unit).unwrap_or(&""))
}

fn task(meaning: &Meaning) -> String {
    let mut text = meaning.task.name().to_string();
    if let Some(classes) = &meaning.classes {
        text.push_str(&format!(", {} classes", classes.len()));
    }
    if meaning.has_probabilities {
        text.push_str(", with probabilities");
    }
    for (what, output) in [("labels", &meaning.label_output), ("scores", &meaning.scores_output)] {
        if let Some(output) = output {
            text.push_str(&format!(", {what} in {output}"));
        }
    }
    text
}

fn told(booster: &Booster) -> String {
    let mut text = match booster.learner.as_str() {
        "trees" => format!("{} trees of {} nodes", booster.trees, booster.nodes),
        other => other.to_string(),
    };
    text.push_str(&format!(", {} features, {} targets", booster.features, booster.targets));
    if booster.classes > 0 {
        text.push_str(&format!(", {} classes", booster.classes));
    }
    if let Some(objective) = &booster.objective {
        text.push_str(&format!(", {objective}"));
    }
    text
}

fn used(operator: &OperatorUse) -> String {
    let domain = match operator.domain.as_str() {
        "ai.onnx" => String::new(),
        other => format!("{other}:"),
    };
    let not = if operator.supported { "" } else { " (not implemented)" };
    match operator.count {
        1 => format!("{domain}{}{not}", operator.name),
        n => format!("{domain}{} ×{n}{not}", operator.name),
    }
}

fn beside(file: &ExternalData) -> String {
    let state = match (file.bytes, file.missing, &file.refused) {
        (Some(bytes), _, _) if bytes < file.needed => {
            format!("{}, too short: {} are needed", size(bytes), size(file.needed))
        }
        (Some(bytes), _, _) => size(bytes),
        (None, true, _) => format!("missing: {} are needed", size(file.needed)),
        (None, false, Some(why)) => why.clone(),
        (None, false, None) => "not read".to_string(),
    };
    format!("{} ({} tensors): {state}", file.location, file.tensors)
}

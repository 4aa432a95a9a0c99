//! Looking at a model file without running it: what it holds, what it asks for, and everything
//! that keeps it from being loaded.
//!
//! The file goes the way it goes when it is loaded, up to the plan, with two differences: reading
//! goes on after an error (`ReadOn::Always`), and nothing is asked of the plan, so that what
//! outputs mean is told from the file alone. Beside that way each format's own structure is looked
//! at (`onnx`, `safetensors`): it is known where the graph is not.

mod native;
#[cfg(feature = "onnx")]
mod onnx;
mod print;
mod report;
#[cfg(feature = "safetensors")]
mod safetensors;
#[cfg(test)]
mod tests;

pub use report::{
    Booster, Description, ExternalData, Inspection, LocalFunction, Meaning, Memory, NamedValue,
    OperatorUse, StoredTensor, WeightKind,
};

use crate::error::Result;
use crate::graph::Graph;
#[cfg(any(feature = "onnx", feature = "safetensors"))]
use crate::model::Format;
use crate::model::{LoadOptions, contain, format_of, import, meaning, outline};
use crate::plan::{CompileOptions, compile, implements};
use crate::problem::{Problems, ReadOn};
use crate::source::Source;
use bytes::Bytes;
use std::collections::HashMap;
use std::path::Path;

/// Looks at a model file, whether or not it can be loaded.
///
/// Nothing is asked of the model, and the limits of [`LoadOptions`] hold. What stands in the file
/// as constants may be computed with, as loading does within its budget; data beside the file is
/// read where it is there.
///
/// ```no_run
/// # fn main() -> modelserve::Result<()> {
/// let found = modelserve::inspect("model.onnx")?;
/// println!("{found}");
/// for problem in &found.problems {
///     println!("{problem}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// `NotFound`, `PermissionDenied`, `Io`, `InvalidArgument` or `LimitExceeded` where the file cannot
/// be read. What is wrong with its content is in [`Inspection::problems`].
pub fn inspect(path: impl AsRef<Path>) -> Result<Inspection> {
    inspect_with(path, &LoadOptions::default())
}

/// As [`inspect`](inspect()), as the model would be loaded with these options.
///
/// # Errors
/// As [`inspect`](inspect()).
pub fn inspect_with(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Inspection> {
    let path = path.as_ref();
    contain(|| Ok(of(&Source::open(path, &options.limits)?, options)))
}

/// As [`inspect_with`] for the bytes of a model file, which have no companion files.
///
/// # Errors
/// As [`inspect`](inspect()).
pub fn inspect_bytes(bytes: impl Into<Bytes>, options: &LoadOptions) -> Result<Inspection> {
    let bytes = bytes.into();
    contain(|| Ok(of(&Source::from_bytes(bytes), options)))
}

fn of(source: &Source, options: &LoadOptions) -> Inspection {
    let mut report = Inspection {
        path: source.path().map(Path::to_path_buf),
        file_bytes: source.bytes().len() as u64,
        ..Inspection::default()
    };
    source.digest_aside();
    let mut problems = Problems::new(ReadOn::Always);
    // A defect costs what comes after it, not what is known already.
    if let Err(error) = contain(|| read(source, options, &mut report, &mut problems)) {
        problems.add(&error, None);
    }
    report.digest = source.digest();
    report.loadable = problems.is_empty();
    (report.problems, report.more_problems) = problems.into_list();
    report
}

fn read(
    source: &Source,
    options: &LoadOptions,
    report: &mut Inspection,
    problems: &mut Problems,
) -> Result<()> {
    let format = format_of(source, options)?;
    report.format = Some(format);
    let graph = match format {
        #[cfg(feature = "onnx")]
        Format::Onnx => onnx::read(source, options, report, problems)?,
        #[cfg(feature = "safetensors")]
        Format::Safetensors => safetensors::read(source, options, report, problems)?,
        other => {
            let graph = import(source, other, options, problems)?;
            report.readable = true;
            native::describe(&graph, report);
            graph
        }
    };
    planned(graph, options, report, problems);
    Ok(())
}

/// What preparing the graph tells.
fn planned(graph: Graph, options: &LoadOptions, report: &mut Inspection, problems: &mut Problems) {
    report.boosters = native::boosters(&graph);
    report.memory = Some(Memory { bytes: graph.weight_bytes(), prepared: false });
    let outline = outline(&graph);
    let compiling = CompileOptions { limits: &options.limits, plan: options.plan };
    // The error is made of the problems.
    let Ok(plan) = compile(graph, compiling, problems) else { return };
    report.memory = Some(Memory { bytes: plan.weight_bytes(), prepared: true });
    match meaning(&outline, options) {
        Ok(meaning) => {
            let signature = meaning.signature;
            let named = |output: Option<usize>| Some(signature.outputs.get(output?)?.name.clone());
            report.meaning = Some(Meaning {
                task: signature.task,
                label_output: named(meaning.label),
                scores_output: named(meaning.scores),
                logits: meaning.logits,
                has_probabilities: signature.has_probabilities,
                classes: signature.classes.as_deref().cloned(),
                feature_names: signature.feature_names.clone(),
                targets: signature.targets,
            });
        }
        Err(error) => problems.add(&error, None),
    }
}

/// What the graph itself says, for formats whose files have no operators of their own.
fn from_graph(graph: &Graph, report: &mut Inspection) {
    let named = |ids: &[crate::graph::ValueId]| {
        let values = ids.iter().filter_map(|id| graph.values.get(id.index()));
        values.map(|value| NamedValue::new(&value.name, value.declared.as_ref())).collect()
    };
    report.inputs = named(&graph.inputs);
    report.outputs = named(&graph.outputs);
    report.opsets = graph
        .opsets
        .iter()
        .map(|(domain, version)| (shown_domain(domain).to_string(), *version))
        .collect();
    let mut counts: HashMap<(&str, &str, i64), u64> = HashMap::new();
    for node in &graph.nodes {
        *counts.entry((&node.domain, &node.op, node.version)).or_default() += 1;
    }
    let used = counts.into_iter().map(|((domain, op, version), count)| OperatorUse {
        domain: shown_domain(domain).to_string(),
        name: op.to_string(),
        opset: Some(version),
        count,
        local_function: false,
        supported: implements(domain, op),
    });
    report.operators = by_use(used.collect());
}

/// The most used first; those of one count by name.
fn by_use(mut operators: Vec<OperatorUse>) -> Vec<OperatorUse> {
    operators.sort_by(|a, b| {
        let key = |o: &OperatorUse| (o.domain.clone(), o.name.clone(), o.opset);
        b.count.cmp(&a.count).then_with(|| key(a).cmp(&key(b)))
    });
    operators
}

/// The name of a domain: the first one has none in files.
fn shown_domain(domain: &str) -> &str {
    if domain.is_empty() { "ai.onnx" } else { domain }
}

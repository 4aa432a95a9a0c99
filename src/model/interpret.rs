//! What a graph's outputs mean: the task, the class labels, and which output holds what.

use super::distribution::Facts;
use super::{Classes, LoadOptions, OutputKind, ScoreKind, Signature, Task, TensorSpec};
use crate::error::{Result, bail, ensure, err};
use crate::graph::{Dim, Graph, Node, ValueId, ValueType};
use crate::tensor::{ElementType, Tensor};
use std::sync::Arc;

/// Where the answer stands among the outputs, and how to read it.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub label: Option<usize>,
    pub scores: Option<usize>,
    pub kind: ScoreKind,
    /// Whether the scores are logits, to be turned into probabilities.
    pub logits: bool,
}

/// Reads the signature and the meaning. `probed` corrects the declared output types.
pub(super) fn interpret(
    graph: &Graph,
    probed: &[Option<ValueType>],
    options: &LoadOptions,
) -> Result<(Signature, Reading)> {
    let facts = Facts::new(graph);
    let inputs = graph.inputs.iter().map(|id| spec(graph, *id, None)).collect::<Vec<_>>();
    let outputs: Vec<TensorSpec> = graph
        .outputs
        .iter()
        .enumerate()
        .map(|(i, id)| spec(graph, *id, probed.get(i).and_then(Option::as_ref)))
        .collect();
    let hints = Hints::read(graph, options)?;
    let find = |name: &Option<String>| -> Result<Option<usize>> {
        let Some(name) = name else { return Ok(None) };
        match outputs.iter().position(|o| o.name == *name) {
            Some(i) => Ok(Some(i)),
            None => bail!(
                InvalidArgument,
                "the model has no output '{name}'; it has {}",
                outputs.iter().map(|o| o.name.as_str()).collect::<Vec<_>>().join(", ")
            ),
        }
    };
    let label = match find(&options.label_output)? {
        Some(i) => Some(i),
        None => outputs.iter().position(is_label),
    };
    let scores = match find(&options.scores_output)? {
        Some(i) => Some(i),
        None => outputs.iter().enumerate().position(|(i, o)| Some(i) != label && is_scores(o)),
    };
    let origin = |i: Option<usize>| i.and_then(|i| facts.writer(facts.origin(graph.outputs[i])));
    let score_width = scores.and_then(|i| width(&outputs[i]));
    let mut classes = hints.classes.clone();
    if classes.is_none() {
        classes = label_classes(graph, &facts, label, scores).map(Arc::new);
    }
    let distribution = scores.is_some_and(|i| facts.is_distribution(graph.outputs[i]));
    let row_like = !inputs.is_empty() && inputs.iter().all(|i| i.batch_axis == Some(0));
    let task = match hints.task {
        Some(task) => task,
        None => derive_task(
            &outputs,
            label,
            scores,
            origin(label),
            origin(scores),
            &classes,
            distribution,
            row_like,
        ),
    };
    let kind = match hints.kind {
        Some(OutputKind::Probabilities | OutputKind::Logits) => ScoreKind::Probabilities,
        Some(_) => ScoreKind::Scores,
        None if distribution => ScoreKind::Probabilities,
        None => ScoreKind::Scores,
    };
    let logits = hints.kind == Some(OutputKind::Logits);
    if let (Task::Classifier, None, Some(width), None) = (task, &classes, score_width, label) {
        classes = Some(Arc::new(Classes::Int((0..width.max(2) as i64).collect())));
    }
    if let (Task::Classifier, Some(classes), Some(width)) = (task, &classes, score_width) {
        ensure!(
            classes.len() == width || (width == 1 && classes.len() == 2) || hints.classes.is_none(),
            InvalidArgument,
            "{} class labels for {width} scores a row",
            classes.len()
        );
        ensure!(!classes.is_empty(), InvalidModel, "a classifier without class labels");
    }
    let classes = if task == Task::Classifier || task == Task::Multilabel { classes } else { None };
    let targets = match task {
        Task::Regressor | Task::Transform => score_width.unwrap_or(0),
        _ => 0,
    };
    let has_probabilities =
        task == Task::Classifier && scores.is_some() && kind == ScoreKind::Probabilities;
    let (label, scores) = match task {
        Task::Regressor | Task::Transform => (None, scores),
        Task::Tensors => (None, None),
        _ => (label, scores),
    };
    ensure!(
        task == Task::Tensors || label.is_some() || scores.is_some(),
        InvalidArgument,
        "no output of the model can be read as that of a {task}"
    );
    let feature_names = hints.feature_names;
    if let (Some(names), [input]) = (&feature_names, inputs.as_slice())
        && let Some(width) = input.row_width()
    {
        ensure!(
            names.len() == width,
            InvalidArgument,
            "{} feature names for input '{}' of {width} features",
            names.len(),
            input.name
        );
    }
    let signature =
        Signature { inputs, outputs, task, classes, feature_names, targets, has_probabilities };
    Ok((signature, Reading { label, scores, kind, logits }))
}

#[allow(clippy::too_many_arguments)] // one decision, made from everything that is known
fn derive_task(
    outputs: &[TensorSpec],
    label: Option<usize>,
    scores: Option<usize>,
    label_origin: Option<(&Node, usize)>,
    score_origin: Option<(&Node, usize)>,
    classes: &Option<Arc<Classes>>,
    distribution: bool,
    row_like: bool,
) -> Task {
    if !row_like {
        return Task::Tensors;
    }
    let score_width = scores.and_then(|i| width(&outputs[i]));
    match (label, scores) {
        (Some(l), _) if width(&outputs[l]).is_some_and(|w| w > 1) => Task::Multilabel,
        (Some(_), _) if label_origin.is_some_and(|(n, _)| n.op == "ArgMin") => Task::Cluster,
        (Some(_), Some(_))
            if score_width == Some(1) && classes.as_ref().is_none_or(|c| c.len() < 2) =>
        {
            Task::Outlier
        }
        (Some(_), _) if outputs.len() <= 2 => Task::Classifier,
        (None, Some(_)) if outputs.len() == 1 => {
            let op = score_origin.map_or("", |(n, _)| n.op.as_str());
            let regressor = matches!(
                op,
                "LinearRegressor" | "TreeEnsembleRegressor" | "SVMRegressor" | "TreeEnsemble"
            );
            if classes.is_some() || (distribution && op == "Softmax") {
                Task::Classifier
            } else if regressor || score_width == Some(1) {
                Task::Regressor
            } else if score_width.is_some() {
                Task::Transform
            } else {
                Task::Tensors
            }
        }
        _ => Task::Tensors,
    }
}

/// An input or output as declared, corrected by a probe.
fn spec(graph: &Graph, id: ValueId, probed: Option<&ValueType>) -> TensorSpec {
    let info = graph.value(id);
    let ty = match (&info.declared, probed) {
        (declared, Some(probed)) => Some(correct(declared.as_ref(), probed)),
        (declared, None) => declared.clone(),
    };
    let batch_axis = match &ty {
        Some(ValueType::Tensor { dims: Some(dims), .. }) => match dims.as_slice() {
            [] => None,
            [Dim::Fixed(_), ..] if dims.len() != 2 => None,
            _ => Some(0),
        },
        _ => None,
    };
    TensorSpec { name: info.name.clone(), ty, batch_axis }
}

/// A declared type with what a probe of one row contradicts replaced.
fn correct(declared: Option<&ValueType>, probed: &ValueType) -> ValueType {
    let (ValueType::Tensor { dtype, dims: Some(seen) }, declared) = (probed, declared) else {
        return probed.clone();
    };
    let kept = match declared {
        Some(ValueType::Tensor { dims: Some(dims), .. }) if dims.len() == seen.len() => Some(dims),
        _ => None,
    };
    let dims = seen
        .iter()
        .enumerate()
        .map(|(axis, dim)| match (kept.and_then(|d| d.get(axis)), dim) {
            // The first axis of a one-row probe says nothing of other batches.
            (Some(declared), _) if axis == 0 => match declared {
                Dim::Fixed(_) => Dim::Unknown,
                open => open.clone(),
            },
            (Some(Dim::Symbol(s)), _) => Dim::Symbol(s.clone()),
            (None, _) if axis == 0 => Dim::Unknown,
            (_, seen) => seen.clone(),
        })
        .collect();
    ValueType::Tensor { dtype: *dtype, dims: Some(dims) }
}

/// Values a row of an output: 1 for `[rows]`, the second dimension for `[rows, k]`.
fn width(output: &TensorSpec) -> Option<usize> {
    match output.dims()? {
        [_] => Some(1),
        [_, Dim::Fixed(k)] => Some(*k),
        _ => None,
    }
}

fn is_label(output: &TensorSpec) -> bool {
    let label_type = matches!(
        output.dtype(),
        Some(ElementType::I64 | ElementType::I32 | ElementType::String | ElementType::Bool)
    );
    label_type && matches!(output.dims(), Some([_] | [_, _]))
}

fn is_scores(output: &TensorSpec) -> bool {
    match &output.ty {
        Some(ValueType::Sequence(inner)) => matches!(**inner, ValueType::Map { .. }),
        Some(ValueType::Tensor {
            dtype: ElementType::F32 | ElementType::F64,
            dims: Some(dims),
        }) => {
            matches!(dims.as_slice(), [_] | [_, _])
        }
        _ => false,
    }
}

/// The class labels that the producing operators carry.
fn label_classes(
    graph: &Graph,
    facts: &Facts<'_>,
    label: Option<usize>,
    scores: Option<usize>,
) -> Option<Classes> {
    let zip = scores.and_then(|i| facts.writer(graph.outputs[i])).filter(|(n, _)| n.op == "ZipMap");
    if let Some(classes) = zip.and_then(|(node, _)| attribute_classes(node)) {
        return Some(classes);
    }
    let (node, _) = facts.writer(facts.origin(graph.outputs[label?]))?;
    match node.op.as_str() {
        "ArrayFeatureExtractor" => {
            let table = graph.value((*node.inputs.first()?)?).constant.as_ref()?;
            tensor_classes(table)
        }
        "ArgMax" => {
            let scores = scores?;
            match graph.value(graph.outputs[scores]).declared.as_ref()? {
                ValueType::Tensor { dims: Some(dims), .. } => match dims.as_slice() {
                    [_, Dim::Fixed(k)] => Some(Classes::Int((0..*k as i64).collect())),
                    _ => None,
                },
                _ => None,
            }
        }
        _ => attribute_classes(node),
    }
}

fn tensor_classes(table: &Tensor) -> Option<Classes> {
    if table.dtype() == ElementType::String {
        let v = table.as_slice::<String>().ok()?;
        return Some(Classes::Str(v.iter().map(|s| s.as_str().into()).collect()));
    }
    table.to_i64_vec().ok().map(Classes::Int)
}

fn attribute_classes(node: &Node) -> Option<Classes> {
    for name in ["classlabels_ints", "classlabels_int64s"] {
        match node.attributes.ints(name) {
            Ok(v) if !v.is_empty() => return Some(Classes::Int(v.to_vec())),
            _ => {}
        }
    }
    match node.attributes.strs("classlabels_strings") {
        Ok(v) if !v.is_empty() => Some(Classes::Str(v.into_iter().map(Into::into).collect())),
        _ => None,
    }
}

/// What the caller, else the file's metadata, says of the meaning.
struct Hints {
    task: Option<Task>,
    classes: Option<Arc<Classes>>,
    kind: Option<OutputKind>,
    feature_names: Option<Vec<String>>,
}

impl Hints {
    fn read(graph: &Graph, options: &LoadOptions) -> Result<Hints> {
        let property = |name: &str| graph.metadata.get(&format!("modelserve.{name}"));
        let task = match (options.task, property("task")) {
            (Some(task), _) => Some(task),
            (None, Some(name)) => Some(Task::from_name(name).ok_or_else(|| {
                err!(InvalidModel, "metadata modelserve.task = '{name}' is no task")
            })?),
            _ => None,
        };
        let kind = match (options.output_kind, property("output_kind")) {
            (Some(kind), _) => Some(kind),
            (None, Some(name)) => Some(OutputKind::from_name(name).ok_or_else(|| {
                err!(InvalidModel, "metadata modelserve.output_kind = '{name}' is no output kind")
            })?),
            _ => None,
        };
        let classes = match (&options.classes, property("classes")) {
            (Some(classes), _) => Some(Arc::new(classes.clone())),
            (None, Some(json)) => Some(Arc::new(parse_classes(json)?)),
            _ => None,
        };
        let feature_names = match (&options.feature_names, property("feature_names")) {
            (Some(names), _) => Some(names.clone()),
            (None, Some(json)) => Some(
                serde_json::from_str(json)
                    .map_err(|e| err!(InvalidModel, "metadata modelserve.feature_names: {e}"))?,
            ),
            _ => None,
        };
        Ok(Hints { task, classes, kind, feature_names })
    }
}

fn parse_classes(json: &str) -> Result<Classes> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Json {
        Int(Vec<i64>),
        Str(Vec<String>),
    }
    match serde_json::from_str(json) {
        Ok(Json::Int(v)) => Ok(Classes::Int(v)),
        Ok(Json::Str(v)) => Ok(Classes::Str(v.into_iter().map(Into::into).collect())),
        Err(_) => bail!(
            InvalidModel,
            "metadata modelserve.classes is no JSON list of integers or strings"
        ),
    }
}

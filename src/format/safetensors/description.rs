//! The layer description as data: what `config.json` says, checked for form.
//!
//! `docs/layers.md` is the format's reference.

use super::container::listed;
use super::hugging_face;
use super::json::{At, Object};
use super::layers::{Lists, Placed};
use crate::error::{Result, bail, ensure};
use crate::graph::Dim;
use crate::limits::{LoadLimits, MAX_RANK};
use crate::tensor::ElementType;
use crate::tensor::shape::resolve_axis;
use serde_json::Value;
use std::collections::HashSet;

/// What the key `format` says in a description of ours.
const FORMAT: &str = "modelserve-layers";

/// Most inputs, and most outputs.
const MAX_ENDS: usize = 1_000;

/// Longest name of a dimension in bytes.
const MAX_SYMBOL_BYTES: usize = 128;

/// A whole `config.json`.
#[derive(Debug)]
pub(super) struct Description {
    /// The type the layers compute in: `F32` or `F64`.
    pub(super) dtype: ElementType,
    /// At least one; the layers begin with the first.
    pub(super) inputs: Vec<Input>,
    pub(super) preprocess: Option<Preprocess>,
    pub(super) layers: Vec<Placed>,
    /// At least one.
    pub(super) outputs: Vec<Output>,
    pub(super) task: Option<String>,
    pub(super) classes: Option<Classes>,
    pub(super) output_kind: String,
    pub(super) feature_names: Option<Vec<String>>,
    pub(super) ignore_unused: bool,
}

/// The input a caller gives.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) dtype: ElementType,
    pub(super) dims: Vec<Dim>,
    /// The axis that counts rows.
    pub(super) batch: usize,
}

/// An output a caller gets.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) name: String,
    /// The named result that it is, if not that of the last layer.
    pub(super) from: Option<String>,
    /// Where the document says so.
    pub(super) path: String,
}

/// `(x - mean) * scale` or `(x - mean) / std` along `axis`.
#[derive(Debug)]
pub(super) struct Preprocess {
    pub(super) axis: i64,
    pub(super) steps: Vec<Step>,
}

/// One step of the preprocessing: an operator with one number or one a feature.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) key: &'static str,
    pub(super) op: &'static str,
    pub(super) values: Vec<f64>,
    /// Whether `values` is a single number for all features.
    pub(super) scalar: bool,
}

/// The classes of a classifier, in the order of its outputs.
#[derive(Debug)]
pub(super) enum Classes {
    Names(Vec<String>),
    Numbers(Vec<i64>),
}

impl Description {
    /// Reads a parsed document.
    pub(super) fn read(document: &Value, limits: &LoadLimits) -> Result<Description> {
        let root = At::root(document).object()?;
        refuse_foreign(document)?;
        root.need("format")?;
        let version = root.need("version")?;
        let number = version.size()?;
        ensure!(number == 1, Unsupported, "{}: version {number}, expected 1", version.path());
        let dtype = match root.get("dtype") {
            None => ElementType::F32,
            Some(at) => match element_type(&at)? {
                dtype @ (ElementType::F32 | ElementType::F64) => dtype,
                other => {
                    return Err(
                        at.error(format_args!("{other}: layers compute in float32 or float64"))
                    );
                }
            },
        };
        let inputs = read_inputs(&root.need("inputs")?, limits)?;
        let preprocess = root.get("preprocess").map(|at| read_preprocess(&at)).transpose()?;
        let layers = Lists::new(limits).read(&root.need("layers")?)?;
        let outputs = read_outputs(&root, &inputs, limits)?;
        let (task, classes, output_kind) = read_task(&root)?;
        ensure!(
            task.is_none() || outputs.len() == 1,
            InvalidModel,
            "$.task: a task is for one output, there are {}",
            outputs.len()
        );
        let feature_names = root.get("feature_names").map(|at| read_texts(&at)).transpose()?;
        let ignore_unused = root.flag_or("ignore_unused", false)?;
        root.finish()?;
        Ok(Description {
            dtype,
            inputs,
            preprocess,
            layers,
            outputs,
            task,
            classes,
            output_kind,
            feature_names,
            ignore_unused,
        })
    }
}

/// Says what a `config.json` of somebody else's is.
fn refuse_foreign(document: &Value) -> Result<()> {
    let format = document.get("format").and_then(Value::as_str);
    if format == Some(FORMAT) {
        return Ok(());
    }
    let keys: Vec<&str> =
        document.as_object().into_iter().flat_map(|m| m.keys()).map(String::as_str).collect();
    let found = match (document.get("model_type").and_then(Value::as_str), format) {
        (Some(model_type), _) => {
            let known = hugging_face::MODEL_TYPES.join(", ");
            format!("a Hugging Face configuration of model_type '{model_type}' (known: {known})")
        }
        (None, Some(format)) => format!("format '{format}'"),
        (None, None) => "no \"format\"".to_string(),
    };
    bail!(
        Unsupported,
        "{found} (keys: {}); expected a layer description: \"format\": \"{FORMAT}\", \
         \"version\": 1, \"inputs\", \"layers\"",
        listed(&keys)
    )
}

fn read_texts(at: &At<'_>) -> Result<Vec<String>> {
    at.list()?.iter().map(|item| item.text().map(str::to_string)).collect()
}

fn element_type(at: &At<'_>) -> Result<ElementType> {
    let name = at.text()?;
    let known = |t: &ElementType| t.is_float() || t.is_integer() || *t == ElementType::Bool;
    ElementType::from_name(name).filter(known).ok_or_else(|| {
        at.error(format_args!("unknown element type \"{name}\"; expected float32, int64, …"))
    })
}

fn read_inputs(list: &At<'_>, limits: &LoadLimits) -> Result<Vec<Input>> {
    let items = list.list()?;
    ensure!(
        (1..=MAX_ENDS).contains(&items.len()),
        InvalidModel,
        "{}: expected 1 to {MAX_ENDS} inputs, got {}",
        list.path(),
        items.len()
    );
    items.iter().map(|at| read_input(at, limits)).collect()
}

/// `output`, a name, or `outputs`, a list of names and what each is.
fn read_outputs(root: &Object<'_>, inputs: &[Input], limits: &LoadLimits) -> Result<Vec<Output>> {
    let one = root.get("output");
    let list = root.get("outputs");
    let outputs = match (&one, &list) {
        (Some(_), Some(list)) => {
            return Err(list.error("\"output\" names the only output: give one of the two"));
        }
        (Some(at), None) => {
            vec![Output { name: at.name(limits)?, from: None, path: at.path().to_string() }]
        }
        (None, None) => {
            vec![Output { name: "output".into(), from: None, path: "$.output".into() }]
        }
        (None, Some(list)) => {
            let items = list.list()?;
            ensure!(
                (1..=MAX_ENDS).contains(&items.len()),
                InvalidModel,
                "{}: expected 1 to {MAX_ENDS} outputs, got {}",
                list.path(),
                items.len()
            );
            items.iter().map(|at| read_output(at, limits)).collect::<Result<Vec<_>>>()?
        }
    };
    let mut names: HashSet<&str> = HashSet::new();
    for output in &outputs {
        let (name, path) = (output.name.as_str(), &output.path);
        ensure!(
            inputs.iter().all(|input| input.name != name),
            InvalidModel,
            "{path}: input and output are both named '{name}'"
        );
        ensure!(names.insert(name), InvalidModel, "{path}: two outputs are named '{name}'");
    }
    Ok(outputs)
}

fn read_output(at: &At<'_>, limits: &LoadLimits) -> Result<Output> {
    let object = at.object()?;
    let name = object.need("name")?.name(limits)?;
    let from = object.get("from").map(|at| at.name(limits)).transpose()?;
    object.finish()?;
    Ok(Output { name, from, path: at.path().to_string() })
}

fn read_input(at: &At<'_>, limits: &LoadLimits) -> Result<Input> {
    let object = at.object()?;
    let name = object.need("name")?.name(limits)?;
    let dtype = object.get("dtype").map_or(Ok(ElementType::F32), |at| element_type(&at))?;
    let shape = object.need("shape")?;
    let items = shape.list()?;
    ensure!(
        (1..=MAX_RANK).contains(&items.len()),
        InvalidModel,
        "{}: expected 1 to {MAX_RANK} dimensions, one of them the batch, got {}",
        shape.path(),
        items.len()
    );
    let dim = |at: &At<'_>| -> Result<Dim> {
        if at.is_text() {
            let symbol = at.name(limits)?;
            ensure!(
                symbol.len() <= MAX_SYMBOL_BYTES,
                LimitExceeded,
                "{}: a dimension's name of {} bytes, at most {MAX_SYMBOL_BYTES} are allowed",
                at.path(),
                symbol.len()
            );
            return Ok(Dim::Symbol(symbol));
        }
        Ok(Dim::Fixed(at.size()?))
    };
    let dims = items.iter().map(dim).collect::<Result<Vec<_>>>()?;
    let batch = object.integer_or("batch_axis", 0)?;
    let batch = resolve_axis(batch, dims.len())
        .map_err(|e| at.error(format_args!("\"batch_axis\": {}", e.message())))?;
    object.finish()?;
    Ok(Input { name, dtype, dims, batch })
}

fn read_preprocess(at: &At<'_>) -> Result<Preprocess> {
    let object = at.object()?;
    let axis = object.integer_or("axis", -1)?;
    let mut steps = Vec::new();
    for (key, op) in [("mean", "Sub"), ("scale", "Mul"), ("std", "Div")] {
        let Some(at) = object.get(key) else { continue };
        let scalar = !at.is_list();
        let items = if scalar { vec![at.clone()] } else { at.list()? };
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            let value = item.number()?;
            // Also for single precision, in which most models compute.
            if !(value as f32).is_finite() {
                return Err(item.error("not finite in single precision"));
            }
            if op == "Div" && value as f32 == 0.0 {
                return Err(item.error("a standard deviation of 0"));
            }
            values.push(value);
        }
        steps.push(Step { key, op, values, scalar });
    }
    object.finish()?;
    if steps.is_empty() {
        return Err(at.error("neither \"mean\" nor \"scale\" nor \"std\""));
    }
    if steps.iter().any(|s| s.key == "scale") && steps.iter().any(|s| s.key == "std") {
        return Err(at.error("\"scale\" multiplies and \"std\" divides: give one of them"));
    }
    Ok(Preprocess { axis, steps })
}

type Task = (Option<String>, Option<Classes>, String);

fn read_task(root: &Object<'_>) -> Result<Task> {
    let task = root
        .get("task")
        .map(|at| at.one_of(&["classifier", "regressor", "transformer"]).map(str::to_string))
        .transpose()?;
    let is_classifier = task.as_deref() == Some("classifier");
    let classes = root.get("classes").map(|at| read_classes(&at)).transpose()?;
    ensure!(
        classes.is_none() || is_classifier,
        InvalidModel,
        "$.classes: classes need \"task\": \"classifier\""
    );
    let output_kind = match root.get("output_kind") {
        Some(at) => at.one_of(&["logits", "probabilities", "values"])?.to_string(),
        None if is_classifier => bail!(
            InvalidModel,
            "$: a classifier needs \"output_kind\": \"logits\" or \"probabilities\""
        ),
        None => "values".to_string(),
    };
    ensure!(
        is_classifier == (output_kind != "values"),
        InvalidModel,
        "$.output_kind: \"{output_kind}\" does not fit the task; a classifier gives logits or \
         probabilities, anything else values"
    );
    Ok((task, classes, output_kind))
}

fn read_classes(at: &At<'_>) -> Result<Classes> {
    let items = at.list()?;
    let classes = if items.first().is_some_and(At::is_text) {
        Classes::Names(read_texts(at)?)
    } else {
        Classes::Numbers(items.iter().map(At::integer).collect::<Result<_>>()?)
    };
    let distinct = match &classes {
        Classes::Names(v) => v.iter().collect::<HashSet<_>>().len(),
        Classes::Numbers(v) => v.iter().collect::<HashSet<_>>().len(),
    };
    if distinct != items.len() || distinct < 2 {
        return Err(at.error("expected at least two distinct classes"));
    }
    Ok(classes)
}

impl Classes {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Classes::Names(v) => v.len(),
            Classes::Numbers(v) => v.len(),
        }
    }

    /// The list as JSON.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Classes::Names(v) => v.as_slice().into(),
            Classes::Numbers(v) => v.as_slice().into(),
        }
    }
}

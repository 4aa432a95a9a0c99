//! The layer description as data: what `config.json` says, checked for form.
//!
//! `docs/layers.md` is the format's reference.

use super::container::listed;
use super::json::{At, Object};
use crate::attribute::Attribute;
use crate::error::{Result, bail, ensure, err};
use crate::graph::Dim;
use crate::limits::{LoadLimits, MAX_RANK};
use crate::tensor::ElementType;
use serde_json::Value;

/// What the key `format` says in a description of ours.
const FORMAT: &str = "modelserve-layers";

/// A whole `config.json`.
#[derive(Debug)]
pub(super) struct Description {
    /// The type the layers compute in: `F32` or `F64`.
    pub(super) dtype: ElementType,
    pub(super) input: Input,
    pub(super) preprocess: Option<Preprocess>,
    pub(super) layers: Vec<Placed>,
    pub(super) output: String,
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

/// A layer and its place in the document.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) path: String,
    /// `type` in the document.
    pub(super) kind: String,
    pub(super) layer: LayerSpec,
}

/// One layer, in candle-nn's terms.
#[derive(Debug)]
pub(super) enum LayerSpec {
    Linear {
        name: String,
        input: usize,
        output: usize,
        bias: bool,
    },
    Embedding {
        name: String,
        num: usize,
        dim: usize,
    },
    LayerNorm {
        name: String,
        size: usize,
        eps: f32,
        affine: bool,
        bias: bool,
    },
    RmsNorm {
        name: String,
        size: usize,
        eps: f32,
    },
    BatchNorm {
        name: String,
        size: usize,
        eps: f32,
        affine: bool,
    },
    GroupNorm {
        name: String,
        groups: usize,
        size: usize,
        eps: f32,
    },
    Conv(Conv),
    Pool {
        op: &'static str,
        kernel: Vec<usize>,
        stride: Vec<usize>,
    },
    Mean {
        axis: i64,
    },
    Flatten,
    Dropout,
    Softmax {
        op: &'static str,
        axis: i64,
    },
    /// An operator of one input.
    Unary {
        op: &'static str,
        attributes: Vec<(&'static str, Attribute)>,
    },
    Silu,
    Relu6,
    PRelu {
        name: String,
        size: usize,
    },
}

/// A convolution over as many spatial axes as `kernel` has numbers.
#[derive(Debug)]
pub(super) struct Conv {
    pub(super) name: String,
    pub(super) input: usize,
    pub(super) output: usize,
    pub(super) kernel: Vec<usize>,
    pub(super) stride: Vec<usize>,
    pub(super) padding: Vec<usize>,
    pub(super) dilation: Vec<usize>,
    pub(super) groups: usize,
    pub(super) bias: bool,
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
        let inputs = root.need("inputs")?;
        let [input] = inputs.list()?.try_into().map_err(|all: Vec<At<'_>>| {
            inputs.error(format_args!("expected one input, got {}", all.len()))
        })?;
        let input = read_input(&input, limits)?;
        let preprocess = root.get("preprocess").map(|at| read_preprocess(&at)).transpose()?;
        let list = root.need("layers")?;
        let items = list.list()?;
        ensure!(!items.is_empty(), InvalidModel, "{}: no layers", list.path());
        ensure!(
            items.len() <= limits.nodes,
            LimitExceeded,
            "{}: {} layers, at most {} are allowed",
            list.path(),
            items.len(),
            limits.nodes
        );
        let layers = items.iter().map(|at| read_layer(at, limits)).collect::<Result<Vec<_>>>()?;
        let output = match root.get("output") {
            Some(at) => read_name(&at, limits)?,
            None => "output".to_string(),
        };
        ensure!(
            output != input.name,
            InvalidModel,
            "$.output: input and output are both named '{output}'"
        );
        let (task, classes, output_kind) = read_task(&root)?;
        let feature_names = root.get("feature_names").map(|at| read_texts(&at)).transpose()?;
        let ignore_unused = root.flag_or("ignore_unused", false)?;
        root.finish()?;
        Ok(Description {
            dtype,
            input,
            preprocess,
            layers,
            output,
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
            format!("a Hugging Face configuration of model_type '{model_type}'")
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

fn read_name(at: &At<'_>, limits: &LoadLimits) -> Result<String> {
    let name = at.text()?;
    ensure!(!name.is_empty(), InvalidModel, "{}: the name is empty", at.path());
    ensure!(
        name.len() <= limits.name_bytes,
        LimitExceeded,
        "{}: a name of {} bytes, at most {} are allowed",
        at.path(),
        name.len(),
        limits.name_bytes
    );
    Ok(name.to_string())
}

fn read_texts(at: &At<'_>) -> Result<Vec<String>> {
    at.list()?.iter().map(|item| item.text().map(str::to_string)).collect()
}

fn element_type(at: &At<'_>) -> Result<ElementType> {
    const NUMERIC: [ElementType; 12] = [
        ElementType::F32,
        ElementType::F64,
        ElementType::F16,
        ElementType::BF16,
        ElementType::I8,
        ElementType::I16,
        ElementType::I32,
        ElementType::I64,
        ElementType::U8,
        ElementType::U16,
        ElementType::U32,
        ElementType::U64,
    ];
    let name = at.text()?;
    NUMERIC.into_iter().find(|t| t.name() == name).ok_or_else(|| {
        at.error(format_args!("unknown element type \"{name}\"; expected float32, int64, …"))
    })
}

fn read_input(at: &At<'_>, limits: &LoadLimits) -> Result<Input> {
    let object = at.object()?;
    let name = read_name(&object.need("name")?, limits)?;
    let dtype = object.get("dtype").map_or(Ok(ElementType::F32), |at| element_type(&at))?;
    let shape = object.need("shape")?;
    let items = shape.list()?;
    ensure!(
        (1..=MAX_RANK).contains(&items.len()),
        InvalidModel,
        "{}: expected 1 to {MAX_RANK} dimensions, the first the batch, got {}",
        shape.path(),
        items.len()
    );
    let dim = |at: &At<'_>| -> Result<Dim> {
        if at.is_text() {
            return Ok(Dim::Symbol(read_name(at, limits)?));
        }
        Ok(Dim::Fixed(at.size()?))
    };
    let dims = items.iter().map(dim).collect::<Result<_>>()?;
    object.finish()?;
    Ok(Input { name, dtype, dims })
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

fn one_of(at: &At<'_>, known: &[&str]) -> Result<String> {
    let text = at.text()?;
    if !known.contains(&text) {
        return Err(at.error(format_args!("\"{text}\", expected one of {}", known.join(", "))));
    }
    Ok(text.to_string())
}

fn read_task(root: &Object<'_>) -> Result<Task> {
    let task = root
        .get("task")
        .map(|at| one_of(&at, &["classifier", "regressor", "transformer"]))
        .transpose()?;
    let is_classifier = task.as_deref() == Some("classifier");
    let classes = root.get("classes").map(|at| read_classes(&at)).transpose()?;
    ensure!(
        classes.is_none() || is_classifier,
        InvalidModel,
        "$.classes: classes need \"task\": \"classifier\""
    );
    let output_kind = match root.get("output_kind") {
        Some(at) => one_of(&at, &["logits", "probabilities", "values"])?,
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
        Classes::Names(v) => v.iter().collect::<std::collections::HashSet<_>>().len(),
        Classes::Numbers(v) => v.iter().collect::<std::collections::HashSet<_>>().len(),
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

fn read_layer(at: &At<'_>, limits: &LoadLimits) -> Result<Placed> {
    let object = at.object()?;
    let kind_at = object.need("type")?;
    let kind = kind_at.text()?;
    let needed_name = || read_name(&object.need("name")?, limits);
    let eps = || object.float_or("eps", 1e-5);
    let layer = match kind {
        "linear" => LayerSpec::Linear {
            name: needed_name()?,
            input: object.size("in")?,
            output: object.size("out")?,
            bias: object.flag_or("bias", true)?,
        },
        "embedding" => LayerSpec::Embedding {
            name: needed_name()?,
            num: object.size("num")?,
            dim: object.size("dim")?,
        },
        "layer_norm" => {
            let affine = object.flag_or("affine", true)?;
            LayerSpec::LayerNorm {
                name: needed_name()?,
                size: object.size("size")?,
                eps: eps()?,
                affine,
                bias: object.flag_or("bias", affine)?,
            }
        }
        "rms_norm" => {
            LayerSpec::RmsNorm { name: needed_name()?, size: object.size("size")?, eps: eps()? }
        }
        "batch_norm" => LayerSpec::BatchNorm {
            name: needed_name()?,
            size: object.size("size")?,
            eps: eps()?,
            affine: object.flag_or("affine", true)?,
        },
        "group_norm" => LayerSpec::GroupNorm {
            name: needed_name()?,
            groups: object.size("groups")?,
            size: object.size("size")?,
            eps: eps()?,
        },
        "conv1d" => read_conv(&object, needed_name()?, 1)?,
        "conv2d" => read_conv(&object, needed_name()?, 2)?,
        "max_pool2d" => read_pool(&object, "MaxPool")?,
        "avg_pool2d" => read_pool(&object, "AveragePool")?,
        "mean" => LayerSpec::Mean { axis: object.need("axis")?.integer()? },
        "flatten" => LayerSpec::Flatten,
        "dropout" => {
            // The rate matters in training only; it may be kept in the description.
            object.float_or("p", 0.5)?;
            LayerSpec::Dropout
        }
        "softmax" => LayerSpec::Softmax { op: "Softmax", axis: object.integer_or("axis", -1)? },
        "log_softmax" => {
            LayerSpec::Softmax { op: "LogSoftmax", axis: object.integer_or("axis", -1)? }
        }
        "relu" => unary("Relu"),
        "tanh" => unary("Tanh"),
        "sigmoid" => unary("Sigmoid"),
        "softplus" => unary("Softplus"),
        "softsign" => unary("Softsign"),
        "mish" => unary("Mish"),
        "hard_swish" => unary("HardSwish"),
        "gelu" => gelu("none"),
        "gelu_tanh" => gelu("tanh"),
        "hard_sigmoid" => LayerSpec::Unary {
            op: "HardSigmoid",
            attributes: vec![
                ("alpha", Attribute::Float(1.0 / 6.0)),
                ("beta", Attribute::Float(0.5)),
            ],
        },
        "elu" => scaled("Elu", object.float_or("alpha", 1.0)?),
        "leaky_relu" => scaled("LeakyRelu", object.float_or("slope", 0.01)?),
        "silu" => LayerSpec::Silu,
        "relu6" => LayerSpec::Relu6,
        "prelu" => LayerSpec::PRelu { name: needed_name()?, size: object.size("size")? },
        other => bail!(
            Unsupported,
            "{}: unknown layer type \"{}\"",
            kind_at.path(),
            other.chars().take(40).collect::<String>()
        ),
    };
    // A layer without tensors may be named too.
    object.get("name").map(|at| read_name(&at, limits)).transpose()?;
    object.finish()?;
    Ok(Placed { path: at.path().to_string(), kind: kind.to_string(), layer })
}

fn unary(op: &'static str) -> LayerSpec {
    LayerSpec::Unary { op, attributes: Vec::new() }
}

fn gelu(approximate: &str) -> LayerSpec {
    let value = Attribute::String(approximate.as_bytes().to_vec());
    LayerSpec::Unary { op: "Gelu", attributes: vec![("approximate", value)] }
}

fn scaled(op: &'static str, alpha: f32) -> LayerSpec {
    LayerSpec::Unary { op, attributes: vec![("alpha", Attribute::Float(alpha))] }
}

/// The largest kernel, stride, padding, dilation or group count taken for meant: far above any
/// network's, far below where sums of them could overflow.
const MAX_WINDOW: usize = 1 << 20;

/// One size for every spatial axis, or a list with one each, all at least `least`.
fn window(at: &At<'_>, axes: usize, least: usize) -> Result<Vec<usize>> {
    let sizes = if at.is_list() {
        at.list()?.iter().map(At::size).collect::<Result<Vec<_>>>()?
    } else {
        vec![at.size()?; axes]
    };
    if sizes.len() != axes || sizes.iter().any(|s| !(least..=MAX_WINDOW).contains(s)) {
        return Err(at.error(format_args!(
            "expected {axes} sizes from {least} to {MAX_WINDOW} (or one for all), got {sizes:?}"
        )));
    }
    Ok(sizes)
}

fn window_or(
    object: &Object<'_>,
    key: &'static str,
    default: &[usize],
    least: usize,
) -> Result<Vec<usize>> {
    object.get(key).map_or(Ok(default.to_vec()), |at| window(&at, default.len(), least))
}

fn read_conv(object: &Object<'_>, name: String, axes: usize) -> Result<LayerSpec> {
    let ones = vec![1; axes];
    let conv = Conv {
        name,
        input: object.size("in")?,
        output: object.size("out")?,
        kernel: window(&object.need("kernel")?, axes, 1)?,
        stride: window_or(object, "stride", &ones, 1)?,
        padding: window_or(object, "padding", &vec![0; axes], 0)?,
        dilation: window_or(object, "dilation", &ones, 1)?,
        groups: object.get("groups").map_or(Ok(1), |at| at.size())?,
        bias: object.flag_or("bias", true)?,
    };
    let divides = |n: usize| n.checked_rem(conv.groups) == Some(0);
    if !divides(conv.input) || !divides(conv.output) {
        return Err(err!(
            InvalidModel,
            "convolution '{}': {} groups do not divide {} inputs and {} outputs",
            conv.name,
            conv.groups,
            conv.input,
            conv.output
        ));
    }
    Ok(LayerSpec::Conv(conv))
}

fn read_pool(object: &Object<'_>, op: &'static str) -> Result<LayerSpec> {
    let kernel = window(&object.need("kernel")?, 2, 1)?;
    let stride = window_or(object, "stride", &kernel, 1)?;
    Ok(LayerSpec::Pool { op, kernel, stride })
}

//! The layers a description may name, with their keys and defaults.

use super::json::{At, Object};
use crate::attribute::Attribute;
use crate::error::{Result, bail, err};
use crate::limits::LoadLimits;

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

/// Reads one entry of `layers`.
pub(super) fn read_layer(at: &At<'_>, limits: &LoadLimits) -> Result<Placed> {
    let object = at.object()?;
    let kind_at = object.need("type")?;
    let kind = kind_at.text()?;
    let needed_name = || object.need("name")?.name(limits);
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
    object.get("name").map(|at| at.name(limits)).transpose()?;
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

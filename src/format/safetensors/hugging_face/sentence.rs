//! The vector of a text as sentence-transformers make it: `modules.json` lists the steps after the
//! encoder, a folder of each holds its configuration and its tensors.

use super::encoder::Encoded;
use super::pooling::Pooling;
use crate::attribute::Attribute;
use crate::error::{ErrorKind, Result, bail, ensure, err};
use crate::format::safetensors::builder::Builder;
use crate::format::safetensors::container::Weights;
use crate::format::safetensors::json::{self, At};
use crate::format::safetensors::layers::normalize;
use crate::format::safetensors::signal::Signal;
use crate::limits::LoadLimits;
use crate::source::Source;
use crate::tensor::{ElementType, Tensor};

/// The list of steps.
const MODULES: &str = "modules.json";

/// What follows the encoder.
#[derive(Debug)]
pub(in super::super) struct Sentence {
    pooling: Pooling,
    steps: Vec<Step>,
}

/// What is done to a text's vector.
#[derive(Debug)]
enum Step {
    /// Brought to length 1.
    Normalize,
    Dense(Dense),
    LayerNorm {
        scale: Tensor,
        shift: Tensor,
    },
}

/// A linear layer and an activation.
#[derive(Debug)]
struct Dense {
    /// `[out, in]`
    weight: Tensor,
    bias: Option<Tensor>,
    activation: Activation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activation {
    None,
    /// x · sigmoid(x)
    Silu,
    /// The operator of that name.
    Of(&'static str),
}

/// The activations by the names of PyTorch's classes.
static ACTIVATIONS: [(&str, Activation); 6] = [
    ("Identity", Activation::None),
    ("Tanh", Activation::Of("Tanh")),
    ("ReLU", Activation::Of("Relu")),
    ("GELU", Activation::Of("Gelu")),
    ("Sigmoid", Activation::Of("Sigmoid")),
    ("SiLU", Activation::Silu),
];

/// A folder of `modules.json` beside the model.
struct Folder<'a> {
    source: &'a Source,
    name: &'a str,
    /// For configurations, and for files of tensors.
    limits: [&'a LoadLimits; 2],
}

impl Folder<'_> {
    fn config<R>(&self, read: impl FnOnce(&serde_json::Value) -> Result<R>) -> Result<R> {
        let path = format!("{}/config.json", self.name);
        let bytes = self.source.companion(&path, self.limits[0])?;
        parse(&bytes).and_then(|document| read(&document)).map_err(|e| e.context(path))
    }

    /// The tensors of these names and dimensions; others may not be there.
    fn tensors<const N: usize>(&self, wanted: [(&str, &[usize]); N]) -> Result<[Tensor; N]> {
        let path = format!("{}/model.safetensors", self.name);
        let bytes = self.source.companion(&path, self.limits[1])?;
        let read = || -> Result<Vec<Tensor>> {
            let mut weights = Weights::parse(&bytes, self.limits[1])?;
            let take = |(name, dims): (&str, &[usize])| weights.take(name, dims, ElementType::F32);
            let tensors = wanted.into_iter().map(take).collect::<Result<Vec<_>>>()?;
            weights.all_used()?;
            Ok(tensors)
        };
        let tensors = read().map_err(|e| e.context(path))?;
        tensors.try_into().map_err(|_| err!(Internal, "another number of tensors"))
    }
}

impl Sentence {
    /// Reads the steps from beside the model, configurations within `small` and tensors within
    /// `limits`; `None` where no such file is there, or the model was given as bytes.
    pub(in super::super) fn beside(
        source: &Source,
        small: &LoadLimits,
        limits: &LoadLimits,
    ) -> Result<Option<Sentence>> {
        if source.path().is_none() {
            return Ok(None);
        }
        let modules = match source.companion(MODULES, small) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        read(source, &modules, [small, limits]).map_err(|e| e.context(MODULES))
    }

    /// The vector of each text: `[batch, size]`.
    pub(super) fn build(&self, b: &mut Builder<'_>, encoded: &Encoded) -> Result<Signal> {
        b.enter("pooling".into());
        let mut vector = self.pooling.build(b, encoded)?;
        for (i, step) in self.steps.iter().enumerate() {
            b.enter(format!("sentence.{i}"));
            vector =
                step.build(b, vector).map_err(|e| e.context(format!("{MODULES}, step {i}")))?;
        }
        Ok(vector)
    }
}

fn read(source: &Source, modules: &[u8], limits: [&LoadLimits; 2]) -> Result<Option<Sentence>> {
    let document = parse(modules)?;
    let mut pooling: Option<Pooling> = None;
    let mut steps = Vec::new();
    for (i, at) in At::root(&document).list()?.iter().enumerate() {
        let module = at.object()?;
        let class = module.need("type")?;
        let class = class.text()?;
        let path = module.get("path");
        let name = path.as_ref().map(At::text).transpose()?.unwrap_or_default();
        let folder = Folder { source, name, limits };
        match class.rsplit('.').next().unwrap_or_default() {
            "Transformer" if i == 0 => {}
            "Pooling" if pooling.is_none() => pooling = Some(folder.config(Pooling::read)?),
            "Normalize" if pooling.is_some() => steps.push(Step::Normalize),
            "Dense" if pooling.is_some() => steps.push(Step::Dense(Dense::read(&folder)?)),
            "LayerNorm" if pooling.is_some() => {
                let size = folder.config(|d| At::root(d).object()?.size("dimension"))?;
                let dims = [size];
                let [scale, shift] =
                    folder.tensors([("norm.weight", &dims[..]), ("norm.bias", &dims[..])])?;
                steps.push(Step::LayerNorm { scale, shift });
            }
            // Of training.
            "Dropout" if pooling.is_some() => {}
            _ => bail!(
                Unsupported,
                "$[{i}]: module \"{}\" is not known in this place; known are Transformer, Pooling, \
                 Dense, LayerNorm, Dropout, Normalize",
                class.chars().take(80).collect::<String>()
            ),
        }
    }
    Ok(pooling.map(|pooling| Sentence { pooling, steps }))
}

impl Dense {
    fn read(folder: &Folder<'_>) -> Result<Dense> {
        let (input, output, biased, activation) = folder.config(|document| {
            let object = At::root(document).object()?;
            for key in ["module_input_name", "module_output_name"] {
                if let Some(at) = object.get(key).filter(|at| !at.is_null()) {
                    let named = at.text()?;
                    ensure!(
                        named == "sentence_embedding",
                        Unsupported,
                        "$.{key}: only the text's vector is known, not '{named:.40}'"
                    );
                }
            }
            let class = object.get("activation_function").filter(|at| !at.is_null());
            let class = class.as_ref().map(At::text).transpose()?;
            let name = class.map_or("Tanh", |class| class.rsplit('.').next().unwrap_or_default());
            let known = ACTIVATIONS.iter().find(|(known, _)| *known == name);
            let Some((_, activation)) = known else {
                bail!(Unsupported, "$.activation_function: '{name:.40}' is not known");
            };
            let bias = object.flag_or("bias", true)?;
            Ok((object.size("in_features")?, object.size("out_features")?, bias, *activation))
        })?;
        let (rows_and_columns, rows) = ([output, input], [output]);
        let weight = ("linear.weight", &rows_and_columns[..]);
        let bias = ("linear.bias", &rows[..]);
        let (weight, bias) = if biased {
            let [weight, bias] = folder.tensors([weight, bias])?;
            (weight, Some(bias))
        } else {
            let [weight] = folder.tensors([weight])?;
            (weight, None)
        };
        Ok(Dense { weight, bias, activation })
    }
}

impl Step {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        match self {
            Step::Normalize => normalize(b, &x, 1, 1e-12),
            Step::Dense(Dense { weight, bias, activation }) => {
                x.expect_last(weight.shape().dim(1))?;
                let mut others = vec![b.given("linear.weight", weight.clone())?];
                if let Some(bias) = bias {
                    others.push(b.given("linear.bias", bias.clone())?);
                }
                let dims = x.with_last(weight.shape().dim(0));
                let y = b.then("Gemm", &x, &others, &[("transB", Attribute::Int(1))], dims)?;
                match *activation {
                    Activation::None => Ok(y),
                    Activation::Of(op) => b.like(op, &y, &[], &[]),
                    Activation::Silu => {
                        let gate = b.like("Sigmoid", &y, &[], &[])?;
                        b.like("Mul", &y, &[gate.value], &[])
                    }
                }
            }
            Step::LayerNorm { scale, shift } => {
                x.expect_last(scale.len())?;
                let scale = b.given("norm.weight", scale.clone())?;
                let shift = b.given("norm.bias", shift.clone())?;
                b.like("LayerNormalization", &x, &[scale, shift], &[])
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Result<serde_json::Value> {
    let text =
        std::str::from_utf8(bytes).map_err(|e| err!(InvalidModel, "not valid UTF-8: {e}"))?;
    json::parse(text)
}

//! The vector of a text from those of its tokens, as sentence-transformers describe it:
//! `modules.json` lists the steps, a folder of each holds its configuration.

use super::encoder::Encoded;
use crate::error::{ErrorKind, Result, bail, ensure, err};
use crate::format::safetensors::builder::Builder;
use crate::format::safetensors::json::{self, At};
use crate::format::safetensors::layers::{normalize, reduce, select, unsqueeze};
use crate::format::safetensors::signal::Signal;
use crate::graph::Dim;
use crate::limits::LoadLimits;
use crate::source::Source;
use crate::tensor::ElementType;

/// The list of steps.
const MODULES: &str = "modules.json";

/// How one vector is made of a text's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    First,
    Max,
    Mean,
    /// The sum over the square root of the number of tokens.
    MeanSqrt,
}

/// The keys of 1_Pooling/config.json, in the order in which several vectors are put together.
const MODES: [(&str, &str, Option<Mode>); 6] = [
    ("pooling_mode_cls_token", "cls", Some(Mode::First)),
    ("pooling_mode_max_tokens", "max", Some(Mode::Max)),
    ("pooling_mode_mean_tokens", "mean", Some(Mode::Mean)),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", Some(Mode::MeanSqrt)),
    ("pooling_mode_weightedmean_tokens", "weightedmean", None),
    ("pooling_mode_lasttoken", "lasttoken", None),
];

/// What follows the encoder.
#[derive(Debug)]
pub(in super::super) struct Pooling {
    modes: Vec<Mode>,
    normalize: bool,
}

impl Pooling {
    /// Reads the steps from beside the model; `None` where no such file is there, or the model was
    /// given as bytes.
    pub(in super::super) fn beside(
        source: &Source,
        limits: &LoadLimits,
    ) -> Result<Option<Pooling>> {
        if source.path().is_none() {
            return Ok(None);
        }
        let modules = match source.companion(MODULES, limits) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let read = || -> Result<Option<Pooling>> {
            let document = parse(&modules)?;
            let mut modes: Option<Vec<Mode>> = None;
            let mut normalize = false;
            for (i, at) in At::root(&document).list()?.iter().enumerate() {
                let module = at.object()?;
                let class = module.need("type")?;
                let class = class.text()?;
                match class.rsplit('.').next().unwrap_or_default() {
                    "Transformer" if i == 0 => {}
                    "Pooling" if modes.is_none() && !normalize => {
                        let folder = module.need("path")?;
                        let path = format!("{}/config.json", folder.text()?);
                        let config = source.companion(&path, limits)?;
                        let modes_of = parse(&config).and_then(|document| read_modes(&document));
                        modes = Some(modes_of.map_err(|e| e.context(path))?);
                    }
                    "Normalize" if modes.is_some() => normalize = true,
                    _ => bail!(
                        Unsupported,
                        "$[{i}]: module \"{}\" is not known in this place; known are \
                         Transformer, Pooling, Normalize",
                        class.chars().take(80).collect::<String>()
                    ),
                }
            }
            Ok(modes.map(|modes| Pooling { modes, normalize }))
        };
        read().map_err(|e| e.context(MODULES))
    }

    /// The vector of each text: `[batch, hidden]`, or wider for several ways.
    pub(super) fn build(&self, b: &mut Builder<'_>, encoded: &Encoded) -> Result<Signal> {
        let x = &encoded.hidden;
        let mut vectors = Vec::new();
        for mode in &self.modes {
            vectors.push(match mode {
                Mode::First => select(b, x, 1, 0)?,
                Mode::Max => {
                    // Tokens that are not there are far below all others, as there.
                    let real = b.cast_to(encoded.mask.clone(), ElementType::Bool)?;
                    let real = unsqueeze(b, &real, 2)?;
                    let low = b.scalar("low", -1e9)?;
                    let dtype = b.dtype;
                    let inputs = [real.value, x.value, low];
                    let value = b.value("Where", &inputs, &[], dtype, x.dims.clone())?;
                    let kept = Signal { value, ..x.clone() };
                    reduce(b, "ReduceMax", &kept, &[1], false)?
                }
                Mode::Mean | Mode::MeanSqrt => {
                    let mask = b.cast(encoded.mask.clone())?;
                    let mask = unsqueeze(b, &mask, 2)?;
                    let kept = b.like("Mul", x, &[mask.value], &[])?;
                    let sum = reduce(b, "ReduceSum", &kept, &[1], false)?;
                    let count = reduce(b, "ReduceSum", &mask, &[1], false)?;
                    let least = b.scalar("least", 1e-9)?;
                    let mut count = b.like("Max", &count, &[least], &[])?;
                    if *mode == Mode::MeanSqrt {
                        count = b.like("Sqrt", &count, &[], &[])?;
                    }
                    b.like("Div", &sum, &[count.value], &[])?
                }
            });
        }
        let Some((first, others)) = vectors.split_first() else {
            bail!(Internal, "no way of pooling");
        };
        let mut vector = first.clone();
        if !others.is_empty() {
            let width = first.fixed(1).unwrap_or(0).saturating_mul(vectors.len());
            let others: Vec<_> = others.iter().map(|v| v.value).collect();
            let axis = [("axis", crate::attribute::Attribute::Int(1))];
            vector = b.then("Concat", first, &others, &axis, first.with(1, Dim::Fixed(width)))?;
        }
        if self.normalize {
            vector = normalize(b, &vector, 1, 1e-12)?;
        }
        Ok(vector)
    }
}

fn parse(bytes: &[u8]) -> Result<serde_json::Value> {
    let text =
        std::str::from_utf8(bytes).map_err(|e| err!(InvalidModel, "not valid UTF-8: {e}"))?;
    json::parse(text)
}

fn read_modes(document: &serde_json::Value) -> Result<Vec<Mode>> {
    let object = At::root(document).object()?;
    let named = object.get("pooling_mode").filter(|at| !at.is_null());
    let named = named.map(|at| at.text()).transpose()?;
    let mut modes = Vec::new();
    for (key, name, mode) in MODES {
        let set = object.get(key).filter(|at| !at.is_null()).map_or(Ok(false), |at| at.flag())?;
        if !set && named != Some(name) {
            continue;
        }
        match mode {
            Some(mode) => modes.push(mode),
            None => bail!(Unsupported, "$.{key}: this way of pooling is not known"),
        }
    }
    ensure!(!modes.is_empty(), Unsupported, "no way of pooling that is known");
    Ok(modes)
}

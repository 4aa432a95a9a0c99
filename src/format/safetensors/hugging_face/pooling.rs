//! The vector of a text from those of its tokens, as the module of sentence-transformers describes
//! it.

use super::encoder::Encoded;
use crate::error::{Result, bail, ensure};
use crate::format::safetensors::builder::Builder;
use crate::format::safetensors::json::At;
use crate::format::safetensors::layers::{reduce, select, unsqueeze};
use crate::format::safetensors::signal::Signal;
use crate::graph::Dim;
use crate::tensor::ElementType;

/// How one vector is made of a text's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    First,
    Max,
    Mean,
    /// The sum over the square root of the number of tokens.
    MeanSqrt,
    /// The mean in which a token counts as often as its place says, from 1 on.
    WeightedMean,
}

/// The keys of 1_Pooling/config.json, in the order in which several vectors are put together.
const MODES: [(&str, &str, Option<Mode>); 6] = [
    ("pooling_mode_cls_token", "cls", Some(Mode::First)),
    ("pooling_mode_max_tokens", "max", Some(Mode::Max)),
    ("pooling_mode_mean_tokens", "mean", Some(Mode::Mean)),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", Some(Mode::MeanSqrt)),
    ("pooling_mode_weightedmean_tokens", "weightedmean", Some(Mode::WeightedMean)),
    ("pooling_mode_lasttoken", "lasttoken", None),
];

/// How a text's vector is made.
#[derive(Debug)]
pub(super) struct Pooling {
    modes: Vec<Mode>,
}

impl Pooling {
    /// Reads the configuration of the module.
    pub(super) fn read(document: &serde_json::Value) -> Result<Pooling> {
        let object = At::root(document).object()?;
        let named = object.get("pooling_mode").filter(|at| !at.is_null());
        let named = named.map(|at| at.text()).transpose()?;
        let mut modes = Vec::new();
        for (key, name, mode) in MODES {
            let set =
                object.get(key).filter(|at| !at.is_null()).map_or(Ok(false), |at| at.flag())?;
            if !set && named != Some(name) {
                continue;
            }
            match mode {
                Some(mode) => modes.push(mode),
                None => bail!(Unsupported, "$.{key}: this way of pooling is not known"),
            }
        }
        ensure!(!modes.is_empty(), Unsupported, "no way of pooling that is known");
        Ok(Pooling { modes })
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
                Mode::Mean | Mode::MeanSqrt | Mode::WeightedMean => {
                    let mut mask = b.cast(encoded.mask.clone())?;
                    if *mode == Mode::WeightedMean {
                        let places = Signal {
                            value: b.positions(&encoded.mask, 1)?,
                            dtype: ElementType::I64,
                            dims: encoded.mask.dims.iter().skip(1).cloned().collect(),
                            batch: 0,
                        };
                        let (places, one) = (b.cast(places)?, b.scalar("one", 1.0)?);
                        let places = b.like("Add", &places, &[one], &[])?;
                        mask = b.like("Mul", &mask, &[places.value], &[])?;
                    }
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
        Ok(vector)
    }
}

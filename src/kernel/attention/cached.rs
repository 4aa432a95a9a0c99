//! What com.microsoft's attentions do once queries, keys and values are apart: cache, mask, attend.

use super::bias::{Bias, Layer, Offset, Reach};
use super::heads;
use super::padding;
use super::scalar::Scalar;
use super::scaled::{Attend, Precision, Sizes, Stage};
use crate::error::{Result, bail, ensure};
use crate::kernel::conv::real::{narrowed, with_real};
use crate::kernel::{Context, OpSpec};
use crate::tensor::Tensor;

/// The attributes that Attention and MultiHeadAttention share.
pub(super) struct Settings {
    /// How many heads there are.
    pub heads: usize,
    /// What is added to the scores of masked keys.
    filter: f32,
    scale: Option<f32>,
    /// Whether a query sees no later keys.
    causal: bool,
}

impl Settings {
    /// The attributes of a node.
    ///
    /// # Errors
    /// `InvalidModel` where they are wrong.
    pub fn new(spec: &OpSpec<'_>) -> Result<Settings> {
        let a = spec.attributes;
        Ok(Settings {
            heads: heads::required_count(spec, "num_heads")?,
            filter: a.float("mask_filter_value", -10_000.0)?,
            // 0 is what a scale that is not set is stored as.
            scale: a.float_opt("scale")?.filter(|&scale| scale != 0.0),
            causal: a.flag("unidirectional", false)?,
        })
    }
}

/// The keys or values of a run: what is attended to, and the cache for the next run.
pub(super) struct Cached {
    /// All keys that there are.
    pub all: Tensor,
    /// The cache with the new keys in it.
    pub present: Tensor,
}

impl Cached {
    /// `new` behind `past`. With `filled` the cache is a buffer with room, that holds so many.
    ///
    /// # Errors
    /// `InvalidInput` where they do not go together.
    pub fn new(
        ctx: &mut Context<'_>,
        past: Option<Tensor>,
        new: Tensor,
        filled: Option<usize>,
    ) -> Result<Cached> {
        let (past, filled) = match (past, filled) {
            (Some(past), Some(filled)) => (past, filled),
            (past, _) => {
                let all = heads::appended(ctx, past.as_ref(), new)?;
                return Ok(Cached { present: all.clone(), all });
            }
        };
        let (batch, count) = (new.shape().dim(0), new.shape().dim(2));
        ensure!(
            past.shape().rank() == 4 && past.shape().dim(0) == batch,
            InvalidInput,
            "a cache of shape {} for {}",
            past.shape(),
            new.shape()
        );
        let places = ctx.shape_of::<i64>(&[batch])?.len();
        let present = heads::written(past, &new, &vec![filled; places])?;
        let all = heads::first(ctx, &present, filled.saturating_add(count))?;
        Ok(Cached { all, present })
    }
}

/// One number: how much of a shared buffer is filled.
pub(super) fn filled(tensor: &Tensor) -> Result<usize> {
    match tensor.to_i64_vec()?[..] {
        [n] if n >= 0 => Ok(n as usize),
        ref other => bail!(InvalidInput, "past_sequence_length is {other:?}"),
    }
}

/// Queries, keys and values by head, and what goes with them.
pub(super) struct Operands<'a> {
    pub q: &'a Tensor,
    pub k: &'a Tensor,
    pub v: &'a Tensor,
    /// How many of the keys come from a cache.
    pub past: usize,
    pub mask: Option<&'a Tensor>,
    pub bias: Option<&'a Tensor>,
}

impl Operands<'_> {
    /// The result as (batch, length, width), and the scores before softmax where they are wanted.
    ///
    /// # Errors
    /// `InvalidInput` where something does not fit.
    pub fn attend(
        &self,
        ctx: &mut Context<'_>,
        settings: &Settings,
        keeps: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let dtype = self.q.dtype();
        ensure!(
            self.k.dtype() == dtype && self.v.dtype() == dtype,
            InvalidInput,
            "attention of {dtype}, {} and {}",
            self.k.dtype(),
            self.v.dtype()
        );
        let (y, scores) = with_real!("attention", dtype, T => {
            self.typed::<T>(ctx, settings, keeps)
        })?;
        let y = narrowed(y, dtype)?;
        let scores = scores.map(|scores| narrowed(scores, dtype)).transpose()?;
        Ok((heads::merged(ctx, &y)?, scores))
    }

    fn typed<T: Scalar>(
        &self,
        ctx: &mut Context<'_>,
        settings: &Settings,
        keeps: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let sizes = Sizes::of(self.q, self.k, self.v)?;
        let mask = match self.mask {
            Some(mask) => padding::layer(ctx, mask, &sizes, self.past, settings.filter)?,
            None => None,
        };
        let bias = match self.bias {
            Some(bias) => Some(Layer::new(T::read(bias)?, bias.dims(), sizes.scores(), false)?),
            None => None,
        };
        // The last query is the last token, whose keys are all there.
        let offset = Offset::All(sizes.keys as i64 - sizes.queries as i64);
        let reach = settings.causal.then_some(Reach {
            offset,
            causal: true,
            window: [None; 2],
            lengths: None,
        });
        Attend {
            sizes,
            q: &T::read(self.q)?,
            k: &T::read(self.k)?,
            v: &T::read(self.v)?,
            scale: sizes.scale(settings.scale),
            softcap: T::ZERO,
            bias: Bias { mask, reach, hidden: T::LOWEST, bias },
            precision: Precision::Own,
            sinks: None,
            keeps: keeps.then_some(Stage::Biased),
        }
        .run(ctx)
    }
}

//! GroupQueryAttention of com.microsoft: causal attention over a cache whose batch entries are
//! filled to different lengths.

use super::bias::{Bias, Layer, Offset, Reach};
use super::heads;
use super::rotary::{Turn, angles, place, turned_by_head};
use super::scalar::Scalar;
use super::scaled::{Attend, Precision, Sizes, Stage};
use crate::error::{Result, bail, ensure};
use crate::kernel::conv::real::{narrowed, widened, with_real};
use crate::kernel::elementwise::broadcast::owned;
use crate::kernel::simd;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::{Tensor, Value};

const KEY: usize = 1;
const VALUE: usize = 2;
const PAST: [usize; 2] = [3, 4];
const LENGTHS: usize = 5;
const TOTAL: usize = 6;
const ANGLES: [usize; 2] = [7, 8];
const POSITIONS: usize = 9;
const SCORE_BIAS: usize = 10;
const SINKS: usize = 11;
const NORMS: [usize; 2] = [14, 15];

struct GroupQuery {
    heads: usize,
    kv_heads: usize,
    scale: Option<f32>,
    softcap: f32,
    causal: bool,
    /// How many keys a query sees, itself included.
    window: Option<i64>,
    /// Whether queries and keys are turned, and how.
    rotary: bool,
    interleaved: bool,
    /// Whether each softmax has one more term, of score 0.
    smooth: bool,
    /// The epsilon of the normalisation of queries and keys.
    epsilon: f32,
    keeps: Option<Stage>,
    outputs: usize,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=17)?;
    if !spec.has_input(LENGTHS) || !spec.has_input(TOTAL) {
        return Err(spec.invalid("seqlens_k and total_sequence_length are required"));
    }
    let a = spec.attributes;
    for name in ["k_quant_type", "v_quant_type"] {
        if !matches!(a.str(name, "NONE")?.as_str(), "NONE" | "") {
            return Err(spec.unsupported("a quantised cache"));
        }
    }
    if (12..14).any(|i| spec.has_input(i)) {
        return Err(spec.unsupported("the scales of a quantised cache"));
    }
    if spec.has_input(16) {
        return Err(spec.unsupported("query_seqlens"));
    }
    if spec.has_input(NORMS[0]) != spec.has_input(NORMS[1]) {
        return Err(spec.invalid("q_norm_weight and k_norm_weight go together"));
    }
    if a.flag("sliding_window_cache", false)? {
        return Err(spec.unsupported("sliding_window_cache"));
    }
    let keeps = match a.int("qk_output", 0)? {
        0 => None,
        1 => Some(Stage::Biased),
        2 => Some(Stage::Probabilities),
        n => return Err(spec.invalid(format_args!("qk_output is {n}"))),
    };
    let window = match a.int("local_window_size", -1)? {
        -1 => None,
        n if n > 0 => Some(n),
        n => return Err(spec.invalid(format_args!("local_window_size is {n}"))),
    };
    let rotary = a.flag("do_rotary", false)?;
    if rotary && !ANGLES.iter().all(|&i| spec.has_input(i)) {
        return Err(spec.invalid("do_rotary needs cos_cache and sin_cache"));
    }
    if spec.has_input(PAST[0]) != spec.has_input(PAST[1]) {
        return Err(spec.invalid("past_key and past_value go together"));
    }
    Ok(Box::new(GroupQuery {
        heads: heads::required_count(spec, "num_heads")?,
        kv_heads: heads::required_count(spec, "kv_num_heads")?,
        scale: a.float_opt("scale")?.filter(|&scale| scale != 0.0),
        softcap: a.float("softcap", 0.0)?,
        causal: a.flag("causal", true)?,
        window,
        rotary,
        interleaved: a.flag("rotary_interleaved", false)?,
        smooth: a.int("smooth_softmax", 0)? == 1,
        epsilon: a.float("qk_norm_epsilon", 1e-6)?,
        keeps: keeps.filter(|_| spec.wants(3)),
        outputs: (1..4).rev().find(|&i| spec.wants(i)).map_or(1, |last| last + 1),
    }))
}

/// How much of the cache each batch entry has filled.
struct Filled {
    /// Before this run.
    past: Vec<usize>,
    /// After it.
    lengths: Vec<i64>,
    /// The longest after it.
    total: usize,
    /// Whether the run starts all of them.
    prompt: bool,
}

/// Each head of each token divided by its root mean square, times `weight`.
fn normalised(ctx: &mut Context<'_>, x: Tensor, weight: &Tensor, epsilon: f32) -> Result<Tensor> {
    let (dtype, shape) = (x.dtype(), x.shape().clone());
    let size = shape.dim(3);
    ensure!(
        weight.dims() == [size] && weight.dtype() == dtype,
        InvalidInput,
        "GroupQueryAttention: weights {} {} for heads of {size} {dtype}",
        weight.dtype(),
        weight.shape()
    );
    let weight = weight.to_f32_vec()?;
    let wide = widened(&x)?;
    drop(x);
    let mut data = owned::<f32>(ctx, wide)?;
    for head in data.chunks_exact_mut(size.max(1)) {
        let mean = simd::dot(head, head) / size as f32;
        let factor = 1.0 / (mean + epsilon).sqrt();
        head.iter_mut().zip(&weight).for_each(|(x, &w)| *x *= factor * w);
    }
    narrowed(ctx.tensor(shape, data)?, dtype)
}

impl GroupQuery {
    /// Queries, keys and values by head.
    fn apart(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>) -> Result<[Tensor; 3]> {
        let (q, kv_heads) = (inputs.tensor(0)?, self.kv_heads);
        if let Some(k) = inputs.tensor_opt(KEY)? {
            return Ok([
                heads::split(ctx, q, self.heads)?,
                heads::split(ctx, k, kv_heads)?,
                heads::split(ctx, inputs.tensor(VALUE)?, kv_heads)?,
            ]);
        }
        let &[batch, length, width] = q.dims() else {
            bail!(InvalidInput, "GroupQueryAttention: a query of shape {}", q.shape());
        };
        let all = kv_heads.saturating_mul(2).saturating_add(self.heads);
        ensure!(
            width.is_multiple_of(all),
            InvalidInput,
            "GroupQueryAttention: a width of {width} does not divide into {all} heads"
        );
        let size = width / all;
        let mut part = |first: usize, count: usize| {
            let strides = [length * width, size, width, 1];
            heads::part(ctx, q, first * size, [batch, count, length, size], strides)
        };
        Ok([
            part(0, self.heads)?,
            part(self.heads, kv_heads)?,
            part(self.heads + kv_heads, kv_heads)?,
        ])
    }

    fn filled(&self, inputs: &Inputs<'_>, batch: usize, queries: usize) -> Result<Filled> {
        let total = match inputs.tensor(TOTAL)?.to_i64_vec()?[..] {
            [n] if n >= 0 => n as usize,
            ref other => {
                bail!(InvalidInput, "GroupQueryAttention: total_sequence_length is {other:?}")
            }
        };
        let last = inputs.tensor(LENGTHS)?.to_i64_vec()?;
        let lengths: Vec<i64> = last.iter().map(|last| last.saturating_add(1)).collect();
        let prompt = queries == total;
        let past: Option<Vec<usize>> = lengths
            .iter()
            .map(|&length| {
                let length = usize::try_from(length).ok().filter(|&length| length <= total)?;
                if prompt { Some(0) } else { length.checked_sub(queries) }
            })
            .collect();
        match past {
            Some(past) if past.len() == batch => Ok(Filled { past, lengths, total, prompt }),
            _ => bail!(
                InvalidInput,
                "GroupQueryAttention: seqlens_k {last:?} for a batch of {batch} with {queries} \
                 queries, total_sequence_length {total}"
            ),
        }
    }

    /// The row of the angles that belongs to each token.
    fn places(
        &self,
        inputs: &Inputs<'_>,
        filled: &Filled,
        queries: usize,
        rows: usize,
    ) -> Result<Vec<usize>> {
        let ids = match inputs.tensor_opt(POSITIONS)? {
            None => None,
            Some(ids) if ids.len() > 0 => Some(ids.to_i64_vec()?),
            Some(ids) => bail!(InvalidInput, "positions of shape {}", ids.shape()),
        };
        let mut places = Vec::new();
        for (batch, &past) in filled.past.iter().enumerate() {
            for query in 0..queries {
                let at = match &ids {
                    None => past as i64 + query as i64,
                    // Of a prompt's positions the first one counts.
                    Some(ids) if filled.prompt => ids[0].saturating_add(query as i64),
                    Some(ids) => ids.get(batch * queries + query).copied().unwrap_or(-1),
                };
                places.push(place(at, rows)?);
            }
        }
        Ok(places)
    }

    /// The cache with the new keys or values in it.
    fn cached(
        &self,
        ctx: &mut Context<'_>,
        past: Option<Tensor>,
        new: &Tensor,
        filled: &Filled,
    ) -> Result<Tensor> {
        let mut dims = new.dims().to_vec();
        let cache = match past {
            Some(past) if past.shape().dim(2) >= filled.total => past,
            past => {
                dims[2] = filled.total;
                let zeros = heads::zeros(ctx, new, &dims)?;
                match past {
                    Some(past) => heads::written(zeros, &past, &vec![0; filled.past.len()])?,
                    None => zeros,
                }
            }
        };
        heads::written(cache, new, &filled.past)
    }

    fn attend<T: Scalar>(
        &self,
        ctx: &mut Context<'_>,
        inputs: &Inputs<'_>,
        [q, k, v]: [&Tensor; 3],
        filled: &Filled,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let sizes = Sizes::of(q, k, v)?;
        let bias = match inputs.tensor_opt(SCORE_BIAS)? {
            Some(bias) => Some(Layer::new(T::read(bias)?, bias.dims(), sizes.scores(), false)?),
            None => None,
        };
        let sinks = match inputs.tensor_opt(SINKS)? {
            Some(sinks) => {
                ensure!(
                    sinks.dims() == [self.heads],
                    InvalidInput,
                    "GroupQueryAttention: head_sink of shape {}",
                    sinks.shape()
                );
                Some(T::read(sinks)?)
            }
            None if self.smooth => Some(vec![T::ZERO; self.heads].into()),
            None => None,
        };
        let reach = Reach {
            offset: Offset::Each(filled.past.iter().map(|&past| past as i64).collect()),
            causal: self.causal,
            window: [self.window.map(|window| window - 1), None],
            lengths: Some(filled.lengths.clone()),
        };
        let (y, scores) = Attend {
            sizes,
            q: &T::read(q)?,
            k: &T::read(k)?,
            v: &T::read(v)?,
            scale: sizes.scale(self.scale),
            softcap: T::from_f32(self.softcap),
            bias: Bias { mask: bias, reach: Some(reach), hidden: T::HIDDEN, bias: None },
            precision: Precision::Own,
            sinks: sinks.as_deref(),
            keeps: self.keeps,
        }
        .run(ctx)?;
        // Scores out of reach are given as 0.
        let scores = match scores {
            Some(scores) if self.keeps == Some(Stage::Biased) => {
                let shape = scores.shape().clone();
                let mut data = scores.into_vec::<T>()?;
                data.iter_mut().filter(|x| **x == T::HIDDEN).for_each(|x| *x = T::ZERO);
                Some(ctx.tensor(shape, data)?)
            }
            scores => scores,
        };
        Ok((y, scores))
    }
}

impl Kernel for GroupQuery {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let [mut q, mut k, v] = self.apart(ctx, inputs)?;
        let dtype = q.dtype();
        let (batch, queries) = (q.shape().dim(0), q.shape().dim(2));
        ensure!(
            k.dtype() == dtype
                && v.dtype() == dtype
                && k.shape().dim(2) == queries
                && q.shape().dim(3) > 0,
            InvalidInput,
            "GroupQueryAttention of {dtype} {}, {} {} and {}",
            q.shape(),
            k.dtype(),
            k.shape(),
            v.dtype()
        );
        let filled = self.filled(inputs, batch, queries)?;
        if let Some(weight) = inputs.tensor_opt(NORMS[0])? {
            q = normalised(ctx, q, weight, self.epsilon)?;
            k = normalised(ctx, k, inputs.tensor(NORMS[1])?, self.epsilon)?;
        }
        if self.rotary {
            let (angles, dims) = angles(inputs, ANGLES)?;
            let &[rows, pairs] = dims else {
                bail!(InvalidInput, "GroupQueryAttention: angles of shape {dims:?}");
            };
            ensure!(
                pairs <= q.shape().dim(3) / 2,
                InvalidInput,
                "GroupQueryAttention: {pairs} angles for heads of {}",
                q.shape().dim(3)
            );
            let places = self.places(inputs, &filled, queries, rows)?;
            let turn = Turn { pairs, interleaved: self.interleaved };
            q = turned_by_head(ctx, q, turn, angles, &places)?;
            k = turned_by_head(ctx, k, turn, angles, &places)?;
        }
        let mut past = |i: usize| inputs.has(i).then(|| inputs.take_tensor(i)).transpose();
        let (past_k, past_v) = (past(PAST[0])?, past(PAST[1])?);
        let present_k = self.cached(ctx, past_k, &k, &filled)?;
        let present_v = self.cached(ctx, past_v, &v, &filled)?;
        let k = heads::first(ctx, &present_k, filled.total)?;
        let v = heads::first(ctx, &present_v, filled.total)?;
        let (y, scores) = with_real!("GroupQueryAttention", dtype, T => {
            self.attend::<T>(ctx, inputs, [&q, &k, &v], &filled)
        })?;
        let y = narrowed(y, dtype)?;
        let y = heads::merged(ctx, &y)?;
        let scores = scores.map(|scores| narrowed(scores, dtype)).transpose()?;
        let all = [Some(y), Some(present_k), Some(present_v), scores];
        Ok(all.into_iter().flatten().take(self.outputs).map(Value::Tensor).collect())
    }
}

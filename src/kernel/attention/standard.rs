//! Attention of ai.onnx.

use super::bias::{Bias, Layer, Offset, Reach};
use super::heads;
use super::scalar::Scalar;
use super::scaled::{Attend, Precision, Sizes, Stage};
use crate::error::{Result, ensure, err};
use crate::kernel::conv::real::{narrowed, with_real};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::{Data, Tensor, Value};
use std::borrow::Cow;

const MASK: usize = 3;
const PAST_KEY: usize = 4;
const PAST_VALUE: usize = 5;
const LENGTHS: usize = 6;

struct Attention {
    /// Heads of queries and of keys, where the node says.
    heads: [Option<usize>; 2],
    scale: Option<f32>,
    softcap: f32,
    causal: bool,
    window: [Option<i64>; 2],
    precision: Precision,
    /// Which scores are an output.
    keeps: Option<Stage>,
    /// Whether a mask may have fewer keys than there are (from 24).
    shorter: bool,
    /// How many outputs are answered.
    outputs: usize,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=if spec.version < 24 { 6 } else { 7 })?;
    let a = spec.attributes;
    let past = spec.has_input(PAST_KEY);
    if past != spec.has_input(PAST_VALUE) {
        return Err(spec.invalid("past_key and past_value go together"));
    }
    if past && spec.has_input(LENGTHS) {
        return Err(spec.invalid("nonpad_kv_seqlen does not go with past_key and past_value"));
    }
    let window = |name: &str| -> Result<Option<i64>> {
        match a.int(name, -1)? {
            _ if spec.version < 25 => Ok(None),
            -1 => Ok(None),
            n if n >= 0 => Ok(Some(n)),
            n => Err(spec.invalid(format_args!("attribute '{name}' is {n}"))),
        }
    };
    let stage = match a.int("qk_matmul_output_mode", 0)? {
        0 => Stage::Product,
        1 => Stage::Capped,
        2 => Stage::Biased,
        3 => Stage::Probabilities,
        n => return Err(spec.invalid(format_args!("qk_matmul_output_mode is {n}"))),
    };
    let precision = match a.int_opt("softmax_precision")? {
        None => Precision::Own,
        Some(1) => Precision::F32,
        Some(10) => Precision::F16,
        Some(11) => Precision::F64,
        Some(16) => Precision::BF16,
        Some(n) => return Err(spec.unsupported(format_args!("softmax in element type {n}"))),
    };
    Ok(Box::new(Attention {
        heads: [heads::count(spec, "q_num_heads")?, heads::count(spec, "kv_num_heads")?],
        scale: a.float_opt("scale")?,
        softcap: a.float("softcap", 0.0)?,
        causal: a.flag("is_causal", false)?,
        window: [window("left_window_size")?, window("right_window_size")?],
        precision,
        keeps: spec.wants(3).then_some(stage),
        shorter: spec.version >= 24,
        outputs: (1..4).rev().find(|&i| spec.wants(i)).map_or(1, |last| last + 1),
    }))
}

impl Attention {
    /// Queries, keys or values by head.
    fn by_head(
        &self,
        ctx: &mut Context<'_>,
        tensor: &Tensor,
        heads: Option<usize>,
    ) -> Result<Tensor> {
        match (tensor.dims(), heads) {
            (&[_, own, _, _], heads) => {
                ensure!(
                    heads.is_none_or(|heads| heads == own),
                    InvalidInput,
                    "Attention: {own} heads in shape {}, {heads:?} as attribute",
                    tensor.shape()
                );
                Ok(tensor.clone())
            }
            (_, Some(heads)) => heads::split(ctx, tensor, heads),
            _ => Err(err!(
                InvalidInput,
                "Attention: shape {} needs q_num_heads and kv_num_heads",
                tensor.shape()
            )),
        }
    }

    fn mask<'a, T: Scalar>(&self, mask: &'a Tensor, sizes: &Sizes) -> Result<Layer<'a, T>> {
        let values = match mask.data() {
            Data::Bool(v) => {
                Cow::Owned(v.iter().map(|&seen| if seen { T::ZERO } else { T::HIDDEN }).collect())
            }
            _ => T::read(mask)?,
        };
        Layer::new(values, mask.dims(), sizes.scores(), self.shorter)
    }

    /// The rules of position, where there are any.
    fn reach(&self, inputs: &Inputs<'_>, sizes: &Sizes) -> Result<Option<Reach>> {
        let lengths = inputs.tensor_opt(LENGTHS)?.map(Tensor::to_i64_vec).transpose()?;
        if let Some(lengths) = &lengths {
            ensure!(
                lengths.len() == sizes.batch,
                InvalidInput,
                "Attention: {} lengths for a batch of {}",
                lengths.len(),
                sizes.batch
            );
        }
        if !self.causal && self.window == [None; 2] && lengths.is_none() {
            return Ok(None);
        }
        let offset = match (&lengths, inputs.tensor_opt(PAST_KEY)?) {
            (Some(lengths), _) => {
                let queries = sizes.queries as i64;
                Offset::Each(lengths.iter().map(|n| n.saturating_sub(queries)).collect())
            }
            (None, Some(past)) => Offset::All(past.shape().dim(2) as i64),
            (None, None) => Offset::All(0),
        };
        Ok(Some(Reach { offset, causal: self.causal, window: self.window, lengths }))
    }

    fn attend<T: Scalar>(
        &self,
        ctx: &mut Context<'_>,
        inputs: &Inputs<'_>,
        [q, k, v]: [&Tensor; 3],
    ) -> Result<(Tensor, Option<Tensor>)> {
        let sizes = Sizes::of(q, k, v)?;
        let mask = inputs.tensor_opt(MASK)?;
        let bias = Bias {
            mask: mask.map(|mask| self.mask::<T>(mask, &sizes)).transpose()?,
            reach: self.reach(inputs, &sizes)?,
            hidden: T::HIDDEN,
            bias: None,
        };
        Attend {
            sizes,
            q: &T::read(q)?,
            k: &T::read(k)?,
            v: &T::read(v)?,
            scale: sizes.scale(self.scale),
            softcap: T::from_f32(self.softcap),
            bias,
            precision: self.precision,
            sinks: None,
            keeps: self.keeps,
        }
        .run(ctx)
    }
}

impl Kernel for Attention {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (q, k, v) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
        let (rank, dtype) = (q.shape().rank(), q.dtype());
        ensure!(
            [k, v].iter().all(|t| t.shape().rank() == rank) && k.dtype() == dtype,
            InvalidInput,
            "Attention of {} {}, {} {} and {} {}",
            dtype,
            q.shape(),
            k.dtype(),
            k.shape(),
            v.dtype(),
            v.shape()
        );
        ensure!(v.dtype().is_float(), InvalidInput, "Attention to {}", v.dtype());
        let [heads, kv_heads] = self.heads;
        let q = self.by_head(ctx, q, heads)?;
        let k = self.by_head(ctx, k, kv_heads)?;
        let v = self.by_head(ctx, v, kv_heads)?;
        let k = heads::appended(ctx, inputs.tensor_opt(PAST_KEY)?, k)?;
        let v = heads::appended(ctx, inputs.tensor_opt(PAST_VALUE)?, v)?;
        let (y, scores) = with_real!("Attention", dtype, T => {
            self.attend::<T>(ctx, inputs, [&q, &k, &v])
        })?;
        let mut y = narrowed(y, dtype)?;
        if rank == 3 {
            y = heads::merged(ctx, &y)?;
        }
        let scores = scores.map(|scores| narrowed(scores, dtype)).transpose()?;
        let all = [Some(y), Some(k), Some(v), scores];
        Ok(all.into_iter().flatten().take(self.outputs).map(Value::Tensor).collect())
    }
}

//! LinearAttention: attention as a recurrence over a state of one matrix a head.

use super::heads;
use super::scalar::Scalar;
use crate::error::{Result, bail, ensure};
use crate::kernel::conv::real::narrowed;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::{ElementType, Tensor, Value};
use std::borrow::Cow;

const STATE: usize = 3;
const DECAY: usize = 4;
const RATE: usize = 5;

/// Tokens between two looks at the deadline.
const TOKENS: usize = 256;

struct Linear {
    heads: usize,
    kv_heads: usize,
    scale: Option<f32>,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=6)?;
    let a = spec.attributes;
    // An attribute of com.microsoft's.
    if a.int("state_window", 0)? != 0 {
        return Err(spec.unsupported("the states of several tokens"));
    }
    let [heads, kv_heads] =
        [heads::required_count(spec, "q_num_heads")?, heads::required_count(spec, "kv_num_heads")?];
    if !heads.is_multiple_of(kv_heads) {
        return Err(spec.invalid(format_args!("{heads} heads share {kv_heads} heads unevenly")));
    }
    let (decays, corrects) = match a.str("update_rule", "gated_delta")?.as_str() {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => return Err(spec.invalid(format_args!("update_rule is '{other}'"))),
    };
    for (name, input, wanted) in [("decay", DECAY, decays), ("beta", RATE, corrects)] {
        if spec.has_input(input) != wanted {
            let verb = if wanted { "needs" } else { "takes no" };
            return Err(spec.invalid(format_args!("this update_rule {verb} {name}")));
        }
    }
    let scale = Some(a.float("scale", 0.0)?).filter(|&scale| scale != 0.0);
    Ok(Box::new(Linear { heads, kv_heads, scale }))
}

/// The operands in `f32`, tokens outermost within a batch entry.
struct Operands<'a> {
    q: Cow<'a, [f32]>,
    k: Cow<'a, [f32]>,
    v: Cow<'a, [f32]>,
    decay: Option<Cow<'a, [f32]>>,
    rate: Option<Cow<'a, [f32]>>,
    sizes: Sizes,
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    length: usize,
    heads: usize,
    kv_heads: usize,
    /// Size of a key, and of a value.
    key: usize,
    value: usize,
    /// Decays and rates of a token.
    decays: usize,
    rates: usize,
}

/// The part of one head of keys: its state, and the results of the heads that read it.
struct Task<'t> {
    /// Counted over the batch.
    head: usize,
    state: &'t mut [f32],
    /// (heads of the group, length, value)
    out: &'t mut [f32],
}

/// Element block `at` of `width` elements.
fn block(all: &[f32], at: usize, width: usize) -> &[f32] {
    all.get(at * width..(at + 1) * width).unwrap_or(&[])
}

impl Operands<'_> {
    /// Carries the state over the tokens `from..to` and answers each of them.
    fn advance(&self, task: &mut Task<'_>, [from, to]: [usize; 2], scale: f32) {
        let s = self.sizes;
        let group = s.heads / s.kv_heads;
        let (batch, head) = (task.head / s.kv_heads, task.head % s.kv_heads);
        let mut change = vec![0f32; s.value];
        for token in from..to {
            let at = batch * s.length + token;
            let k = block(&self.k, at * s.kv_heads + head, s.key);
            let v = block(&self.v, at * s.kv_heads + head, s.value);
            if let Some(decay) = &self.decay {
                let own = s.decays / s.kv_heads;
                let decay = block(decay, at * s.kv_heads + head, own);
                for (i, row) in task.state.chunks_exact_mut(s.value).enumerate() {
                    let of_row = if own == 1 { 0 } else { i };
                    let factor = decay.get(of_row).map_or(1.0, |g| g.exp());
                    row.iter_mut().for_each(|x| *x *= factor);
                }
            }
            change.copy_from_slice(v);
            if let Some(rate) = &self.rate {
                // What the state already answers for this key is not to be added again.
                for (row, &k) in task.state.chunks_exact(s.value).zip(k) {
                    change.iter_mut().zip(row).for_each(|(c, &x)| *c -= k * x);
                }
                let of_head = if s.rates == 1 { 0 } else { head };
                let rate = block(rate, at, s.rates).get(of_head).copied().unwrap_or(0.0);
                change.iter_mut().for_each(|c| *c *= rate);
            }
            for (row, &k) in task.state.chunks_exact_mut(s.value).zip(k) {
                row.iter_mut().zip(&change).for_each(|(x, &c)| *x += k * c);
            }
            for (i, out) in task.out.chunks_exact_mut(s.length * s.value).enumerate() {
                let q = block(&self.q, at * s.heads + head * group + i, s.key);
                let Some(out) = out.get_mut(token * s.value..(token + 1) * s.value) else {
                    continue;
                };
                for (row, &q) in task.state.chunks_exact(s.value).zip(q) {
                    out.iter_mut().zip(row).for_each(|(o, &x)| *o += q * x);
                }
                out.iter_mut().for_each(|o| *o *= scale);
            }
        }
    }
}

/// Batch, length and width of a packed input.
fn packed(name: &str, tensor: &Tensor) -> Result<[usize; 3]> {
    match *tensor.dims() {
        [batch, length, width] => Ok([batch, length, width]),
        _ => bail!(InvalidInput, "LinearAttention: {name} of shape {}", tensor.shape()),
    }
}

impl Linear {
    fn sizes(&self, inputs: &Inputs<'_>) -> Result<Sizes> {
        let [batch, length, q] = packed("query", inputs.tensor(0)?)?;
        let k = packed("key", inputs.tensor(1)?)?;
        let v = packed("value", inputs.tensor(2)?)?;
        let (heads, kv_heads) = (self.heads, self.kv_heads);
        let (key, value) = (q / heads, v[2] / kv_heads);
        let fits = q == key * heads
            && v[2] == value * kv_heads
            && k == [batch, length, key * kv_heads]
            && v[..2] == [batch, length]
            && key > 0
            && value > 0;
        ensure!(
            fits,
            InvalidInput,
            "LinearAttention: a query of [{batch}, {length}, {q}], a key of {k:?} and a value of \
             {v:?} for {heads} and {kv_heads} heads"
        );
        let optional = |i: usize, name: &str| match inputs.tensor_opt(i)? {
            None => Ok(1),
            Some(tensor) => {
                let [own_batch, own_length, width] = packed(name, tensor)?;
                ensure!(
                    [own_batch, own_length] == [batch, length],
                    InvalidInput,
                    "LinearAttention: {name} of shape {} for a query of [{batch}, {length}, {q}]",
                    tensor.shape()
                );
                Ok::<usize, crate::Error>(width)
            }
        };
        let (decays, rates) = (optional(DECAY, "decay")?, optional(RATE, "beta")?);
        ensure!(
            !inputs.has(DECAY) || decays == kv_heads || decays == kv_heads * key,
            InvalidInput,
            "LinearAttention: {decays} decays for {kv_heads} heads of {key}"
        );
        ensure!(
            rates == 1 || rates == kv_heads,
            InvalidInput,
            "LinearAttention: {rates} rates for {kv_heads} heads"
        );
        Ok(Sizes { batch, length, heads, kv_heads, key, value, decays, rates })
    }

    /// The state to start from, and the type that the state has outside.
    fn state(
        &self,
        ctx: &mut Context<'_>,
        inputs: &Inputs<'_>,
        dims: [usize; 4],
    ) -> Result<(Vec<f32>, ElementType)> {
        let shape = ctx.shape_of::<f32>(&dims)?;
        match inputs.tensor_opt(STATE)? {
            Some(past) => {
                ensure!(
                    *past.shape() == shape && past.dtype().is_float(),
                    InvalidInput,
                    "LinearAttention: a past state of {} {}, expected {shape}",
                    past.dtype(),
                    past.shape()
                );
                Ok((past.to_f32_vec()?, past.dtype()))
            }
            None => Ok((ctx.filled(shape.len(), 0.0)?, inputs.tensor(0)?.dtype())),
        }
    }
}

impl Kernel for Linear {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let dtype = inputs.tensor(0)?.dtype();
        ensure!(
            matches!(dtype, ElementType::F32 | ElementType::F16 | ElementType::BF16),
            InvalidInput,
            "LinearAttention of {dtype}"
        );
        let sizes = self.sizes(inputs)?;
        let Sizes { batch, length, heads, kv_heads, key, value, .. } = sizes;
        let (mut state, state_type) = self.state(ctx, inputs, [batch, kv_heads, key, value])?;
        let shape = ctx.shape_of::<f32>(&[batch, heads, length, value])?;
        let mut out = ctx.filled(shape.len(), 0f32)?;
        let read = |i: usize| inputs.tensor_opt(i)?.map(f32::read).transpose();
        let operands = Operands {
            q: f32::read(inputs.tensor(0)?)?,
            k: f32::read(inputs.tensor(1)?)?,
            v: f32::read(inputs.tensor(2)?)?,
            decay: read(DECAY)?,
            rate: read(RATE)?,
            sizes,
        };
        let scale = self.scale.unwrap_or_else(|| (1.0 / (key as f64).sqrt()) as f32);
        if !out.is_empty() {
            let group = heads / kv_heads;
            let states = state.chunks_exact_mut(key * value);
            let outs = out.chunks_exact_mut(group * length * value);
            let mut tasks: Vec<Task<'_>> = states
                .zip(outs)
                .enumerate()
                .map(|(head, (state, out))| Task { head, state, out })
                .collect();
            for from in (0..length).step_by(TOKENS) {
                ctx.check_deadline()?;
                let to = (from + TOKENS).min(length);
                let ns = (to - from).saturating_mul(key * value * (3 + group)) / 8;
                ctx.threads.split_rows(&mut tasks, 1, ns, |_, tasks| {
                    for task in tasks {
                        operands.advance(task, [from, to], scale);
                    }
                });
            }
        }
        let out = ctx.tensor(shape, out)?;
        let out = heads::merged(ctx, &out)?;
        let state = Tensor::from_vec(&[batch, kv_heads, key, value], state)?;
        let mut outputs = Outputs::new();
        outputs.push(Value::Tensor(narrowed(out, dtype)?));
        outputs.push(Value::Tensor(narrowed(state, state_type)?));
        Ok(outputs)
    }
}

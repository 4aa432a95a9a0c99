//! MultiHeadAttention of com.microsoft: queries, keys and values as they come out of the
//! projections, apart or packed. DecoderMaskedMultiHeadAttention is the same for one query.

use super::beams;
use super::cached::{Cached, Operands, Settings, filled};
use super::heads;
use crate::error::{Result, bail, ensure};
use crate::kernel::elementwise;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::{Tensor, Value};

const KEY: usize = 1;
const VALUE: usize = 2;

/// The numbers of the inputs beyond queries, keys and values.
#[derive(Debug, Clone, Copy)]
struct Places {
    bias: usize,
    mask: usize,
    score_bias: usize,
    past: [usize; 2],
    past_length: usize,
    beams: usize,
}

const PLACES: Places =
    Places { bias: 3, mask: 4, score_bias: 5, past: [6, 7], past_length: 8, beams: 9 };
const DECODER_PLACES: Places =
    Places { bias: 10, mask: 3, score_bias: 4, past: [5, 6], past_length: 7, beams: 9 };

struct MultiHead {
    settings: Settings,
    at: Places,
    /// Whether a cache whose length an input tells is a buffer with room for more.
    shared: bool,
    keeps: bool,
    outputs: usize,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=10)?;
    build(spec, PLACES, true)
}

pub(super) fn prepare_decoder(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=11)?;
    let at = DECODER_PLACES;
    let shared = spec.attributes.flag("past_present_share_buffer", false)?;
    if shared && spec.has_input(at.past[0]) && !spec.has_input(at.past_length) {
        return Err(spec.invalid("a shared buffer needs past_sequence_length"));
    }
    build(spec, at, shared)
}

fn build(spec: &OpSpec<'_>, at: Places, shared: bool) -> Result<Box<dyn Kernel>> {
    if spec.has_input(at.past[0]) != spec.has_input(at.past[1]) {
        return Err(spec.invalid("past_key and past_value go together"));
    }
    Ok(Box::new(MultiHead {
        settings: Settings::new(spec)?,
        at,
        shared,
        keeps: spec.wants(3),
        outputs: (1..4).rev().find(|&i| spec.wants(i)).map_or(1, |last| last + 1),
    }))
}

/// Part `index` of a packed tensor (batch, length, heads, parts, size), by head.
fn unpacked(
    ctx: &mut Context<'_>,
    tensor: &Tensor,
    index: usize,
    [heads, parts]: [usize; 2],
) -> Result<Tensor> {
    let &[batch, length, own_heads, own_parts, size] = tensor.dims() else {
        bail!(InvalidInput, "MultiHeadAttention: a packed input of shape {}", tensor.shape());
    };
    ensure!(
        [own_heads, own_parts] == [heads, parts],
        InvalidInput,
        "MultiHeadAttention: {} is no packed input of {heads} heads and {parts} parts",
        tensor.shape()
    );
    let token = heads * parts * size;
    let strides = [length * token, parts * size, token, 1];
    heads::part(ctx, tensor, index * size, [batch, heads, length, size], strides)
}

/// Queries, keys and values that lie one after the other in each token, by head.
fn thirds(ctx: &mut Context<'_>, tensor: &Tensor, heads: usize) -> Result<[Tensor; 3]> {
    let &[batch, length, width] = tensor.dims() else {
        bail!(InvalidInput, "MultiHeadAttention: a packed input of shape {}", tensor.shape());
    };
    ensure!(
        width.is_multiple_of(3) && (width / 3).is_multiple_of(heads),
        InvalidInput,
        "MultiHeadAttention: {} is no packed input of {heads} heads",
        tensor.shape()
    );
    let size = width / 3 / heads;
    let mut third = |i: usize| {
        let strides = [length * width, size, width, 1];
        heads::part(ctx, tensor, i * (width / 3), [batch, heads, length, size], strides)
    };
    Ok([third(0)?, third(1)?, third(2)?])
}

/// `tensor`, by head, with its share of the projections' bias, which starts at `offset`.
fn biased(ctx: &mut Context<'_>, tensor: Tensor, bias: &Tensor, offset: usize) -> Result<Tensor> {
    let (heads, size) = (tensor.shape().dim(1), tensor.shape().dim(3));
    let end = offset.checked_add(heads.saturating_mul(size));
    ensure!(
        bias.shape().rank() == 1 && end.is_some_and(|end| end <= bias.len()),
        InvalidInput,
        "MultiHeadAttention: a bias of shape {} for {heads} heads of {size} from {offset} on",
        bias.shape()
    );
    let own = heads::part(ctx, bias, offset, [heads, 1, size], [size, size, 1])?;
    elementwise::add(ctx, tensor, own)
}

/// Queries, keys and values by head.
struct Apart {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    /// Whether keys and values come from a cache as they are.
    cached: bool,
}

impl MultiHead {
    fn apart(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>) -> Result<Apart> {
        let heads = self.settings.heads;
        let q = inputs.tensor(0)?;
        let Some(k) = inputs.tensor_opt(KEY)? else {
            if q.shape().rank() == 3 {
                let [q, k, v] = thirds(ctx, q, heads)?;
                return Ok(Apart { q, k, v, cached: false });
            }
            let mut part = |index| unpacked(ctx, q, index, [heads, 3]);
            return Ok(Apart { q: part(0)?, k: part(1)?, v: part(2)?, cached: false });
        };
        let q = heads::split(ctx, q, heads)?;
        match k.shape().rank() {
            5 => {
                let mut part = |index| unpacked(ctx, k, index, [heads, 2]);
                Ok(Apart { q, k: part(0)?, v: part(1)?, cached: false })
            }
            4 => {
                let (k, v) = (k.clone(), inputs.tensor(VALUE)?.clone());
                Ok(Apart { q, k, v, cached: true })
            }
            _ => {
                let k = heads::split(ctx, k, heads)?;
                let v = heads::split(ctx, inputs.tensor(VALUE)?, heads)?;
                Ok(Apart { q, k, v, cached: false })
            }
        }
    }
}

impl Kernel for MultiHead {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let Apart { mut q, mut k, mut v, cached } = self.apart(ctx, inputs)?;
        if let Some(bias) = inputs.tensor_opt(self.at.bias)? {
            let width = q.shape().dim(1).saturating_mul(q.shape().dim(3));
            q = biased(ctx, q, bias, 0)?;
            if !cached {
                k = biased(ctx, k, bias, width)?;
                v = biased(ctx, v, bias, width.saturating_mul(2))?;
            }
        }
        ensure!(
            !cached || !inputs.has(self.at.past[0]),
            InvalidInput,
            "MultiHeadAttention: keys by head come from a cache and take no past"
        );
        let filled = match inputs.tensor_opt(self.at.past_length)? {
            Some(length) if self.shared => Some(filled(length)?),
            _ => None,
        };
        let new = k.shape().dim(2);
        let mut past = |i: usize| inputs.has(i).then(|| inputs.take_tensor(i)).transpose();
        let [at_k, at_v] = self.at.past;
        let (past_k, past_v) = (past(at_k)?, past(at_v)?);
        let mut k = Cached::new(ctx, past_k, k, filled)?;
        let mut v = Cached::new(ctx, past_v, v, filled)?;
        let past = k.all.shape().dim(2).saturating_sub(new);
        if let Some(sources) = inputs.tensor_opt(self.at.beams)?.filter(|_| !cached) {
            k.all = beams::gathered(ctx, &k.all, sources, past)?;
            v.all = beams::gathered(ctx, &v.all, sources, past)?;
        }
        let operands = Operands {
            q: &q,
            k: &k.all,
            v: &v.all,
            past,
            mask: inputs.tensor_opt(self.at.mask)?,
            bias: inputs.tensor_opt(self.at.score_bias)?,
        };
        let (y, scores) = operands.attend(ctx, &self.settings, self.keeps)?;
        let all = [Some(y), Some(k.present), Some(v.present), scores];
        Ok(all.into_iter().flatten().take(self.outputs).map(Value::Tensor).collect())
    }
}

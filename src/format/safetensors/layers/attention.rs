//! Multi-head attention and the transformer's encoder layer, with PyTorch's names.

use super::activation::softmax;
use super::linear::linear;
use super::normalization::layer_norm;
use super::{Kind, Layer, Reader, kind};
use crate::attribute::Attribute;
use crate::error::{Result, ensure};
use crate::format::safetensors::arrange::{assembled, transposed};
use crate::format::safetensors::builder::{Builder, int};
use crate::format::safetensors::signal::Signal;
use crate::graph::{Dim, ValueId};
use crate::tensor::ElementType;

pub(super) const KINDS: &[Kind] = &[
    kind("multihead_attention", |r| {
        let name = r.name()?;
        let mut block = Block::read(r, name)?;
        block.with = r.optional_name("with")?;
        Ok(Box::new(MultiHead(block)))
    }),
    kind("transformer_encoder_layer", read_encoder),
];

/// What attention needs to know besides its three inputs.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Attention {
    /// Numbers a step, over all heads.
    pub(in super::super) size: usize,
    pub(in super::super) heads: usize,
    /// Whether a step sees none of those after it.
    pub(in super::super) causal: bool,
    /// What is added to the scores: see [`mask`].
    pub(in super::super) mask: Option<ValueId>,
}

/// `softmax(q · kᵀ / √d + mask) · v` in heads; all are `[batch, steps, size]`.
pub(in super::super) fn attend(
    b: &mut Builder<'_>,
    q: &Signal,
    k: &Signal,
    v: &Signal,
    attention: Attention,
) -> Result<Signal> {
    let Attention { size, heads, causal, mask } = attention;
    let width = size.checked_div(heads).unwrap_or(0);
    let by_head = [0, 0, int(heads), int(width)];
    let split = |b: &mut Builder<'_>, x: &Signal, order: [i64; 4]| -> Result<Signal> {
        let shape = b.ints("shape", &by_head)?;
        let mut dims: Vec<Dim> = x.dims.iter().take(2).cloned().collect();
        dims.extend([Dim::Fixed(heads), Dim::Fixed(width)]);
        let y = b.then("Reshape", x, &[shape], &[], dims)?;
        let dims = order.iter().filter_map(|&axis| y.dims.get(axis as usize).cloned()).collect();
        b.then("Transpose", &y, &[], &[("perm", Attribute::Ints(order.to_vec()))], dims)
    };
    // Scaled before the product: there are fewer numbers than scores.
    let factor = b.scalar("factor", 1.0 / (width as f64).sqrt())?;
    let scaled = b.like("Mul", q, &[factor], &[])?;
    let heads_of_q = split(b, &scaled, [0, 2, 1, 3])?;
    let heads_of_k = split(b, k, [0, 2, 3, 1])?;
    let heads_of_v = split(b, v, [0, 2, 1, 3])?;
    let keys = heads_of_k.dims.get(3).cloned().unwrap_or(Dim::Unknown);
    let dims = heads_of_q.with(3, keys);
    let mut scores = b.then("MatMul", &heads_of_q, &[heads_of_k.value], &[], dims)?;
    if let Some(mask) = mask {
        scores = b.like("Add", &scores, &[mask], &[])?;
    }
    if causal {
        let later = causal_mask(b, q, k)?;
        scores = b.like("Add", &scores, &[later], &[])?;
    }
    let shares = softmax(b, "Softmax", &scores, 3)?;
    let mixed = b.then("MatMul", &shares, &[heads_of_v.value], &[], heads_of_q.dims.clone())?;
    let order = [("perm", Attribute::Ints(vec![0, 2, 1, 3]))];
    let mut dims = mixed.dims.clone();
    dims.swap(1, 2);
    let mixed = b.then("Transpose", &mixed, &[], &order, dims)?;
    let shape = b.ints("shape", &[0, 0, int(size)])?;
    b.then("Reshape", &mixed, &[shape], &[], q.with_last(size))
}

/// The lowest number of the computing type: after a softmax nothing is left of what it is added to.
fn lowest(b: &Builder<'_>) -> f64 {
    if b.dtype == ElementType::F64 { f64::MIN } else { f64::from(f32::MIN) }
}

/// What is added to scores so that steps are passed over: `[batch, 1, 1, steps]` from a mask
/// `[batch, steps]`, whose numbers other than 0 say what to see, or what to pass over.
pub(in super::super) fn mask(
    b: &mut Builder<'_>,
    steps: &Signal,
    says_what_to_pass_over: bool,
) -> Result<ValueId> {
    let key = (steps.value, says_what_to_pass_over);
    if let Some(&mask) = b.masks.get(&key) {
        return Ok(mask);
    }
    steps.expect_rank(2)?;
    steps.expect_batch_at(0)?;
    let flags = b.cast_to(steps.clone(), ElementType::Bool)?;
    let (zero, lowest) = (b.scalar("zero", 0.0)?, lowest(b));
    let lowest = b.scalar("lowest", lowest)?;
    let (yes, no) = if says_what_to_pass_over { (lowest, zero) } else { (zero, lowest) };
    let dtype = b.dtype;
    let added = b.value("Where", &[flags.value, yes, no], &[], dtype, flags.dims.clone())?;
    let axes = b.ints("axes", &[1, 2])?;
    let mut dims = flags.dims.clone();
    dims.insert(1, Dim::Fixed(1));
    dims.insert(1, Dim::Fixed(1));
    let mask = b.value("Unsqueeze", &[added, axes], &[], dtype, dims)?;
    b.masks.insert(key, mask);
    Ok(mask)
}

/// The lowest number where a key comes after the query, 0 elsewhere: `[queries, keys]`.
fn causal_mask(b: &mut Builder<'_>, q: &Signal, k: &Signal) -> Result<ValueId> {
    let dim = |x: &Signal| x.dims.get(1).cloned().unwrap_or(Dim::Unknown);
    let (queries, keys) = (b.positions(q, 1)?, b.positions(k, 1)?);
    let axes = b.ints("axes", &[1])?;
    let column = vec![dim(q), Dim::Fixed(1)];
    let queries = b.value("Unsqueeze", &[queries, axes], &[], ElementType::I64, column)?;
    let dims = vec![dim(q), dim(k)];
    let seen = b.value("LessOrEqual", &[keys, queries], &[], ElementType::Bool, dims.clone())?;
    let (zero, lowest) = (b.scalar("zero", 0.0)?, lowest(b));
    let lowest = b.scalar("lowest", lowest)?;
    let dtype = b.dtype;
    b.value("Where", &[seen, zero, lowest], &[], dtype, dims)
}

/// PyTorch's `MultiheadAttention`.
#[derive(Debug)]
struct Block {
    name: String,
    size: usize,
    heads: usize,
    bias: bool,
    causal: bool,
    /// The mask's name, and whether it says what to pass over.
    mask: Option<(String, bool)>,
    /// Where keys and values come from, if not from the queries' sequence.
    with: Option<String>,
}

impl Block {
    /// Reads the keys; `name` is the prefix of the tensors.
    fn read(r: &Reader<'_>, name: String) -> Result<Block> {
        let (size, heads) = (r.size("size")?, r.size("heads")?);
        if size == 0 || size.checked_rem(heads) != Some(0) {
            return Err(r.error(format_args!("{heads} heads do not divide a size of {size}")));
        }
        let bias = r.flag_or("bias", true)?;
        let causal = r.flag_or("causal", false)?;
        let seen = r.optional_name("mask")?;
        let passed_over = r.optional_name("key_padding_mask")?;
        if seen.is_some() && passed_over.is_some() {
            return Err(r.error("\"mask\" and \"key_padding_mask\": give one of them"));
        }
        let mask = seen.map(|name| (name, false)).or(passed_over.map(|name| (name, true)));
        Ok(Block { name, size, heads, bias, causal, mask, with: None })
    }

    fn build(&self, b: &mut Builder<'_>, x: &Signal) -> Result<Signal> {
        x.expect_rank(3)?;
        x.expect_batch_at(0)?;
        x.expect_last(self.size)?;
        let memory = match &self.with {
            None => x.clone(),
            Some(name) => {
                let memory = b.named(name)?;
                memory.expect_rank(3)?;
                memory.expect_batch_at(0)?;
                memory.expect_last(self.size)?;
                b.cast(memory)?
            }
        };
        let mask = match &self.mask {
            None => None,
            Some((name, passed_over)) => {
                let steps = b.named(name)?;
                Some(mask(b, &steps, *passed_over)?)
            }
        };
        let q = self.projected(b, x, 0)?;
        let k = self.projected(b, &memory, 1)?;
        let v = self.projected(b, &memory, 2)?;
        let (size, heads, causal) = (self.size, self.heads, self.causal);
        let y = attend(b, &q, &k, &v, Attention { size, heads, causal, mask })?;
        linear(b, &y, &format!("{}.out_proj", self.name), size, size, self.bias)
    }

    /// One of the three products whose weights lie in one tensor: queries, keys, values.
    fn projected(&self, b: &mut Builder<'_>, x: &Signal, third: usize) -> Result<Signal> {
        let size = self.size;
        let whole = size.saturating_mul(3);
        let rows = third.saturating_mul(size)..(third + 1).saturating_mul(size);
        let form = format!(".{third}");
        let name = format!("{}.in_proj_weight", self.name);
        let weight = b.weight_as(&name, &[whole, size], &form, |tensor| {
            transposed(&assembled(&[size, size], &[(tensor, rows.clone())])?)
        })?;
        let y = b.then("MatMul", x, &[weight], &[], x.with_last(size))?;
        if !self.bias {
            return Ok(y);
        }
        let name = format!("{}.in_proj_bias", self.name);
        let bias = b.weight_as(&name, &[whole], &form, |tensor| {
            assembled(&[size], &[(tensor, rows.clone())])
        })?;
        b.like("Add", &y, &[bias], &[])
    }
}

#[derive(Debug)]
struct MultiHead(Block);

impl Layer for MultiHead {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        self.0.build(b, &x)
    }
}

/// PyTorch's `TransformerEncoderLayer`.
#[derive(Debug)]
struct Encoder {
    name: String,
    attention: Block,
    feed_forward: usize,
    activation: &'static str,
    norm_first: bool,
    eps: f32,
}

fn read_encoder(r: &Reader<'_>) -> Result<Box<dyn Layer>> {
    let name = r.name()?;
    let attention = Block::read(r, format!("{name}.self_attn"))?;
    let feed_forward = r.size("feed_forward")?;
    let activation = r.one_of("activation", &["relu", "gelu"])?;
    let norm_first = r.flag_or("norm_first", false)?;
    let eps = r.eps()?;
    Ok(Box::new(Encoder { name, attention, feed_forward, activation, norm_first, eps }))
}

impl Encoder {
    fn norm(&self, b: &mut Builder<'_>, x: &Signal, which: u8) -> Result<Signal> {
        let weight = format!("{}.norm{which}.weight", self.name);
        let bias = format!("{}.norm{which}.bias", self.name);
        let bias = self.attention.bias.then_some(bias.as_str());
        layer_norm(b, x, Some(&weight), bias, self.attention.size, self.eps)
    }

    fn feed_forward(&self, b: &mut Builder<'_>, x: &Signal) -> Result<Signal> {
        let (size, inner, bias) = (self.attention.size, self.feed_forward, self.attention.bias);
        let y = linear(b, x, &format!("{}.linear1", self.name), size, inner, bias)?;
        let y = match self.activation {
            "gelu" => {
                let exact = [("approximate", Attribute::String(b"none".to_vec()))];
                b.like("Gelu", &y, &[], &exact)?
            }
            _ => b.like("Relu", &y, &[], &[])?,
        };
        linear(b, &y, &format!("{}.linear2", self.name), inner, size, bias)
    }
}

impl Layer for Encoder {
    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        ensure!(self.feed_forward > 0, InvalidModel, "\"feed_forward\" is 0");
        x.expect_rank(3)?;
        x.expect_last(self.attention.size)?;
        if self.norm_first {
            let y = self.norm(b, &x, 1)?;
            let y = self.attention.build(b, &y)?;
            let x = b.like("Add", &x, &[y.value], &[])?;
            let y = self.norm(b, &x, 2)?;
            let y = self.feed_forward(b, &y)?;
            return b.like("Add", &x, &[y.value], &[]);
        }
        let y = self.attention.build(b, &x)?;
        let y = b.like("Add", &x, &[y.value], &[])?;
        let x = self.norm(b, &y, 1)?;
        let y = self.feed_forward(b, &x)?;
        let y = b.like("Add", &x, &[y.value], &[])?;
        self.norm(b, &y, 2)
    }
}

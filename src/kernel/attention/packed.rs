//! Attention of com.microsoft and its quantised form QAttention: the projections to queries, keys
//! and values are part of them.

use super::cached::{Cached, Operands, Settings, filled};
use super::heads;
use super::scalar::Scalar;
use crate::attribute::Attributes;
use crate::error::{Result, bail, ensure};
use crate::kernel::concat::concat;
use crate::kernel::conv::real::{narrowed, with_real};
use crate::kernel::elementwise;
use crate::kernel::inner::{Inner, lent};
use crate::kernel::simd::packed::{Epilogue, PackedMatrix, Strides};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::{ElementType, Shape, Tensor, Value};

const WEIGHTS: usize = 1;
const BIAS: usize = 2;

/// The numbers of the inputs that come after the projections.
#[derive(Debug, Clone, Copy)]
struct Places {
    mask: usize,
    past: usize,
    score_bias: Option<usize>,
    past_length: Option<usize>,
}

const PLACES: Places = Places { mask: 3, past: 4, score_bias: Some(5), past_length: Some(6) };
const LEVEL_PLACES: Places = Places { mask: 5, past: 8, score_bias: None, past_length: None };

/// The inputs of QAttention in the order in which the product of 8-bit integers takes them: both
/// sides, their scales, their zero points, the bias.
const LEVELS: [usize; 7] = [0, WEIGHTS, 3, 4, 6, 7, BIAS];

struct Attention {
    settings: Settings,
    at: Places,
    /// Widths of queries, keys and values, where they are not equal.
    widths: Option<[usize; 3]>,
    /// Whether the cache is a buffer with room for more.
    shared: bool,
    /// The weights, where they are constant, and the type they had.
    weights: Option<(PackedMatrix, ElementType)>,
    /// The projection of quantised operands.
    levels: Option<Inner>,
    present: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=7)?;
    let a = spec.attributes;
    if a.flag("do_rotary", false)? {
        return Err(spec.unsupported("do_rotary"));
    }
    let settings = Settings::new(spec)?;
    let widths = match a.ints("qkv_hidden_sizes")? {
        [] => None,
        &[q, k, v] => match [q, k, v].map(usize::try_from) {
            [Ok(q), Ok(k), Ok(v)] => Some([q, k, v]),
            _ => return Err(spec.invalid("negative qkv_hidden_sizes")),
        },
        other => {
            let n = other.len();
            return Err(spec.invalid(format_args!("{n} qkv_hidden_sizes, expected 3")));
        }
    };
    let mut weights = None;
    if let Some(w) = spec.constant(WEIGHTS) {
        let &[rows, columns] = w.dims() else {
            return Err(spec.invalid(format_args!("weights of shape {}", w.shape())));
        };
        if matches!(w.dtype(), ElementType::F32 | ElementType::F16 | ElementType::BF16) {
            let strides = Strides { row: columns, column: 1 };
            let packed = PackedMatrix::of_weights(rows, columns, strides, &f32::read(w)?)?;
            weights = Some((packed, w.dtype()));
        }
    }
    let shared = a.flag("past_present_share_buffer", false)?;
    let at = PLACES;
    if shared && spec.has_input(at.past) && !at.past_length.is_some_and(|i| spec.has_input(i)) {
        return Err(spec.invalid("a shared buffer needs past_sequence_length"));
    }
    let present = spec.wants(1);
    Ok(Box::new(Attention { settings, at, widths, shared, weights, levels: None, present }))
}

pub(super) fn prepare_quantised(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(5..=9)?;
    if spec.attributes.flag("do_rotary", false)? {
        return Err(spec.unsupported("do_rotary"));
    }
    if spec.attributes.flag("past_present_share_buffer", false)? {
        return Err(spec.unsupported("a shared buffer, of which no input says how full it is"));
    }
    let inputs = LEVELS.map(|i| spec.inputs.get(i).copied().unwrap_or_default());
    let product = ("com.microsoft", "MatMulIntegerToFloat", 1);
    let levels = Inner::new(spec, product, &Attributes::default(), &inputs)?;
    Ok(Box::new(Attention {
        settings: Settings::new(spec)?,
        at: LEVEL_PLACES,
        widths: None,
        shared: false,
        weights: None,
        levels: Some(levels),
        present: spec.wants(1),
    }))
}

impl Attention {
    /// Rows and columns of the weights.
    fn weight_dims(&self, weights: Option<&Tensor>) -> Result<[usize; 2]> {
        match (&self.weights, weights.map(Tensor::dims)) {
            (Some((packed, _)), _) => Ok([packed.k(), packed.n()]),
            (None, Some(&[rows, columns])) => Ok([rows, columns]),
            (None, other) => bail!(InvalidInput, "Attention: weights of shape {other:?}"),
        }
    }

    /// input · weights + bias.
    fn project(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>) -> Result<Tensor> {
        if let Some(levels) = &self.levels {
            let x = inputs.tensor(0)?;
            ensure!(
                x.shape().rank() == 3,
                InvalidInput,
                "QAttention: an input of shape {}",
                x.shape()
            );
            return levels.run(ctx, LEVELS.map(|i| lent(inputs, i)));
        }
        let (x, weights) = (inputs.tensor(0)?, inputs.tensor_opt(WEIGHTS)?);
        let [rows, columns] = self.weight_dims(weights)?;
        let dtype = x.dtype();
        let &[batch, length, width] = x.dims() else {
            bail!(InvalidInput, "Attention: an input of shape {}", x.shape());
        };
        let own = self.weights.as_ref().map(|(_, dtype)| *dtype);
        let fits = own.or(weights.map(Tensor::dtype)) == Some(dtype);
        ensure!(
            width == rows && fits,
            InvalidInput,
            "Attention: an input of {dtype} {} for weights of {rows} rows",
            x.shape()
        );
        let shape = Shape::new(&[batch, length, columns])?;
        let product = with_real!("Attention", dtype, T => {
            self.product::<T>(ctx, x, weights, [batch * length, rows, columns])
        })?;
        let product = narrowed(product.reshaped(shape)?, dtype)?;
        match inputs.tensor_opt(BIAS)? {
            Some(bias) => {
                ensure!(
                    bias.dims() == [columns],
                    InvalidInput,
                    "Attention: a bias of shape {} for {columns} columns",
                    bias.shape()
                );
                elementwise::add(ctx, product, bias.clone())
            }
            None => Ok(product),
        }
    }

    fn product<T: Projecting>(
        &self,
        ctx: &mut Context<'_>,
        x: &Tensor,
        weights: Option<&Tensor>,
        [m, k, n]: [usize; 3],
    ) -> Result<Tensor> {
        let shape = ctx.shape_of::<T>(&[m, n])?;
        let mut out = ctx.filled(shape.len(), T::ZERO)?;
        T::project(ctx, self, [m, k, n], x, weights, &mut out)?;
        ctx.tensor(shape, out)
    }
}

/// A precision that the projections are computed in.
trait Projecting: Scalar {
    /// `out = x · weights`
    fn project(
        ctx: &Context<'_>,
        attention: &Attention,
        sizes: [usize; 3],
        x: &Tensor,
        weights: Option<&Tensor>,
        out: &mut [Self],
    ) -> Result<()>;
}

impl Projecting for f32 {
    fn project(
        ctx: &Context<'_>,
        attention: &Attention,
        [m, k, n]: [usize; 3],
        x: &Tensor,
        weights: Option<&Tensor>,
        out: &mut [f32],
    ) -> Result<()> {
        let x = f32::read(x)?;
        match (&attention.weights, weights) {
            (Some((packed, _)), _) => {
                packed.multiply_on(ctx.threads, m, &x, out, Epilogue::default());
            }
            (None, Some(weights)) => {
                let strides = Strides { row: n, column: 1 };
                let packed = PackedMatrix::new(k, n, strides, &f32::read(weights)?);
                packed.multiply_on(ctx.threads, m, &x, out, Epilogue::default());
            }
            (None, None) => bail!(InvalidInput, "Attention: the weights are missing"),
        }
        Ok(())
    }
}

impl Projecting for f64 {
    fn project(
        _: &Context<'_>,
        _: &Attention,
        sizes: [usize; 3],
        x: &Tensor,
        weights: Option<&Tensor>,
        out: &mut [f64],
    ) -> Result<()> {
        match weights {
            Some(weights) => f64::product(sizes, &f64::read(x)?, &f64::read(weights)?, out),
            None => bail!(InvalidInput, "Attention: the weights are missing"),
        }
    }
}

impl Kernel for Attention {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let inputs: &Inputs<'_> = inputs;
        let qkv = self.project(ctx, inputs)?;
        let (heads, all) = (self.settings.heads, qkv.shape().dim(2));
        let [q, k, v] = self.widths.unwrap_or([all / 3; 3]);
        let sum = q.checked_add(k).and_then(|sum| sum.checked_add(v));
        ensure!(
            sum == Some(all) && [q, k, v].iter().all(|width| width.is_multiple_of(heads)),
            InvalidInput,
            "Attention: widths {q}, {k} and {v} of {all} columns, for {heads} heads"
        );
        let (batch, length) = (qkv.shape().dim(0), qkv.shape().dim(1));
        let mut by_head = |offset: usize, width: usize| {
            let size = width / heads;
            let strides = [length * all, size, all, 1];
            heads::part(ctx, &qkv, offset, [batch, heads, length, size], strides)
        };
        let (q, new_k, new_v) = (by_head(0, q)?, by_head(q, k)?, by_head(q + k, v)?);
        let optional = |at: Option<usize>| match at {
            Some(at) => inputs.tensor_opt(at),
            None => Ok(None),
        };
        let [past_k, past_v] = match inputs.tensor_opt(self.at.past)? {
            Some(past) => halves(ctx, past)?.map(Some),
            None => [None, None],
        };
        let filled = match (self.shared, optional(self.at.past_length)?) {
            (true, Some(tensor)) => Some(filled(tensor)?),
            _ => None,
        };
        let k = Cached::new(ctx, past_k, new_k, filled)?;
        let v = Cached::new(ctx, past_v, new_v, filled)?;
        let operands = Operands {
            q: &q,
            k: &k.all,
            v: &v.all,
            past: k.all.shape().dim(2).saturating_sub(length),
            mask: inputs.tensor_opt(self.at.mask)?,
            bias: optional(self.at.score_bias)?,
        };
        let (y, _) = operands.attend(ctx, &self.settings, false)?;
        let mut outputs = Outputs::new();
        outputs.push(Value::Tensor(y));
        if self.present {
            outputs.push(Value::Tensor(stacked(ctx, &k.present, &v.present)?));
        }
        Ok(outputs)
    }

    fn holds(&self, i: usize) -> bool {
        // The weights are the second operand of the quantised product, too.
        i == WEIGHTS && (self.weights.is_some() || self.levels.as_ref().is_some_and(|l| l.holds(i)))
    }

    fn packed_bytes(&self) -> u64 {
        self.weights.as_ref().map_or(0, |(packed, _)| packed.bytes())
            + self.levels.as_ref().map_or(0, Inner::packed_bytes)
    }
}

/// The keys and the values of a cache (2, batch, heads, length, size).
fn halves(ctx: &mut Context<'_>, past: &Tensor) -> Result<[Tensor; 2]> {
    let &[2, batch, heads, length, size] = past.dims() else {
        bail!(InvalidInput, "Attention: a past of shape {}", past.shape());
    };
    let half = past.len() / 2;
    let mut part = |offset: usize| {
        let strides = [heads * length * size, length * size, size, 1];
        heads::part(ctx, past, offset, [batch, heads, length, size], strides)
    };
    Ok([part(0)?, part(half)?])
}

/// The cache that [`halves`] takes apart.
fn stacked(ctx: &mut Context<'_>, keys: &Tensor, values: &Tensor) -> Result<Tensor> {
    let mut dims = vec![1];
    dims.extend_from_slice(keys.dims());
    let shape = Shape::new(&dims)?;
    let parts = [keys.clone().reshaped(shape.clone())?, values.clone().reshaped(shape)?];
    concat(ctx, &[&parts[0], &parts[1]], 0)
}

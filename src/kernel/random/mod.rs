//! Operators that draw random numbers. ONNX prescribes no generator: with a `seed` a node draws the
//! same numbers in every run, without one others each time.

mod generator;

pub(super) use generator::{Generator, Seed};

use super::cast::{cast, element_type};
use super::registry::{Entry, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::error::{Result, bail, ensure};
use crate::tensor::{Element, ElementType, Shape};

pub(super) const OPS: &[Entry] = &[
    onnx("Bernoulli", 15, prepare_bernoulli),
    onnx("Multinomial", 7, prepare_multinomial),
    onnx("RandomNormal", 1, |s| prepare(s, normal(s)?, false)),
    onnx("RandomNormalLike", 1, |s| prepare(s, normal(s)?, true)),
    onnx("RandomUniform", 1, |s| prepare(s, uniform(s)?, false)),
    onnx("RandomUniformLike", 1, |s| prepare(s, uniform(s)?, true)),
];

/// How many numbers are drawn between two looks at the deadline.
const PIECE: usize = 1 << 16;

#[derive(Debug, Clone, Copy)]
enum Distribution {
    Uniform { low: f64, high: f64 },
    Normal { mean: f64, scale: f64 },
}

fn uniform(spec: &OpSpec<'_>) -> Result<Distribution> {
    let low = spec.attributes.float("low", 0.0)?.into();
    Ok(Distribution::Uniform { low, high: spec.attributes.float("high", 1.0)?.into() })
}

fn normal(spec: &OpSpec<'_>) -> Result<Distribution> {
    let mean = spec.attributes.float("mean", 0.0)?.into();
    Ok(Distribution::Normal { mean, scale: spec.attributes.float("scale", 1.0)?.into() })
}

/// The seed attribute of these operators, a float.
fn seed(spec: &OpSpec<'_>) -> Result<Seed> {
    Ok(Seed::new(spec.attributes.float_opt("seed")?.map(|seed| seed.to_bits().into())))
}

/// The `dtype` attribute, where it is there.
fn dtype(spec: &OpSpec<'_>) -> Result<Option<ElementType>> {
    spec.attributes.int_opt("dtype")?.map(|code| element_type(spec, code)).transpose()
}

/// RandomUniform, RandomNormal and their Like forms.
struct Random {
    distribution: Distribution,
    /// The result's shape; `None` for that of the input.
    shape: Option<Shape>,
    /// The result's type; `None` for that of the input.
    dtype: Option<ElementType>,
    seed: Seed,
}

fn prepare(spec: &OpSpec<'_>, distribution: Distribution, like: bool) -> Result<Box<dyn Kernel>> {
    spec.arity(if like { 1..=1 } else { 0..=0 })?;
    let mut dtype = dtype(spec)?;
    let mut shape = None;
    if !like {
        let Some(dims) = spec.attributes.ints_opt("shape")? else {
            return Err(spec.invalid("attribute 'shape' is missing"));
        };
        shape = Some(Shape::from_i64(dims)?);
        dtype = dtype.or(Some(ElementType::F32));
    }
    if let Some(other) = dtype.filter(|t| !t.is_float()) {
        return Err(spec.invalid(format_args!("dtype is {other}, expected a type of floats")));
    }
    Ok(Box::new(Random { distribution, shape, dtype, seed: seed(spec)? }))
}

/// `len` numbers of a distribution, each through `to`.
fn draw<T: Element>(
    ctx: &mut Context<'_>,
    distribution: Distribution,
    generator: &mut Generator,
    len: usize,
    to: impl Fn(f64) -> T,
) -> Result<Vec<T>> {
    let mut out = ctx.buffer::<T>(len)?;
    while out.len() < len {
        ctx.check_deadline()?;
        let count = PIECE.min(len - out.len());
        match distribution {
            Distribution::Uniform { low, high } => {
                out.extend((0..count).map(|_| to(low + (high - low) * generator.uniform())));
            }
            Distribution::Normal { mean, scale } => {
                let pairs = (0..count.div_ceil(2)).flat_map(|_| generator.normals());
                out.extend(pairs.take(count).map(|z| to(mean + scale * z)));
            }
        }
    }
    Ok(out)
}

impl Kernel for Random {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (shape, dtype) = match (&self.shape, self.dtype) {
            (Some(shape), dtype) => (shape.clone(), dtype.unwrap_or(ElementType::F32)),
            (None, dtype) => {
                let like = inputs.tensor(0)?;
                (like.shape().clone(), dtype.unwrap_or(like.dtype()))
            }
        };
        ensure!(
            dtype.is_float(),
            InvalidInput,
            "random numbers of {dtype}: give a dtype of floats"
        );
        let mut generator = self.seed.generator();
        let (of, len) = (self.distribution, shape.len());
        let drawn = if dtype == ElementType::F64 {
            let values = draw::<f64>(ctx, of, &mut generator, len, |v| v)?;
            ctx.tensor(shape, values)?
        } else {
            let values = draw::<f32>(ctx, of, &mut generator, len, |v| v as f32)?;
            ctx.tensor(shape, values)?
        };
        one(cast(ctx, drawn, dtype)?)
    }

    fn is_random(&self) -> bool {
        self.seed.is_random()
    }
}

struct Bernoulli {
    dtype: Option<ElementType>,
    seed: Seed,
}

fn prepare_bernoulli(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let dtype = dtype(spec)?;
    ensure!(dtype != Some(ElementType::String), InvalidModel, "Bernoulli: numbers of type str");
    Ok(Box::new(Bernoulli { dtype, seed: seed(spec)? }))
}

impl Kernel for Bernoulli {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let input = inputs.tensor(0)?;
        ensure!(
            input.dtype().is_float(),
            InvalidInput,
            "Bernoulli: probabilities of {}, expected floats",
            input.dtype()
        );
        ctx.shape_of::<f64>(input.dims())?;
        let probabilities = input.to_f64_vec()?;
        let mut generator = self.seed.generator();
        let mut out = ctx.buffer::<bool>(probabilities.len())?;
        for piece in probabilities.chunks(PIECE) {
            ctx.check_deadline()?;
            for &p in piece {
                ensure!((0.0..=1.0).contains(&p), InvalidInput, "Bernoulli: {p} is no probability");
                out.push(generator.uniform() < p);
            }
        }
        let drawn = ctx.tensor(input.shape().clone(), out)?;
        one(cast(ctx, drawn, self.dtype.unwrap_or(input.dtype()))?)
    }

    fn is_random(&self) -> bool {
        self.seed.is_random()
    }
}

struct Multinomial {
    samples: usize,
    dtype: ElementType,
    seed: Seed,
}

fn prepare_multinomial(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let dtype = dtype(spec)?.unwrap_or(ElementType::I32);
    if !matches!(dtype, ElementType::I32 | ElementType::I64) {
        return Err(spec.invalid(format_args!("dtype is {dtype}, expected int32 or int64")));
    }
    let samples = spec.attributes.int("sample_size", 1)?;
    match usize::try_from(samples) {
        Ok(samples) => Ok(Box::new(Multinomial { samples, dtype, seed: seed(spec)? })),
        Err(_) => Err(spec.invalid(format_args!("sample_size is {samples}"))),
    }
}

impl Kernel for Multinomial {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let input = inputs.tensor(0)?;
        let &[batch, classes] = input.dims() else {
            bail!(InvalidInput, "Multinomial: expected a matrix, got shape {}", input.shape());
        };
        ensure!(
            input.dtype().is_float(),
            InvalidInput,
            "Multinomial: log-probabilities of {}, expected floats",
            input.dtype()
        );
        let shape = ctx.shape_of::<i64>(&[batch, self.samples])?;
        ctx.shape_of::<f64>(input.dims())?;
        let mut out = ctx.buffer::<i64>(shape.len())?;
        let logits = input.to_f64_vec()?;
        let mut generator = self.seed.generator();
        let mut sums = Vec::with_capacity(classes);
        let rows = if self.samples > 0 { batch } else { 0 };
        for i in 0..rows {
            let row = logits.get(i * classes..(i + 1) * classes).unwrap_or(&[]);
            cumulative_weights(row, &mut sums)?;
            let total = sums.last().copied().unwrap_or(0.0);
            let end = out.len() + self.samples;
            while out.len() < end {
                ctx.check_deadline()?;
                for _ in 0..PIECE.min(end - out.len()) {
                    let at = generator.uniform() * total;
                    // Classes of no weight end where the one before does, and are passed over.
                    let class = sums.partition_point(|&sum| sum <= at).min(classes - 1);
                    out.push(class as i64);
                }
            }
        }
        let drawn = ctx.tensor(shape, out)?;
        one(cast(ctx, drawn, self.dtype)?)
    }

    fn is_random(&self) -> bool {
        self.seed.is_random()
    }
}

/// The running sums of the weights that logarithms stand for, up to a common factor.
fn cumulative_weights(logits: &[f64], sums: &mut Vec<f64>) -> Result<()> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    ensure!(
        largest.is_finite() && !logits.iter().any(|v| v.is_nan()),
        InvalidInput,
        "Multinomial: log-probabilities that give no distribution"
    );
    let mut sum = 0.0;
    sums.clear();
    sums.extend(logits.iter().map(|v| {
        sum += (v - largest).exp();
        sum
    }));
    Ok(())
}

#[cfg(test)]
mod tests;

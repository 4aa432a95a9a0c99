//! Scaled dot-product attention itself: softmax(scale · Q·Kᵀ + bias) · V.
//!
//! The query heads that share a head of keys lie side by side, so that their queries are the rows
//! of one matrix. It is worked through in blocks of rows, which bounds the scores that are alive;
//! the blocks depend on the shapes of one batch entry alone, and so does each answer's bits.

use super::bias::Bias;
use super::scalar::Scalar;
use crate::error::{Result, bail, ensure};
use crate::kernel::Context;
use crate::kernel::conv::FirstError;
use crate::tensor::Tensor;
use half::{bf16, f16};

/// Rows of scores worked on at a time.
const ROWS: usize = 128;

/// The sizes of one attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub batch: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values; each serves as many query heads.
    pub kv_heads: usize,
    pub queries: usize,
    pub keys: usize,
    /// The length of a query and a key.
    pub head: usize,
    /// The length of a value.
    pub value: usize,
}

impl Sizes {
    /// The sizes of queries, keys and values by head: (batch, heads, length, size).
    ///
    /// # Errors
    /// `InvalidInput` where they do not go together.
    pub fn of(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Sizes> {
        let (
            &[batch, heads, queries, head],
            &[k_batch, kv_heads, keys, k_head],
            &[v_batch, v_heads, v_keys, value],
        ) = (q.dims(), k.dims(), v.dims())
        else {
            bail!(
                InvalidInput,
                "attention takes queries, keys and values by head, got shapes {}, {} and {}",
                q.shape(),
                k.shape(),
                v.shape()
            );
        };
        let fits = k_batch == batch
            && v_batch == batch
            && k_head == head
            && v_heads == kv_heads
            && v_keys == keys;
        ensure!(
            fits,
            InvalidInput,
            "queries, keys and values of shapes {}, {} and {} do not go together",
            q.shape(),
            k.shape(),
            v.shape()
        );
        ensure!(
            kv_heads > 0 && heads.is_multiple_of(kv_heads),
            InvalidInput,
            "{heads} heads of queries do not share {kv_heads} heads of keys evenly"
        );
        ensure!(head > 0 && value > 0, InvalidInput, "heads must not be empty");
        Ok(Sizes { batch, heads, kv_heads, queries, keys, head, value })
    }

    /// The shape of the scores.
    pub fn scores(&self) -> [usize; 4] {
        [self.batch, self.heads, self.queries, self.keys]
    }

    /// 1/√head, or `scale` where there is one.
    pub fn scale<T: Scalar>(&self, scale: Option<f32>) -> T {
        T::from_f64(scale.map_or_else(|| 1.0 / (self.head as f64).sqrt(), f64::from))
    }
}

/// The scores on their way to the result: which of them are an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// scale · Q·Kᵀ
    Product,
    /// Capped.
    Capped,
    /// With all that is added.
    Biased,
    /// After softmax.
    Probabilities,
}

/// The type softmax is computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    /// That of all else.
    Own,
    F16,
    BF16,
    F32,
    F64,
}

impl Precision {
    fn softmax<T: Scalar>(self, rows: &mut [T], width: usize) {
        match self {
            Precision::Own => T::softmax_rows(rows, width),
            Precision::F16 => converted::<T, f32>(rows, width, |x| f16::from_f32(x).to_f32()),
            Precision::BF16 => converted::<T, f32>(rows, width, |x| bf16::from_f32(x).to_f32()),
            Precision::F32 => converted::<T, f32>(rows, width, |x| x),
            Precision::F64 => converted::<T, f64>(rows, width, |x| x),
        }
    }
}

/// Softmax of the rows rounded to a type that `round` stands for, and rounded to it again.
fn converted<T: Scalar, U: Scalar>(rows: &mut [T], width: usize, round: impl Fn(U) -> U) {
    let mut other: Vec<U> = rows.iter().map(|x| round(U::from_f64(x.wide()))).collect();
    U::softmax_rows(&mut other, width);
    for (x, y) in rows.iter_mut().zip(other) {
        *x = T::from_f64(round(y).wide());
    }
}

/// One attention over queries, keys and values by head, each contiguous.
pub(super) struct Attend<'a, T: Scalar> {
    pub sizes: Sizes,
    pub q: &'a [T],
    pub k: &'a [T],
    pub v: &'a [T],
    pub scale: T,
    /// Scores become cap · tanh(score / cap) where this is above 0.
    pub softcap: T,
    pub bias: Bias<'a, T>,
    pub precision: Precision,
    /// For each head a score without a value, which takes its share of the weights.
    pub sinks: Option<&'a [T]>,
    /// The scores that are wanted.
    pub keeps: Option<Stage>,
}

/// A block of rows: queries of the heads that share a head of keys.
struct Task<'t, T> {
    /// The head of keys, counted over the batch.
    kv_head: usize,
    /// The first row.
    first: usize,
    out: &'t mut [T],
    /// Where scores are kept; empty where they are not.
    kept: &'t mut [T],
}

/// `count` rows of a matrix from row `first` on.
fn rows<T>(all: &[T], first: usize, count: usize, width: usize) -> &[T] {
    all.get(first * width..(first + count) * width).unwrap_or(&[])
}

impl<T: Scalar> Attend<'_, T> {
    /// The result (batch, heads, queries, value size), and the scores that are wanted.
    ///
    /// # Errors
    /// `LimitExceeded`, `DeadlineExceeded`, `Cancelled`.
    pub fn run(&self, ctx: &mut Context<'_>) -> Result<(Tensor, Option<Tensor>)> {
        let s = self.sizes;
        let shape = ctx.shape_of::<T>(&[s.batch, s.heads, s.queries, s.value])?;
        let scores = match self.keeps {
            Some(_) => Some(ctx.shape_of::<T>(&s.scores())?),
            None => None,
        };
        let mut out = ctx.filled(shape.len(), T::ZERO)?;
        let mut kept = ctx.filled(scores.as_ref().map_or(0, |scores| scores.len()), T::ZERO)?;
        // Without keys there is nothing to weigh: the result is 0.
        if s.keys > 0 && !out.is_empty() {
            self.compute(ctx, &mut out, &mut kept)?;
        }
        let out = ctx.tensor(shape, out)?;
        let kept = scores.map(|scores| ctx.tensor(scores, kept)).transpose()?;
        Ok((out, kept))
    }

    fn compute(&self, ctx: &mut Context<'_>, out: &mut [T], kept: &mut [T]) -> Result<()> {
        let s = self.sizes;
        let block = s.heads / s.kv_heads * s.queries;
        let height = ROWS.min(block);
        // The scores that are alive at once.
        ctx.shape_of::<T>(&[ctx.threads.size(), height, s.keys])?;
        let mut tasks = Vec::new();
        let mut kept = kept.chunks_mut(block.saturating_mul(s.keys));
        for (kv_head, out) in out.chunks_mut(block * s.value).enumerate() {
            let mut kept = kept.next().unwrap_or_default().chunks_mut(height * s.keys);
            for (i, out) in out.chunks_mut(height * s.value).enumerate() {
                let kept = kept.next().unwrap_or_default();
                tasks.push(Task { kv_head, first: i * height, out, kept });
            }
        }
        let ns = (height * s.keys).saturating_mul((s.head + s.value) / 16 + 2);
        let error = FirstError::default();
        for tasks in tasks.chunks_mut(32 * ctx.threads.size().max(1)) {
            ctx.check_deadline()?;
            ctx.threads.split_rows(tasks, 1, ns, |_, tasks| {
                for task in tasks {
                    error.note(self.block(task));
                }
            });
        }
        error.into_result()
    }

    fn block(&self, task: &mut Task<'_, T>) -> Result<()> {
        let s = self.sizes;
        let (kv_head, first) = (task.kv_head, task.first);
        let group = s.heads / s.kv_heads;
        let count = task.out.len() / s.value;
        let q = rows(self.q, kv_head * group * s.queries + first, count, s.head);
        let q: Vec<T> = q.iter().map(|&x| x * self.scale).collect();
        let keys = rows(self.k, kv_head * s.keys, s.keys, s.head);
        let values = rows(self.v, kv_head * s.keys, s.keys, s.value);
        let mut scores = vec![T::ZERO; count * s.keys];
        T::product_transposed([count, s.head, s.keys], &q, keys, &mut scores)?;
        self.keep(Stage::Product, &scores, task);
        if self.softcap > T::ZERO {
            scores.iter_mut().for_each(|x| *x = *x / self.softcap);
            T::tanh_in_place(&mut scores);
            scores.iter_mut().for_each(|x| *x = *x * self.softcap);
        }
        self.keep(Stage::Capped, &scores, task);
        let batch = kv_head / s.kv_heads;
        let head = |row: usize| kv_head % s.kv_heads * group + (first + row) / s.queries;
        let mut hidden = vec![false; count];
        let mut bias = vec![T::ZERO; if self.bias.is_empty() { 0 } else { s.keys }];
        for (i, row) in scores.chunks_exact_mut(s.keys).enumerate() {
            if !bias.is_empty() {
                let at = [batch, head(i), (first + i) % s.queries];
                hidden[i] = self.bias.fill(at, &mut bias);
                row.iter_mut().zip(&bias).for_each(|(x, &b)| *x += b);
            }
            hidden[i] |= row.iter().all(|&x| x == T::HIDDEN);
        }
        self.keep(Stage::Biased, &scores, task);
        match self.sinks {
            None => self.precision.softmax(&mut scores, s.keys),
            Some(sinks) => {
                for (i, row) in scores.chunks_exact_mut(s.keys).enumerate() {
                    let mut longer = row.to_vec();
                    longer.push(sinks.get(head(i)).copied().unwrap_or(T::HIDDEN));
                    self.precision.softmax(&mut longer, s.keys + 1);
                    row.copy_from_slice(&longer[..s.keys]);
                }
            }
        }
        // A query that sees nothing answers 0; softmax would have made its weights NaN.
        for (row, &hidden) in scores.chunks_exact_mut(s.keys).zip(&hidden) {
            if hidden {
                row.fill(T::ZERO);
            }
        }
        self.keep(Stage::Probabilities, &scores, task);
        T::product([count, s.keys, s.value], &scores, values, task.out)
    }

    fn keep(&self, stage: Stage, scores: &[T], task: &mut Task<'_, T>) {
        if self.keeps == Some(stage) && task.kept.len() == scores.len() {
            task.kept.copy_from_slice(scores);
        }
    }
}

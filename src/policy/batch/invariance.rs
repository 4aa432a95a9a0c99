//! Whether a row's answer depends on the rows beside it: tried when a lane is made, before
//! anybody's rows share a run.

use super::group::{Rows, Want, joinable, rows_of};
use super::run::cut;
use crate::error::{Result, bail, err};
use crate::graph::{Dim, ValueType};
use crate::model::{Answer, Ctx, Features, Model, Prediction, Request, Signature, contain};
use crate::tensor::{Data, ElementType, Shape, Tensor, Value};
use half::{bf16, f16};
use std::fmt;

/// How far answers may differ between batches where bit-equality is not asked for: relative to
/// the largest number in the row's answer.
pub(super) const TOLERANCE: f64 = 1e-3;
/// Most rows of the probe; fewer where a row takes long.
const ROWS: usize = 33;
/// What the probe's rows may take together, alone, in nanoseconds.
const BUDGET_NS: u64 = 500_000_000;
/// Most values of one row of the probe.
const MAX_WIDTH: usize = 1 << 20;
/// Taken for a dimension that the model leaves open.
const OPEN_DIM: usize = 4;

/// What a probe with random rows, alone and in batches of several sizes, found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Invariance {
    /// Not tried, as nothing is batched.
    NotNeeded,
    /// The same bits alone and in every batch that was tried.
    BitEqual,
    /// Not the same bits, but within 0.1 %.
    Close {
        /// The worst difference, relative to the largest number in the row's answer.
        worst: f64,
    },
    /// Answers depend on the batch.
    Differs {
        /// The worst difference, relative to the largest number in the row's answer; infinite
        /// where a label differs.
        worst: f64,
    },
    /// Rows cannot be joined, or their answers not told apart.
    NotRows {
        /// Why.
        reason: String,
    },
    /// It could not be tried.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl Invariance {
    /// Whether requests may share runs.
    pub(super) fn allows(&self, bits: bool) -> bool {
        match self {
            Invariance::BitEqual => true,
            Invariance::Close { .. } | Invariance::Unknown { .. } => !bits,
            Invariance::NotNeeded | Invariance::Differs { .. } | Invariance::NotRows { .. } => {
                false
            }
        }
    }
}

impl fmt::Display for Invariance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invariance::NotNeeded => f.write_str("nothing is batched"),
            Invariance::BitEqual => f.write_str("the same bits alone and in a batch"),
            Invariance::Close { worst } => write!(f, "answers differ by {worst:.1e} in a batch"),
            Invariance::Differs { worst } => {
                write!(f, "answers depend on the batch: they differ by {worst:.1e}")
            }
            Invariance::NotRows { reason } => write!(f, "rows cannot share a run: {reason}"),
            Invariance::Unknown { reason } => write!(f, "not tried: {reason}"),
        }
    }
}

/// Tries it, with batches of at most `most` rows.
pub(super) fn probe(inner: &dyn Model, most: usize, preferred: &[usize]) -> Invariance {
    let signature = inner.signature();
    if !joinable(&signature) {
        return Invariance::NotRows { reason: "an input has no rows along its first axis".into() };
    }
    if !inner.info().deterministic {
        return Invariance::Unknown { reason: "the model answers at random".into() };
    }
    let affordable = BUDGET_NS / inner.estimated_ns(1).max(1);
    let count = most.min(ROWS).min(usize::try_from(affordable).unwrap_or(ROWS)).max(2);
    let alone = random_rows(inner, &signature, count)
        .and_then(|rows| Ok((answers_alone(inner, &signature, &rows)?, rows)));
    let (alone, rows) = match alone {
        Ok(alone) => alone,
        Err(e) => return Invariance::Unknown { reason: e.message().to_string() },
    };
    let mut sizes: Vec<usize> = [2, 3, 8, count].into_iter().chain(preferred.to_vec()).collect();
    sizes.retain(|size| (2..=count).contains(size));
    sizes.sort_unstable();
    sizes.dedup();
    let mut worst = 0f64;
    for size in sizes {
        // The last rows, in turned order: a row stands elsewhere in each batch.
        let chosen: Vec<usize> = (count - size..count).rev().collect();
        match answers_together(inner, &rows, &chosen) {
            Ok(together) => {
                for (i, answer) in chosen.iter().zip(&together) {
                    worst = worst.max(alone.get(*i).map_or(0.0, |a| difference(a, answer)));
                }
            }
            Err(e) => {
                let reason = format!("a batch of {size} rows: {}", e.message());
                return Invariance::NotRows { reason };
            }
        }
    }
    match worst {
        0.0 => Invariance::BitEqual,
        _ if worst <= TOLERANCE => Invariance::Close { worst },
        _ => Invariance::Differs { worst },
    }
}

/// Rows in the model's own form, one a member.
fn random_rows(inner: &dyn Model, signature: &Signature, count: usize) -> Result<Vec<Rows>> {
    let mut random = SplitMix(0x6d6f_6465_6c73_6572);
    (0..count)
        .map(|_| {
            let inputs = signature
                .inputs
                .iter()
                .map(|spec| match &spec.ty {
                    Some(ValueType::Tensor { dtype, dims: Some(dims) }) => {
                        random_row(&mut random, *dtype, dims)
                    }
                    _ => bail!(Unsupported, "input '{}' has no declared shape", spec.name),
                })
                .collect::<Result<Vec<_>>>()?;
            let request = Request::Row(Features::Inputs(inputs));
            rows_of(inner, signature, &request, usize::MAX)?
                .ok_or_else(|| err!(Unsupported, "a row of the declared shapes is no row"))
        })
        .collect()
}

fn random_row(random: &mut SplitMix, dtype: ElementType, dims: &[Dim]) -> Result<Tensor> {
    let tail = dims.iter().skip(1).map(|dim| match dim {
        Dim::Fixed(n) => *n,
        _ => OPEN_DIM,
    });
    let shape: Vec<usize> = [1].into_iter().chain(tail).collect();
    let shape = Shape::new(&shape)?;
    let n = shape.len();
    if n > MAX_WIDTH {
        bail!(Unsupported, "a row of {n} values is too large to try");
    }
    // Whole numbers stay 0 or 1: they may be indices.
    let data = match dtype {
        ElementType::F32 => Data::F32((0..n).map(|_| random.float() as f32).collect()),
        ElementType::F64 => Data::F64((0..n).map(|_| random.float()).collect()),
        ElementType::F16 => Data::F16((0..n).map(|_| f16::from_f64(random.float())).collect()),
        ElementType::BF16 => Data::BF16((0..n).map(|_| bf16::from_f64(random.float())).collect()),
        ElementType::I8 => Data::I8((0..n).map(|_| random.bit().into()).collect()),
        ElementType::I16 => Data::I16((0..n).map(|_| random.bit().into()).collect()),
        ElementType::I32 => Data::I32((0..n).map(|_| random.bit().into()).collect()),
        ElementType::I64 => Data::I64((0..n).map(|_| random.bit().into()).collect()),
        ElementType::U8 => Data::U8((0..n).map(|_| random.bit().into()).collect()),
        ElementType::U16 => Data::U16((0..n).map(|_| random.bit().into()).collect()),
        ElementType::U32 => Data::U32((0..n).map(|_| random.bit().into()).collect()),
        ElementType::U64 => Data::U64((0..n).map(|_| random.bit().into()).collect()),
        ElementType::Bool => Data::Bool((0..n).map(|_| random.bit()).collect()),
        other => bail!(Unsupported, "an input of {other} cannot be guessed"),
    };
    Tensor::new(shape, data)
}

fn answers_alone(
    inner: &dyn Model,
    signature: &Signature,
    rows: &[Rows],
) -> Result<Vec<Prediction>> {
    rows.iter()
        .map(|row| contain(|| inner.call(&row.request(signature), &mut Ctx::default()))?.into_row())
        .collect()
}

fn answers_together(inner: &dyn Model, rows: &[Rows], chosen: &[usize]) -> Result<Vec<Prediction>> {
    let inputs = rows.first().map_or(0, |row| row.inputs.len());
    let joined = (0..inputs)
        .map(|i| {
            let column: Vec<Tensor> =
                chosen.iter().filter_map(|row| rows.get(*row)?.inputs.get(i).cloned()).collect();
            Tensor::concat_rows(&column)
        })
        .collect::<Result<Vec<_>>>()?;
    let request = Request::Batch(Features::Inputs(joined));
    let reply = contain(|| inner.call(&request, &mut Ctx::default()))?;
    (0..chosen.len()).map(|i| cut(&reply, Want::Row, i..i + 1, chosen.len())?.into_row()).collect()
}

/// 0 for the same bits; otherwise the largest difference of two numbers, relative to the largest
/// number of the answer; infinite where something that is no number differs.
fn difference(a: &Prediction, b: &Prediction) -> f64 {
    let (Some(x), Some(y)) = (numbers(a), numbers(b)) else { return f64::INFINITY };
    if x.len() != y.len() || labels(a) != labels(b) {
        return f64::INFINITY;
    }
    let largest = x.iter().chain(&y).filter(|v| v.is_finite()).fold(0f64, |m, v| m.max(v.abs()));
    let mut worst = 0f64;
    for (x, y) in x.iter().zip(&y) {
        if x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan()) {
            continue;
        }
        let relative = (x - y).abs() / largest;
        // Zeros of unlike sign are not the same bits either.
        worst = worst.max(if relative.is_nan() { f64::INFINITY } else { relative.max(1e-300) });
    }
    worst
}

/// All numbers of an answer that may be inexact.
fn numbers(p: &Prediction) -> Option<Vec<f64>> {
    let mut all: Vec<f64> = match &p.answer {
        Answer::Value(v) => vec![*v],
        Answer::Values(v) => v.clone(),
        Answer::Outputs(outputs) => {
            let mut all = Vec::new();
            for (_, value) in outputs {
                match value {
                    Value::Tensor(t) if t.dtype().is_float() => all.extend(t.to_f64_vec().ok()?),
                    Value::Tensor(_) => {}
                    _ => return None,
                }
            }
            all
        }
        _ => Vec::new(),
    };
    all.extend(p.scores.iter().flatten());
    all.extend(p.probability);
    Some(all)
}

/// What must be the same exactly.
fn labels(p: &Prediction) -> Option<Answer> {
    match &p.answer {
        Answer::Value(_) | Answer::Values(_) => None,
        Answer::Outputs(outputs) => {
            let exact = outputs
                .iter()
                .filter(|(_, value)| value.as_tensor().is_ok_and(|t| !t.dtype().is_float()));
            Some(Answer::Outputs(exact.cloned().collect()))
        }
        label => Some(label.clone()),
    }
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Within ±2.
    fn float(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 51) as f64 - 2.0
    }

    fn bit(&mut self) -> bool {
        self.next() >> 63 == 1
    }
}

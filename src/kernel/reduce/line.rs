//! One line of elements to one value.

use crate::kernel::simd;
use crate::tensor::Element;

/// What a line is reduced to.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)] // ONNX's names
pub enum Reduction {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    L1,
    L2,
    LogSum,
    LogSumExp,
    SumSquare,
}

/// A type whose lines can be reduced.
pub trait Reducible: Element + Copy {
    /// The reduction of `line`; an empty one gives the operation's neutral element.
    fn reduce(reduction: Reduction, line: &[Self]) -> Self;

    /// As [`Reducible::reduce`], for a line that is zero but at the places `support`, which ascend;
    /// `None` where the zeros matter.
    fn reduce_sparse(_: Reduction, _: &[Self], _: &[u32]) -> Option<Self> {
        None
    }
}

/// An extremum that hands NaN on.
macro_rules! extremum {
    ($line:expr, $start:expr, $op:tt) => {
        $line.iter().fold($start, |m, &v| if v $op m || v != v { v } else { m })
    };
}

fn log_sum_exp(max: f64, terms: impl Iterator<Item = f64>) -> f64 {
    // All −∞, or ∞ among them: nothing to shift by.
    let shift = if max.is_finite() { max } else { 0.0 };
    terms.map(|v| (v - shift).exp()).sum::<f64>().ln() + shift
}

/// As [`wide_sum`], of a line that is zero, as are its terms, but at the places `support`.
fn sparse_sum(line: &[f32], support: &[u32], term: impl Fn(f64) -> f64) -> f64 {
    let mut sums = [0f64; 8];
    for &i in support {
        if let Some(&v) = line.get(i as usize) {
            sums[i as usize % 8] += term(v.into());
        }
    }
    sums.iter().sum()
}

/// The sum of `term` of each element, in eight running sums.
fn wide_sum(line: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    let mut sums = [0f64; 8];
    let (chunks, rest) = line.as_chunks::<8>();
    for chunk in chunks {
        for (s, &v) in sums.iter_mut().zip(chunk) {
            *s += term(v.into());
        }
    }
    for (s, &v) in sums.iter_mut().zip(rest) {
        *s += term(v.into());
    }
    sums.iter().sum()
}

impl Reducible for f32 {
    fn reduce(reduction: Reduction, line: &[f32]) -> f32 {
        let wide = || line.iter().map(|&v| f64::from(v));
        match reduction {
            Reduction::Sum => simd::sum(line),
            Reduction::Mean => simd::sum(line) / line.len() as f32,
            Reduction::Max => extremum!(line, f32::NEG_INFINITY, >),
            Reduction::Min => extremum!(line, f32::INFINITY, <),
            Reduction::Prod => line.iter().product(),
            Reduction::L1 => wide_sum(line, f64::abs) as f32,
            Reduction::L2 => wide_sum(line, |v| v * v).sqrt() as f32,
            Reduction::LogSum => simd::sum(line).ln(),
            Reduction::LogSumExp => log_sum_exp(simd::max(line).into(), wide()) as f32,
            Reduction::SumSquare => simd::dot(line, line),
        }
    }

    fn reduce_sparse(reduction: Reduction, line: &[f32], support: &[u32]) -> Option<f32> {
        Some(match reduction {
            Reduction::L1 => sparse_sum(line, support, f64::abs) as f32,
            Reduction::L2 => sparse_sum(line, support, |v| v * v).sqrt() as f32,
            _ => return None,
        })
    }
}

impl Reducible for f64 {
    fn reduce(reduction: Reduction, line: &[f64]) -> f64 {
        let values = || line.iter().copied();
        match reduction {
            Reduction::Sum => values().sum(),
            Reduction::Mean => values().sum::<f64>() / line.len() as f64,
            Reduction::Max => extremum!(line, f64::NEG_INFINITY, >),
            Reduction::Min => extremum!(line, f64::INFINITY, <),
            Reduction::Prod => values().product(),
            Reduction::L1 => values().map(f64::abs).sum(),
            Reduction::L2 => values().map(|v| v * v).sum::<f64>().sqrt(),
            Reduction::LogSum => values().sum::<f64>().ln(),
            Reduction::LogSumExp => {
                log_sum_exp(values().fold(f64::NEG_INFINITY, f64::max), values())
            }
            Reduction::SumSquare => values().map(|v| v * v).sum(),
        }
    }

    fn reduce_sparse(reduction: Reduction, line: &[f64], support: &[u32]) -> Option<f64> {
        let values = || support.iter().filter_map(|&i| line.get(i as usize).copied());
        Some(match reduction {
            Reduction::L1 => values().map(f64::abs).sum(),
            Reduction::L2 => values().map(|v| v * v).sum::<f64>().sqrt(),
            _ => return None,
        })
    }
}

macro_rules! integer {
    ($($t:ty),+) => {$(
        impl Reducible for $t {
            fn reduce(reduction: Reduction, line: &[$t]) -> $t {
                let wide = || line.iter().map(|&v| v as f64);
                let sum = || line.iter().fold(0 as $t, |a, &v| a.wrapping_add(v));
                match reduction {
                    Reduction::Sum => sum(),
                    Reduction::Mean => {
                        let sum: i128 = line.iter().map(|&v| i128::from(v)).sum();
                        sum.checked_div(line.len() as i128).unwrap_or(0) as $t
                    }
                    Reduction::Max => line.iter().copied().max().unwrap_or(<$t>::MIN),
                    Reduction::Min => line.iter().copied().min().unwrap_or(<$t>::MAX),
                    Reduction::Prod => line.iter().fold(1 as $t, |a, &v| a.wrapping_mul(v)),
                    Reduction::L1 => line.iter().fold(0 as $t, |a, &v| {
                        a.wrapping_add(i128::from(v).unsigned_abs() as $t)
                    }),
                    Reduction::L2 => wide().map(|v| v * v).sum::<f64>().sqrt() as $t,
                    Reduction::LogSum => wide().sum::<f64>().ln() as $t,
                    Reduction::LogSumExp => {
                        log_sum_exp(wide().fold(f64::NEG_INFINITY, f64::max), wide()) as $t
                    }
                    Reduction::SumSquare => line.iter().fold(0 as $t, |a, &v| {
                        a.wrapping_add(v.wrapping_mul(v))
                    }),
                }
            }
        }
    )+};
}
integer!(i8, i16, i32, i64, u8, u16, u32, u64);

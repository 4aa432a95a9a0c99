//! Reductions of `f32` slices, in an order that depends on the length alone.

use super::elementary::exp_shifted;
use super::{fma, versioned};

/// Accumulators side by side: four AVX2 registers, which hides the latency of addition.
const LANES: usize = 32;
/// Elements summed in `f32` before the sum is carried on in `f64`, so that long sums keep their
/// precision.
const BLOCK: usize = 4096;

/// The sum of the accumulators by halves, and of what was left over. Out of line: seen together
/// with the loops before it, its pairs make the compiler choose vectors of two elements there.
#[inline(never)]
fn fold(acc: &[f32; LANES], tail: f32) -> f32 {
    let mut acc = *acc;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            acc[i] += acc[i + width];
        }
        width /= 2;
    }
    acc[0] + tail
}

/// The sum of what `$block::<FMA>` answers for each block. A macro: a closure would be compiled for
/// the baseline, where a fused multiplication is a call.
macro_rules! blocked {
    ($x:expr, $block:ident $(, $arg:expr)*) => {{
        let mut total = -0f64;
        for block in $x.chunks(BLOCK) {
            total += f64::from($block::<FMA>(block $(, $arg)*));
        }
        total as f32
    }};
}

#[inline(always)]
fn sum_block<const FMA: bool>(x: &[f32]) -> f32 {
    let mut acc = [0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for c in chunks {
        for (a, v) in acc.iter_mut().zip(c) {
            *a += v;
        }
    }
    fold(&acc, rest.iter().sum())
}

#[inline(always)]
pub(super) fn sum_body<const FMA: bool>(x: &[f32]) -> f32 {
    if x.len() < LANES {
        return 0.0 + x.iter().sum::<f32>();
    }
    blocked!(x, sum_block)
}

#[inline(always)]
fn centered_block<const FMA: bool>(x: &[f32], mean: f32) -> f32 {
    let mut acc = [0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for c in chunks {
        for (a, v) in acc.iter_mut().zip(c) {
            let d = v - mean;
            *a = fma::<FMA>(d, d, *a);
        }
    }
    let mut tail = 0f32;
    for v in rest {
        let d = v - mean;
        tail = fma::<FMA>(d, d, tail);
    }
    fold(&acc, tail)
}

#[inline(always)]
fn centered_body<const FMA: bool>(x: &[f32], mean: f32) -> f32 {
    if x.is_empty() {
        return 0.0;
    }
    blocked!(x, centered_block, mean)
}

#[inline(always)]
fn dot_body<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let mut acc = [0f32; LANES];
    let (ca, ra) = a.as_chunks::<LANES>();
    let (cb, rb) = b.as_chunks::<LANES>();
    for (x, y) in ca.iter().zip(cb) {
        for i in 0..LANES {
            acc[i] = fma::<FMA>(x[i], y[i], acc[i]);
        }
    }
    let mut tail = 0f32;
    for (x, y) in ra.iter().zip(rb) {
        tail = fma::<FMA>(*x, *y, tail);
    }
    fold(&acc, tail)
}

#[inline(always)]
pub(super) fn max_body<const FMA: bool>(x: &[f32]) -> f32 {
    let larger = |m: f32, v: f32| if v > m { v } else { m };
    if x.len() < LANES {
        return x.iter().copied().fold(f32::NEG_INFINITY, larger);
    }
    let mut acc = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for c in chunks {
        for (a, &v) in acc.iter_mut().zip(c) {
            *a = larger(*a, v);
        }
    }
    acc.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

versioned! {
    /// The sum.
    pub fn sum(x: &[f32]) -> f32 = sum_body;
}
versioned! {
    /// The sum of `(x − mean)²`.
    pub fn centered_square_sum(x: &[f32], mean: f32) -> f32 = centered_body;
}
versioned! {
    /// The inner product of as many elements as the shorter slice has.
    pub fn dot(a: &[f32], b: &[f32]) -> f32 = dot_body;
}
versioned! {
    /// The largest element that is not NaN; −∞ where there is none.
    pub fn max(x: &[f32]) -> f32 = max_body;
}
versioned! {
    /// e^(x − shift) in place for x up to the shift; below e⁻⁸⁷ it is 0.
    pub fn exp_minus(x: &mut [f32], shift: f32) = exp_shifted;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reductions_agree_with_f64() {
        for n in [0, 1, 31, 32, 33, 100, 5000, 70_001] {
            let x: Vec<f32> = (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
            let exact: f64 = x.iter().map(|&v| f64::from(v)).sum();
            assert!((f64::from(sum(&x)) - exact).abs() <= 1e-3, "sum of {n}");
            let exact: f64 = x.iter().map(|&v| (f64::from(v) - 0.5).powi(2)).sum();
            let got = f64::from(centered_square_sum(&x, 0.5));
            assert!((got - exact).abs() <= 1e-5 * exact.max(1.0), "squares of {n}");
            let exact: f64 = x.iter().map(|&v| f64::from(v).powi(2)).sum();
            assert!((f64::from(dot(&x, &x)) - exact).abs() <= 1e-5 * exact.max(1.0));
            let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(max(&x), largest);
        }
    }

    #[test]
    fn the_maximum_skips_nan() {
        assert_eq!(max(&[f32::NAN, 1.0]), 1.0);
        assert_eq!(max(&[]), f32::NEG_INFINITY);
    }
}

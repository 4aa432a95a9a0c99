//! Linear functions of rows: inner products with a few rows of weights, or with panels of many.
//!
//! Products are rounded before they are added, on every CPU, and the order of a sum depends on
//! its length alone.

#[cfg(target_arch = "x86_64")]
use super::has_avx2;
use super::versioned;

/// Sums side by side within an inner product, and targets side by side in a panel.
const LANES: usize = 8;
/// Rows that share the loads of a panel.
const TALL: usize = 4;

#[inline(always)]
fn fold(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}

/// Rows with T targets, each sum in eight running sums.
fn narrow_rows<const T: usize>(x: &[f32], weights: &[f32], bias: &[f32], out: &mut [f32]) {
    let features = (weights.len() / T).max(1);
    let mut heads: [&[[f32; LANES]]; T] = [&[]; T];
    let mut tails: [&[f32]; T] = [&[]; T];
    for (t, w) in weights.chunks_exact(features).enumerate().take(T) {
        (heads[t], tails[t]) = w.as_chunks::<LANES>();
    }
    let (whole, rest) = (heads[0].len(), tails[0].len());
    let (rows, _) = out.as_chunks_mut::<T>();
    for (x, out) in x.chunks_exact(features).zip(rows) {
        let (head, tail) = x.as_chunks::<LANES>();
        let mut sums = [[0f32; LANES]; T];
        for i in 0..whole {
            let x = &head[i];
            for t in 0..T {
                let w = &heads[t][i];
                for k in 0..LANES {
                    sums[t][k] += x[k] * w[k];
                }
            }
        }
        for t in 0..T {
            let mut sum = fold(sums[t]);
            for i in 0..rest {
                sum += tail[i] * tails[t][i];
            }
            out[t] = sum + bias[t];
        }
    }
}

/// As [`narrow_rows`], in registers of eight numbers: the compiler finds narrower ones. Plain loops,
/// since a closure given to a function of the standard library is compiled for the baseline.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "loads of vectors")]
#[target_feature(enable = "avx2,fma")]
fn narrow_rows_avx2<const T: usize>(x: &[f32], weights: &[f32], bias: &[f32], out: &mut [f32]) {
    use std::arch::x86_64::*;
    let features = (weights.len() / T).max(1);
    let mut heads: [&[[f32; LANES]]; T] = [&[]; T];
    let mut tails: [&[f32]; T] = [&[]; T];
    for (t, w) in weights.chunks_exact(features).enumerate().take(T) {
        (heads[t], tails[t]) = w.as_chunks::<LANES>();
    }
    let (whole, rest) = (heads[0].len(), tails[0].len());
    let (rows, _) = out.as_chunks_mut::<T>();
    for (x, out) in x.chunks_exact(features).zip(rows) {
        let (head, tail) = x.as_chunks::<LANES>();
        let mut sums = [_mm256_setzero_ps(); T];
        for i in 0..whole {
            // SAFETY: an array of eight numbers is read.
            let x = unsafe { _mm256_loadu_ps(head[i].as_ptr()) };
            for t in 0..T {
                // SAFETY: as above.
                let w = unsafe { _mm256_loadu_ps(heads[t][i].as_ptr()) };
                sums[t] = _mm256_add_ps(sums[t], _mm256_mul_ps(x, w));
            }
        }
        for t in 0..T {
            let (low, high) =
                (_mm256_castps256_ps128(sums[t]), _mm256_extractf128_ps::<1>(sums[t]));
            let four = _mm_add_ps(low, high);
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            let mut sum = _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
            for i in 0..rest {
                sum += tail[i] * tails[t][i];
            }
            out[t] = sum + bias[t];
        }
    }
}

/// `x · Wᵀ + b` for each row of `x` and one to three targets: `weights` has a row for each.
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls versions for features that were detected")
)]
pub fn affine_narrow(x: &[f32], weights: &[f32], bias: &[f32], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: `has_avx2` found both features on this CPU.
        return unsafe {
            match bias.len() {
                1 => narrow_rows_avx2::<1>(x, weights, bias, out),
                2 => narrow_rows_avx2::<2>(x, weights, bias, out),
                3 => narrow_rows_avx2::<3>(x, weights, bias, out),
                _ => {}
            }
        };
    }
    narrow(x, weights, bias, out);
}

fn narrow(x: &[f32], weights: &[f32], bias: &[f32], out: &mut [f32]) {
    match bias.len() {
        1 => narrow_rows::<1>(x, weights, bias, out),
        2 => narrow_rows::<2>(x, weights, bias, out),
        3 => narrow_rows::<3>(x, weights, bias, out),
        _ => {}
    }
}

#[inline(always)]
fn wide_rows<const R: usize>(
    x: &[f32],
    features: usize,
    panels: &[f32],
    bias: &[f32],
    out: &mut [f32],
) {
    let targets = bias.len();
    let mut own: [&[f32]; R] = [&[]; R];
    for (own, x) in own.iter_mut().zip(x.chunks_exact(features)) {
        *own = x;
    }
    let panels = panels.chunks_exact(features * LANES);
    for (p, (panel, bias)) in panels.zip(bias.chunks(LANES)).enumerate() {
        let mut sums = [[0f32; LANES]; R];
        for (i, w) in panel.as_chunks::<LANES>().0.iter().enumerate() {
            for r in 0..R {
                let x = own[r][i];
                for k in 0..LANES {
                    sums[r][k] += x * w[k];
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let out = &mut out[r * targets + p * LANES..][..bias.len()];
            for ((o, s), b) in out.iter_mut().zip(sums).zip(bias) {
                *o = s + b;
            }
        }
    }
}

#[inline(always)]
fn wide_body<const FMA: bool>(
    x: &[f32],
    features: usize,
    panels: &[f32],
    bias: &[f32],
    out: &mut [f32],
) {
    let (features, targets) = (features.max(1), bias.len().max(1));
    let mut x = x.chunks_exact(TALL * features);
    let mut out = out.chunks_exact_mut(TALL * targets);
    for (x, out) in (&mut x).zip(&mut out) {
        wide_rows::<TALL>(x, features, panels, bias, out);
    }
    let rest = out.into_remainder().chunks_exact_mut(targets);
    for (x, out) in x.remainder().chunks_exact(features).zip(rest) {
        wide_rows::<1>(x, features, panels, bias, out);
    }
}

versioned! {
    /// `x · Wᵀ + b` for each row of `x` and any number of targets. `panels` has the weights of
    /// eight targets after those of the eight before, feature by feature, filled up with zeros.
    pub fn affine_wide(
        x: &[f32],
        features: usize,
        panels: &[f32],
        bias: &[f32],
        out: &mut [f32]
    ) = wide_body;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 17.0 - 3.0).collect()
    }

    #[test]
    fn linear_rows_are_the_same_alone_and_close_to_exact_sums() {
        let (rows, features) = (11, 35);
        for targets in [1, 2, 3, 4, 8, 19] {
            let (x, w) = (numbers(rows * features, 1), numbers(targets * features, 2));
            let bias = numbers(targets, 3);
            let mut panels = vec![0f32; targets.div_ceil(8) * 8 * features];
            for (i, &v) in w.iter().enumerate() {
                let (t, f) = (i / features, i % features);
                panels[t / 8 * 8 * features + f * 8 + t % 8] = v;
            }
            let affine = |x: &[f32], out: &mut [f32]| match targets {
                1..4 => affine_narrow(x, &w, &bias, out),
                _ => affine_wide(x, features, &panels, &bias, out),
            };
            let mut batch = vec![0f32; rows * targets];
            affine(&x, &mut batch);
            let mut alone = vec![0f32; targets];
            for (x, batch) in x.chunks(features).zip(batch.chunks(targets)) {
                affine(x, &mut alone);
                assert_eq!(alone, batch);
                for (t, &got) in alone.iter().enumerate() {
                    let exact: f64 = (0..features)
                        .map(|f| f64::from(x[f]) * f64::from(w[t * features + f]))
                        .sum();
                    assert!((f64::from(got) - exact - f64::from(bias[t])).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn every_level_rounds_linear_rows_the_same() {
        let (x, w) = (numbers(5 * 21, 4), numbers(2 * 21, 5));
        let (mut best, mut plain) = ([0f32; 10], [0f32; 10]);
        affine_narrow(&x, &w, &[0.5, -0.5], &mut best);
        narrow(&x, &w, &[0.5, -0.5], &mut plain);
        assert_eq!(best, plain);
    }
}

//! CatBoost's exponential: a table and a short polynomial (its library/cpp/fast_exp, after S.
//! Mitsunari's fmath), which differs from `exp` in the last place now and then, and in more of
//! them for large arguments.

use std::sync::OnceLock;

/// Bits of the table's index.
const BITS: u32 = 11;
const SIZE: u64 = 1 << BITS;
const STEPS: f64 = SIZE as f64 / std::f64::consts::LN_2;
const STEP: f64 = 1.0 / STEPS;
/// Adding this leaves the nearest integer in the low bits.
const ROUND: f64 = (3u64 << 51) as f64;
/// The exponent's bias, less what the rounding leaves above the index.
const BIAS: u64 = (1 << (BITS + 10)) - (1 << BITS);
/// Minimax coefficients of what remains.
const CUBIC: f64 = 3.000_000_002_795_539_4;
const SQUARE: f64 = 0.166_666_666_852_278_35;

/// The fractions of `2^(i/2048)`.
fn table() -> &'static [u64] {
    static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let power = |i: u64| 2f64.powf(i as f64 / SIZE as f64);
        (0..SIZE).map(|i| power(i).to_bits() & ((1 << 52) - 1)).collect()
    })
}

/// Below this the answer is not normal.
const LOWEST: f64 = -708.396_418_532_264_1;

/// `exp(x)` of every number as CatBoost computes it: four at a time, each at least the smallest
/// normal number, and the rest one by one.
pub(super) fn fast_exp_all(numbers: &mut [f64]) {
    let four = numbers.len() / 4 * 4;
    for (i, x) in numbers.iter_mut().enumerate() {
        *x = if i < four && *x <= LOWEST { f64::MIN_POSITIVE } else { fast_exp(*x) };
    }
}

/// `exp(x)` as CatBoost computes it.
pub(super) fn fast_exp(x: f64) -> f64 {
    if x <= LOWEST {
        return 0.0;
    }
    if x >= 709.782_712_893_384 {
        return f64::INFINITY;
    }
    let shifted = x * STEPS + ROUND;
    let bits = shifted.to_bits();
    let rest = (shifted - ROUND) * STEP - x;
    let exponent = (bits.wrapping_add(BIAS) >> BITS) << 52;
    let fraction = table().get((bits & (SIZE - 1)) as usize).copied().unwrap_or(0);
    let correction = (CUBIC - rest) * (rest * rest) * SQUARE - rest + 1.0;
    correction * f64::from_bits(exponent | fraction)
}

#[cfg(test)]
mod tests {
    use super::{fast_exp, fast_exp_all};

    #[test]
    fn is_the_exponential_nearly() {
        for i in -70_000..70_000 {
            let x = f64::from(i) / 100.0;
            // The reduction of large arguments is not exact.
            let close = 4e-16 + 2e-16 * x.abs();
            assert!((fast_exp(x) / x.exp() - 1.0).abs() < close, "{x}");
        }
        assert_eq!(fast_exp(0.0), 1.0);
        assert_eq!(fast_exp(-1e9), 0.0);
        assert_eq!(fast_exp(1e9), f64::INFINITY);
        assert!(fast_exp(f64::NAN).is_nan());
        // What CatBoost 1.2 answers for five classes, all but one of which are out of question.
        let mut five = [0.0, -1e4, -1e4, -1e4, -1e4];
        fast_exp_all(&mut five);
        let tiny = f64::MIN_POSITIVE;
        assert_eq!(five, [1.0, tiny, tiny, tiny, 0.0]);
    }
}

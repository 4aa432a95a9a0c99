//! exp, log, tanh, sigmoid, erf and GELU on slices of `f32`.
//!
//! Polynomials are least-maximum-error fits on the reduced range; each function is within 4 ulp
//! of the exact value and exact at ±0, ±∞ and NaN.

use super::{fma, versioned};

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts: the first has trailing zeros, so that its product with an integer is exact.
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;
/// 1.5·2²³: adding it rounds to an integer in the low mantissa bits.
const ROUND: f32 = 12_582_912.0;

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `(n, p)` with eˣ = 2ⁿ·p and p in about √½ to √2.
#[inline(always)]
fn exp_parts<const FMA: bool>(x: f32) -> (i32, f32) {
    let shifted = fma::<FMA>(x, LOG2_E, ROUND);
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let nf = shifted - ROUND;
    let r = fma::<FMA>(nf, -LN2_LO, fma::<FMA>(nf, -LN2_HI, x));
    let p = fma::<FMA>(r, 1.395_048_6e-3, 8.368_888e-3);
    let p = fma::<FMA>(p, r, 4.166_620_6e-2);
    let p = fma::<FMA>(p, r, 1.666_651_8e-1);
    let p = fma::<FMA>(p, r, 0.5);
    (n, fma::<FMA>(p, r * r, r) + 1.0)
}

#[inline(always)]
fn exp1<const FMA: bool>(x: f32) -> f32 {
    // Beyond these the result is ∞ or 0 whatever x; comparisons keep NaN.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -105.0 { -105.0 } else { x };
    let (n, p) = exp_parts::<FMA>(x);
    // 2ⁿ in two factors: n reaches beyond the exponent's range at both ends.
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// eˣ for x in −87 to 0, the same bits as [`exp1`]'s; NaN stays NaN.
#[inline(always)]
fn exp_of_negative<const FMA: bool>(x: f32) -> f32 {
    let (n, p) = exp_parts::<FMA>(x);
    p * power_of_two(n)
}

#[inline(always)]
fn log1<const FMA: bool>(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 33_554_432.0 } else { x };
    let bits = scaled.to_bits() as i32;
    // Exponent and mantissa with the mantissa in [√½, √2).
    let shifted = bits.wrapping_sub(0x3f35_04f3);
    let e = (shifted >> 23) as f32 - if tiny { 25.0 } else { 0.0 };
    let m = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(0x3f35_04f3) as u32);
    let f = m - 1.0;
    let p = fma::<FMA>(f, 6.915_368e-2, -1.178_980_8e-1);
    let p = fma::<FMA>(p, f, 1.187_297_6e-1);
    let p = fma::<FMA>(p, f, -1.238_434_8e-1);
    let p = fma::<FMA>(p, f, 1.421_865_8e-1);
    let p = fma::<FMA>(p, f, -1.666_925_1e-1);
    let p = fma::<FMA>(p, f, 2.000_222_7e-1);
    let p = fma::<FMA>(p, f, -2.499_998_7e-1);
    let p = fma::<FMA>(p, f, 3.333_331e-1);
    let s = f * f;
    let tail = fma::<FMA>(e, LN2_LO, fma::<FMA>(s * f, p, -0.5 * s));
    let y = fma::<FMA>(e, LN2_HI, f + tail);
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    // Below zero, or NaN already.
    if x >= 0.0 { y } else { f32::NAN }
}

#[inline(always)]
fn tanh1<const FMA: bool>(x: f32) -> f32 {
    let a = x.abs();
    let z = a * a;
    let p = fma::<FMA>(z, -5.717_037e-3, 2.065_057_9e-2);
    let p = fma::<FMA>(p, z, -5.374_349_7e-2);
    let p = fma::<FMA>(p, z, 1.333_149_1e-1);
    let p = fma::<FMA>(p, z, -3.333_328_4e-1);
    let small = fma::<FMA>(p * z, a, a);
    let large = 1.0 - 2.0 / (exp1::<FMA>(2.0 * a) + 1.0);
    let y = if a < 0.625 { small } else { large };
    y.copysign(x)
}

#[inline(always)]
fn sigmoid1<const FMA: bool>(x: f32) -> f32 {
    let e = exp1::<FMA>(-x.abs());
    // The small side as e/(1+e): 1/(1+1/e) would lose the subnormal results.
    let top = if x < 0.0 { e } else { 1.0 };
    top / (1.0 + e)
}

#[inline(always)]
fn erf1<const FMA: bool>(x: f32) -> f32 {
    let a = x.abs();
    let z = a * a;
    let p = fma::<FMA>(z, 8.360_118e-5, -8.140_963_6e-4);
    let p = fma::<FMA>(p, z, 5.200_844_8e-3);
    let p = fma::<FMA>(p, z, -2.685_939_5e-2);
    let p = fma::<FMA>(p, z, 1.128_369_6e-1);
    let p = fma::<FMA>(p, z, -3.761_263_5e-1);
    let p = fma::<FMA>(p, z, 1.283_791_7e-1);
    let small = fma::<FMA>(p, a, a);
    let t = if a > 4.0 { 4.0 } else { a };
    let q = fma::<FMA>(t, -4.806_476e-6, 4.399_996_4e-5);
    let q = fma::<FMA>(q, t, 5.751_305_4e-5);
    let q = fma::<FMA>(q, t, -2.951_671_6e-3);
    let q = fma::<FMA>(q, t, 2.270_829_9e-2);
    let q = fma::<FMA>(q, t, -1.052_944_4e-1);
    let q = fma::<FMA>(q, t, -6.356_092_7e-1);
    let q = fma::<FMA>(q, t, -1.128_555_2);
    // Between e⁻¹⁷ and 1.
    let large = 1.0 - exp_of_negative::<FMA>(q * t);
    let y = if a < 0.9277 { small } else { large };
    y.copysign(x)
}

#[inline(always)]
fn gelu1<const FMA: bool>(x: f32) -> f32 {
    let y = 0.5 * x * (1.0 + erf1::<FMA>(x * std::f32::consts::FRAC_1_SQRT_2));
    // -∞ · 0 is the limit 0.
    if x == f32::NEG_INFINITY { 0.0 } else { y }
}

#[inline(always)]
fn gelu_tanh1<const FMA: bool>(x: f32) -> f32 {
    const ROOT_2_OVER_PI: f32 = 0.797_884_6;
    let inner = ROOT_2_OVER_PI * fma::<FMA>(0.044_715 * x * x, x, x);
    let y = 0.5 * x * (1.0 + tanh1::<FMA>(inner));
    if x == f32::NEG_INFINITY { 0.0 } else { y }
}

macro_rules! bodies {
    ($($in_place:ident $one:ident),+ $(,)?) => {$(
        #[inline(always)]
        pub(super) fn $in_place<const FMA: bool>(x: &mut [f32]) {
            for v in x {
                *v = $one::<FMA>(*v);
            }
        }
    )+};
}
bodies!(
    exp_all exp1, log_all log1, tanh_all tanh1, sigmoid_all sigmoid1,
    erf_all erf1, gelu_all gelu1, gelu_tanh_all gelu_tanh1,
);

versioned! {
    /// eˣ in place.
    pub fn exp_in_place(x: &mut [f32]) = exp_all;
}
versioned! {
    /// The natural logarithm in place.
    pub fn log_in_place(x: &mut [f32]) = log_all;
}
versioned! {
    /// tanh in place.
    pub fn tanh_in_place(x: &mut [f32]) = tanh_all;
}
versioned! {
    /// 1/(1+e⁻ˣ) in place.
    pub fn sigmoid_in_place(x: &mut [f32]) = sigmoid_all;
}
versioned! {
    /// The error function in place.
    pub fn erf_in_place(x: &mut [f32]) = erf_all;
}
versioned! {
    /// x·Φ(x) in place, by erf.
    pub fn gelu_in_place(x: &mut [f32]) = gelu_all;
}
versioned! {
    /// GELU in place by its approximation through tanh.
    pub fn gelu_tanh_in_place(x: &mut [f32]) = gelu_tanh_all;
}

/// e^(x − shift) in place for x up to the shift: the inner loop of softmax (see `reduction`). What
/// would be below the normal numbers is 0.
#[inline(always)]
pub(super) fn exp_shifted<const FMA: bool>(x: &mut [f32], shift: f32) {
    for v in x {
        let below = *v - shift;
        let y = exp_of_negative::<FMA>(below);
        *v = if below < -87.0 { 0.0 } else { y };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distance between `got` and the exact value in units of `exact`'s last place.
    fn ulps(got: f32, exact: f64) -> f64 {
        let near = (exact as f32).abs().max(f32::MIN_POSITIVE);
        let ulp = f64::from(f32::from_bits(near.to_bits() + 1)) - f64::from(near);
        (f64::from(got) - exact).abs() / ulp
    }

    fn worst(f: fn(&mut [f32]), exact: impl Fn(f64) -> f64, lo: f32, hi: f32) -> f64 {
        let n = 200_003;
        let xs: Vec<f32> = (0..n).map(|i| lo + (hi - lo) * (i as f32 / n as f32)).collect();
        let mut ys = xs.clone();
        f(&mut ys);
        xs.iter().zip(&ys).map(|(&x, &y)| ulps(y, exact(x.into()))).fold(0.0, f64::max)
    }

    /// erf by its series (small) and by the complement's continued fraction (large).
    fn erf(x: f64) -> f64 {
        let a = x.abs();
        let y = if a < 2.5 {
            let (mut term, mut sum) = (a, a);
            for n in 1..80 {
                let n = f64::from(n);
                term *= -a * a / n;
                sum += term / (2.0 * n + 1.0);
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        } else {
            let fraction = (1..80).rev().fold(a, |f, k| a + f64::from(k) / 2.0 / f);
            1.0 - (-a * a).exp() / (std::f64::consts::PI.sqrt() * fraction)
        };
        y.copysign(x)
    }

    #[test]
    fn elementary_functions_are_within_four_ulp() {
        let checks: [(&str, f64); 9] = [
            ("exp", worst(exp_in_place, f64::exp, -103.0, 88.7)),
            ("log", worst(log_in_place, f64::ln, 1e-3, 10.0)),
            ("log wide", worst(log_in_place, f64::ln, 1e-39, 1e38)),
            ("tanh", worst(tanh_in_place, f64::tanh, -10.0, 10.0)),
            ("tanh near 0", worst(tanh_in_place, f64::tanh, -1e-3, 1e-3)),
            ("sigmoid", worst(sigmoid_in_place, |x| 1.0 / (1.0 + (-x).exp()), -87.0, 20.0)),
            ("erf", worst(erf_in_place, erf, -4.5, 4.5)),
            ("erf near 0", worst(erf_in_place, erf, -1e-3, 1e-3)),
            ("erf far", worst(erf_in_place, erf, 4.0, 40.0)),
        ];
        for (name, got) in checks {
            assert!(got <= 4.0, "{name}: {got} ulp");
        }
    }

    #[test]
    fn gelu_is_close_in_absolute_terms() {
        let mut xs: Vec<f32> = (-6000..6000).map(|i| i as f32 / 1000.0).collect();
        let exact: Vec<f64> = xs
            .iter()
            .map(|&x| f64::from(x) * 0.5 * (1.0 + erf(f64::from(x) / 2f64.sqrt())))
            .collect();
        gelu_in_place(&mut xs);
        for (g, e) in xs.iter().zip(exact) {
            assert!((f64::from(*g) - e).abs() < 5e-7 * (1.0 + e.abs()));
        }
    }

    #[test]
    fn special_values_are_exact() {
        let inf = f32::INFINITY;
        let of = |f: fn(&mut [f32]), x: f32| {
            let mut v = [x];
            f(&mut v);
            v[0]
        };
        assert_eq!(of(exp_in_place, 0.0), 1.0);
        assert_eq!(of(exp_in_place, inf), inf);
        assert_eq!(of(exp_in_place, 88.8), inf);
        assert!(of(exp_in_place, 88.72).is_finite());
        assert_eq!(of(exp_in_place, -inf), 0.0);
        assert!(of(exp_in_place, -103.0) > 0.0);
        assert_eq!(of(log_in_place, 1.0), 0.0);
        assert_eq!(of(log_in_place, 0.0), -inf);
        assert_eq!(of(log_in_place, -0.0), -inf);
        assert_eq!(of(log_in_place, inf), inf);
        assert!(of(log_in_place, -1.0).is_nan());
        assert_eq!(of(tanh_in_place, inf), 1.0);
        assert_eq!(of(tanh_in_place, -inf), -1.0);
        assert_eq!(of(tanh_in_place, -0.0).to_bits(), (-0.0f32).to_bits());
        assert_eq!(of(sigmoid_in_place, inf), 1.0);
        assert_eq!(of(sigmoid_in_place, -inf), 0.0);
        assert_eq!(of(sigmoid_in_place, 0.0), 0.5);
        assert_eq!(of(erf_in_place, inf), 1.0);
        assert_eq!(of(erf_in_place, -inf), -1.0);
        assert_eq!(of(erf_in_place, -0.0).to_bits(), (-0.0f32).to_bits());
        assert_eq!(of(gelu_in_place, inf), inf);
        assert_eq!(of(gelu_in_place, -inf), 0.0);
        assert_eq!(of(gelu_tanh_in_place, -inf), 0.0);
        for f in [exp_in_place, log_in_place, tanh_in_place, sigmoid_in_place, erf_in_place] {
            assert!(of(f, f32::NAN).is_nan());
        }
        for f in [gelu_in_place, gelu_tanh_in_place] {
            assert!(of(f, f32::NAN).is_nan());
        }
    }

    #[test]
    fn the_portable_version_agrees_with_the_vector_version() {
        let xs: Vec<f32> = (-500..500).map(|i| i as f32 / 37.0).collect();
        let mut a = xs.clone();
        let mut b = xs.clone();
        tanh_in_place(&mut a);
        tanh_all::<false>(&mut b);
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 3e-7));
        let mut whole = xs.clone();
        exp_in_place(&mut whole);
        for (i, x) in xs.iter().enumerate() {
            let mut one = [*x];
            exp_in_place(&mut one);
            assert_eq!(one[0].to_bits(), whole[i].to_bits());
        }
    }
}

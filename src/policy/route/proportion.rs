//! The statistics of promotion: exact one-sided tests for proportions, and Wilson's intervals.
//!
//! Canaries fail rarely and are looked at often, so that a test must hold with few events and at
//! error levels far below 1 %. Normal approximations do not there; exact tails do, and cost no
//! more than the square root of the number of events.

/// `P(X ≥ x)` for `X` of the binomial distribution of `n` trials of probability `p`.
pub(super) fn binomial_upper(x: u64, n: u64, p: f64) -> f64 {
    if x == 0 || p >= 1.0 {
        return 1.0;
    }
    if x > n || p <= 0.0 {
        return 0.0;
    }
    let odds = p / (1.0 - p);
    let ln_term = |k: u64| {
        let (k, rest) = (k as f64, (n - k) as f64);
        ln_choose(n as f64, k) + k * p.ln() + rest * (1.0 - p).ln()
    };
    if x as f64 > n as f64 * p {
        // Terms fall from here on.
        tail(ln_term(x).exp(), x, |k| (n - k) as f64 / (k + 1) as f64 * odds)
    } else {
        let below = tail(ln_term(x - 1).exp(), 0, |step| {
            let k = (x - 1).saturating_sub(step);
            k as f64 / (n - k + 1) as f64 / odds
        });
        (1.0 - below).clamp(0.0, 1.0)
    }
}

/// Fisher's exact test, one-sided: the probability of `x1` or more events in the first of two
/// groups (`n1`, `n2`), given how many there were together (`x1 + x2`), when both have the same
/// rate. (R. A. Fisher, The Design of Experiments, 1935.)
pub(super) fn fisher_upper(x1: u64, n1: u64, x2: u64, n2: u64) -> f64 {
    let (x1, x2) = (x1.min(n1), x2.min(n2));
    let (events, all) = (x1 + x2, n1 + n2);
    if x1 == 0 || all == 0 {
        return 1.0;
    }
    let most = n1.min(events);
    let ln_term = |k: u64| {
        ln_choose(n1 as f64, k as f64) + ln_choose(n2 as f64, (events - k) as f64)
            - ln_choose(all as f64, events as f64)
    };
    // C(n1, k+1)·C(n2, events−k−1) over C(n1, k)·C(n2, events−k).
    let ratio = |k: u64| {
        let up = (n1 - k) as f64 * (events - k) as f64;
        up / ((k + 1) as f64 * ((n2 + k + 1) as f64 - events as f64))
    };
    if x1 as f64 > n1 as f64 * events as f64 / all as f64 {
        tail(ln_term(x1).exp(), x1, |k| if k >= most { 0.0 } else { ratio(k) })
    } else {
        let least = events.saturating_sub(n2);
        if x1 == least {
            return 1.0;
        }
        let below = tail(ln_term(x1 - 1).exp(), 0, |step| {
            let k = (x1 - 1).saturating_sub(step);
            if k <= least { 0.0 } else { 1.0 / ratio(k - 1) }
        });
        (1.0 - below).clamp(0.0, 1.0)
    }
}

/// The sum of falling terms: the first, and each of the next as a ratio to the one before.
fn tail(first: f64, from: u64, ratio: impl Fn(u64) -> f64) -> f64 {
    let (mut sum, mut term, mut k) = (first, first, from);
    while term > sum * 1e-17 {
        term *= ratio(k);
        sum += term;
        k += 1;
    }
    sum.min(1.0)
}

/// Wilson's score interval for a rate of `x` in `n`, `z` standard deviations wide; (0, 1) when
/// nothing was seen. (E. B. Wilson, JASA 22, 1927; recommended for small counts by Brown, Cai
/// and DasGupta, Statistical Science 16, 2001.)
pub(super) fn wilson(x: f64, n: f64, z: f64) -> (f64, f64) {
    if n <= 0.0 {
        return (0.0, 1.0);
    }
    let p = (x / n).clamp(0.0, 1.0);
    let z2 = z * z;
    let middle = p + z2 / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    // At the ends the interval touches 0 or 1 exactly; rounding must not say otherwise.
    let low = if x <= 0.0 { 0.0 } else { (middle - half) / scale };
    let high = if x >= n { 1.0 } else { (middle + half) / scale };
    (low, high)
}

/// The lower bound of `x1/n1 − x2/n2`: Newcombe's interval from two of Wilson's. (R. G.
/// Newcombe, Statistics in Medicine 17, 1998, method 10.)
pub(super) fn difference_lower(x1: u64, n1: u64, x2: u64, n2: u64, z: f64) -> f64 {
    if n1 == 0 || n2 == 0 {
        return -1.0;
    }
    let (x1, n1, x2, n2) = (x1 as f64, n1 as f64, x2 as f64, n2 as f64);
    let (p1, p2) = (x1 / n1, x2 / n2);
    let (low1, _) = wilson(x1, n1, z);
    let (_, high2) = wilson(x2, n2, z);
    p1 - p2 - ((p1 - low1).powi(2) + (high2 - p2).powi(2)).sqrt()
}

/// How many standard deviations leave `alpha` in the upper tail of the normal distribution.
///
/// P. J. Acklam's rational approximation; relative error below 1.2e-9.
pub(super) fn normal_upper(alpha: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 6] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 5] =
        [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1.0];
    let horner = |c: &[f64], x: f64| c.iter().fold(0.0, |sum, c| sum * x + c);
    let alpha = alpha.clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON);
    if alpha > 0.5 {
        return -normal_upper(1.0 - alpha);
    }
    if alpha < 0.02425 {
        let q = (-2.0 * alpha.ln()).sqrt();
        -horner(&C, q) / horner(&D, q)
    } else {
        let q = 0.5 - alpha;
        horner(&A, q * q) * q / horner(&B, q * q)
    }
}

fn ln_choose(n: f64, k: f64) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// `ln n!` by Stirling's series, after the argument was raised to where the series holds.
fn ln_factorial(n: f64) -> f64 {
    let (mut x, mut product) = (n + 1.0, 1.0);
    while x < 12.0 {
        product *= x;
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    let series = (1.0 / 12.0 - y * (1.0 / 360.0 - y * (1.0 / 1260.0 - y / 1680.0))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - f64::ln(product)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, expected: f64, relative: f64) {
        assert!((got - expected).abs() <= expected.abs() * relative, "{got}, not {expected}");
    }

    /// Expected values by exact rational arithmetic.
    #[test]
    fn binomial_tails_are_exact() {
        near(binomial_upper(3, 10, 0.5), 968.0 / 1024.0, 1e-12);
        near(binomial_upper(8, 10, 0.5), 56.0 / 1024.0, 1e-12);
        near(binomial_upper(1, 100, 0.01), 1.0 - 0.99f64.powi(100), 1e-12);
        near(binomial_upper(50, 50, 0.25), 0.25f64.powi(50), 1e-10);
        near(binomial_upper(45, 1000, 0.02), 7.71780972062807e-07, 1e-9);
        assert_eq!(binomial_upper(0, 10, 0.1), 1.0);
        assert_eq!(binomial_upper(11, 10, 0.1), 0.0);
        assert_eq!(binomial_upper(1, 10, 0.0), 0.0);
    }

    /// Fisher's lady tasting tea, and exact rational arithmetic for the rest.
    #[test]
    fn fishers_test_is_exact() {
        near(fisher_upper(3, 4, 1, 4), 17.0 / 70.0, 1e-12);
        near(fisher_upper(4, 4, 0, 4), 1.0 / 70.0, 1e-12);
        near(fisher_upper(1, 4, 3, 4), 69.0 / 70.0, 1e-12);
        near(fisher_upper(9, 150, 240, 48000), 1.0074248962517076e-07, 1e-9);
        assert_eq!(fisher_upper(0, 10, 5, 10), 1.0);
        assert_eq!(fisher_upper(4, 4, 4, 4), 1.0);
        assert_eq!(fisher_upper(0, 0, 0, 0), 1.0);
        assert_eq!(fisher_upper(3, 5, 0, 0), 1.0);
    }

    /// Table I of Newcombe, Statistics in Medicine 17:857 (1998).
    #[test]
    fn wilsons_interval_is_the_published_one() {
        for (x, n, low, high) in [
            (81.0, 263.0, 0.2553, 0.3662),
            (15.0, 148.0, 0.0624, 0.1605),
            (0.0, 20.0, 0.0, 0.1611),
            (1.0, 29.0, 0.0061, 0.1718),
        ] {
            let (l, h) = wilson(x, n, normal_upper(0.025));
            assert!((l - low).abs() < 5.1e-5 && (h - high).abs() < 5.1e-5, "{x}/{n}: {l} {h}");
        }
        assert_eq!(wilson(0.0, 0.0, 1.96), (0.0, 1.0));
        assert_eq!(wilson(5.0, 5.0, 1.96).1, 1.0);
    }

    /// Table II of Newcombe, Statistics in Medicine 17:873 (1998), method 10.
    #[test]
    fn newcombes_bound_is_the_published_one() {
        let z = normal_upper(0.025);
        for (x1, n1, x2, n2, low) in
            [(56, 70, 48, 80, 0.0524), (9, 10, 3, 10, 0.1705), (5, 56, 0, 29, -0.0381)]
        {
            let got = difference_lower(x1, n1, x2, n2, z);
            assert!((got - low).abs() < 5.1e-5, "{got}, not {low}");
        }
        assert_eq!(difference_lower(1, 1, 0, 0, z), -1.0);
    }

    /// Standard tables of the normal distribution.
    #[test]
    fn normal_quantiles_are_those_of_the_tables() {
        near(normal_upper(0.025), 1.959_963_985, 1e-8);
        near(normal_upper(0.01), 2.326_347_874, 1e-8);
        near(normal_upper(1e-6), 4.753_424_309, 1e-8);
        near(normal_upper(0.975), -1.959_963_985, 1e-8);
        assert!(normal_upper(0.5).abs() < 1e-9);
    }
}

//! Gauss–Legendre quadrature on [0, 1].

/// A rule of `n` points: exact for polynomials of degree `2n − 1` and less.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    /// Points inside (0, 1), ascending.
    pub(super) points: Vec<f64>,
    /// The weight of each, all positive; their sum is 1.
    pub(super) weights: Vec<f64>,
    /// `1 / (1 − point)`
    pub(super) inverses: Vec<f64>,
}

impl Rule {
    /// The rule of `n` points, by Newton's method from Tricomi's first guesses: O(n²).
    pub(super) fn new(n: usize) -> Rule {
        let (mut points, mut weights) = (vec![0.5; n], vec![1.0; n]);
        // Points lie in pairs around the middle; one of each pair is searched.
        for i in 0..n.div_ceil(2) {
            let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
            let mut slope = 1.0;
            // Converges in a handful of steps; the bound is for the rounding at its end.
            for _ in 0..50 {
                let (value, derivative) = legendre(n, x);
                slope = derivative;
                let step = value / derivative;
                x -= step;
                if step.abs() < 1e-15 {
                    break;
                }
            }
            // From [−1, 1] to [0, 1]: half the distance, half the weight.
            let weight = 1.0 / ((1.0 - x * x) * slope * slope);
            (points[i], points[n - 1 - i]) = ((1.0 - x) / 2.0, (1.0 + x) / 2.0);
            (weights[i], weights[n - 1 - i]) = (weight, weight);
        }
        let inverses = points.iter().map(|t| 1.0 / (1.0 - t)).collect();
        Rule { points, weights, inverses }
    }
}

/// The Legendre polynomial of degree `n` at `x`, and its derivative there (|x| < 1).
fn legendre(n: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (0.0, 1.0);
    for k in 0..n {
        let k = k as f64;
        let next = ((2.0 * k + 1.0) * x * value - k * before) / (k + 1.0);
        (before, value) = (value, next);
    }
    (value, n as f64 * (x * value - before) / (x * x - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_integrated_exactly() {
        for n in [1, 2, 3, 4, 7, 16, 33, 128, 1000] {
            let rule = Rule::new(n);
            assert!(rule.points.iter().all(|&x| x > 0.0 && x < 1.0));
            assert!(rule.points.windows(2).all(|w| w[0] < w[1]));
            for power in [0, 1, 2, n, 2 * n - 1] {
                let terms = rule.points.iter().zip(&rule.weights);
                let sum: f64 = terms.map(|(x, w)| w * x.powi(power as i32)).sum();
                if power < 2 * n {
                    let expected = 1.0 / (power as f64 + 1.0);
                    assert!((sum - expected).abs() < 1e-13, "{n} points, power {power}: {sum}");
                }
            }
        }
    }
}

//! The formulas in plain loops over doubles: slow, and independent of every kernel.

use super::Weight;

/// A matrix by its rows.
pub type Rows = Vec<Vec<f64>>;

/// `x · weightᵀ + bias`, from rows `from..from + out` of the weight.
pub fn linear(x: &Rows, weight: &Weight, bias: Option<&Weight>, from: usize, out: usize) -> Rows {
    let columns = *weight.dims.last().unwrap();
    let product = |row: &Vec<f64>, o: usize| {
        let weights = &weight.values[o * columns..(o + 1) * columns];
        let sum: f64 = weights.iter().zip(row).map(|(&w, x)| f64::from(w) * x).sum();
        sum + bias.map_or(0.0, |b| f64::from(b.values[o]))
    };
    x.iter().map(|row| (from..from + out).map(|o| product(row, o)).collect()).collect()
}

/// Layer normalisation of each row.
pub fn layer_norm(x: &Rows, weight: &Weight, bias: &Weight, eps: f64) -> Rows {
    let norm = |row: &Vec<f64>| {
        let n = row.len() as f64;
        let mean = row.iter().sum::<f64>() / n;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        let scale = weight.values.iter().zip(&bias.values);
        row.iter()
            .zip(scale)
            .map(|(v, (&w, &b))| (v - mean) / (variance + eps).sqrt() * f64::from(w) + f64::from(b))
            .collect()
    };
    x.iter().map(norm).collect()
}

/// Attention in heads; `sees(query, key)` says who sees whom.
pub fn attention(
    q: &Rows,
    k: &Rows,
    v: &Rows,
    heads: usize,
    sees: impl Fn(usize, usize) -> bool,
) -> Rows {
    let width = q[0].len() / heads;
    let mut out = vec![vec![0.0; q[0].len()]; q.len()];
    for head in 0..heads {
        let part = head * width..(head + 1) * width;
        for (i, row) in q.iter().enumerate() {
            let score = |key: &Vec<f64>| {
                let dot: f64 = part.clone().map(|c| row[c] * key[c]).sum();
                dot / (width as f64).sqrt()
            };
            let weights: Vec<f64> = k
                .iter()
                .enumerate()
                .map(|(j, key)| if sees(i, j) { score(key).exp() } else { 0.0 })
                .collect();
            let whole: f64 = weights.iter().sum();
            for c in part.clone() {
                out[i][c] = weights.iter().zip(v).map(|(w, v)| w / whole * v[c]).sum();
            }
        }
    }
    out
}

/// `a + b`.
pub fn add(a: &Rows, b: &Rows) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect()
}

/// A function of each element.
pub fn map(x: &Rows, f: impl Fn(f64) -> f64) -> Rows {
    x.iter().map(|row| row.iter().map(|&v| f(v)).collect()).collect()
}

/// Exact GELU: the error function by its series.
pub fn gelu(x: f64) -> f64 {
    let z = x / std::f64::consts::SQRT_2;
    if z.abs() > 4.0 {
        // The error function is ±1 up to 2e-8 here.
        return x.max(0.0);
    }
    let mut term = z;
    let mut sum = z;
    for n in 1..120 {
        let n = f64::from(n);
        term *= -z * z / n;
        sum += term / (2.0 * n + 1.0);
    }
    0.5 * x * (1.0 + sum * 2.0 / std::f64::consts::PI.sqrt())
}

pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The rows of a tensor of numbers.
pub fn rows(values: &[f32], columns: usize) -> Rows {
    values.chunks(columns).map(|row| row.iter().map(|&v| f64::from(v)).collect()).collect()
}

/// The values of several matrices, one after another.
pub fn flat<'a>(all: impl IntoIterator<Item = &'a Rows>) -> Vec<f64> {
    all.into_iter().flatten().flatten().copied().collect()
}

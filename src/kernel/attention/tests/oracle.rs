//! Attention by plain loops in double precision.

use crate::tensor::Tensor;

/// What the loops compute besides softmax(scale · Q·Kᵀ) · V.
pub struct Oracle<'a> {
    pub scale: Option<f64>,
    pub softcap: f64,
    /// What is added to the score of (batch entry, head, query, key).
    pub bias: &'a dyn Fn(usize, usize, usize, usize) -> f64,
}

/// The result and every stage of the scores.
pub struct Answer {
    pub y: Vec<f64>,
    pub product: Vec<f64>,
    pub capped: Vec<f64>,
    pub biased: Vec<f64>,
    pub probabilities: Vec<f64>,
}

/// No bias.
pub fn plain() -> Oracle<'static> {
    with(&|_, _, _, _| 0.0)
}

/// This bias alone.
pub fn with(bias: &dyn Fn(usize, usize, usize, usize) -> f64) -> Oracle<'_> {
    Oracle { scale: None, softcap: 0.0, bias }
}

impl Oracle<'_> {
    /// Attention of queries, keys and values by head.
    pub fn answer(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Answer {
        let &[batch, heads, queries, size] = q.dims() else { panic!("queries by head") };
        let (kv_heads, keys, value) = (k.dims()[1], k.dims()[2], v.dims()[3]);
        let [q, k, v] = [q, k, v].map(|t| t.to_f64_vec().unwrap());
        let scale = self.scale.unwrap_or(1.0 / (size as f64).sqrt());
        let (mut y, mut product, mut capped) = (vec![], vec![], vec![]);
        let (mut biased, mut probabilities) = (vec![], vec![]);
        for b in 0..batch {
            for h in 0..heads {
                let kv = b * kv_heads + h / (heads / kv_heads);
                for i in 0..queries {
                    let row = ((b * heads + h) * queries + i) * size;
                    let mut scores = vec![];
                    for j in 0..keys {
                        let other = (kv * keys + j) * size;
                        let dot: f64 = (0..size).map(|c| q[row + c] * k[other + c]).sum();
                        product.push(scale * dot);
                        let cap = self.softcap;
                        let x = scale * dot;
                        let x = if cap > 0.0 { cap * (x / cap).tanh() } else { x };
                        capped.push(x);
                        biased.push(x + (self.bias)(b, h, i, j));
                        scores.push(x + (self.bias)(b, h, i, j));
                    }
                    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
                    let seen = max > f64::NEG_INFINITY;
                    let weight = |s: &f64| if seen { (s - max).exp() / sum } else { 0.0 };
                    let weights: Vec<f64> = scores.iter().map(weight).collect();
                    for c in 0..value {
                        let of = |j: usize| weights[j] * v[(kv * keys + j) * value + c];
                        y.push((0..keys).map(of).sum());
                    }
                    probabilities.extend(weights);
                }
            }
        }
        Answer { y, product, capped, biased, probabilities }
    }
}

/// (batch, heads, length, size) as (batch, length, heads · size).
pub fn flat(tensor: &Tensor) -> Tensor {
    let &[batch, heads, length, size] = tensor.dims() else { panic!("a tensor by head") };
    let data = tensor.as_slice::<f32>().unwrap();
    let mut out = vec![];
    for b in 0..batch {
        for i in 0..length {
            for h in 0..heads {
                let at = ((b * heads + h) * length + i) * size;
                out.extend_from_slice(&data[at..at + size]);
            }
        }
    }
    Tensor::from_vec(&[batch, length, heads * size], out).unwrap()
}

/// As [`flat`], of numbers that are no tensor yet.
pub fn flat_answer(y: &[f64], dims: [usize; 4]) -> Vec<f64> {
    let data = y.iter().map(|&x| x as f32).collect();
    flat(&Tensor::from_vec(&dims, data).unwrap()).to_f64_vec().unwrap()
}

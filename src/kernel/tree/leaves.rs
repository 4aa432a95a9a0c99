//! What leaves add to the scores of a row.

use super::real::Real;
use super::walk::at;
use crate::ensemble::{Aggregate, LinearLeaf};
use crate::kernel::simd::blend::LANES;

/// The weights of all leaves of a forest, by the leaf's number.
#[derive(Debug)]
pub(super) enum Weights<V> {
    /// One target: a weight a leaf.
    Single(Vec<V>),
    /// Every leaf adds to every target, in order.
    Dense(Vec<V>),
    /// List `i` is `weights[starts[i]..starts[i + 1]]`, as (target, weight).
    Sparse { starts: Vec<u32>, weights: Vec<(u32, V)> },
}

/// The leaves of a forest.
#[derive(Debug)]
pub(super) struct Leaves<V> {
    pub weights: Weights<V>,
    pub targets: usize,
    /// By the leaf's number, where there are such leaves.
    pub linear: Vec<Option<LinearLeaf>>,
}

impl<V: Real> Leaves<V> {
    /// Whether every target has a score for every row.
    pub(super) fn complete(&self) -> bool {
        !matches!(self.weights, Weights::Sparse { .. }) && self.linear.is_empty()
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let linear = |l: &LinearLeaf| size_of::<LinearLeaf>() + l.terms.len() * 16;
        let linear: usize = self.linear.iter().flatten().map(linear).sum();
        linear
            + match &self.weights {
                Weights::Single(v) | Weights::Dense(v) => v.len() * size_of::<V>(),
                Weights::Sparse { starts, weights } => {
                    starts.len() * 4 + weights.len() * size_of::<(u32, V)>()
                }
            }
    }

    /// Joins leaf `leaf` to a row's scores. `row` is the row as it was given, for linear leaves.
    #[inline(always)]
    pub(super) fn add<T: Real>(
        &self,
        aggregate: Aggregate,
        leaf: usize,
        row: &[T],
        scores: &mut [V],
        seen: &mut [bool],
    ) {
        if let Some(Some(linear)) = self.linear.get(leaf)
            && let Some(value) = value_of(linear, row)
        {
            let target = linear.target as usize;
            return join(aggregate, V::of(value), &mut scores[target], &mut seen[target]);
        }
        match &self.weights {
            Weights::Single(values) => {
                join(aggregate, values[leaf], &mut scores[0], &mut seen[0]);
            }
            Weights::Dense(values) => {
                let values = &values[leaf * self.targets..][..self.targets];
                for ((&value, score), seen) in values.iter().zip(scores).zip(seen) {
                    join(aggregate, value, score, seen);
                }
            }
            Weights::Sparse { starts, weights } => {
                let list = starts[leaf] as usize..starts[leaf + 1] as usize;
                for &(target, weight) in &weights[list] {
                    let i = target as usize;
                    join(aggregate, weight, &mut scores[i], &mut seen[i]);
                }
            }
        }
    }

    /// Joins the leaves of a few trees, in their order, to the scores of a tile's rows: leaf
    /// `leaves[tree][row]`. The rows are as they were given, with their stride.
    #[inline(always)]
    pub(super) fn add_tile<T: Real>(
        &self,
        aggregate: Aggregate,
        leaves: &[[u32; LANES]],
        (rows, stride): (&[T], usize),
        scores: &mut [V],
        seen: &mut [bool],
    ) {
        let targets = self.targets.max(1);
        let sum = matches!(aggregate, Aggregate::Sum | Aggregate::Average);
        match &self.weights {
            Weights::Single(v) if sum && self.linear.is_empty() => {
                add_rows::<V, 1>(leaves, v, scores)
            }
            Weights::Dense(v) if sum && self.linear.is_empty() && targets <= 4 => match targets {
                2 => add_rows::<V, 2>(leaves, v, scores),
                3 => add_rows::<V, 3>(leaves, v, scores),
                4 => add_rows::<V, 4>(leaves, v, scores),
                _ => {}
            },
            _ => {
                let rows_of_scores =
                    scores.chunks_exact_mut(targets).zip(seen.chunks_exact_mut(targets));
                for (i, (scores, seen)) in rows_of_scores.enumerate() {
                    let row = &rows[i * stride..(i + 1) * stride];
                    for leaves in leaves {
                        self.add(aggregate, leaves[i] as usize, row, scores, seen);
                    }
                }
            }
        }
    }
}

/// Adds each row's leaves of `K` targets to its scores; of four trees at once, so that a score is
/// loaded and stored once for them.
#[inline(always)]
fn add_rows<V: Real, const K: usize>(leaves: &[[u32; LANES]], values: &[V], scores: &mut [V]) {
    let (values, scores) = (values.as_chunks::<K>().0, scores.as_chunks_mut::<K>().0);
    let add = |sum: &mut [V; K], leaf: u32| {
        let value = at(values, leaf as usize);
        for k in 0..K {
            sum[k] += value[k];
        }
    };
    if let [a, b, c, d] = leaves {
        for ((((scores, &a), &b), &c), &d) in scores.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            let mut sum = *scores;
            for leaf in [a, b, c, d] {
                add(&mut sum, leaf);
            }
            *scores = sum;
        }
    } else {
        for leaves in leaves {
            scores.iter_mut().zip(leaves).for_each(|(scores, &leaf)| add(scores, leaf));
        }
    }
}

/// The value of a linear leaf; `None` where one of its features is missing.
fn value_of<T: Real>(linear: &LinearLeaf, row: &[T]) -> Option<f64> {
    let mut value = linear.constant;
    for &(feature, coefficient) in &linear.terms {
        let x = row[feature as usize].f64();
        if x.is_nan() {
            return None;
        }
        value += coefficient * x;
    }
    Some(value)
}

#[inline(always)]
fn join<V: Real>(aggregate: Aggregate, value: V, score: &mut V, seen: &mut bool) {
    match aggregate {
        Aggregate::Sum | Aggregate::Average => *score += value,
        Aggregate::Min => {
            if !*seen || value < *score {
                *score = value;
            }
        }
        Aggregate::Max => {
            if !*seen || value > *score {
                *score = value;
            }
        }
    }
    *seen = true;
}

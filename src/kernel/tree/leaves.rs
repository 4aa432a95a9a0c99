//! What leaves add to the scores of a row.

use super::real::Real;
use crate::ensemble::{Aggregate, LinearLeaf};

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

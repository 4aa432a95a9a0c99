//! TreeSHAP with the shares of the training data on each path (Lundberg et al. 2020, "From local
//! explanations to global understanding with explainable AI for trees"), by quadrature.
//!
//! A leaf is reached through a set of features. Each has two numbers: `one`, whether the row's
//! own value leads there, and `zero`, the share of the training data that goes there where the
//! value is not known. The leaf, of value v, adds to feature i the mean over all orders of the
//! features, v · (oneᵢ − zeroᵢ) · Σ_S |S|!(d−1−|S|)!/d! · Π_{j∈S} oneⱼ · Π_{j∉S} zeroⱼ, and as
//! k!(d−1−k)!/d! is the integral of tᵏ(1−t)^(d−1−k) over [0, 1], that is
//!
//! v · (oneᵢ − zeroᵢ) · ∫ Π_{j≠i} (zeroⱼ·(1−t) + oneⱼ·t) dt
//!
//! The integrand is a polynomial of degree d−1, so ⌈d/2⌉ points of Gauss and Legendre give the
//! integral exactly. The paper's Algorithm 2 computes the same sum by adding features to and
//! taking them from a polynomial's coefficients; taking away subtracts, and loses up to a bit for
//! each feature on the path. Here all products are positive and nothing cancels. What lies below
//! a node is summed before the node's feature is divided out, so a row takes a number of steps
//! linear in the depth, as in Linear TreeSHAP (Yu et al. 2022).

#[cfg(test)]
use super::Explanation;
use super::quadrature::Rule;
use super::{Explainer, prepare::Tree, values};
use crate::ensemble::walk::round;
use crate::ensemble::{Ensemble, Node};
use crate::error::{Result, ensure};
use std::ops::Deref;

/// One node of the path from the root to where the walk is, and the branch that led to it.
#[derive(Debug, Clone, Copy)]
struct Step {
    node: u32,
    /// The feature of the split above; the root has none and does not use the rest.
    feature: u32,
    /// The step above that has the same feature; 0 for none.
    before: u32,
    /// Whether the row takes all branches of this feature down to here.
    one: bool,
    /// The share of the training data that takes them.
    zero: f64,
    /// Branches that have been walked; after the first, the share of the training data at the
    /// other, and whether the row takes it.
    walked: u8,
    other: f64,
    takes_other: bool,
}

impl Step {
    fn new(node: u32, feature: u32, before: u32, one: bool, zero: f64) -> Step {
        Step { node, feature, before, one, zero, walked: 0, other: 0.0, takes_other: false }
    }

    /// `zero·(1−t) + one·t`
    fn factor(&self, t: f64) -> f64 {
        let rest = self.zero * (1.0 - t);
        if self.one { rest + t } else { rest }
    }
}

/// Buffers that rows use one after another, of any ensembles.
#[derive(Debug, Default)]
pub struct Scratch {
    path: Vec<Step>,
    /// Levels × points: the product of the factors on the path, times the point's weight.
    products: Vec<f64>,
    /// Levels × points: `one − zero` of the level's step, over its factor.
    ratios: Vec<f64>,
    /// Levels × targets × points: leaves below, times their products.
    sums: Vec<f64>,
    /// The latest step of each feature; 0 for none.
    latest: Vec<u32>,
}

impl<E: Deref<Target = Ensemble>> Explainer<E> {
    /// Explains one row: the contribution of each feature to each margin, and the bias.
    ///
    /// # Errors
    /// `InvalidInput` for a row without [`Explainer::features`] values.
    #[cfg(test)]
    pub fn explain(&self, row: &[f64]) -> Result<Explanation> {
        let mut out = vec![0.0; values(self.targets(), self.features)?];
        self.explain_into(row, &mut Scratch::default(), &mut out)?;
        Ok(Explanation { features: self.features, values: out })
    }

    /// Explains one row into `out`, `[targets, features + 1]` as in [`Explanation::values`], with
    /// buffers kept from the row before. What `out` held does not matter.
    ///
    /// # Errors
    /// `InvalidInput` for a row without [`Explainer::features`] values;
    /// `InvalidArgument` for an `out` of another length than `targets · (features + 1)`.
    pub fn explain_into(&self, row: &[f64], scratch: &mut Scratch, out: &mut [f64]) -> Result<()> {
        self.ensemble.check_row(row, self.features)?;
        let expected = values(self.targets(), self.features)?;
        ensure!(
            out.len() == expected,
            InvalidArgument,
            "room for {} numbers, an explanation has {expected}",
            out.len()
        );
        for (out, &bias) in out.chunks_exact_mut(self.features + 1).zip(&self.bias) {
            out.fill(0.0);
            out[self.features] = bias;
        }
        scratch.latest.clear();
        scratch.latest.resize(self.features, 0);
        for tree in &self.trees {
            if let Some(rule) = &self.rules[tree.rule] {
                let columns = &self.columns[tree.columns.clone()];
                Walk { explainer: self, rule, columns, row, scratch, out }.tree(tree);
            }
        }
        Ok(())
    }
}

/// One tree for one row.
struct Walk<'a, E> {
    explainer: &'a Explainer<E>,
    rule: &'a Rule,
    /// The tree's targets, ascending.
    columns: &'a [u32],
    row: &'a [f64],
    scratch: &'a mut Scratch,
    out: &'a mut [f64],
}

impl<E: Deref<Target = Ensemble>> Walk<'_, E> {
    fn tree(&mut self, tree: &Tree) {
        let ensemble = &*self.explainer.ensemble;
        let factor = self.explainer.factor;
        let (levels, points) = (tree.height + 1, self.rule.points.len());
        let Scratch { path, products, ratios, sums, .. } = &mut *self.scratch;
        let grow = |buffer: &mut Vec<f64>, len: usize| buffer.resize(len.max(buffer.len()), 0.0);
        grow(products, levels * points);
        grow(ratios, levels * points);
        grow(sums, levels * points * self.columns.len());
        for (product, weight) in products.iter_mut().zip(&self.rule.weights) {
            *product = weight * factor;
        }
        sums[..points * self.columns.len()].fill(0.0);
        path.clear();
        path.push(Step::new(tree.root, 0, 0, true, 1.0));
        while let Some(step) = self.scratch.path.last_mut() {
            let walked = step.walked;
            step.walked += 1;
            match &ensemble.nodes[step.node as usize] {
                Node::Split(split) if walked == 0 => {
                    let (yes, no) = ensemble.shares(split);
                    let taken = ensemble.takes_yes(split, self.row);
                    (step.other, step.takes_other) = (no, !taken);
                    self.descend(split.yes, split.feature, yes, taken);
                }
                Node::Split(split) if walked == 1 => {
                    let (share, taken) = (step.other, step.takes_other);
                    self.descend(split.no, split.feature, share, taken);
                }
                Node::Split(_) => self.leave(),
                Node::Leaf(leaf) => {
                    let leaf = &ensemble.leaves[*leaf as usize];
                    let sums = ensemble.arithmetic.sums;
                    for &(target, weight) in ensemble.weights_of(leaf) {
                        self.add_leaf(target, round(weight, sums));
                    }
                    self.leave();
                }
            }
        }
    }

    /// Goes down a branch that this share of the training data takes, and the row or not.
    fn descend(&mut self, node: u32, feature: u32, share: f64, taken: bool) {
        let (points, width) = (self.rule.points.len(), self.rule.points.len() * self.columns.len());
        let Scratch { path, products, ratios, sums, latest } = &mut *self.scratch;
        let level = path.len();
        let before = latest[feature as usize];
        let earlier = (before > 0).then(|| path[before as usize]);
        let one = taken && earlier.is_none_or(|e| e.one);
        let zero = share * earlier.map_or(1.0, |e| e.zero);
        if !one && zero == 0.0 {
            // Neither the row nor any training data comes here: all that follows is nothing.
            return;
        }
        let step = Step::new(node, feature, before, one, zero);
        let (above, here) = products.split_at_mut(level * points);
        let products = here.iter_mut().zip(&above[(level - 1) * points..]).zip(&self.rule.points);
        match earlier {
            None => products.for_each(|((here, above), &t)| *here = above * step.factor(t)),
            // Both factors are their share times 1−t.
            Some(e) if !e.one => products.for_each(|((here, above), _)| *here = above * share),
            Some(e) => products.for_each(|((here, above), &t)| {
                *here = above * (step.factor(t) / e.factor(t));
            }),
        }
        let ratios = &mut ratios[level * points..(level + 1) * points];
        if one {
            for (ratio, &t) in ratios.iter_mut().zip(&self.rule.points) {
                *ratio = (1.0 - zero) / step.factor(t);
            }
        } else {
            // The share is in both and drops out: −1 over 1−t.
            for (ratio, inverse) in ratios.iter_mut().zip(&self.rule.inverses) {
                *ratio = -inverse;
            }
        }
        sums[level * width..(level + 1) * width].fill(0.0);
        latest[feature as usize] = level as u32;
        path.push(step);
    }

    fn add_leaf(&mut self, target: u32, weight: f64) {
        // The survey of the tree has met each of its targets.
        let Ok(column) = self.columns.binary_search(&target) else { return };
        let (level, points) = (self.scratch.path.len() - 1, self.rule.points.len());
        let sums = &mut self.scratch.sums[(level * self.columns.len() + column) * points..];
        for (sum, product) in
            sums.iter_mut().zip(&self.scratch.products[level * points..][..points])
        {
            *sum += weight * product;
        }
    }

    /// Ends the latest step: its feature gets its part of what lies below, which is then what
    /// lies below the step above. Below a second split on a feature, the first one's part does
    /// not hold: it is taken off here, and adds up to nothing with what the first step will add.
    fn leave(&mut self) {
        let Some(step) = self.scratch.path.pop() else { return };
        let (level, points) = (self.scratch.path.len(), self.rule.points.len());
        if level == 0 {
            return;
        }
        let Scratch { path, ratios, sums, latest, .. } = &mut *self.scratch;
        latest[step.feature as usize] = step.before;
        let width = points * self.columns.len();
        let (above, here) = sums.split_at_mut(level * width);
        let (above, here) = (&mut above[(level - 1) * width..], &here[..width]);
        let (before, ratios) = ratios.split_at_mut(level * points);
        let ratios = &mut ratios[..points];
        if step.before > 0 {
            let earlier = step.before as usize;
            for (ratio, before) in ratios.iter_mut().zip(&before[earlier * points..]) {
                *ratio -= before;
            }
        }
        // Where the row left the feature's branches above already, the ratios are equal.
        if step.one || step.before == 0 || path[step.before as usize].one {
            let line = self.explainer.features + 1;
            for (here, &target) in here.chunks_exact(points).zip(self.columns) {
                let part: f64 = here.iter().zip(&*ratios).map(|(sum, ratio)| sum * ratio).sum();
                self.out[target as usize * line + step.feature as usize] += part;
            }
        }
        for (above, here) in above.iter_mut().zip(here) {
            *above += here;
        }
    }
}

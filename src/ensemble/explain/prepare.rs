//! What explanations of an ensemble's rows need to know beforehand.

use super::quadrature::Rule;
use super::values;
use crate::ensemble::walk::round;
use crate::ensemble::{Aggregate, Ensemble, Node};
use crate::error::{Result, bail, ensure};
use std::collections::BTreeSet;
use std::ops::{Deref, Range};

/// Visits of nodes and of leaves' weights that one row may cost (64 M), where children that
/// several nodes share are visited once for each way to them: a few dozen nodes can have 2^30 of
/// those. Files that share nothing may have as many as they list.
const MAX_VISITS: u64 = 64 << 20;
/// Numbers of a row's buffers (2^25, a quarter of a gibibyte).
const MAX_BUFFER: usize = 1 << 25;

/// What is known of one tree.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: u32,
    /// Splits on its longest path.
    pub(super) height: usize,
    /// Index into [`Explainer::rules`].
    pub(super) rule: usize,
    /// Its targets: a range of [`Explainer::columns`].
    pub(super) columns: Range<usize>,
}

/// Explains rows of one tree ensemble: Shapley values of the features for each margin, where
/// what a tree answers without a feature is the mean over both branches of its splits, weighed
/// by how much training data took each (`Ensemble::cover`).
///
/// Contributions are those to [`Ensemble::margins`]. LightGBM's `rf` averages only its answers:
/// its own raw scores and contributions are those here times the number of iterations.
///
/// Holds the ensemble by reference or by `Arc`, and may serve several threads at once, each with
/// a [`super::Scratch`] of its own.
#[derive(Debug)]
pub struct Explainer<E> {
    pub(super) ensemble: E,
    pub(super) features: usize,
    /// The expected value of each margin.
    pub(super) bias: Vec<f64>,
    pub(super) trees: Vec<Tree>,
    /// Targets of trees, ascending in each tree.
    pub(super) columns: Vec<u32>,
    /// Quadrature rules, by their number of points less one.
    pub(super) rules: Vec<Option<Rule>>,
    /// What leaves are multiplied with on their way into a margin.
    pub(super) factor: f64,
    cost: u64,
}

impl<E: Deref<Target = Ensemble>> Explainer<E> {
    /// Prepares for an ensemble that [`Ensemble::check`] has accepted.
    ///
    /// # Errors
    /// `Unsupported` for ensembles without cover, with linear leaves or joined by minimum or
    /// maximum; `InvalidModel` for covers that are negative or not finite; `LimitExceeded` for
    /// ensembles whose shared nodes and weights are met more than 64 million times, or which need too large
    /// buffers or answers.
    pub fn new(ensemble: E) -> Result<Explainer<E>> {
        let this = &*ensemble;
        let features = this.explained_features();
        values(this.targets, features)?;
        let trees = match this.aggregate {
            Aggregate::Sum => 1,
            Aggregate::Average => this.averaged_over.unwrap_or(this.roots.len() as u32).max(1),
            Aggregate::Min | Aggregate::Max => bail!(
                Unsupported,
                "trees joined by their minimum or maximum have no contributions that add up"
            ),
        };
        check_leaves(this)?;
        check_cover(this)?;
        check_visits(this)?;
        let sums = this.arithmetic.sums;
        let factor = round(this.arithmetic.scale, sums) / f64::from(trees);

        let mut survey = Survey {
            ensemble: this,
            bias: vec![0.0; this.targets],
            seen: vec![0; features],
            stack: Vec::new(),
        };
        let (mut columns, mut tables, mut rules) = (Vec::new(), Vec::new(), Vec::new());
        let mut cost = 0u64;
        for &root in &this.roots {
            let tree = survey.tree(root);
            let points = tree.unique.div_ceil(2).max(1);
            // A product, a ratio and a sum for each point and level, the sum for each target.
            let buffer = (tree.height + 1)
                .checked_mul(points)
                .and_then(|n| n.checked_mul(tree.targets.len() + 2));
            ensure!(
                buffer.is_some_and(|n| n <= MAX_BUFFER),
                LimitExceeded,
                "a tree {} deep with {} features on a path and {} targets needs more than \
                 {MAX_BUFFER} numbers to be explained",
                tree.height,
                tree.unique,
                tree.targets.len()
            );
            let steps = tree.visits.saturating_mul((points * (tree.targets.len() + 1)) as u64);
            cost = cost.saturating_add(steps);
            if rules.len() < points {
                rules.resize(points, None);
            }
            rules[points - 1].get_or_insert_with(|| Rule::new(points));
            let start = columns.len();
            columns.extend(tree.targets);
            let columns = start..columns.len();
            tables.push(Tree { root, height: tree.height, rule: points - 1, columns });
        }
        let mut bias = survey.bias;
        for (target, bias) in bias.iter_mut().enumerate() {
            let base = this.base.get(target).map_or(0.0, |&base| round(base, sums));
            *bias = match this.arithmetic.base_first {
                true => (base + *bias) * factor,
                false => *bias * factor + base,
            };
        }
        Ok(Explainer { ensemble, features, bias, trees: tables, columns, rules, factor, cost })
    }

    /// Features of a row and of its explanation.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Margins of a row.
    pub fn targets(&self) -> usize {
        self.bias.len()
    }

    /// The expected value of each margin: what [`super::Explanation::bias`] says of every row.
    #[cfg(test)]
    pub fn bias(&self) -> &[f64] {
        &self.bias
    }

    /// Steps that one row takes, to limit what a request may ask for: nodes times half the
    /// features on a path times targets. A step takes some nanoseconds.
    pub fn cost(&self) -> u64 {
        self.cost
    }
}

fn check_leaves(ensemble: &Ensemble) -> Result<()> {
    ensure!(
        ensemble.leaves.iter().all(|leaf| leaf.linear.is_none()),
        Unsupported,
        "contributions of linear leaves are not defined (LightGBM refuses them, too)"
    );
    Ok(())
}

fn check_cover(ensemble: &Ensemble) -> Result<()> {
    let mut splits = ensemble.nodes.iter().filter_map(|node| match node {
        Node::Split(split) => Some(split),
        Node::Leaf(_) => None,
    });
    if ensemble.cover.is_empty() {
        ensure!(
            splits.next().is_none(),
            Unsupported,
            "the file does not say how much training data reached each node"
        );
        return Ok(());
    }
    ensure!(
        ensemble.cover.iter().all(|&cover| cover >= 0.0)
            && splits.all(|s| {
                (ensemble.cover[s.yes as usize] + ensemble.cover[s.no as usize]).is_finite()
            }),
        InvalidModel,
        "how much training data reached a node is negative or not a finite number"
    );
    Ok(())
}

/// Counts how often a row meets nodes and weights, without meeting any node twice itself.
fn check_visits(ensemble: &Ensemble) -> Result<()> {
    // 0: not known yet. A node is met at least once.
    let mut visits = vec![0u64; ensemble.nodes.len()];
    let mut stack = Vec::new();
    let mut total = 0u64;
    for &root in &ensemble.roots {
        stack.push(root);
        while let Some(&at) = stack.last() {
            let below = match &ensemble.nodes[at as usize] {
                Node::Leaf(leaf) => {
                    ensemble.weights_of(&ensemble.leaves[*leaf as usize]).len() as u64
                }
                Node::Split(split) => {
                    let (yes, no) = (visits[split.yes as usize], visits[split.no as usize]);
                    if yes == 0 || no == 0 {
                        stack.push(if yes == 0 { split.yes } else { split.no });
                        continue;
                    }
                    yes.saturating_add(no)
                }
            };
            visits[at as usize] = below.saturating_add(1);
            stack.pop();
        }
        total = total.saturating_add(visits[root as usize]);
    }
    let listed = (ensemble.nodes.len() + ensemble.weights.len()) as u64;
    ensure!(
        total <= MAX_VISITS.max(listed),
        LimitExceeded,
        "what nodes share makes {total} visits of {listed} nodes and weights, at most {MAX_VISITS} \
         are explained"
    );
    Ok(())
}

/// One tree, surveyed.
#[derive(Default)]
struct Facts {
    height: usize,
    /// Most distinct features on a path.
    unique: usize,
    targets: BTreeSet<u32>,
    visits: u64,
}

/// A walk over all paths.
struct Survey<'a> {
    ensemble: &'a Ensemble,
    /// Sum of leaves by target, weighed by their shares of the training data.
    bias: Vec<f64>,
    /// Splits on the path by feature.
    seen: Vec<u32>,
    stack: Vec<Step>,
}

enum Step {
    /// A node, its depth, and its share of the training data.
    Enter(u32, usize, f64),
    /// The end of all that lies below a split on this feature.
    Leave(u32),
}

impl Survey<'_> {
    fn tree(&mut self, root: u32) -> Facts {
        let ensemble = self.ensemble;
        let mut facts = Facts::default();
        let mut unique = 0;
        self.stack.push(Step::Enter(root, 0, 1.0));
        while let Some(step) = self.stack.pop() {
            let (node, depth, share) = match step {
                Step::Enter(node, depth, share) => (node, depth, share),
                Step::Leave(feature) => {
                    // Entered before, and below the number of features by the check.
                    self.seen[feature as usize] -= 1;
                    unique -= usize::from(self.seen[feature as usize] == 0);
                    continue;
                }
            };
            facts.visits += 1;
            match ensemble.nodes[node as usize] {
                Node::Split(split) => {
                    let seen = &mut self.seen[split.feature as usize];
                    unique += usize::from(*seen == 0);
                    *seen += 1;
                    let (yes, no) = ensemble.shares(&split);
                    self.stack.push(Step::Leave(split.feature));
                    self.stack.push(Step::Enter(split.no, depth + 1, share * no));
                    self.stack.push(Step::Enter(split.yes, depth + 1, share * yes));
                }
                Node::Leaf(leaf) => {
                    facts.height = facts.height.max(depth);
                    facts.unique = facts.unique.max(unique);
                    for &(target, weight) in ensemble.weights_of(&ensemble.leaves[leaf as usize]) {
                        facts.targets.insert(target);
                        self.bias[target as usize] +=
                            share * round(weight, ensemble.arithmetic.sums);
                    }
                }
            }
        }
        facts
    }
}

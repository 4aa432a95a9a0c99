//! One tree: arrays by leaf and by inner node. A child `c >= 0` is an inner node, a child below
//! zero the leaf `!c`.

use super::sections::TreeFields;
use crate::ensemble::{
    CategorySet, Ensemble, Leaf, LinearLeaf, MAX_FEATURES, Missing, Node, Split, Test, ZERO,
};
use crate::error::{Result, bail, ensure, err};
use crate::limits::LoadLimits;
use crate::room;
use std::str::FromStr;

/// Bits of `decision_type`.
const CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;

/// Puts trees into an ensemble; its buffers serve every tree.
#[derive(Debug)]
pub(super) struct Reader<'e> {
    ensemble: &'e mut Ensemble,
    limits: &'e LoadLimits,
    covers: bool,
    gains: bool,
    features: Vec<u32>,
    thresholds: Vec<f64>,
    decisions: Vec<u8>,
    left: Vec<i32>,
    right: Vec<i32>,
    values: Vec<f64>,
    counts: Vec<i64>,
}

/// Reads the `expected` numbers of an array into `out`.
fn numbers<T: FromStr>(
    key: &str,
    text: Option<&str>,
    expected: usize,
    out: &mut Vec<T>,
) -> Result<()> {
    out.clear();
    let Some(text) = text else { bail!(InvalidModel, "{key} is missing") };
    for word in text.split_ascii_whitespace() {
        ensure!(out.len() < expected, InvalidModel, "{key}: more than {expected} numbers");
        let number = word.parse().map_err(|_| {
            let word: String = word.chars().take(40).collect();
            err!(InvalidModel, "{key}: '{word}' is no number of its kind")
        })?;
        room::reserve(out, 1)?;
        out.push(number);
    }
    let found = out.len();
    ensure!(found == expected, InvalidModel, "{key}: {found} numbers, expected {expected}");
    Ok(())
}

/// One number.
fn number<T: FromStr>(key: &str, text: Option<&str>) -> Result<T> {
    let Some(text) = text else { bail!(InvalidModel, "{key} is missing") };
    let text = text.trim();
    text.parse().map_err(|_| {
        let text: String = text.chars().take(40).collect();
        err!(InvalidModel, "{key}={text} is no number of its kind")
    })
}

/// A threshold for values as they come. LightGBM's interface takes what lies within [`ZERO`] of
/// zero for zero itself; here such values meet a threshold that answers the same.
fn threshold(t: f64) -> f64 {
    if t.abs() > ZERO || t.is_nan() {
        t
    } else if t < 0.0 {
        (-ZERO).next_down()
    } else {
        ZERO
    }
}

/// Whether an array that may be missing has anything in it.
fn given(text: Option<&str>) -> bool {
    text.is_some_and(|t| !t.trim().is_empty())
}

impl<'e> Reader<'e> {
    pub(super) fn new(ensemble: &'e mut Ensemble, limits: &'e LoadLimits) -> Reader<'e> {
        Reader {
            ensemble,
            limits,
            covers: true,
            gains: true,
            features: Vec::new(),
            thresholds: Vec::new(),
            decisions: Vec::new(),
            left: Vec::new(),
            right: Vec::new(),
            values: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// Adds a tree whose leaves add to `target`.
    pub(super) fn tree(&mut self, fields: &TreeFields<'_>, target: u32) -> Result<()> {
        let leaves: usize = number("num_leaves", fields.num_leaves)?;
        let nodes = self.ensemble.nodes.len();
        let most = self.limits.tree_nodes.min(1 << 30);
        let after = leaves.checked_mul(2).and_then(|n| n.checked_add(nodes));
        ensure!(
            after.is_some_and(|n| n <= most + 1),
            LimitExceeded,
            "more than {most} nodes (LoadLimits::tree_nodes)"
        );
        ensure!(leaves > 0, InvalidModel, "num_leaves=0");
        let inner = leaves - 1;
        numbers("leaf_value", fields.leaf_value, leaves, &mut self.values)?;
        self.ensemble.reserve(inner + leaves, leaves, leaves)?;
        room::reserve(&mut self.ensemble.ids, inner + leaves)?;
        self.ensemble.roots.push(nodes as u32);
        self.splits(fields, inner)?;
        let first = self.ensemble.weights.len();
        self.ensemble.weights.extend(self.values.iter().map(|&v| (target, v)));
        for i in 0..leaves {
            let (start, end) = ((first + i) as u32, (first + i + 1) as u32);
            self.ensemble.nodes.push(Node::Leaf(self.ensemble.leaves.len() as u32));
            self.ensemble.leaves.push(Leaf { start, end, linear: None });
        }
        self.ensemble.ids.extend((0..inner as u32).chain(0..leaves as u32));
        if fields.is_linear.is_some_and(|t| t.trim() == "1") {
            self.linear(fields, leaves, target)?;
        }
        self.statistics(fields, inner, leaves)
    }

    fn splits(&mut self, fields: &TreeFields<'_>, inner: usize) -> Result<()> {
        if inner == 0 {
            return Ok(());
        }
        numbers("split_feature", fields.split_feature, inner, &mut self.features)?;
        numbers("threshold", fields.threshold, inner, &mut self.thresholds)?;
        numbers("left_child", fields.left_child, inner, &mut self.left)?;
        numbers("right_child", fields.right_child, inner, &mut self.right)?;
        // LightGBM's own reader takes zeros where there are none, and so do old files.
        if fields.decision_type.is_some() {
            numbers("decision_type", fields.decision_type, inner, &mut self.decisions)?;
        } else {
            self.decisions.clear();
            room::reserve(&mut self.decisions, inner)?;
            self.decisions.resize(inner, 0);
        }
        let sets = self.sets(fields)?;
        let base = self.ensemble.nodes.len();
        let place = |child: i32| -> Result<u32> {
            let at = if child >= 0 { child as usize } else { inner + !child as usize };
            let known = if child >= 0 { at < inner } else { at <= 2 * inner };
            ensure!(known, InvalidModel, "child {child} of {inner} inner nodes");
            Ok((base + at) as u32)
        };
        let columns = self.features.iter().zip(&self.thresholds).zip(&self.decisions);
        let children = self.left.iter().zip(&self.right);
        for (i, (((&feature, &value), &decision), (&left, &right))) in
            columns.zip(children).enumerate()
        {
            ensure!(
                (feature as usize) < self.ensemble.features,
                InvalidModel,
                "split_feature: feature {feature} of {}",
                self.ensemble.features
            );
            let default_left = decision & DEFAULT_LEFT != 0;
            let (test, missing) = if decision & CATEGORICAL != 0 {
                ensure!(
                    value >= 0.0 && value < f64::from(sets.1),
                    InvalidModel,
                    "node {i}: category set {value} of num_cat={}",
                    sets.1
                );
                // No set holds NaN.
                (Test::Member(sets.0 + value as u32), Missing::Compared)
            } else {
                let missing = match (decision >> 2 & 3, default_left) {
                    (0, _) => Missing::AsZero,
                    (1, true) => Missing::ZeroYes,
                    (1, false) => Missing::ZeroNo,
                    (2, true) => Missing::Yes,
                    (2, false) => Missing::No,
                    _ => bail!(InvalidModel, "node {i}: decision_type {decision}"),
                };
                (Test::LessOrEqual(threshold(value)), missing)
            };
            let (yes, no) = (place(left)?, place(right)?);
            self.ensemble.nodes.push(Node::Split(Split { feature, test, missing, yes, no }));
        }
        Ok(())
    }

    /// Adds the tree's bit sets; answers the number of the first one, and how many there are.
    fn sets(&mut self, fields: &TreeFields<'_>) -> Result<(u32, u32)> {
        let first = self.ensemble.sets.len() as u32;
        let count: usize = match fields.num_cat {
            Some(text) => number("num_cat", Some(text))?,
            None => 0,
        };
        if count == 0 {
            return Ok((first, 0));
        }
        ensure!(count < 1 << 30, InvalidModel, "num_cat={count}");
        let (mut boundaries, mut words) = (Vec::<usize>::new(), Vec::<u32>::new());
        numbers("cat_boundaries", fields.cat_boundaries, count + 1, &mut boundaries)?;
        let size = boundaries.last().copied().unwrap_or(0);
        numbers("cat_threshold", fields.cat_threshold, size, &mut words)?;
        for pair in boundaries.windows(2) {
            let range = if let [start, end] = *pair { words.get(start..end) } else { None };
            let Some(range) = range else {
                bail!(InvalidModel, "cat_boundaries: {pair:?} of {size} words");
            };
            let mut values =
                Vec::with_capacity(range.iter().map(|w| w.count_ones() as usize).sum());
            for (i, &word) in range.iter().enumerate() {
                let bits = (0..32).filter(|bit| word >> bit & 1 != 0);
                values.extend(bits.map(|bit| (i * 32 + bit) as f64));
            }
            self.ensemble.sets.push(CategorySet {
                values,
                truncate: true,
                negative_fractions: true,
            });
        }
        Ok((first, count as u32))
    }

    /// Gives the last `leaves` leaves their linear functions.
    fn linear(&mut self, fields: &TreeFields<'_>, leaves: usize, target: u32) -> Result<()> {
        let (mut constants, mut sizes) = (Vec::<f64>::new(), Vec::<usize>::new());
        numbers("leaf_const", fields.leaf_const, leaves, &mut constants)?;
        numbers("num_features", fields.num_features, leaves, &mut sizes)?;
        let total = sizes.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
        let total = total.ok_or_else(|| err!(InvalidModel, "num_features: too many"))?;
        let (mut columns, mut coefficients) = (Vec::<u32>::new(), Vec::<f64>::new());
        numbers("leaf_features", fields.leaf_features, total, &mut columns)?;
        numbers("leaf_coeff", fields.leaf_coeff, total, &mut coefficients)?;
        if let Some(column) = columns.iter().find(|&&c| c >= MAX_FEATURES) {
            bail!(InvalidModel, "leaf_features: feature {column}");
        }
        ensure!(
            columns.iter().all(|&c| (c as usize) < self.ensemble.features),
            InvalidModel,
            "leaf_features: a feature outside the {} there are",
            self.ensemble.features
        );
        let mut terms = columns.into_iter().zip(coefficients);
        let first = self.ensemble.leaves.len().saturating_sub(leaves);
        room::reserve(&mut self.ensemble.linear, leaves)?;
        let places = self.ensemble.leaves.iter_mut().skip(first);
        for ((leaf, constant), size) in places.zip(constants).zip(sizes) {
            leaf.linear = Some(self.ensemble.linear.len() as u32);
            let terms = terms.by_ref().take(size).collect();
            self.ensemble.linear.push(LinearLeaf { target, constant, terms });
        }
        Ok(())
    }

    /// Counts and gains, as long as every tree has them.
    fn statistics(&mut self, fields: &TreeFields<'_>, inner: usize, leaves: usize) -> Result<()> {
        let single = inner == 0;
        self.covers &= single || given(fields.internal_count) && given(fields.leaf_count);
        self.gains &= single || given(fields.split_gain);
        if self.covers {
            room::reserve(&mut self.ensemble.cover, inner + leaves)?;
            for (key, text, count) in [
                ("internal_count", fields.internal_count, inner),
                ("leaf_count", fields.leaf_count, leaves),
            ] {
                // A tree of one leaf may come without its count.
                if single && !given(text) {
                    self.ensemble.cover.resize(self.ensemble.cover.len() + count, 0.0);
                    continue;
                }
                numbers(key, text, count, &mut self.counts)?;
                ensure!(
                    self.counts.iter().all(|&c| c >= 0),
                    InvalidModel,
                    "{key}: a count below zero"
                );
                self.ensemble.cover.extend(self.counts.iter().map(|&c| c as f64));
            }
        }
        if self.gains {
            room::reserve(&mut self.ensemble.gain, inner + leaves)?;
            if inner > 0 {
                numbers("split_gain", fields.split_gain, inner, &mut self.values)?;
                self.ensemble.gain.extend_from_slice(&self.values);
            }
            self.ensemble.gain.resize(self.ensemble.gain.len() + leaves, 0.0);
        }
        Ok(())
    }

    /// Drops statistics that not every tree has.
    pub(super) fn finish(self) {
        if !self.covers {
            self.ensemble.cover = Vec::new();
        }
        if !self.gains {
            self.ensemble.gain = Vec::new();
        }
    }
}

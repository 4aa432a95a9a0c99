//! CatBoost's JSON models: what `save_model(path, format="json")` writes.
//!
//! Features and borders are floats, a split holds where `x > border`; leaves are added tree by
//! tree in doubles, then scaled, then the bias is added. Categorical features are supported as far
//! as a split asks for one category (`one_hot_max_size`) and the file has the labels, which it has
//! when it was saved with `pool=`: a row then holds a category's place in
//! [`Booster::categories`], and any other value for a category that no split asks for.
//!
//! Reading takes memory of at most some 100 times the file's size, for a file of empty nodes; a
//! trainer's file takes about its own size.

mod document;
mod features;
mod loss;
mod oblivious;
#[cfg(test)]
mod tests;
mod unbalanced;

use crate::ensemble::{Arithmetic, Booster, Ensemble, Learner, Precision, Split};
use crate::error::{Result, bail, ensure, err};
use crate::limits::LoadLimits;
use crate::room;
use document::{Document, Numbers};
use features::Features;
use std::collections::BTreeMap;

/// Reads a JSON model.
///
/// A row has a feature for each of the pool's columns, in their order (`flat_feature_index`), and
/// gets a margin for each dimension of the leaves (`RawFormulaVal`).
///
/// # Errors
/// `InvalidModel`, naming the key and the tree; `Unsupported` for splits on statistics of
/// categories (CTRs), on texts, on embeddings, and on categories without their labels;
/// `LimitExceeded`, naming the limit.
pub fn read(bytes: &[u8], limits: &LoadLimits) -> Result<Booster> {
    super::booster::check_size(bytes, limits)?;
    let document: Document<'_> =
        serde_json::from_slice(bytes).map_err(|e| err!(InvalidModel, "{e}"))?;
    let features = Features::read(&document.features_info)?;
    let (scale, bias) = match &document.scale_and_bias {
        Some((scale, bias)) => (*scale, bias.as_slice()),
        None => (1.0, [].as_slice()),
    };
    let mut builder = Builder {
        ensemble: Ensemble::empty(features.width, bias.len().max(1)),
        features: &features,
        limits,
        targets: None,
        weighted: true,
    };
    match (&document.oblivious_trees, &document.trees) {
        (Some(trees), None) => builder.each(trees, Builder::oblivious)?,
        (None, Some(trees)) => builder.each(trees, Builder::unbalanced)?,
        (None, None) => bail!(InvalidModel, "neither oblivious_trees nor trees"),
        (Some(_), Some(_)) => bail!(InvalidModel, "both oblivious_trees and trees"),
    }
    let Builder { mut ensemble, targets, weighted, .. } = builder;
    if !weighted {
        ensemble.cover = Vec::new();
    }
    let targets = targets.unwrap_or(ensemble.targets);
    ensure!(
        bias.len() == targets || bias.iter().all(|&b| b == 0.0),
        InvalidModel,
        "scale_and_bias: {} biases for leaves of {targets} values",
        bias.len()
    );
    ensemble.targets = targets;
    if bias.iter().any(|&b| b != 0.0) {
        ensemble.base = bias.to_vec();
    }
    ensemble.arithmetic =
        Arithmetic { features: Precision::F32, sums: Precision::F64, base_first: false, scale };
    ensemble.check(limits)?;
    let loss = loss::read(&document.model_info, targets)?;
    let mut metadata = BTreeMap::from([("library".to_string(), "CatBoost".to_string())]);
    metadata.extend(loss.name.map(|name| ("loss_function".to_string(), name)));
    Ok(Booster {
        learner: Learner::Trees(ensemble.into()),
        link: loss.link,
        outcome: loss.outcome,
        feature_names: features.names(limits)?,
        categories: features.labels(),
        classes: loss.classes,
        metadata,
    })
}

/// Puts trees into an ensemble.
struct Builder<'a> {
    ensemble: Ensemble,
    features: &'a Features<'a>,
    limits: &'a LoadLimits,
    /// Values of a leaf, once a tree has shown how many.
    targets: Option<usize>,
    /// Whether every tree so far has the weights of its leaves.
    weighted: bool,
}

impl Builder<'_> {
    fn each<T>(&mut self, trees: &[T], add: fn(&mut Self, &T) -> Result<()>) -> Result<()> {
        ensure!(
            trees.len() <= self.limits.trees,
            LimitExceeded,
            "{} trees (LoadLimits::trees is {})",
            trees.len(),
            self.limits.trees
        );
        for (i, tree) in trees.iter().enumerate() {
            add(self, tree).map_err(|e| e.context(format_args!("tree {i}")))?;
        }
        Ok(())
    }

    /// Notes how many values a leaf has, which is the same for all.
    fn dimension(&mut self, found: usize) -> Result<()> {
        let expected = *self.targets.get_or_insert(found);
        ensure!(
            found == expected,
            InvalidModel,
            "a leaf of {found} values, but others have {expected}"
        );
        Ok(())
    }

    /// Makes room for so many further nodes, and refuses more than the limits allow.
    fn room(&mut self, more: usize) -> Result<()> {
        let most = self.limits.tree_nodes.min(1 << 30);
        let nodes = self.ensemble.nodes.len().saturating_add(more);
        ensure!(nodes <= most, LimitExceeded, "more than {most} nodes (LoadLimits::tree_nodes)");
        room::reserve(&mut self.ensemble.nodes, more)?;
        room::reserve(&mut self.ensemble.cover, more)
    }

    /// Adds a leaf and answers its node.
    fn leaf(&mut self, values: &[f64], weight: f64) -> Result<u32> {
        let weights = self.ensemble.weights.len().saturating_add(values.len());
        ensure!(u32::try_from(weights).is_ok(), LimitExceeded, "more than 2^32 leaf values");
        let start = self.ensemble.weights.len();
        self.ensemble.reserve(1, 1, values.len())?;
        self.ensemble.weights.extend((0u32..).zip(values.iter().copied()));
        let leaf = self.ensemble.leaves.len() as u32;
        let (start, end) = (start as u32, weights as u32);
        self.ensemble.leaves.push(crate::ensemble::Leaf { start, end, linear: None });
        self.ensemble.nodes.push(crate::ensemble::Node::Leaf(leaf));
        self.ensemble.cover.push(weight);
        Ok(self.ensemble.nodes.len() as u32 - 1)
    }

    /// What a split asks, without its children.
    fn split(&self, split: &document::Split<'_>) -> Result<Split> {
        self.features.split(split)
    }
}

impl Numbers {
    fn as_slice(&self) -> &[f64] {
        match self {
            Numbers::One(one) => std::slice::from_ref(one),
            Numbers::Many(many) => many,
        }
    }
}

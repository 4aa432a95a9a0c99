//! LightGBM's text models: what `Booster.save_model` and `Booster.model_to_string` write.
//!
//! The text has a head of `key=value` lines, a block of such lines for each tree, and a tail of
//! which only the labels of categories matter. Trees decide and add as LightGBM's own
//! `Tree::Predict` does (include/LightGBM/tree.h), in doubles: numbers are read exactly.
//!
//! Trees of an iteration follow each other: tree `i` adds to margin `i % k`. A model that stopped
//! early is saved with the trees of its best iteration alone.
//!
//! Reading takes memory of at most some 50 times the file's size, for a file of full bit sets; a
//! trainer's file takes about its own size.

mod labels;
mod objective;
mod sections;
#[cfg(test)]
mod tests;
mod tree;

use crate::ensemble::{Aggregate, Booster, Ensemble, Learner, MAX_FEATURES};
use crate::error::{Result, ensure, err};
use crate::limits::LoadLimits;
use sections::{Head, Section, Sections};
use std::collections::BTreeMap;

/// Reads a text model.
///
/// A row has `max_feature_idx + 1` features and gets `num_tree_per_iteration` margins. A random
/// forest's margins are averages: LightGBM's `raw_score` is their sum.
///
/// # Errors
/// `InvalidModel`, naming the key and the tree, where the text is not whole or contradicts itself;
/// `Unsupported` for an objective that is not known; `LimitExceeded`, naming the limit.
pub fn read(bytes: &[u8], limits: &LoadLimits) -> Result<Booster> {
    super::booster::check_size(bytes, limits)?;
    let text = std::str::from_utf8(bytes).map_err(|e| err!(InvalidModel, "not UTF-8: {e}"))?;
    let mut sections = Sections::new(text)?;
    let head = sections.head()?;
    let targets = head.targets()?;
    let features = head.features()?;
    let mut ensemble = Ensemble::empty(features, targets);
    let mut reader = tree::Reader::new(&mut ensemble, limits);
    let mut trees = 0usize;
    let tail = loop {
        match sections.next()? {
            Section::Tree(fields) => {
                ensure!(
                    trees < limits.trees,
                    LimitExceeded,
                    "more than {} trees (LoadLimits::trees)",
                    limits.trees
                );
                let target = (trees % targets) as u32;
                reader
                    .tree(&fields, target)
                    .map_err(|e| e.context(format_args!("tree {trees}")))?;
                trees += 1;
            }
            Section::Tail(tail) => break tail,
        }
    };
    reader.finish();
    head.check_trees(trees, targets)?;
    if head.average {
        ensemble.aggregate = Aggregate::Average;
        ensemble.averaged_over = Some((trees / targets) as u32);
    }
    ensemble.check(limits)?;
    let objective = objective::read(head.objective, targets)?;
    let mut metadata = BTreeMap::from([("library".to_string(), "LightGBM".to_string())]);
    let mut note = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            metadata.insert(key.to_string(), value.to_string());
        }
    };
    note("version", head.version);
    note("objective", head.objective);
    note("boosting", tail.boosting);
    let labels = labels::read(&head, &tail, features)?;
    if !labels.whole {
        note("pandas_categorical", tail.pandas_categorical);
    }
    Ok(Booster {
        learner: Learner::Trees(ensemble.into()),
        link: objective.link,
        outcome: objective.outcome,
        feature_names: head.names(features, limits)?,
        categories: labels.categories,
        classes: None,
        metadata,
    })
}

impl Head<'_> {
    fn count(&self, key: &str, text: Option<&str>) -> Result<Option<u32>> {
        let parse = |text: &str| {
            text.trim().parse().map_err(|_| err!(InvalidModel, "{key}={text} is not a count"))
        };
        text.map(parse).transpose()
    }

    /// Margins a row gets.
    fn targets(&self) -> Result<usize> {
        let classes = self.count("num_class", self.num_class)?;
        let trees = self.count("num_tree_per_iteration", self.trees_per_iteration)?;
        let Some(targets) = trees.or(classes) else {
            return Err(err!(InvalidModel, "num_class is missing"));
        };
        ensure!(
            (1..=1 << 20).contains(&targets),
            InvalidModel,
            "num_tree_per_iteration={targets}, expected 1 to 2^20"
        );
        Ok(targets as usize)
    }

    /// Features a row has.
    fn features(&self) -> Result<usize> {
        let last = self.count("max_feature_idx", self.max_feature)?;
        let last = last.ok_or_else(|| err!(InvalidModel, "max_feature_idx is missing"))?;
        ensure!(
            last < MAX_FEATURES,
            InvalidModel,
            "max_feature_idx={last}, expected less than {MAX_FEATURES}"
        );
        Ok(last as usize + 1)
    }

    /// Refuses a number of trees that is not the one the head speaks of.
    fn check_trees(&self, trees: usize, targets: usize) -> Result<()> {
        if let Some(sizes) = self.tree_sizes {
            let sizes = sizes.split_ascii_whitespace().count();
            ensure!(
                sizes == trees,
                InvalidModel,
                "{trees} trees, but tree_sizes has {sizes}: the file is not whole"
            );
        }
        ensure!(
            trees.is_multiple_of(targets),
            InvalidModel,
            "{trees} trees are no multiple of num_tree_per_iteration={targets}"
        );
        Ok(())
    }

    fn names(&self, features: usize, limits: &LoadLimits) -> Result<Option<Vec<String>>> {
        let Some(text) = self.feature_names else { return Ok(None) };
        let count = text.split_ascii_whitespace().count();
        ensure!(
            count == features,
            InvalidModel,
            "feature_names has {count} names for {features} features"
        );
        if let Some(long) = text.split_ascii_whitespace().find(|n| n.len() > limits.name_bytes) {
            return Err(err!(
                LimitExceeded,
                "a feature name of {} bytes (LoadLimits::name_bytes is {})",
                long.len(),
                limits.name_bytes
            ));
        }
        Ok(Some(text.split_ascii_whitespace().map(String::from).collect()))
    }
}

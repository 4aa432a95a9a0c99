//! Oblivious trees: one split a level, so that a row's answers are the bits of its leaf's number,
//! the first split's being the lowest bit.

use super::Builder;
use super::document::ObliviousTree;
use crate::ensemble::Node;
use crate::error::{Result, ensure};
use crate::room;

/// CatBoost's own limit.
const MAX_DEPTH: usize = 16;

impl Builder<'_> {
    /// Adds a tree as a perfect one. The last split comes first, as in CatBoost's own attributions
    /// (shap_values.cpp): leaves then stand in their order, and each inner node is over those of
    /// a range.
    pub(super) fn oblivious(&mut self, tree: &ObliviousTree<'_>) -> Result<()> {
        let splits = tree.splits.as_deref().unwrap_or_default();
        let depth = splits.len();
        ensure!(
            depth <= MAX_DEPTH,
            InvalidModel,
            "{depth} splits, an oblivious tree has at most {MAX_DEPTH}"
        );
        let (leaves, values) = (1usize << depth, &tree.leaf_values);
        ensure!(
            !values.is_empty() && values.len().is_multiple_of(leaves),
            InvalidModel,
            "leaf_values: {} values for {leaves} leaves",
            values.len()
        );
        let dimension = values.len() / leaves;
        self.dimension(dimension)?;
        let weights = tree.leaf_weights.as_deref().unwrap_or_default();
        ensure!(
            weights.is_empty() || weights.len() == leaves,
            InvalidModel,
            "leaf_weights: {} weights for {leaves} leaves",
            weights.len()
        );
        self.weighted &= !weights.is_empty();
        self.room(2 * leaves - 1)?;
        room::reserve(&mut self.ensemble.ids, 2 * leaves - 1)?;
        let base = self.ensemble.nodes.len() as u32;
        self.ensemble.roots.push(base);
        // Level by level: the children of the i-th node are the nodes 2i + 1 and 2i + 2.
        for (level, split) in splits.iter().rev().enumerate() {
            let split = self.split(split)?;
            let first = (1u32 << level) - 1;
            for i in first..2 * first + 1 {
                let (no, yes) = (base + 2 * i + 1, base + 2 * i + 2);
                self.ensemble.nodes.push(Node::Split(crate::ensemble::Split { yes, no, ..split }));
            }
        }
        // The sums of the levels above: a range's weight is that of its halves.
        let start = self.ensemble.cover.len();
        self.ensemble.cover.resize(start + leaves - 1, 0.0);
        // CatBoost numbers the leaves of a tree, not its nodes.
        self.ensemble.ids.extend((0..leaves as u32 - 1).map(|_| 0).chain(0..leaves as u32));
        let weights = weights.iter().copied().chain(std::iter::repeat(0.0));
        for (values, weight) in values.chunks_exact(dimension).zip(weights) {
            self.leaf(values, weight)?;
        }
        if let Some(cover) = self.ensemble.cover.get_mut(start..) {
            for i in (0..leaves - 1).rev() {
                let below = cover.get(2 * i + 1).zip(cover.get(2 * i + 2));
                let sum = below.map_or(0.0, |(a, b)| a + b);
                if let Some(above) = cover.get_mut(i) {
                    *above = sum;
                }
            }
        }
        Ok(())
    }
}

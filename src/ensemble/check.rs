//! What a walk relies on, checked once and without recursion.

use super::{Ensemble, MAX_FEATURES, Node, Test};
use crate::error::{Result, bail, ensure};
use crate::limits::LoadLimits;
use crate::room;

impl Ensemble {
    /// Refuses what a walk could not survive: children, leaves, weights, sets or targets that are
    /// not there, features out of range, cycles, trees deeper than the limit. Children that
    /// several nodes share are legal.
    ///
    /// # Errors
    /// `InvalidModel`; `LimitExceeded`, naming the limit.
    pub fn check(&self, limits: &LoadLimits) -> Result<()> {
        let (nodes, trees) = (self.nodes.len(), self.roots.len());
        ensure!(
            nodes <= limits.tree_nodes.min(1 << 30),
            LimitExceeded,
            "{nodes} tree nodes (LoadLimits::tree_nodes is {})",
            limits.tree_nodes
        );
        ensure!(
            trees <= limits.trees,
            LimitExceeded,
            "{trees} trees (LoadLimits::trees is {})",
            limits.trees
        );
        ensure!(
            (1..=1 << 20).contains(&self.targets),
            InvalidModel,
            "{} targets, expected 1 to 2^20",
            self.targets
        );
        ensure!(
            self.base.is_empty() || self.base.len() == self.targets,
            InvalidModel,
            "{} base values for {} targets",
            self.base.len(),
            self.targets
        );
        for (i, node) in self.nodes.iter().enumerate() {
            self.check_node(i, node)?;
        }
        let target = |t: u32| (t as usize) < self.targets;
        for leaf in &self.leaves {
            let range = leaf.start <= leaf.end && leaf.end as usize <= self.weights.len();
            let linear = leaf.linear.is_none_or(|l| (l as usize) < self.linear.len());
            ensure!(range && linear, InvalidModel, "a leaf without its weights");
        }
        ensure!(
            self.weights.iter().all(|w| target(w.0))
                && self.linear.iter().all(|l| target(l.target)),
            InvalidModel,
            "a leaf adds to a target outside [0, {})",
            self.targets
        );
        ensure!(
            self.linear.iter().flat_map(|l| &l.terms).all(|t| t.0 < MAX_FEATURES),
            InvalidModel,
            "a linear leaf looks at a feature outside [0, {MAX_FEATURES})"
        );
        ensure!(
            self.cover.is_empty() || self.cover.len() == nodes,
            InvalidModel,
            "{} covers for {nodes} nodes",
            self.cover.len()
        );
        ensure!(
            self.gain.is_empty() || self.gain.len() == nodes,
            InvalidModel,
            "{} gains for {nodes} nodes",
            self.gain.len()
        );
        ensure!(
            self.ids.is_empty() || self.ids.len() == nodes,
            InvalidModel,
            "{} numbers for {nodes} nodes",
            self.ids.len()
        );
        ensure!(
            self.roots.iter().all(|&r| (r as usize) < nodes),
            InvalidModel,
            "a tree without its root"
        );
        self.check_depth(limits)
    }

    fn check_node(&self, i: usize, node: &Node) -> Result<()> {
        let nodes = self.nodes.len();
        match node {
            Node::Leaf(leaf) => {
                ensure!(
                    (*leaf as usize) < self.leaves.len(),
                    InvalidModel,
                    "node {i}: no leaf {leaf}"
                );
            }
            Node::Split(split) => {
                for child in [split.yes, split.no] {
                    ensure!(
                        (child as usize) < nodes,
                        InvalidModel,
                        "node {i}: child {child} of {nodes} nodes"
                    );
                }
                ensure!(
                    split.feature < MAX_FEATURES
                        && (self.features == 0 || (split.feature as usize) < self.features),
                    InvalidModel,
                    "node {i}: feature {} of {}",
                    split.feature,
                    if self.features == 0 { MAX_FEATURES as usize } else { self.features }
                );
                if let Test::Member(set) = split.test {
                    ensure!(
                        (set as usize) < self.sets.len(),
                        InvalidModel,
                        "node {i}: category set {set} of {}",
                        self.sets.len()
                    );
                }
            }
        }
        Ok(())
    }

    /// No cycles, and no tree deeper than the limit.
    fn check_depth(&self, limits: &LoadLimits) -> Result<()> {
        let height = match self.heights()? {
            Some(height) => height,
            None => self.searched_heights()?,
        };
        for &root in &self.roots {
            let depth = height[root as usize] as usize;
            ensure!(
                depth <= limits.tree_depth,
                LimitExceeded,
                "a tree is {depth} deep (LoadLimits::tree_depth is {})",
                limits.tree_depth
            );
        }
        Ok(())
    }

    /// The height of every node where each comes before its children, as trainers write them:
    /// then there is no cycle, and one pass from the end does.
    fn heights(&self) -> Result<Option<Vec<u32>>> {
        let mut height = room::filled(self.nodes.len(), 0u32)?;
        for (i, node) in self.nodes.iter().enumerate().rev() {
            if let Node::Split(split) = node {
                let (yes, no) = (split.yes as usize, split.no as usize);
                if yes <= i || no <= i {
                    return Ok(None);
                }
                height[i] = height[yes].max(height[no]) + 1;
            }
        }
        Ok(Some(height))
    }

    /// The heights of all nodes that a root leads to: a depth-first search with an explicit stack.
    fn searched_heights(&self) -> Result<Vec<u32>> {
        const NEW: u32 = u32::MAX;
        const OPEN: u32 = u32::MAX - 1;
        let mut height = room::filled(self.nodes.len(), NEW)?;
        // (node, whether its children have been visited)
        let mut stack: Vec<(u32, bool)> = Vec::new();
        for &root in &self.roots {
            stack.push((root, false));
            while let Some((at, visited)) = stack.pop() {
                let i = at as usize;
                let Node::Split(split) = &self.nodes[i] else {
                    height[i] = 0;
                    continue;
                };
                if visited {
                    let below = height[split.yes as usize].max(height[split.no as usize]);
                    height[i] = below + 1;
                    continue;
                }
                if height[i] < OPEN {
                    continue;
                }
                height[i] = OPEN;
                stack.push((at, true));
                for child in [split.yes, split.no] {
                    match height[child as usize] {
                        OPEN => bail!(InvalidModel, "the nodes of a tree form a cycle"),
                        NEW => stack.push((child, false)),
                        _ => {}
                    }
                }
            }
        }
        Ok(height)
    }
}

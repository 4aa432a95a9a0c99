//! Trees of any shape (`grow_policy` Depthwise and Lossguide): nested nodes, the right one being
//! for rows above the border.

use super::Builder;
use super::document::Node;
use crate::ensemble;
use crate::error::{Result, ensure, err};

impl Builder<'_> {
    /// Adds a tree.
    pub(super) fn unbalanced(&mut self, tree: &Node<'_>) -> Result<()> {
        let root = self.node(tree)?;
        self.ensemble.roots.push(root);
        Ok(())
    }

    /// Adds a node and what is below it. The parser's own limit of 128 nested objects bounds the
    /// recursion.
    fn node(&mut self, node: &Node<'_>) -> Result<u32> {
        let Some(split) = &node.split else {
            ensure!(
                node.left.is_none() && node.right.is_none(),
                InvalidModel,
                "a node with children, but without a split"
            );
            return self.value(node);
        };
        let split = self.split(split)?;
        self.room(1)?;
        let at = self.ensemble.nodes.len();
        // Children come after their parent; they are put in below.
        self.ensemble.nodes.push(ensemble::Node::Split(split));
        self.ensemble.cover.push(0.0);
        let mut child = |child: Option<&Node<'_>>| match child {
            Some(child) => self.node(child),
            // A side that has no node has the value of its parent.
            None => self.value(node),
        };
        let (no, yes) = (child(node.left.as_deref())?, child(node.right.as_deref())?);
        let cover = |at: u32| self.ensemble.cover.get(at as usize).copied().unwrap_or(0.0);
        let sum = cover(no) + cover(yes);
        if let Some(cover) = self.ensemble.cover.get_mut(at) {
            *cover = sum;
        }
        if let Some(node) = self.ensemble.nodes.get_mut(at) {
            *node = ensemble::Node::Split(ensemble::Split { yes, no, ..split });
        }
        Ok(at as u32)
    }

    fn value(&mut self, node: &Node<'_>) -> Result<u32> {
        let values = node.value.as_ref();
        let values = values.ok_or_else(|| err!(InvalidModel, "a leaf without its value"))?;
        let values = values.as_slice();
        ensure!(!values.is_empty(), InvalidModel, "a leaf without its value");
        self.dimension(values.len())?;
        self.weighted &= node.weight.is_some();
        self.room(1)?;
        self.leaf(values, node.weight.unwrap_or(0.0))
    }
}

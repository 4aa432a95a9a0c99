//! The leaves that a row ends in.

use crate::ensemble::Ensemble;
use crate::error::{Result, ensure};
use std::ops::Deref;

/// Says for each tree in which leaf a row ends: XGBoost's and LightGBM's `pred_leaf`, `apply` of
/// scikit-learn's trees.
#[derive(Debug)]
pub struct Leaves<E> {
    ensemble: E,
    features: usize,
    /// The number of each leaf by node; empty where the ensemble has its own.
    numbers: Vec<u32>,
}

impl<E: Deref<Target = Ensemble>> Leaves<E> {
    /// Prepares for an ensemble that [`Ensemble::check`] has accepted. Leaves have the numbers
    /// in [`Ensemble::ids`]; where there are none, those of each tree are counted from 0, what
    /// lies below a split's `yes` branch before what lies below its `no` branch.
    ///
    /// # Errors
    /// `Unsupported` where there are no numbers and two trees share nodes.
    pub fn new(ensemble: E) -> Result<Leaves<E>> {
        let numbers = match ensemble.ids.is_empty() {
            true => count(&ensemble)?,
            false => Vec::new(),
        };
        let features = ensemble.explained_features();
        Ok(Leaves { ensemble, features, numbers })
    }

    /// The number of the row's leaf within its tree, for each tree in turn.
    ///
    /// # Errors
    /// `InvalidInput` for a row of another length.
    pub fn apply(&self, row: &[f64]) -> Result<Vec<u32>> {
        self.ensemble.check_row(row, self.features)?;
        let numbers = match self.ensemble.ids.is_empty() {
            true => &self.numbers,
            false => &self.ensemble.ids,
        };
        // As many numbers as nodes, by the check or by `count`.
        Ok(self.ensemble.ends(row).map(|node| numbers[node as usize]).collect())
    }
}

/// Counts the leaves of each tree. No node is met twice, so this is linear even where one would
/// be reached in many ways.
fn count(ensemble: &Ensemble) -> Result<Vec<u32>> {
    const NONE: u32 = u32::MAX;
    let mut numbers = vec![0; ensemble.nodes.len()];
    // The root of the tree that a node has been met in; a root may be there more than once.
    let mut tree_of = vec![NONE; ensemble.nodes.len()];
    let mut stack = Vec::new();
    for &root in &ensemble.roots {
        if tree_of[root as usize] == root {
            continue;
        }
        let mut next = 0;
        stack.push(root);
        while let Some(at) = stack.pop() {
            let met = &mut tree_of[at as usize];
            if *met == root {
                continue;
            }
            ensure!(
                *met == NONE,
                Unsupported,
                "two trees share node {at}: its leaves have no number of their own"
            );
            *met = root;
            match ensemble.split_at(at) {
                Some(split) => stack.extend([split.no, split.yes]),
                None => {
                    numbers[at as usize] = next;
                    next += 1;
                }
            }
        }
    }
    Ok(numbers)
}

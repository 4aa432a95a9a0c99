//! How much each feature matters to an ensemble as a whole.

use super::values;
use crate::ensemble::Ensemble;
use crate::error::{Result, ensure};

/// By what features are ranked. The names in quotes are XGBoost's, then LightGBM's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    /// How many splits look at it ("weight", "split").
    Splits,
    /// What its splits gained together ("total_gain", "gain").
    TotalGain,
    /// What its splits gained on average ("gain").
    MeanGain,
    /// How much training data reached its splits together ("total_cover").
    TotalCover,
    /// How much training data reached its splits on average ("cover").
    MeanCover,
}

/// Which splits are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// All, as XGBoost does.
    All,
    /// Those that gained more than nothing, as LightGBM does; all where the file does not say
    /// what they gained.
    Gaining,
}

impl Ensemble {
    /// The importance of each feature of a checked ensemble, in the unit of the trainer; 0 for
    /// features that no split looks at. A node that trees share counts once. Sums are `f64`,
    /// XGBoost's are `f32`.
    ///
    /// # Errors
    /// `Unsupported` where the file does not say what is asked for; `LimitExceeded` for more than
    /// 2^27 features.
    pub fn importance(&self, by: Importance, counted: Counted) -> Result<Vec<f64>> {
        let of = match by {
            Importance::Splits => &[][..],
            Importance::TotalGain | Importance::MeanGain => {
                let known = self.gain.len() == self.nodes.len();
                ensure!(known, Unsupported, "the file does not say what each split gained");
                &self.gain
            }
            Importance::TotalCover | Importance::MeanCover => {
                let known = self.cover.len() == self.nodes.len();
                ensure!(
                    known,
                    Unsupported,
                    "the file does not say how much training data reached each node"
                );
                &self.cover
            }
        };
        let features = self.explained_features();
        values(1, features)?;
        let (mut sums, mut splits) = (vec![0.0; features], vec![0.0; features]);
        // Files may hold nodes that no tree reaches (XGBoost keeps what it pruned).
        let mut met = vec![false; self.nodes.len()];
        let mut stack = Vec::new();
        for &root in &self.roots {
            stack.push(root);
            while let Some(at) = stack.pop() {
                if std::mem::replace(&mut met[at as usize], true) {
                    continue;
                }
                let Some(split) = self.split_at(at) else { continue };
                // What is pushed last is met first: sums are added in the order of the trees, and
                // within one from its `yes` side.
                stack.extend([split.no, split.yes]);
                let gain = self.gain.get(at as usize).copied().unwrap_or(1.0);
                if counted == Counted::All || gain > 0.0 {
                    sums[split.feature as usize] += of.get(at as usize).copied().unwrap_or(1.0);
                    splits[split.feature as usize] += 1.0;
                }
            }
        }
        if matches!(by, Importance::MeanGain | Importance::MeanCover) {
            for (sum, &splits) in sums.iter_mut().zip(&splits) {
                *sum /= f64::max(splits, 1.0);
            }
        }
        Ok(sums)
    }
}

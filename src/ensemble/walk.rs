//! The plain walk: one row, one node at a time, as the form says it. What compiled forms are
//! compared with.

use super::{Aggregate, CategorySet, Ensemble, Missing, Node, Precision, Split, Test, ZERO};

impl CategorySet {
    /// A set of these values as they are.
    pub fn exact(values: Vec<f64>) -> CategorySet {
        CategorySet { values, truncate: false, negative_fractions: false }
    }

    /// Whether the set holds `x`.
    pub fn contains(&self, x: f64) -> bool {
        if !self.truncate {
            return self.values.contains(&x);
        }
        let lowest = if self.negative_fractions { x > -1.0 } else { x >= 0.0 };
        lowest && self.values.contains(&x.trunc())
    }
}

/// Whether two values cannot be told apart by size: the first one then stays.
fn either_nan(a: f64, b: f64) -> bool {
    a.is_nan() || b.is_nan()
}

/// Rounds to a precision; [`Precision::Input`] keeps what there is.
pub(super) fn round(x: f64, precision: Precision) -> f64 {
    match precision {
        Precision::F32 => f64::from(x as f32),
        Precision::F64 | Precision::Input => x,
    }
}

impl Split {
    /// Whether the row takes the `yes` branch; `x` is its feature in the trainer's precision, and
    /// thresholds are rounded to that precision first.
    fn holds(&self, x: f64, ensemble: &Ensemble) -> bool {
        let missing = x.is_nan();
        let x = match self.missing {
            Missing::Yes if missing => return true,
            Missing::No if missing => return false,
            Missing::ZeroYes if missing || x.abs() <= ZERO => return true,
            Missing::ZeroNo if missing || x.abs() <= ZERO => return false,
            Missing::AsZero if missing => 0.0,
            _ => x,
        };
        let round = |t: f64| round(t, ensemble.arithmetic.features);
        match self.test {
            Test::LessOrEqual(t) => x <= round(t),
            Test::Less(t) => x < round(t),
            Test::GreaterOrEqual(t) => x >= round(t),
            Test::Greater(t) => x > round(t),
            Test::Equal(t) => x == round(t),
            Test::NotEqual(t) => x != round(t),
            Test::Member(set) => ensemble.sets[set as usize].contains(x),
        }
    }
}

impl Ensemble {
    /// Whether a row of at least [`Ensemble::width`] features takes the `yes` branch of a split.
    pub(super) fn takes_yes(&self, split: &Split, row: &[f64]) -> bool {
        split.holds(round(row[split.feature as usize], self.arithmetic.features), self)
    }

    /// The node at which each tree of a checked ensemble ends for this row, which has at least
    /// [`Ensemble::width`] features in the precision of [`super::Arithmetic::features`].
    pub fn ends<'a>(&'a self, row: &'a [f64]) -> impl Iterator<Item = u32> + 'a {
        self.roots.iter().map(|&root| {
            let mut at = root;
            while let Node::Split(split) = &self.nodes[at as usize] {
                at = if self.takes_yes(split, row) { split.yes } else { split.no };
            }
            at
        })
    }

    /// The margins of one row, by target.
    pub fn margins(&self, row: &[f64]) -> Vec<f64> {
        let sums = self.arithmetic.sums;
        let mut margins = vec![0.0; self.targets];
        let mut seen = vec![false; self.targets];
        if self.arithmetic.base_first {
            for (margin, &base) in margins.iter_mut().zip(&self.base) {
                *margin = round(base, sums);
            }
        }
        let mut join = |target: u32, weight: f64| {
            let (margin, seen) = (&mut margins[target as usize], &mut seen[target as usize]);
            let weight = round(weight, sums);
            *margin = match self.aggregate {
                Aggregate::Sum | Aggregate::Average => round(*margin + weight, sums),
                Aggregate::Min if *seen && (*margin <= weight || either_nan(*margin, weight)) => {
                    *margin
                }
                Aggregate::Max if *seen && (*margin >= weight || either_nan(*margin, weight)) => {
                    *margin
                }
                Aggregate::Min | Aggregate::Max => weight,
            };
            *seen = true;
        };
        for end in self.ends(row) {
            let Node::Leaf(leaf) = self.nodes[end as usize] else { continue };
            let leaf = &self.leaves[leaf as usize];
            match leaf.linear.and_then(|l| self.linear_leaf(l, row)) {
                Some((target, value)) => join(target, value),
                None => self.weights_of(leaf).iter().for_each(|&(t, w)| join(t, w)),
            }
        }
        let trees = self.averaged_over.unwrap_or(self.roots.len() as u32);
        for (i, margin) in margins.iter_mut().enumerate() {
            if self.aggregate == Aggregate::Average {
                *margin = round(*margin / f64::from(trees.max(1)), sums);
            }
            if self.arithmetic.scale != 1.0 {
                *margin = round(*margin * round(self.arithmetic.scale, sums), sums);
            }
            if let (false, Some(&base)) = (self.arithmetic.base_first, self.base.get(i)) {
                *margin = round(*margin + round(base, sums), sums);
            }
        }
        margins
    }

    /// The value of a linear leaf, or `None` where one of its features is missing.
    fn linear_leaf(&self, index: u32, row: &[f64]) -> Option<(u32, f64)> {
        let linear = &self.linear[index as usize];
        let mut value = linear.constant;
        for &(feature, coefficient) in &linear.terms {
            let x = row[feature as usize];
            if x.is_nan() {
                return None;
            }
            value += coefficient * x;
        }
        Some((linear.target, value))
    }
}

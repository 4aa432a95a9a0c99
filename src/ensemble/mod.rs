//! Tree ensembles: the one form that every format is read into.
//!
//! It is a superset of what ONNX's operators, XGBoost, LightGBM, CatBoost and scikit-learn
//! write: comparisons of either strictness, category sets, linear leaves, leaves for several
//! targets, a direction for missing values, and the precision in which the trainer compares and
//! adds. [`Ensemble::check`] says once whether a walk over it is safe; `kernel::tree` compiles it
//! to a compact form, and [`Ensemble::margins`] is the plain walk that such forms are compared
//! with.

mod booster;
mod check;
mod exp;
pub mod explain;
mod link;
mod walk;

pub use booster::{Booster, Learner, LinearLearner, Outcome};
pub use link::Link;

use crate::error::Result;
use crate::room;

/// The domain of the library's own operators, which answer as a trainer does.
pub const DOMAIN: &str = "ai.modelserve";
/// Features are numbered below this.
pub const MAX_FEATURES: u32 = 1 << 28;
/// What LightGBM takes for zero where zero means missing: a float's 1e-35.
pub const ZERO: f64 = 1e-35f32 as f64;

/// What a split asks of its feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Test {
    /// `x <= t`
    LessOrEqual(f64),
    /// `x < t`
    Less(f64),
    /// `x >= t`
    GreaterOrEqual(f64),
    /// `x > t`
    Greater(f64),
    /// `x == t`
    Equal(f64),
    /// `x != t`
    NotEqual(f64),
    /// `x`, with its fraction cut off where the set says so, is one of [`Ensemble::sets`].
    Member(u32),
}

/// What a split does with a missing value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Missing {
    /// NaN is compared like a number: every test fails but `NotEqual`.
    Compared,
    /// NaN takes the `yes` branch.
    Yes,
    /// NaN takes the `no` branch.
    No,
    /// NaN and what lies within [`ZERO`] of zero take the `yes` branch.
    ZeroYes,
    /// NaN and what lies within [`ZERO`] of zero take the `no` branch.
    ZeroNo,
    /// NaN is read as 0.
    AsZero,
}

/// An inner node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Split {
    /// Number of the feature.
    pub feature: u32,
    /// What is asked of it.
    pub test: Test,
    /// Where a missing value goes.
    pub missing: Missing,
    /// The node after a test that holds.
    pub yes: u32,
    /// The node after a test that fails.
    pub no: u32,
}

/// A node of some tree; children are indices into [`Ensemble::nodes`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Node {
    /// An inner node.
    Split(Split),
    /// A leaf: an index into [`Ensemble::leaves`].
    Leaf(u32),
}

/// What a leaf adds: `weights[start..end]`, or a linear function in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// First of its weights.
    pub start: u32,
    /// One past its last weight.
    pub end: u32,
    /// Index into [`Ensemble::linear`]; its weights then serve rows with a missing value among
    /// the function's features.
    pub linear: Option<u32>,
}

/// A linear function of the row in a leaf.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearLeaf {
    /// The target it adds to.
    pub target: u32,
    /// Its constant.
    pub constant: f64,
    /// Features and coefficients, in the order of their sum.
    pub terms: Vec<(u32, f64)>,
}

/// The values of a membership test.
#[derive(Debug, Clone, PartialEq)]
pub struct CategorySet {
    /// The values, in any order.
    pub values: Vec<f64>,
    /// Whether a value loses its fraction (towards zero) before it is looked up, and negative
    /// values are in no set.
    pub truncate: bool,
    /// With `truncate`: whether what lies between -1 and 0 becomes 0 (LightGBM), or is negative
    /// like the rest (XGBoost).
    pub negative_fractions: bool,
}

/// A floating-point precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Single.
    F32,
    /// Double.
    F64,
    /// That of the rows that are asked: ONNX's operators.
    Input,
}

/// In which precision and order the trainer computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arithmetic {
    /// Rows are rounded to this before anything is compared.
    pub features: Precision,
    /// Leaves are added in this.
    pub sums: Precision,
    /// Whether a sum starts with the base value; else the base value is added to it at its end.
    pub base_first: bool,
    /// What the finished sum of leaves is multiplied with (before the base value is added).
    pub scale: f64,
}

/// How the leaves of a target become its margin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// Their sum.
    Sum,
    /// Their sum over the number of trees, or over [`Ensemble::averaged_over`].
    Average,
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

/// A whole ensemble. Fields are public for the readers of formats; whoever walks it has called
/// [`Ensemble::check`] before.
#[derive(Debug, Clone, PartialEq)]
pub struct Ensemble {
    /// The nodes of all trees.
    pub nodes: Vec<Node>,
    /// The root of each tree, in the order in which leaves are added.
    pub roots: Vec<u32>,
    /// The leaves.
    pub leaves: Vec<Leaf>,
    /// (target, weight) pairs.
    pub weights: Vec<(u32, f64)>,
    /// Linear functions of leaves.
    pub linear: Vec<LinearLeaf>,
    /// Sets of membership tests.
    pub sets: Vec<CategorySet>,
    /// Features a row has; 0 where the file does not say.
    pub features: usize,
    /// Margins a row gets.
    pub targets: usize,
    /// Base value by target; empty for none.
    pub base: Vec<f64>,
    /// How leaves are joined.
    pub aggregate: Aggregate,
    /// What [`Aggregate::Average`] divides by, where that is not the number of trees.
    pub averaged_over: Option<u32>,
    /// How it is computed.
    pub arithmetic: Arithmetic,
    /// How much of the training data reached each node; empty where the file does not say.
    pub cover: Vec<f64>,
    /// What each split gained in training; empty where the file does not say.
    pub gain: Vec<f64>,
    /// The trainer's own number of each node within its tree, for [`explain::Leaves`]: that of
    /// the node in XGBoost and scikit-learn, that of the leaf in LightGBM (what inner nodes have
    /// is not looked at). Empty: leaves are counted as they appear in their tree.
    pub ids: Vec<u32>,
}

impl Ensemble {
    /// An ensemble without trees, which adds `f64` leaves of `f64` rows.
    pub fn empty(features: usize, targets: usize) -> Ensemble {
        Ensemble {
            nodes: Vec::new(),
            roots: Vec::new(),
            leaves: Vec::new(),
            weights: Vec::new(),
            linear: Vec::new(),
            sets: Vec::new(),
            features,
            targets,
            base: Vec::new(),
            aggregate: Aggregate::Sum,
            averaged_over: None,
            arithmetic: Arithmetic {
                features: Precision::F64,
                sums: Precision::F64,
                base_first: false,
                scale: 1.0,
            },
            cover: Vec::new(),
            gain: Vec::new(),
            ids: Vec::new(),
        }
    }

    /// Makes room for that many further nodes, leaves and weights.
    ///
    /// # Errors
    /// `LimitExceeded` where there is no memory for them.
    pub fn reserve(&mut self, nodes: usize, leaves: usize, weights: usize) -> Result<()> {
        room::reserve(&mut self.nodes, nodes)?;
        room::reserve(&mut self.leaves, leaves)?;
        room::reserve(&mut self.weights, weights)
    }

    /// Adds a leaf with these weights and answers its node.
    pub fn push_leaf(&mut self, weights: &[(u32, f64)]) -> u32 {
        let start = self.weights.len() as u32;
        self.weights.extend_from_slice(weights);
        let end = self.weights.len() as u32;
        self.leaves.push(Leaf { start, end, linear: None });
        self.nodes.push(Node::Leaf(self.leaves.len() as u32 - 1));
        self.nodes.len() as u32 - 1
    }

    /// The weights of a leaf.
    pub fn weights_of(&self, leaf: &Leaf) -> &[(u32, f64)] {
        self.weights.get(leaf.start as usize..leaf.end as usize).unwrap_or_default()
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        let terms: usize = self.linear.iter().map(|l| l.terms.len() * 16).sum();
        let sets: usize = self.sets.iter().map(|s| s.values.len() * 8).sum();
        (self.nodes.len() * size_of::<Node>()
            + self.leaves.len() * size_of::<Leaf>()
            + self.weights.len() * size_of::<(u32, f64)>()
            + (self.cover.len() + self.gain.len()) * 8
            + terms
            + sets) as u64
    }

    /// Features a row must have: more than every feature that a node or leaf looks at.
    pub fn width(&self) -> usize {
        let splits = self.nodes.iter().map(|n| match n {
            Node::Split(s) => s.feature as usize + 1,
            Node::Leaf(_) => 0,
        });
        let terms = self.linear.iter().flat_map(|l| &l.terms).map(|t| t.0 as usize + 1);
        splits.chain(terms).max().unwrap_or(0)
    }
}

//! The keys of XGBoost's model schema that matter here; serde skips all others.
//!
//! What is no `Option` and has no default is required: serde names it when it is missing. Numbers
//! of the parameter objects are strings in every version.

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// The document.
#[derive(Deserialize)]
pub(super) struct File {
    #[serde(default)]
    pub version: Vec<i64>,
    pub learner: Learner,
}

/// `learner`.
#[derive(Deserialize)]
pub(super) struct Learner {
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    #[serde(default)]
    pub feature_names: Vec<String>,
    /// `c` for a categorical feature.
    #[serde(default)]
    pub feature_types: Vec<String>,
    pub gradient_booster: GradientBooster,
    pub learner_model_param: LearnerParam,
    pub objective: Objective,
}

/// `learner.learner_model_param`.
#[derive(Deserialize)]
pub(super) struct LearnerParam {
    pub base_score: String,
    pub num_feature: String,
    /// 0 where there are no classes.
    pub num_class: Option<String>,
    /// Since 1.6.
    pub num_target: Option<String>,
}

/// `learner.objective`: its parameters matter in training only.
#[derive(Deserialize)]
pub(super) struct Objective {
    pub name: String,
}

/// `learner.gradient_booster`: `gbtree` and `gblinear` have a `model`; `dart` wraps a `gbtree`.
#[derive(Deserialize)]
pub(super) struct GradientBooster {
    pub name: String,
    pub model: Option<Model>,
    pub gbtree: Option<Wrapped>,
    pub weight_drop: Option<Vec<f32>>,
}

/// `learner.gradient_booster.gbtree` of a `dart` booster.
#[derive(Deserialize)]
pub(super) struct Wrapped {
    pub model: Model,
}

/// The model of a booster: `weights` of a linear one, everything else of trees.
#[derive(Deserialize)]
pub(super) struct Model {
    pub gbtree_model_param: Option<TreesParam>,
    pub trees: Option<Vec<Tree>>,
    pub tree_info: Option<Vec<i64>>,
    /// Since 2.0: the first tree of each round, and one past the last.
    pub iteration_indptr: Option<Vec<i64>>,
    /// Since 3.1.
    pub cats: Option<Categories>,
    pub weights: Option<Vec<f32>>,
}

/// `gbtree_model_param`.
#[derive(Deserialize)]
pub(super) struct TreesParam {
    pub num_parallel_tree: Option<String>,
}

/// The categories that the training data frame had: one encoding a feature.
#[derive(Deserialize)]
pub(super) struct Categories {
    #[serde(default)]
    pub enc: Vec<Encoding>,
}

/// Categories of one feature by code: strings joined, cut at offsets. Categories that are numbers
/// have no offsets.
#[derive(Deserialize)]
pub(super) struct Encoding {
    pub offsets: Option<Vec<i64>>,
    #[serde(default)]
    pub values: Vec<f64>,
}

/// One tree: arrays with an element for each node.
#[derive(Deserialize)]
pub(super) struct Tree {
    pub tree_param: TreeParam,
    /// -1 makes a node a leaf.
    pub left_children: Vec<i64>,
    /// In a tree of vector leaves since 3.1: for a leaf, its row of `leaf_weights`.
    pub right_children: Vec<i64>,
    pub split_indices: Vec<i64>,
    /// Thresholds; the values of scalar leaves.
    pub split_conditions: Vec<f32>,
    pub default_left: Vec<Flag>,
    /// 1 for a categorical split; since 1.3.
    #[serde(default)]
    pub split_type: Vec<i64>,
    #[serde(default)]
    pub categories: Vec<i64>,
    #[serde(default)]
    pub categories_nodes: Vec<i64>,
    #[serde(default)]
    pub categories_segments: Vec<i64>,
    #[serde(default)]
    pub categories_sizes: Vec<i64>,
    #[serde(default)]
    pub sum_hessian: Vec<f32>,
    #[serde(default)]
    pub loss_changes: Vec<f32>,
    /// Values of all nodes; those of vector leaves before 3.1.
    #[serde(default)]
    pub base_weights: Vec<f32>,
    pub leaf_weights: Option<Vec<f32>>,
}

/// `tree_param`.
#[derive(Deserialize)]
pub(super) struct TreeParam {
    /// 0 or 1 for scalar leaves.
    pub size_leaf_vector: Option<String>,
}

/// A boolean, which newer versions write as a number.
pub(super) struct Flag(pub bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Flag;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a boolean or a number")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Flag, E> {
                Ok(Flag(value != 0))
            }
        }
        d.deserialize_any(Read)
    }
}

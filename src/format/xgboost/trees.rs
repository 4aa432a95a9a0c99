//! XGBoost's trees to the one form.

use super::model::{Model, Tree};
use super::number;
use crate::ensemble::{CategorySet, Ensemble, Leaf, Missing, Node, Precision, Split, Test};
use crate::error::{Result, ensure, err};
use crate::limits::LoadLimits;
use crate::room;

/// Categories from here on are in no set (`common::InvalidCat`): `f32` counts no further.
const CATEGORIES: i64 = 1 << 24;

/// Reads the first trees of a model. `dropout` are the factors of a `dart` booster's trees;
/// `rounds` is how many rounds count, `None` for all. Margins start with `base`.
///
/// # Errors
/// `InvalidModel` naming the tree; `LimitExceeded` naming the limit.
pub(super) fn read(
    model: Model,
    dropout: Option<&[f32]>,
    rounds: Option<usize>,
    base: &[f32],
    features: usize,
    limits: &LoadLimits,
) -> Result<Ensemble> {
    let missing =
        |key: &str| err!(InvalidModel, "gradient_booster.model: key \"{key}\" is missing");
    let used = used(&model, rounds, base.len())?;
    let trees = model.trees.ok_or_else(|| missing("trees"))?;
    let groups = model.tree_info.ok_or_else(|| missing("tree_info"))?;
    let count = trees.len();
    ensure!(
        groups.len() == count,
        InvalidModel,
        "tree_info has {} elements for {count} trees",
        groups.len()
    );
    ensure!(
        dropout.is_none_or(|d| d.len() == count),
        InvalidModel,
        "weight_drop has {} elements for {count} trees",
        dropout.map_or(0, <[f32]>::len)
    );
    ensure!(
        count <= limits.trees,
        LimitExceeded,
        "{count} trees (LoadLimits::trees is {})",
        limits.trees
    );
    let mut ensemble = Ensemble::empty(features, base.len());
    ensemble.base = base.iter().copied().map(f64::from).collect();
    ensemble.arithmetic.features = Precision::F32;
    ensemble.arithmetic.sums = Precision::F32;
    ensemble.arithmetic.base_first = true;
    let mut gains = Gains::default();
    for (i, (tree, group)) in trees.iter().zip(groups).take(used).enumerate() {
        let factor = dropout.and_then(|d| d.get(i)).copied().unwrap_or(1.0);
        add(&mut ensemble, &mut gains, tree, group, factor, limits)
            .map_err(|e| e.context(format_args!("tree {i}")))?;
    }
    // All or nothing: an array that only some trees have says nothing of the ensemble.
    let nodes = ensemble.nodes.len();
    ensemble.cover = if gains.cover.len() == nodes { gains.cover } else { Vec::new() };
    ensemble.gain = if gains.gain.len() == nodes { gains.gain } else { Vec::new() };
    Ok(ensemble)
}

/// How many trees the first `rounds` rounds have.
fn used(model: &Model, rounds: Option<usize>, targets: usize) -> Result<usize> {
    let Some(rounds) = rounds else { return Ok(usize::MAX) };
    if let Some(&end) = model.iteration_indptr.as_ref().and_then(|starts| starts.get(rounds)) {
        return usize::try_from(end)
            .map_err(|_| err!(InvalidModel, "iteration_indptr has the element {end}"));
    }
    // Files before 2.0 have no such list; a list that ends before has no round to leave out.
    if model.iteration_indptr.is_some() {
        return Ok(usize::MAX);
    }
    let param = model.gbtree_model_param.as_ref();
    let parallel = param.and_then(|p| p.num_parallel_tree.as_deref());
    let parallel = parallel.map_or(Ok(1), |text| number("num_parallel_tree", text))?;
    // Before 1.5, 0 stands for 1.
    Ok(rounds.saturating_mul(parallel.max(1)).saturating_mul(targets))
}

/// `sum_hessian` and `loss_changes` of all trees, as far as they have them.
#[derive(Default)]
struct Gains {
    cover: Vec<f64>,
    gain: Vec<f64>,
}

/// Adds one tree; its nodes keep their order.
fn add(
    ensemble: &mut Ensemble,
    gains: &mut Gains,
    tree: &Tree,
    group: i64,
    factor: f32,
    limits: &LoadLimits,
) -> Result<()> {
    let count = tree.left_children.len();
    ensure!(count > 0, InvalidModel, "it has no nodes");
    for (key, len) in [
        ("right_children", tree.right_children.len()),
        ("split_indices", tree.split_indices.len()),
        ("split_conditions", tree.split_conditions.len()),
        ("default_left", tree.default_left.len()),
    ] {
        ensure!(len == count, InvalidModel, "{key} has {len} elements for {count} nodes");
    }
    for (key, len) in [
        ("split_type", tree.split_type.len()),
        ("sum_hessian", tree.sum_hessian.len()),
        ("loss_changes", tree.loss_changes.len()),
    ] {
        let fits = len == 0 || len == count;
        ensure!(fits, InvalidModel, "{key} has {len} elements for {count} nodes");
    }
    let first = ensemble.nodes.len();
    let total = first.saturating_add(count);
    // Below 2^30, every number of a node or leaf fits `u32`.
    ensure!(
        total <= limits.tree_nodes.min(1 << 30),
        LimitExceeded,
        "{total} tree nodes (LoadLimits::tree_nodes is {})",
        limits.tree_nodes
    );
    let ends = tree.left_children.iter().filter(|&&left| left == -1).count();
    ensemble.reserve(count, ends, ends)?;
    room::reserve(&mut ensemble.ids, count)?;
    room::reserve(&mut gains.cover, tree.sum_hessian.len())?;
    room::reserve(&mut gains.gain, tree.loss_changes.len())?;
    let leaves = Leaves::of(ensemble, tree, group, factor)?;
    let sets = categories(ensemble, tree)?;
    // A child's number in the ensemble; XGBoost's roots are nobody's children.
    let child = |i: usize, child: i64| {
        let within = usize::try_from(child).ok().filter(|&c| c > 0 && c < count);
        let node = within.and_then(|c| u32::try_from(first.saturating_add(c)).ok());
        node.ok_or_else(|| err!(InvalidModel, "node {i}: child {child} of {count} nodes"))
    };
    let columns = tree.left_children.iter().zip(&tree.right_children);
    let columns = columns.zip(&tree.split_indices).zip(&tree.split_conditions);
    let columns = columns.zip(&tree.default_left).enumerate();
    for (i, ((((&left, &right), &feature), &condition), default_left)) in columns {
        // Nodes that pruning has deleted are leaves, too, which nothing leads to.
        if left == -1 {
            leaves.push(ensemble, tree, i, right, condition)?;
            continue;
        }
        let feature = u32::try_from(feature)
            .map_err(|_| err!(InvalidModel, "node {i}: split index {feature}"))?;
        let (missing_left, left, right) = (default_left.0, child(i, left)?, child(i, right)?);
        let split = if tree.split_type.get(i).is_some_and(|&t| t == 1) {
            let set = sets.get(i).copied().flatten();
            let set = set.ok_or_else(|| {
                err!(InvalidModel, "node {i}: a categorical split that is not in categories_nodes")
            })?;
            // What is in the set goes right.
            let missing = if missing_left { Missing::No } else { Missing::Yes };
            Split { feature, test: Test::Member(set), missing, yes: right, no: left }
        } else {
            let missing = if missing_left { Missing::Yes } else { Missing::No };
            Split { feature, test: Test::Less(condition.into()), missing, yes: left, no: right }
        };
        ensemble.nodes.push(Node::Split(split));
    }
    let root = u32::try_from(first).map_err(|_| err!(LimitExceeded, "{first} tree nodes"))?;
    ensemble.roots.push(root);
    ensemble.ids.extend(0..count as u32);
    gains.cover.extend(tree.sum_hessian.iter().copied().map(f64::from));
    gains.gain.extend(tree.loss_changes.iter().copied().map(f64::from));
    Ok(())
}

/// Where the leaves of a tree have their values.
enum Leaves {
    /// In `split_conditions`, for one target.
    Scalar { target: u32, factor: f32 },
    /// In the ensemble's weights from here on: a row for each node, or for each leaf by number.
    Vector { start: usize, size: usize, by_number: bool },
}

impl Leaves {
    fn of(ensemble: &mut Ensemble, tree: &Tree, group: i64, factor: f32) -> Result<Leaves> {
        let targets = ensemble.targets;
        let size = tree.tree_param.size_leaf_vector.as_deref();
        let size = size.map_or(Ok(1), |text| number("size_leaf_vector", text))?;
        if size <= 1 {
            let target = u32::try_from(group).ok().filter(|&t| (t as usize) < targets);
            let target = target
                .ok_or_else(|| err!(InvalidModel, "tree_info {group} of {targets} targets"))?;
            return Ok(Leaves::Scalar { target, factor });
        }
        ensure!(size == targets, InvalidModel, "size_leaf_vector is {size} with {targets} targets");
        let (weights, by_number) = match &tree.leaf_weights {
            Some(weights) => (weights, true),
            None => (&tree.base_weights, false),
        };
        let start = ensemble.weights.len();
        // Weights are numbered in 32 bits.
        ensure!(
            start.saturating_add(weights.len()) <= 1 << 31,
            LimitExceeded,
            "more than 2^31 values of leaves"
        );
        room::reserve(&mut ensemble.weights, weights.len())?;
        let targets = (0..u32::try_from(size).unwrap_or(1)).cycle();
        let weighted = weights.iter().map(|&w| f64::from(factor * w));
        ensemble.weights.extend(targets.zip(weighted));
        Ok(Leaves::Vector { start, size, by_number })
    }

    /// Adds node `i`, a leaf.
    fn push(
        &self,
        ensemble: &mut Ensemble,
        tree: &Tree,
        i: usize,
        right: i64,
        condition: f32,
    ) -> Result<()> {
        let (start, size, row) = match *self {
            Leaves::Scalar { target, factor } => {
                // As XGBoost does: the factor is applied to each leaf, in single precision.
                ensemble.push_leaf(&[(target, f64::from(factor * condition))]);
                return Ok(());
            }
            Leaves::Vector { start, size, by_number: false } => (start, size, i),
            Leaves::Vector { start, size, by_number: true } => {
                let row = usize::try_from(right)
                    .map_err(|_| err!(InvalidModel, "node {i}: row {right} of leaf_weights"))?;
                (start, size, row)
            }
        };
        let start = row.checked_mul(size).and_then(|at| at.checked_add(start));
        let range = start.and_then(|start| Some((start, start.checked_add(size)?)));
        let range = range.filter(|&(_, end)| end <= ensemble.weights.len());
        let range = range.and_then(|(s, e)| Some((u32::try_from(s).ok()?, u32::try_from(e).ok()?)));
        let (start, end) = range.ok_or_else(|| {
            let key = if tree.leaf_weights.is_some() { "leaf_weights" } else { "base_weights" };
            err!(InvalidModel, "node {i}: no row {row} of {key}")
        })?;
        let leaf = u32::try_from(ensemble.leaves.len())
            .map_err(|_| err!(LimitExceeded, "more than 2^32 leaves"))?;
        ensemble.leaves.push(Leaf { start, end, linear: None });
        ensemble.nodes.push(Node::Leaf(leaf));
        Ok(())
    }
}

/// Adds the sets of a tree's categorical splits; answers the set of each node.
fn categories(ensemble: &mut Ensemble, tree: &Tree) -> Result<Vec<Option<u32>>> {
    let count = tree.categories_nodes.len();
    for (key, len) in [
        ("categories_segments", tree.categories_segments.len()),
        ("categories_sizes", tree.categories_sizes.len()),
    ] {
        ensure!(
            len == count,
            InvalidModel,
            "{key} has {len} elements for {count} categories_nodes"
        );
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut sets = room::filled(tree.left_children.len(), None)?;
    let segments = tree.categories_segments.iter().zip(&tree.categories_sizes);
    let mut total = 0usize;
    for (&node, (&start, &size)) in tree.categories_nodes.iter().zip(segments) {
        let bad =
            || err!(InvalidModel, "categories_nodes: node {node} has no segment of categories");
        let range = usize::try_from(start).ok().zip(usize::try_from(size).ok());
        let range = range.and_then(|(start, size)| Some(start..start.checked_add(size)?));
        let values = range.and_then(|range| tree.categories.get(range)).ok_or_else(bad)?;
        // Segments do not overlap in what XGBoost writes, and could cost much if they did.
        total = total.saturating_add(values.len());
        ensure!(
            total <= tree.categories.len(),
            InvalidModel,
            "categories_sizes add up to more than {} categories",
            tree.categories.len()
        );
        let set = u32::try_from(ensemble.sets.len()).map_err(|_| bad())?;
        let slot = usize::try_from(node).ok().and_then(|n| sets.get_mut(n)).ok_or_else(bad)?;
        *slot = Some(set);
        let values = values.iter().filter(|v| (0..CATEGORIES).contains(*v));
        // Below 2^24, every integer is exact.
        let values = values.map(|&v| v as f64).collect();
        ensemble.sets.push(CategorySet { values, truncate: true, negative_fractions: false });
    }
    Ok(sets)
}

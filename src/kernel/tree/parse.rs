//! The attributes of ONNX's three operators → the one form of ensembles.

use super::super::OpSpec;
use crate::attribute::Attribute;
use crate::ensemble::{
    Aggregate, CategorySet, Ensemble, Leaf, MAX_FEATURES, Missing, Node, Precision, Split, Test,
};
use crate::error::{Result, bail, ensure, err};
use crate::room;
use crate::tensor::{Data, Tensor};
use bytes::Bytes;
use std::collections::HashMap;

/// What a node does with its feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Leq,
    Lt,
    Gte,
    Gt,
    Eq,
    Neq,
    Member,
    Leaf,
}

impl Mode {
    /// The test of a node that is no leaf; `set` is the number of its set.
    fn test(self, value: f64, set: u32) -> Option<Test> {
        Some(match self {
            Mode::Leq => Test::LessOrEqual(value),
            Mode::Lt => Test::Less(value),
            Mode::Gte => Test::GreaterOrEqual(value),
            Mode::Gt => Test::Greater(value),
            Mode::Eq => Test::Equal(value),
            Mode::Neq => Test::NotEqual(value),
            Mode::Member => Test::Member(set),
            Mode::Leaf => return None,
        })
    }
}

/// All trees of one operator, as listed.
struct Listed {
    /// Leaves have no number yet.
    nodes: Vec<Node>,
    roots: Vec<u32>,
    /// The weights of node `i` are `weights[starts[i]..starts[i + 1]]`, as (target, weight).
    starts: Vec<u32>,
    weights: Vec<(u32, f64)>,
    /// The values of nodes.
    values: Vec<f64>,
    sets: Vec<Vec<f64>>,
    targets: usize,
    /// Whether the file holds `f64` values.
    wide: bool,
}

impl Listed {
    /// The form, checked.
    fn into_form(self, spec: &OpSpec<'_>) -> Result<Ensemble> {
        let mut form = Ensemble::empty(0, self.targets);
        // An operator computes in the precision of its input, unless its own values are doubles.
        let precision = if self.wide { Precision::F64 } else { Precision::Input };
        form.arithmetic.features = precision;
        form.arithmetic.sums = precision;
        form.roots = self.roots;
        form.sets = self.sets.into_iter().map(CategorySet::exact).collect();
        form.nodes = self.nodes;
        let leaves = form.nodes.iter().filter(|n| matches!(n, Node::Leaf(_))).count();
        form.reserve(0, leaves, self.weights.len().max(leaves))?;
        for (i, node) in form.nodes.iter_mut().enumerate() {
            let Node::Leaf(number) = node else { continue };
            *number = form.leaves.len() as u32;
            let own = &self.weights[self.starts[i] as usize..self.starts[i + 1] as usize];
            let start = form.weights.len() as u32;
            // Of several weights for the one target the first counts, and without any the node's
            // own value does: so it is in ONNX Runtime.
            match (self.targets, own) {
                (1, [first, ..]) => form.weights.push(*first),
                (1, []) => {
                    form.weights.push((0, self.values.get(i).copied().unwrap_or_default()));
                }
                _ => form.weights.extend_from_slice(own),
            }
            form.leaves.push(Leaf { start, end: form.weights.len() as u32, linear: None });
        }
        form.aggregate = Aggregate::Sum;
        form.check(spec.limits).map_err(|e| e.context(spec.op))?;
        Ok(form)
    }
}

/// What a node does with NaN.
fn missing_of(tracks: &[i64], node: usize) -> Missing {
    match tracks.get(node) {
        Some(1) => Missing::Yes,
        _ => Missing::Compared,
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    match tensor.data() {
        Data::F32(_) | Data::F64(_) | Data::F16(_) => tensor.to_f64_vec(),
        other => bail!(InvalidModel, "expected a tensor of floats, got {}", other.dtype()),
    }
}

fn is_wide(tensor: &Tensor) -> bool {
    matches!(tensor.data(), Data::F64(_))
}

/// The list of floats `name`, or the tensor `name_as_tensor` of later versions; and whether it is
/// of `f64`.
pub(super) fn floats(spec: &OpSpec<'_>, name: &str) -> Result<(Vec<f64>, bool)> {
    let plain = spec.attributes.floats(name)?;
    let tensor_name = format!("{name}_as_tensor");
    match spec.attributes.tensor_opt(&tensor_name)? {
        Some(tensor) if tensor.len() > 0 => {
            ensure!(
                plain.is_empty(),
                InvalidModel,
                "{}: both '{name}' and '{tensor_name}' are given",
                spec.op
            );
            let values = numbers(tensor).map_err(|e| e.context(format_args!("'{tensor_name}'")))?;
            Ok((values, is_wide(tensor)))
        }
        _ => Ok((room::collected(plain.iter().map(|&v| v.into()))?, false)),
    }
}

fn same_length(
    spec: &OpSpec<'_>,
    what: &str,
    got: usize,
    like: &str,
    expected: usize,
) -> Result<()> {
    ensure!(
        got == expected,
        InvalidModel,
        "{}: '{what}' has {got} entries, '{like}' has {expected}",
        spec.op
    );
    Ok(())
}

fn feature(spec: &OpSpec<'_>, id: i64) -> Result<u32> {
    match u32::try_from(id) {
        Ok(f) if f < MAX_FEATURES => Ok(f),
        _ => Err(spec.invalid(format_args!("feature id {id} is not in [0, {MAX_FEATURES})"))),
    }
}

fn target(spec: &OpSpec<'_>, id: i64, targets: usize) -> Result<u32> {
    match u32::try_from(id) {
        Ok(t) if (t as usize) < targets => Ok(t),
        _ => Err(spec.invalid(format_args!("target or class id {id} is not in [0, {targets})"))),
    }
}

fn check_limits(spec: &OpSpec<'_>, trees: usize, nodes: usize) -> Result<()> {
    let limits = spec.limits;
    ensure!(nodes > 0 && trees > 0, InvalidModel, "{}: no tree at all", spec.op);
    ensure!(
        nodes <= limits.tree_nodes.min(1 << 30),
        LimitExceeded,
        "{}: {nodes} nodes (LoadLimits::tree_nodes is {})",
        spec.op,
        limits.tree_nodes
    );
    ensure!(
        trees <= limits.trees,
        LimitExceeded,
        "{}: {trees} trees (LoadLimits::trees is {})",
        spec.op,
        limits.trees
    );
    Ok(())
}

/// Where the nodes of one tree lie and how their ids map to positions.
struct TreeIds {
    start: usize,
    len: usize,
    first: i64,
    /// `None` where ids count up from `first`, as every exporter writes them.
    by_id: Option<HashMap<i64, u32>>,
}

impl TreeIds {
    fn new(spec: &OpSpec<'_>, start: usize, ids: &[i64]) -> Result<TreeIds> {
        let first = ids.first().copied().unwrap_or(0);
        let dense = ids.iter().zip(0i64..).all(|(&id, i)| id.checked_sub(first) == Some(i));
        let mut by_id = None;
        if !dense {
            let mut map = HashMap::with_capacity(ids.len());
            for (i, &id) in ids.iter().enumerate() {
                if map.insert(id, (start + i) as u32).is_some() {
                    return Err(spec.invalid(format_args!("node id {id} occurs twice in one tree")));
                }
            }
            by_id = Some(map);
        }
        Ok(TreeIds { start, len: ids.len(), first, by_id })
    }

    fn find(&self, id: i64) -> Option<u32> {
        match &self.by_id {
            Some(map) => map.get(&id).copied(),
            None => {
                let i = usize::try_from(id.checked_sub(self.first)?).ok()?;
                (i < self.len).then_some((self.start + i) as u32)
            }
        }
    }
}

fn mode(spec: &OpSpec<'_>, name: &[u8]) -> Result<Mode> {
    Ok(match name {
        b"BRANCH_LEQ" => Mode::Leq,
        b"BRANCH_LT" => Mode::Lt,
        b"BRANCH_GTE" => Mode::Gte,
        b"BRANCH_GT" => Mode::Gt,
        b"BRANCH_EQ" => Mode::Eq,
        b"BRANCH_NEQ" => Mode::Neq,
        b"LEAF" => Mode::Leaf,
        other => {
            let name = String::from_utf8_lossy(other);
            return Err(spec.invalid(format_args!("node mode '{name:.40}' is not known")));
        }
    })
}

/// Reads the attributes of TreeEnsembleRegressor (`kind` is `target`) and TreeEnsembleClassifier
/// (`class`).
pub(super) fn by_tree_ids(spec: &OpSpec<'_>, kind: &str, targets: usize) -> Result<Ensemble> {
    let a = spec.attributes;
    let tree_ids = a.ints("nodes_treeids")?;
    let node_ids = a.ints("nodes_nodeids")?;
    let feature_ids = a.ints("nodes_featureids")?;
    let yes_ids = a.ints("nodes_truenodeids")?;
    let no_ids = a.ints("nodes_falsenodeids")?;
    let missing = a.ints("nodes_missing_value_tracks_true")?;
    let (values, mut wide) = floats(spec, "nodes_values")?;
    let modes: &[Bytes] = match a.get("nodes_modes") {
        Some(Attribute::Strings(v)) => v,
        _ => return Err(spec.invalid("'nodes_modes' is missing or no list of strings")),
    };
    let count = node_ids.len();
    for (name, len) in [
        ("nodes_treeids", tree_ids.len()),
        ("nodes_featureids", feature_ids.len()),
        ("nodes_truenodeids", yes_ids.len()),
        ("nodes_falsenodeids", no_ids.len()),
        ("nodes_values", values.len()),
        ("nodes_modes", modes.len()),
    ] {
        same_length(spec, name, len, "nodes_nodeids", count)?;
    }
    ensure!(
        missing.len() <= count,
        InvalidModel,
        "{}: 'nodes_missing_value_tracks_true' has {} entries for {count} nodes",
        spec.op,
        missing.len()
    );
    let trees = tree_ids.chunk_by(|a, b| a == b).count();
    check_limits(spec, trees, count)?;

    let mut nodes = room::with_room(count)?;
    let mut roots = room::with_room(trees)?;
    let mut ids_of = HashMap::with_capacity(trees);
    let mut start = 0;
    for tree in tree_ids.chunk_by(|a, b| a == b) {
        let end = start + tree.len();
        let ids = TreeIds::new(spec, start, &node_ids[start..end])?;
        for i in start..end {
            let mode = mode(spec, &modes[i])?;
            let child = |id: i64, branch: &str| {
                let found = ids.find(id).ok_or_else(|| {
                    spec.invalid(format_args!(
                        "tree {}, node {}: the {branch} child {id} does not exist",
                        tree[0], node_ids[i]
                    ))
                })?;
                Ok::<u32, crate::Error>(found)
            };
            // The children and the feature of a leaf mean nothing.
            nodes.push(match mode.test(values[i], 0) {
                None => Node::Leaf(0),
                Some(test) => Node::Split(Split {
                    feature: feature(spec, feature_ids[i])?,
                    test,
                    missing: missing_of(missing, i),
                    yes: child(yes_ids[i], "true")?,
                    no: child(no_ids[i], "false")?,
                }),
            });
        }
        roots.push(start as u32);
        ensure!(
            ids_of.insert(tree[0], ids).is_none(),
            InvalidModel,
            "{}: the nodes of tree {} are not listed together",
            spec.op,
            tree[0]
        );
        start = end;
    }

    let weight_trees = a.ints(&format!("{kind}_treeids"))?;
    let weight_nodes = a.ints(&format!("{kind}_nodeids"))?;
    let weight_targets = a.ints(&format!("{kind}_ids"))?;
    let (weights, wide_weights) = floats(spec, &format!("{kind}_weights"))?;
    wide |= wide_weights;
    let like = format!("{kind}_ids");
    same_length(spec, "weights", weights.len(), &like, weight_targets.len())?;
    same_length(spec, "treeids of weights", weight_trees.len(), &like, weight_targets.len())?;
    same_length(spec, "nodeids of weights", weight_nodes.len(), &like, weight_targets.len())?;
    ensure!(
        weights.len() <= spec.limits.tree_nodes.min(1 << 30),
        LimitExceeded,
        "{}: {} leaf weights",
        spec.op,
        weights.len()
    );
    let mut owners = room::with_room(weights.len())?;
    let mut last: Option<(i64, &TreeIds)> = None;
    for (&tree, &node) in weight_trees.iter().zip(weight_nodes) {
        // The weights of a tree are listed together.
        last = match last {
            Some((same, _)) if same == tree => last,
            _ => ids_of.get(&tree).map(|ids| (tree, ids)),
        };
        let owner = last.and_then(|(_, ids)| ids.find(node)).ok_or_else(|| {
            spec.invalid(format_args!("a weight belongs to node {node} of tree {tree}: none such"))
        })?;
        owners.push(owner);
    }
    // A counting sort by node: a leaf's weights keep their order, which is the order of its sum.
    let mut starts = room::filled(count + 1, 0u32)?;
    for &o in &owners {
        starts[o as usize + 1] += 1;
    }
    for i in 0..count {
        starts[i + 1] += starts[i];
    }
    let given = weight_targets.iter().zip(&weights);
    let mut sorted = room::collected_if(given.map(|(&t, &w)| Ok((target(spec, t, targets)?, w))))?;
    if !owners.is_sorted() {
        let listed = room::copied(&sorted)?;
        let mut next = room::copied(&starts)?;
        for (&o, &weight) in owners.iter().zip(&listed) {
            let slot = &mut next[o as usize];
            sorted[*slot as usize] = weight;
            *slot += 1;
        }
    }
    drop((owners, weights));
    let sets = Vec::new();
    Listed { nodes, roots, starts, weights: sorted, values, sets, targets, wide }.into_form(spec)
}

/// Reads the attributes of TreeEnsemble (version 5), where leaves are listed apart.
pub(super) fn by_positions(spec: &OpSpec<'_>, targets: usize) -> Result<Ensemble> {
    let a = spec.attributes;
    let tensor = |name: &str| -> Result<(Vec<f64>, bool)> {
        match a.tensor_opt(name)? {
            Some(t) => {
                Ok((numbers(t).map_err(|e| e.context(format_args!("'{name}'")))?, is_wide(t)))
            }
            None => Ok((Vec::new(), false)),
        }
    };
    let modes = match a.tensor_opt("nodes_modes")? {
        Some(t) => t
            .as_slice::<u8>()
            .map_err(|e| err!(InvalidModel, "{}: 'nodes_modes': {}", spec.op, e.message()))?,
        None => return Err(spec.invalid("'nodes_modes' is missing")),
    };
    let (splits, wide_splits) = tensor("nodes_splits")?;
    let (leaf_weights, wide_weights) = tensor("leaf_weights")?;
    let (members, wide_members) = tensor("membership_values")?;
    let feature_ids = a.ints("nodes_featureids")?;
    let yes_ids = a.ints("nodes_truenodeids")?;
    let no_ids = a.ints("nodes_falsenodeids")?;
    let yes_leafs = a.ints("nodes_trueleafs")?;
    let no_leafs = a.ints("nodes_falseleafs")?;
    let missing = a.ints("nodes_missing_value_tracks_true")?;
    let leaf_targets = a.ints("leaf_targetids")?;
    let tree_roots = a.ints("tree_roots")?;
    let count = modes.len();
    for (name, len) in [
        ("nodes_splits", splits.len()),
        ("nodes_featureids", feature_ids.len()),
        ("nodes_truenodeids", yes_ids.len()),
        ("nodes_falsenodeids", no_ids.len()),
        ("nodes_trueleafs", yes_leafs.len()),
        ("nodes_falseleafs", no_leafs.len()),
    ] {
        same_length(spec, name, len, "nodes_modes", count)?;
    }
    if !missing.is_empty() {
        same_length(spec, "nodes_missing_value_tracks_true", missing.len(), "nodes_modes", count)?;
    }
    same_length(spec, "leaf_weights", leaf_weights.len(), "leaf_targetids", leaf_targets.len())?;
    let leaves = leaf_weights.len();
    check_limits(spec, tree_roots.len(), count.saturating_add(leaves))?;

    let position = |id: i64, leaf: bool| -> Result<u32> {
        let (len, offset, what) = if leaf { (leaves, count, "leaf") } else { (count, 0, "node") };
        match usize::try_from(id) {
            Ok(i) if i < len => Ok((offset + i) as u32),
            _ => Err(spec.invalid(format_args!("{what} {id} is not in [0, {len})"))),
        }
    };
    let mut sets = Vec::new();
    let mut rest = members.as_slice();
    let mut nodes = room::with_room(count + leaves)?;
    for i in 0..count {
        let mode = match modes[i] {
            0 => Mode::Leq,
            1 => Mode::Lt,
            2 => Mode::Gte,
            3 => Mode::Gt,
            4 => Mode::Eq,
            5 => Mode::Neq,
            6 => Mode::Member,
            other => return Err(spec.invalid(format_args!("node mode {other} is not known"))),
        };
        let mut set = 0;
        if mode == Mode::Member {
            ensure!(
                !rest.is_empty(),
                InvalidModel,
                "{}: 'membership_values' has no set for node {i}",
                spec.op
            );
            let end = rest.iter().position(|v| v.is_nan()).unwrap_or(rest.len());
            set = sets.len() as u32;
            sets.push(rest[..end].to_vec());
            rest = rest.get(end + 1..).unwrap_or(&[]);
        }
        let test = mode.test(splits[i], set);
        let test = test.ok_or_else(|| spec.invalid("a leaf among the inner nodes"))?;
        nodes.push(Node::Split(Split {
            feature: feature(spec, feature_ids[i])?,
            test,
            missing: missing_of(missing, i),
            yes: position(yes_ids[i], yes_leafs[i] != 0)?,
            no: position(no_ids[i], no_leafs[i] != 0)?,
        }));
    }
    nodes.resize(count + leaves, Node::Leaf(0));
    let mut starts = room::with_room(count + leaves + 1)?;
    starts.resize(count, 0u32);
    starts.extend(0..=leaves as u32);
    let given = leaf_targets.iter().zip(&leaf_weights);
    let weights = room::collected_if(given.map(|(&t, &w)| Ok((target(spec, t, targets)?, w))))?;
    let roots = room::collected_if(tree_roots.iter().map(|&r| position(r, false)))?;
    let wide = wide_splits || wide_weights || wide_members;
    // Each leaf has its weight: no node's value is asked for.
    let values = Vec::new();
    Listed { nodes, roots, starts, weights, values, sets, targets, wide }.into_form(spec)
}

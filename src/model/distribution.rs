//! Whether an output is a probability distribution, read from the operators that produce it.
//!
//! Output names promise much (`probabilities` on decision values is common), so only what the
//! operators guarantee counts: a softmax, a logistic pair, leaf distributions that sum to one, a
//! division by the row's own sum, a log-sum-exp normalisation.

use crate::graph::{Graph, Node, ValueId};
use crate::tensor::Tensor;
use std::borrow::Cow;
use std::collections::HashMap;

/// How far up the graph a proof may reach.
const DEPTH: usize = 24;

/// Proofs about the values of one graph.
pub(super) struct Facts<'a> {
    graph: &'a Graph,
    writer: HashMap<ValueId, (&'a Node, usize)>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(graph: &'a Graph) -> Facts<'a> {
        let mut writer = HashMap::new();
        for node in &graph.nodes {
            for (i, id) in node.outputs.iter().enumerate() {
                if let Some(id) = id {
                    writer.insert(*id, (node, i));
                }
            }
        }
        Facts { graph, writer }
    }

    /// The node and output number that produce a value.
    pub(super) fn writer(&self, id: ValueId) -> Option<(&'a Node, usize)> {
        self.writer.get(&id).copied()
    }

    /// The value behind operators that only relabel or convert.
    pub(super) fn origin(&self, mut id: ValueId) -> ValueId {
        for _ in 0..DEPTH {
            match self.writer(id) {
                Some((node, 0)) if relabels(&node.op) => match node.inputs.first() {
                    Some(Some(input)) => id = *input,
                    _ => return id,
                },
                _ => return id,
            }
        }
        id
    }

    /// Whether every row is non-negative and sums to one.
    pub(super) fn is_distribution(&self, id: ValueId) -> bool {
        self.distribution(id, DEPTH)
    }

    fn distribution(&self, id: ValueId, depth: usize) -> bool {
        let id = self.origin(id);
        let (Some((node, output)), Some(depth)) = (self.writer(id), depth.checked_sub(1)) else {
            return false;
        };
        let input = |i: usize| node.inputs.get(i).copied().flatten();
        match (node.op.as_str(), output) {
            ("Softmax", 0) => true,
            ("TreeEnsembleClassifier", 1) => tree_distribution(node),
            ("LinearClassifier", 1) => linear_distribution(node),
            ("SVMClassifier", 1) => node.attributes.floats("prob_a").is_ok_and(|p| !p.is_empty()),
            ("Normalizer", 0) => {
                node.attributes.str("norm", "MAX").is_ok_and(|n| n == "L1")
                    && input(0).is_some_and(|x| self.non_negative(x, depth))
            }
            ("Div", 0) => match (input(0), input(1)) {
                (Some(a), Some(b)) => {
                    (self.non_negative(a, depth) && self.is_row_sum(b, a))
                        || self.masked_row_sum(a, b, depth)
                        || self.mean_of_distributions(a, b, depth)
                }
                _ => false,
            },
            ("Exp", 0) => input(0).is_some_and(|x| self.log_normalised(x)),
            ("Concat", 0) => match (node.inputs.as_slice(), node.attributes.int("axis", 0)) {
                ([Some(a), Some(b)], Ok(1 | -1)) => {
                    self.complements(*a, *b, depth) || self.complements(*b, *a, depth)
                }
                _ => false,
            },
            _ => false,
        }
    }

    fn non_negative(&self, id: ValueId, depth: usize) -> bool {
        let id = self.origin(id);
        if let Some(t) = &self.graph.value(id).constant {
            return t.to_f32_vec().is_ok_and(|v| v.iter().all(|x| *x >= 0.0));
        }
        let (Some((node, output)), Some(depth)) = (self.writer(id), depth.checked_sub(1)) else {
            return false;
        };
        match (node.op.as_str(), output) {
            ("Exp" | "Abs" | "Relu" | "Sigmoid" | "Softmax" | "Sqrt" | "ReduceSumSquare", 0) => {
                true
            }
            ("Equal" | "Less" | "Greater" | "Not" | "And" | "Or", 0) => true,
            ("LinearClassifier", 1) => node
                .attributes
                .str("post_transform", "NONE")
                .is_ok_and(|p| p == "LOGISTIC" || p == "SOFTMAX"),
            ("Add" | "Mul" | "Div" | "Sum" | "Concat" | "Max", 0) => {
                node.inputs.iter().flatten().all(|i| self.non_negative(*i, depth))
            }
            ("ReduceSum" | "ReduceMean" | "Gather" | "ArrayFeatureExtractor" | "Transpose", 0) => {
                node.inputs.first().copied().flatten().is_some_and(|i| self.non_negative(i, depth))
            }
            _ => self.distribution(id, depth),
        }
    }

    /// Whether `sum` is the sum over the classes of `of`.
    fn is_row_sum(&self, sum: ValueId, of: ValueId) -> bool {
        match self.writer(self.origin(sum)) {
            Some((node, 0)) if node.op == "ReduceSum" => node
                .inputs
                .first()
                .copied()
                .flatten()
                .is_some_and(|i| self.origin(i) == self.origin(of)),
            _ => false,
        }
    }

    /// Whether `a / b` is `(p + m) / (sum(p) + m·n)`: a division by the row's own sum that gives
    /// rows of zeros (where the mask m is 1) the uniform distribution.
    fn masked_row_sum(&self, a: ValueId, b: ValueId, depth: usize) -> bool {
        let terms = |id: ValueId, op: &str| match self.writer(self.origin(id)) {
            Some((node, 0)) if node.op == op => match node.inputs.as_slice() {
                [Some(x), Some(y)] => Some((*x, *y)),
                _ => None,
            },
            _ => None,
        };
        let (Some((p, mask)), Some((sum, scaled))) = (terms(a, "Add"), terms(b, "Add")) else {
            return false;
        };
        let Some((factor, _)) = terms(scaled, "Mul") else { return false };
        self.is_row_sum(sum, p)
            && self.origin(factor) == self.origin(mask)
            && self.non_negative(p, depth)
            && self.non_negative(mask, depth)
    }

    /// Whether `a` is a sum of as many distributions as the constant `b` says.
    fn mean_of_distributions(&self, a: ValueId, b: ValueId, depth: usize) -> bool {
        let Some((node, 0)) = self.writer(self.origin(a)) else { return false };
        let terms: Vec<ValueId> = node.inputs.iter().flatten().copied().collect();
        let count = self.graph.value(b).constant.as_ref().and_then(|t| t.to_f32_vec().ok());
        matches!(node.op.as_str(), "Sum" | "Add")
            && count.is_some_and(|c| c == [terms.len() as f32])
            && terms.iter().all(|t| self.distribution(*t, depth))
    }

    /// Whether `x = a - logsumexp(a)`.
    fn log_normalised(&self, x: ValueId) -> bool {
        let Some((node, 0)) = self.writer(self.origin(x)) else { return false };
        match (node.op.as_str(), node.inputs.as_slice()) {
            ("LogSoftmax", _) => true,
            ("Sub", [Some(a), Some(b)]) => match self.writer(self.origin(*b)) {
                Some((lse, 0)) if lse.op == "ReduceLogSumExp" => lse
                    .inputs
                    .first()
                    .copied()
                    .flatten()
                    .is_some_and(|i| self.origin(i) == self.origin(*a)),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether `a = 1 - b` with `b` between 0 and 1.
    fn complements(&self, a: ValueId, b: ValueId, depth: usize) -> bool {
        let b = self.origin(b);
        let unit = matches!(self.writer(b), Some((n, 0)) if n.op == "Sigmoid")
            || self.ratio_below_one(b, depth);
        let Some((node, 0)) = self.writer(self.origin(a)) else { return false };
        let one = |id: ValueId| {
            self.graph
                .value(id)
                .constant
                .as_ref()
                .is_some_and(|t| t.to_f32_vec().is_ok_and(|v| v == [1.0]))
        };
        match (node.op.as_str(), node.inputs.as_slice()) {
            ("Sub", [Some(x), Some(y)]) => unit && one(*x) && self.origin(*y) == b,
            _ => false,
        }
    }

    /// Whether `id = 1 / (1 + y)` with `y` not negative: a logistic function written out.
    fn ratio_below_one(&self, id: ValueId, depth: usize) -> bool {
        let Some((node, 0)) = self.writer(id) else { return false };
        let ("Div", [Some(one), Some(below)]) = (node.op.as_str(), node.inputs.as_slice()) else {
            return false;
        };
        let is_one = |id: &ValueId| {
            self.graph
                .value(*id)
                .constant
                .as_ref()
                .is_some_and(|t| t.to_f32_vec().is_ok_and(|v| v == [1.0]))
        };
        if !is_one(one) {
            return false;
        }
        match self.writer(self.origin(*below)) {
            Some((sum, 0)) if sum.op == "Add" => {
                let terms: Vec<ValueId> = sum.inputs.iter().flatten().copied().collect();
                terms.iter().any(is_one) && terms.iter().all(|t| self.non_negative(*t, depth))
            }
            _ => false,
        }
    }
}

fn relabels(op: &str) -> bool {
    matches!(
        op,
        "Identity"
            | "Cast"
            | "Reshape"
            | "Flatten"
            | "Squeeze"
            | "Unsqueeze"
            | "Dropout"
            | "ZipMap"
    )
}

fn linear_distribution(node: &Node) -> bool {
    let transform = node.attributes.str("post_transform", "NONE").unwrap_or_default();
    let rows = node.attributes.floats("intercepts").map_or(0, <[f32]>::len);
    let classes = node.attributes.ints("classlabels_ints").map_or(0, <[i64]>::len)
        + node.attributes.strs("classlabels_strings").map_or(0, |v| v.len());
    let logistic_pair = match node.attributes.floats("coefficients") {
        Ok(w) if rows == 2 => {
            // One hyperplane written twice with opposite signs: sigmoid(-z) = 1 - sigmoid(z).
            let (first, second) = w.split_at(w.len() / 2);
            let intercepts = node.attributes.floats("intercepts").unwrap_or_default();
            first.len() == second.len()
                && first.iter().zip(second).all(|(a, b)| *a == -*b)
                && matches!(intercepts, [a, b] if *a == -*b)
        }
        _ => rows == 1,
    };
    transform == "SOFTMAX" || (transform == "LOGISTIC" && classes == 2 && logistic_pair)
}

/// Trees with a logistic or softmax transform; or whose leaves are distributions of equal weight.
fn tree_distribution(node: &Node) -> bool {
    let attributes = &node.attributes;
    let transform = attributes.str("post_transform", "NONE").unwrap_or_default();
    let ids = attributes.ints("class_ids").unwrap_or_default();
    let single = ids.iter().all(|i| Some(i) == ids.first());
    match transform.as_str() {
        "SOFTMAX" => return !single,
        "LOGISTIC" => return single,
        "NONE" => {}
        _ => return false,
    }
    let weights: Cow<'_, [f32]> = match attributes.floats("class_weights") {
        Ok(w) if !w.is_empty() => w.into(),
        _ => match attributes
            .tensor_opt("class_weights_as_tensor")
            .ok()
            .flatten()
            .map(Tensor::to_f32_vec)
        {
            Some(Ok(w)) => w.into(),
            _ => return false,
        },
    };
    let (Ok(trees), Ok(nodes)) =
        (attributes.ints("class_treeids"), attributes.ints("class_nodeids"))
    else {
        return false;
    };
    let based = attributes.floats("base_values").is_ok_and(|b| b.iter().any(|x| *x != 0.0));
    if based || weights.iter().any(|w| w.is_nan() || *w < 0.0) || weights.len() != ids.len() {
        return false;
    }
    // The weights of a leaf side by side, and the leaves of a tree.
    let count = trees.len().min(nodes.len()).min(weights.len());
    let key = |&i: &usize| (trees[i], nodes[i]);
    let mut order: Vec<usize> = Vec::new();
    if !(0..count).is_sorted_by_key(|i| key(&i)) {
        order.extend(0..count);
        order.sort_by_key(key);
    }
    let mut listed = (0..count).map(|i| order.get(i).copied().unwrap_or(i)).peekable();
    // The smallest and the largest sum of a leaf, added up over the trees.
    let (mut least, mut most) = (0f64, 0f64);
    let (mut low, mut high, mut sum) = (f64::INFINITY, f64::NEG_INFINITY, 0.0);
    while let Some(i) = listed.next() {
        sum += f64::from(weights[i]);
        let next = listed.peek().map(key);
        if next != Some(key(&i)) {
            (low, high, sum) = (low.min(sum), high.max(sum), 0.0);
        }
        if next.is_none_or(|(tree, _)| tree != trees[i]) {
            (least, most) = (least + low, most + high);
            (low, high) = (f64::INFINITY, f64::NEG_INFINITY);
        }
    }
    if single {
        // One column p of two: the other is 1 - p, so p must stay within [0, 1].
        return most <= 1.0 + 1e-4;
    }
    (least - 1.0).abs() < 1e-3 && (most - 1.0).abs() < 1e-3
}

//! The compact form: all trees in one array, children side by side.
//!
//! A step is `next = child + !(x <= threshold)` without a branch. Leaves loop on themselves (their
//! threshold is NaN, so the comparison fails, and `child` is their own position less one): several
//! descents of unequal length run in lockstep. The other modes are rewritten to `<=` with the
//! branches swapped or the threshold moved to its neighbour; only equality and set membership stay
//! apart.

use super::super::OpSpec;
use super::parse::{Forest, Mode, Source};
use super::real::Real;
use crate::error::{Result, ensure};
use std::sync::OnceLock;

/// Feature ids are kept in 28 bits.
pub(super) const MAX_FEATURES: u32 = 1 << 28;
/// The bits of [`Node::word`] that hold the feature.
pub(super) const FEATURE: u32 = MAX_FEATURES - 1;
/// The threshold was `<`: it is the neighbour below the file's value.
const STRICT: u32 = 1 << 28;
/// Compare by `==`.
pub(super) const EQUAL: u32 = 1 << 29;
/// Compare by set membership; the threshold is the set's index.
pub(super) const MEMBER: u32 = 1 << 30;
/// NaN takes the first branch.
pub(super) const NAN_FIRST: u32 = 1 << 31;

/// One node of a packed tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<T> {
    pub threshold: T,
    /// The weight of a leaf of a single-target ensemble.
    pub value: T,
    /// Feature and flags.
    pub word: u32,
    /// Position of the first of the two children.
    pub child: u32,
}

/// The values of a set membership test.
#[derive(Debug)]
pub(super) struct MemberSet<T> {
    /// Bit `i` stands for the value `i`, where all values are small integers.
    bits: Vec<u64>,
    /// Sorted, where they are not.
    sorted: Vec<T>,
}

/// Values below this go into bits.
const MAX_BIT: f64 = 4096.0;

impl<T: Real> MemberSet<T> {
    fn new(values: &[f64]) -> MemberSet<T> {
        let small = |v: &f64| (0.0..MAX_BIT).contains(v) && v.fract() == 0.0;
        if values.iter().all(small) {
            let mut bits = Vec::new();
            for &v in values {
                let (word, bit) = (v as usize / 64, v as usize % 64);
                if bits.len() <= word {
                    bits.resize(word + 1, 0u64);
                }
                bits[word] |= 1 << bit;
            }
            return MemberSet { bits, sorted: Vec::new() };
        }
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        MemberSet { bits: Vec::new(), sorted: sorted.into_iter().map(T::of).collect() }
    }

    fn contains(&self, x: T) -> bool {
        if !self.sorted.is_empty() {
            let at = self.sorted.partition_point(|&v| v < x);
            return self.sorted.get(at).is_some_and(|&v| v == x);
        }
        let x = x.f64();
        // The cast saturates; a fraction, a negative or a NaN does not come back as itself.
        let i = x as usize;
        i as f64 == x && self.bits.get(i / 64).is_some_and(|w| w >> (i % 64) & 1 == 1)
    }

    fn widened(&self) -> MemberSet<f64> {
        let sorted = self.sorted.iter().map(|v| v.f64()).collect();
        MemberSet { bits: self.bits.clone(), sorted }
    }
}

/// A packed ensemble.
#[derive(Debug)]
pub(super) struct Ensemble<T> {
    pub nodes: Vec<Node<T>>,
    /// Position of each tree's root.
    pub roots: Vec<u32>,
    /// Steps from each root to its deepest leaf.
    pub depths: Vec<u32>,
    /// With several targets: the list of weights of the leaf at a position.
    pub list_of: Vec<u32>,
    /// List `i` is `weights[lists[i]..lists[i + 1]]`.
    pub lists: Vec<u32>,
    /// (target, weight) of the leaves, where there are several targets.
    pub weights: Vec<(u32, T)>,
    pub sets: Vec<MemberSet<T>>,
    pub targets: usize,
    /// Features a row must have.
    pub width: usize,
    /// Some node sends NaN to its first branch.
    pub missing: bool,
    /// Some node compares by `==` or membership.
    pub general: bool,
}

/// One node's test in terms of the compact form.
struct Test<T> {
    word: u32,
    threshold: T,
    /// The first child is the false branch.
    swapped: bool,
}

fn less_equal<T: Real>(node: &Source) -> Test<T> {
    let t = T::of(node.value);
    let flag = |nan_first: bool| if nan_first { NAN_FIRST } else { 0 };
    match node.mode {
        Mode::Lt => {
            Test { word: STRICT | flag(node.missing), threshold: t.below(), swapped: false }
        }
        // `x > NaN` holds for no x: the swapped test must hold for all.
        Mode::Gt | Mode::Gte if t.is_nan() => {
            Test { word: flag(!node.missing), threshold: T::INFINITY, swapped: true }
        }
        Mode::Gt => Test { word: flag(!node.missing), threshold: t, swapped: true },
        Mode::Gte => {
            Test { word: STRICT | flag(!node.missing), threshold: t.below(), swapped: true }
        }
        Mode::Eq => Test { word: EQUAL | flag(node.missing), threshold: t, swapped: false },
        // NaN differs from everything: it takes the true branch, tracked or not.
        Mode::Neq => Test { word: EQUAL, threshold: t, swapped: true },
        _ => Test { word: flag(node.missing), threshold: t, swapped: false },
    }
}

impl<T: Real> Ensemble<T> {
    /// Packs a forest breadth first. Shared children are repeated, within a budget of eight times
    /// the nodes listed; a chain of `==` on one feature to one child becomes a set.
    pub(super) fn new(spec: &OpSpec<'_>, forest: &Forest) -> Result<Ensemble<T>> {
        let listed = forest.nodes.len();
        let budget = listed.saturating_mul(8).saturating_add(1024).min(spec.limits.tree_nodes);
        let single = forest.targets == 1;
        let mut e = Ensemble {
            nodes: Vec::with_capacity(listed),
            roots: Vec::with_capacity(forest.roots.len()),
            depths: Vec::with_capacity(forest.roots.len()),
            list_of: Vec::new(),
            lists: vec![0],
            weights: Vec::new(),
            sets: forest.sets.iter().map(|s| MemberSet::new(s)).collect(),
            targets: forest.targets,
            width: 0,
            missing: false,
            general: false,
        };
        let blank = Node { threshold: T::NAN, value: T::ZERO, word: 0, child: 0 };
        let mut sources: Vec<u32> = Vec::new();
        for &root in &forest.roots {
            let start = e.nodes.len();
            e.roots.push(start as u32);
            e.nodes.push(blank);
            sources.clear();
            sources.push(root);
            let (mut at, mut depth, mut level_end) = (0, 0usize, 1);
            while at < sources.len() {
                if at == level_end {
                    depth += 1;
                    level_end = sources.len();
                }
                let source = sources[at];
                let node = &forest.nodes[source as usize];
                let position = start + at;
                at += 1;
                if node.mode == Mode::Leaf {
                    e.push_leaf(forest, source, position, single);
                    continue;
                }
                let mut test = less_equal(node);
                let mut no = node.no;
                match node.mode {
                    Mode::Member => {
                        test.word |= MEMBER;
                        test.threshold = T::of(node.set.into());
                    }
                    Mode::Eq => {
                        let (values, last) = equal_chain(forest, node);
                        if values.len() > 1 {
                            no = last;
                            test.word = test.word & !EQUAL | MEMBER;
                            test.threshold = T::of(e.sets.len() as f64);
                            e.sets.push(MemberSet::new(&values));
                        }
                    }
                    _ => {}
                }
                e.missing |= test.word & NAN_FIRST != 0;
                e.general |= test.word & (EQUAL | MEMBER) != 0;
                e.width = e.width.max(node.feature as usize + 1);
                e.nodes[position] = Node {
                    threshold: test.threshold,
                    value: T::ZERO,
                    word: test.word | node.feature,
                    child: e.nodes.len() as u32,
                };
                e.nodes.extend([blank, blank]);
                sources.extend(if test.swapped { [no, node.yes] } else { [node.yes, no] });
                ensure!(
                    e.nodes.len() <= budget.max(listed),
                    LimitExceeded,
                    "{}: trees that share nodes unfold to more than {budget} nodes",
                    spec.op
                );
            }
            ensure!(
                depth <= spec.limits.tree_depth,
                LimitExceeded,
                "{}: a tree is {depth} deep (LoadLimits::tree_depth is {})",
                spec.op,
                spec.limits.tree_depth
            );
            e.depths.push(depth as u32);
        }
        // A set's index is kept in a threshold, which must hold it exactly.
        ensure!(e.sets.len() <= 1 << 24, LimitExceeded, "{}: more than 2^24 sets", spec.op);
        if !single {
            e.list_of.resize(e.nodes.len(), 0);
        }
        Ok(e)
    }

    fn push_leaf(&mut self, forest: &Forest, source: u32, position: usize, single: bool) {
        let weights = forest.weights_of(source);
        let node = &mut self.nodes[position];
        node.child = (position as u32).wrapping_sub(1);
        if single {
            // Of several weights for the one target the first counts, and without any the
            // node's own value does: so it is in ONNX Runtime.
            let own = forest.nodes[source as usize].value;
            node.value = T::of(weights.first().map_or(own, |w| w.1));
            return;
        }
        self.list_of.resize(position + 1, 0);
        self.list_of[position] = (self.lists.len() - 1) as u32;
        self.weights.extend(weights.iter().map(|&(t, w)| (t, T::of(w))));
        self.lists.push(self.weights.len() as u32);
    }

    /// Whether `x` is in set `index` (an index this ensemble wrote itself).
    pub(super) fn is_member(&self, index: T, x: T) -> bool {
        self.sets.get(index.f64() as usize).is_some_and(|s| s.contains(x))
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        let weights = self.weights.len() * size_of::<(u32, T)>();
        let sets: usize = self.sets.iter().map(|s| (s.bits.len() + s.sorted.len()) * 8).sum();
        let words = self.roots.len() * 2 + self.list_of.len() + self.lists.len();
        (self.nodes.len() * size_of::<Node<T>>() + weights + sets + words * 4) as u64
    }
}

impl Ensemble<f32> {
    /// The same trees with `f64` thresholds and weights.
    fn widened(&self) -> Ensemble<f64> {
        let node = |n: &Node<f32>| Node {
            // A moved threshold is moved back before it is moved in the finer grid.
            threshold: match n.word & STRICT {
                0 => f64::from(n.threshold),
                _ if n.threshold.is_nan() => f64::NAN,
                _ => f64::from(n.threshold.next_up()).below(),
            },
            value: n.value.into(),
            word: n.word,
            child: n.child,
        };
        Ensemble {
            nodes: self.nodes.iter().map(node).collect(),
            roots: self.roots.clone(),
            depths: self.depths.clone(),
            list_of: self.list_of.clone(),
            lists: self.lists.clone(),
            weights: self.weights.iter().map(|&(t, w)| (t, w.into())).collect(),
            sets: self.sets.iter().map(MemberSet::widened).collect(),
            targets: self.targets,
            width: self.width,
            missing: self.missing,
            general: self.general,
        }
    }
}

/// The values of a chain `x == a`, else `x == b`, else … that all lead to one child, and where it
/// leads otherwise: the way LightGBM's categories are written.
fn equal_chain(forest: &Forest, first: &Source) -> (Vec<f64>, u32) {
    let mut values = vec![first.value];
    let mut last = first.no;
    loop {
        let next = &forest.nodes[last as usize];
        let same = next.mode == Mode::Eq
            && next.feature == first.feature
            && next.yes == first.yes
            && next.missing == first.missing;
        if !same {
            return (values, last);
        }
        values.push(next.value);
        last = next.no;
    }
}

/// An ensemble in the precision of its file.
#[derive(Debug)]
pub(super) enum Store {
    /// `f32` trees, and the same in `f64` once a request of `f64` has come.
    F32(Ensemble<f32>, OnceLock<Ensemble<f64>>),
    /// `f64` trees.
    F64(Ensemble<f64>),
}

impl Store {
    /// Packs a forest.
    pub(super) fn new(spec: &OpSpec<'_>, forest: &Forest) -> Result<Store> {
        Ok(if forest.wide {
            Store::F64(Ensemble::new(spec, forest)?)
        } else {
            Store::F32(Ensemble::new(spec, forest)?, OnceLock::new())
        })
    }

    /// The trees in `f64`.
    pub(super) fn wide(&self) -> &Ensemble<f64> {
        match self {
            Store::F32(narrow, wide) => wide.get_or_init(|| narrow.widened()),
            Store::F64(wide) => wide,
        }
    }

    /// The trees in `f32`, where that is their precision.
    pub(super) fn narrow(&self) -> Option<&Ensemble<f32>> {
        match self {
            Store::F32(narrow, _) => Some(narrow),
            Store::F64(_) => None,
        }
    }

    /// Bytes held, without the copy that `f64` requests may add.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Store::F32(e, _) => e.bytes(),
            Store::F64(e) => e.bytes(),
        }
    }
}

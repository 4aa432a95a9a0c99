//! A compiled ensemble, and how it is compiled.

use super::blend::Blend;
use super::column::{Column, Columns, Rule};
use super::leaves::{Leaves, Weights};
use super::node::{COLUMN, EQUAL, Large, MEMBER, NAN_YES, Nodes, Small};
use super::real::{MAX_PAYLOAD, Real};
use super::set::MemberSet;
use crate::ensemble::{Aggregate, CategorySet, Ensemble, Missing, Node, Precision, Split, Test};
use crate::error::{Result, ensure};
use crate::limits::LoadLimits;
use std::collections::HashMap;

/// One tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree {
    /// Position of its root; its nodes follow, level by level.
    pub start: u32,
    /// How many nodes it has.
    pub nodes: u32,
    /// Steps to its deepest leaf.
    pub depth: u32,
    /// Number of its first leaf.
    pub leaf: u32,
}

/// How a row's sum is finished.
#[derive(Debug, Clone)]
pub(super) struct Finish<V> {
    /// What a sum starts with, by target; empty for zeros.
    pub first: Vec<V>,
    /// What the sum is divided by.
    pub divisor: Option<u32>,
    /// What it is then multiplied with.
    pub scale: Option<V>,
    /// What is then added, by target; empty for none.
    pub last: Vec<V>,
}

/// Trees compiled for rows of `T` and sums of `V`.
#[derive(Debug)]
pub(super) struct Forest<T, V> {
    pub columns: Columns,
    pub trees: Vec<Tree>,
    pub nodes: Nodes<T>,
    pub leaves: Leaves<V>,
    pub sets: Vec<MemberSet<T>>,
    pub targets: usize,
    /// Features a row must have.
    pub width: usize,
    /// Some node has flags.
    pub general: bool,
    pub aggregate: Aggregate,
    pub finish: Finish<V>,
    /// For batches: the trees over ranks of thresholds.
    pub blend: Option<Blend<T>>,
    /// Which thresholds were `<`, a bit a node; empty where none was, or nobody will ask.
    strict: Vec<u64>,
}

/// One node's test in terms of the compiled form.
struct Plain<T> {
    rule: Rule,
    flags: u32,
    threshold: T,
    /// The `yes` branch is that of the compiled test's failure.
    swapped: bool,
    strict: bool,
}

fn test<T: Real>(split: &Split, precision: Precision) -> Plain<T> {
    let round = |t: f64| match precision {
        Precision::F32 => f64::from(t as f32),
        Precision::F64 | Precision::Input => t,
    };
    // Where NaN (and, with `Zero…`, zero) goes: to the branch after a compiled test that holds?
    let rule = |swapped: bool| match split.missing {
        Missing::Compared if swapped => Rule::NanPasses,
        Missing::Compared => Rule::Plain,
        Missing::Yes if swapped => Rule::Plain,
        Missing::Yes => Rule::NanPasses,
        Missing::No if swapped => Rule::NanPasses,
        Missing::No => Rule::Plain,
        Missing::ZeroYes if swapped => Rule::ZeroFails,
        Missing::ZeroYes => Rule::ZeroPasses,
        Missing::ZeroNo if swapped => Rule::ZeroPasses,
        Missing::ZeroNo => Rule::ZeroFails,
        Missing::AsZero => Rule::NanIsZero,
    };
    let plain = |threshold: T, swapped: bool, strict: bool| {
        let rule = rule(swapped);
        let passes = matches!(rule, Rule::NanPasses | Rule::ZeroPasses);
        if passes && threshold.is_nan() {
            // Nothing passes such a threshold, minus infinity neither: the flag sends NaN.
            let rule = if rule == Rule::ZeroPasses { Rule::ZeroFails } else { Rule::Plain };
            return Plain { rule, flags: NAN_YES, threshold, swapped, strict };
        }
        Plain { rule, flags: 0, threshold, swapped, strict }
    };
    let general = |flags: u32, threshold: T, swapped: bool| {
        let (rule, nan_yes) = match rule(swapped) {
            Rule::NanPasses => (Rule::Plain, true),
            Rule::ZeroPasses => (Rule::ZeroFails, true),
            rule => (rule, false),
        };
        let flags = flags | if nan_yes { NAN_YES } else { 0 };
        Plain { rule, flags, threshold, swapped, strict: false }
    };
    match split.test {
        Test::LessOrEqual(t) => plain(T::at_most(round(t)), false, false),
        Test::Less(t) => plain(T::below(round(t)), false, true),
        // `x > NaN` holds for no x: the swapped test must hold for all.
        Test::Greater(t) | Test::GreaterOrEqual(t) if t.is_nan() => plain(T::INFINITY, true, false),
        Test::Greater(t) => plain(T::at_most(round(t)), true, false),
        Test::GreaterOrEqual(t) => plain(T::below(round(t)), true, true),
        Test::Equal(t) => general(EQUAL, exactly(round(t)), false),
        // NaN differs from everything: where it is compared, it takes the `yes` branch, which is
        // that of the compiled test's failure.
        Test::NotEqual(t) if split.missing == Missing::Compared => Plain {
            rule: Rule::Plain,
            flags: EQUAL,
            threshold: exactly(round(t)),
            swapped: true,
            strict: false,
        },
        Test::NotEqual(t) => general(EQUAL, exactly(round(t)), true),
        Test::Member(set) => general(MEMBER, T::of(set.into()), false),
    }
}

/// The value itself where the precision has it, else NaN, which nothing equals.
fn exactly<T: Real>(t: f64) -> T {
    let near = T::of(t);
    if near.f64() == t { near } else { T::NAN }
}

/// One node, before the width of nodes is chosen.
struct Draft<T> {
    column: u32,
    flags: u32,
    threshold: T,
    offset: u32,
    strict: bool,
}

/// Collects the columns that nodes ask for.
#[derive(Default)]
struct Register {
    numbers: HashMap<Column, u32>,
    list: Vec<Column>,
}

impl Register {
    fn number(&mut self, column: Column) -> u32 {
        *self.numbers.entry(column).or_insert_with(|| {
            self.list.push(column);
            self.list.len() as u32 - 1
        })
    }
}

impl<T: Real, V: Real> Forest<T, V> {
    /// Compiles a checked ensemble. Shared children are repeated, within a budget of eight times
    /// the nodes listed; a chain of `==` on one feature to one child becomes a set. `widens`
    /// keeps what [`Forest::widened`] needs.
    pub(super) fn new(form: &Ensemble, limits: &LoadLimits, widens: bool) -> Result<Forest<T, V>> {
        let listed = form.nodes.len();
        let budget = listed.saturating_mul(8).saturating_add(1024).min(limits.tree_nodes);
        let mut sets: Vec<MemberSet<T>> = form.sets.iter().map(MemberSet::new).collect();
        let mut register = Register::default();
        let mut drafts: Vec<Draft<T>> = Vec::with_capacity(listed);
        let mut trees = Vec::with_capacity(form.roots.len());
        let mut numbers: Vec<u32> = Vec::with_capacity(form.leaves.len());
        let mut order: Vec<u32> = Vec::new();
        for &root in &form.roots {
            let (start, leaf) = (drafts.len(), numbers.len());
            order.clear();
            order.push(root);
            let (mut at, mut depth, mut level_end) = (0, 0usize, 1);
            while at < order.len() {
                if at == level_end {
                    depth += 1;
                    level_end = order.len();
                }
                let offset = (order.len() - at) as u32;
                match &form.nodes[order[at] as usize] {
                    Node::Leaf(number) => {
                        let local = numbers.len() - leaf;
                        ensure!(
                            local < MAX_PAYLOAD,
                            LimitExceeded,
                            "a tree of more than {MAX_PAYLOAD} leaves"
                        );
                        let threshold = T::numbered(local as u32);
                        numbers.push(*number);
                        drafts.push(Draft {
                            column: 0,
                            flags: 0,
                            threshold,
                            offset: 0,
                            strict: false,
                        });
                    }
                    Node::Split(split) => {
                        let (split, chain) = without_chain(form, *split);
                        let mut plain = test::<T>(&split, form.arithmetic.features);
                        if let Some(values) = chain {
                            plain.flags = plain.flags & !EQUAL | MEMBER;
                            plain.threshold = T::of(sets.len() as f64);
                            sets.push(MemberSet::new(&CategorySet::exact(values)));
                        }
                        let column = Column { feature: split.feature, rule: plain.rule };
                        drafts.push(Draft {
                            column: register.number(column),
                            flags: plain.flags,
                            threshold: plain.threshold,
                            offset,
                            strict: plain.strict,
                        });
                        order.extend(if plain.swapped {
                            [split.yes, split.no]
                        } else {
                            [split.no, split.yes]
                        });
                    }
                }
                at += 1;
                ensure!(
                    start + order.len() <= budget.max(listed),
                    LimitExceeded,
                    "trees that share nodes unfold to more than {budget} nodes"
                );
            }
            let nodes = order.len() as u32;
            trees.push(Tree { start: start as u32, nodes, depth: depth as u32, leaf: leaf as u32 });
        }
        // A set's index is kept in a threshold, which must hold it exactly.
        ensure!(sets.len() <= 1 << 24, LimitExceeded, "more than 2^24 category sets");
        let general = drafts.iter().any(|d| d.flags != 0);
        let columns = columns(register.list, &mut drafts, general);
        let mut strict = Vec::new();
        if widens && drafts.iter().any(|d| d.strict) {
            strict.resize(drafts.len().div_ceil(64), 0u64);
            for (i, _) in drafts.iter().enumerate().filter(|(_, d)| d.strict) {
                strict[i / 64] |= 1 << (i % 64);
            }
        }
        let forest = Forest {
            columns,
            trees,
            nodes: pack(&drafts, general),
            leaves: leaves(form, &numbers),
            sets,
            targets: form.targets,
            width: form.width(),
            general,
            aggregate: form.aggregate,
            finish: finish(form),
            blend: None,
            strict,
        };
        Ok(forest)
    }

    /// The same, with what folds its trees for batches.
    pub(super) fn folded(mut self) -> Self {
        self.blend = Blend::new(&self);
        self
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        let sets: usize = self.sets.iter().map(MemberSet::bytes).sum();
        let blend = self.blend.as_ref().map_or(0, Blend::bytes);
        (self.nodes.bytes()
            + self.leaves.bytes()
            + sets
            + blend
            + self.strict.len() * 8
            + self.trees.len() * size_of::<Tree>()) as u64
    }
}

impl Forest<f32, f32> {
    /// The same trees for rows of `f64`: thresholds and weights stay what the file says.
    pub(super) fn widened(&self) -> Forest<f64, f64> {
        let is_strict = |i: usize| self.strict.get(i / 64).is_some_and(|w| w >> (i % 64) & 1 == 1);
        let widen = |i: usize, t: f32| match t.is_nan() {
            true => f64::numbered(t.number()),
            // A moved threshold is moved back before it is moved in the finer grid.
            false if is_strict(i) => <f64 as Real>::below(t.next_up().into()),
            false => t.into(),
        };
        let nodes = match &self.nodes {
            Nodes::Small(v) => v
                .iter()
                .enumerate()
                .map(|(i, n)| Large {
                    threshold: widen(i, n.threshold),
                    word: n.column.into(),
                    offset: n.offset.into(),
                })
                .collect(),
            Nodes::Large(v) => v
                .iter()
                .enumerate()
                .map(|(i, n)| Large {
                    threshold: widen(i, n.threshold),
                    word: n.word,
                    offset: n.offset,
                })
                .collect(),
        };
        let wide = |v: &[f32]| v.iter().map(|&x| x.into()).collect();
        let weights = match &self.leaves.weights {
            Weights::Single(v) => Weights::Single(wide(v)),
            Weights::Dense(v) => Weights::Dense(wide(v)),
            Weights::Sparse { starts, weights } => Weights::Sparse {
                starts: starts.clone(),
                weights: weights.iter().map(|&(t, w)| (t, w.into())).collect(),
            },
        };
        let forest = Forest {
            columns: self.columns.clone(),
            trees: self.trees.clone(),
            nodes: Nodes::Large(nodes),
            leaves: Leaves {
                weights,
                targets: self.leaves.targets,
                linear: self.leaves.linear.clone(),
            },
            sets: self.sets.iter().map(MemberSet::widened).collect(),
            targets: self.targets,
            width: self.width,
            general: self.general,
            aggregate: self.aggregate,
            finish: Finish {
                first: wide(&self.finish.first),
                divisor: self.finish.divisor,
                scale: self.finish.scale.map(f64::from),
                last: wide(&self.finish.last),
            },
            blend: None,
            strict: Vec::new(),
        };
        forest.folded()
    }
}

/// The columns in the end: the features themselves where no rule changes one and many are looked
/// at, so that a row is read in place.
fn columns<T>(list: Vec<Column>, drafts: &mut [Draft<T>], general: bool) -> Columns {
    let width = list.iter().map(|c| c.feature as usize + 1).max().unwrap_or(0);
    let plain = list.iter().all(|c| c.rule == Rule::Plain);
    if !plain || list.len() * 4 < width || (width > usize::from(u16::MAX) && !general) {
        return Columns { list, identity: false };
    }
    for draft in drafts.iter_mut().filter(|d| d.offset != 0) {
        draft.column = list[draft.column as usize].feature;
    }
    let list = (0..width as u32).map(|feature| Column { feature, rule: Rule::Plain }).collect();
    Columns { list, identity: true }
}

fn pack<T: Real>(drafts: &[Draft<T>], general: bool) -> Nodes<T> {
    let small = |d: &Draft<T>| d.column <= u32::from(u16::MAX) && d.offset <= u32::from(u16::MAX);
    if size_of::<T>() == 4 && !general && drafts.iter().all(small) {
        let node = |d: &Draft<T>| Small {
            // A leaf's NaN keeps its number only as bits.
            threshold: match d.offset {
                0 => f32::numbered(d.threshold.number()),
                _ => d.threshold.f32(),
            },
            column: d.column as u16,
            offset: d.offset as u16,
        };
        return Nodes::Small(drafts.iter().map(node).collect());
    }
    let node = |d: &Draft<T>| Large {
        threshold: d.threshold,
        word: d.column & COLUMN | d.flags,
        offset: d.offset,
    };
    Nodes::Large(drafts.iter().map(node).collect())
}

/// The leaves in the order of their numbers in the compiled trees.
fn leaves<V: Real>(form: &Ensemble, numbers: &[u32]) -> Leaves<V> {
    let of = |number: &u32| {
        let leaf = &form.leaves[*number as usize];
        (leaf, form.weights_of(leaf))
    };
    let targets = form.targets;
    let dense = |weights: &[(u32, f64)]| {
        weights.len() == targets && weights.iter().zip(0u32..).all(|(w, i)| w.0 == i)
    };
    let weights = if numbers.iter().all(|n| dense(of(n).1)) {
        let values = numbers.iter().flat_map(|n| of(n).1).map(|w| V::of(w.1)).collect();
        if targets == 1 { Weights::Single(values) } else { Weights::Dense(values) }
    } else {
        let mut starts = vec![0u32];
        let mut all = Vec::new();
        for number in numbers {
            all.extend(of(number).1.iter().map(|&(t, w)| (t, V::of(w))));
            starts.push(all.len() as u32);
        }
        Weights::Sparse { starts, weights: all }
    };
    let linear = if form.linear.is_empty() {
        Vec::new()
    } else {
        let linear = |n: &u32| of(n).0.linear.and_then(|l| form.linear.get(l as usize)).cloned();
        numbers.iter().map(linear).collect()
    };
    Leaves { weights, targets, linear }
}

fn finish<V: Real>(form: &Ensemble) -> Finish<V> {
    let base = || form.base.iter().map(|&b| V::of(b)).collect();
    let trees = form.averaged_over.unwrap_or(form.roots.len() as u32);
    let average = form.aggregate == Aggregate::Average;
    Finish {
        first: if form.arithmetic.base_first { base() } else { Vec::new() },
        divisor: average.then_some(trees.max(1)),
        scale: (form.arithmetic.scale != 1.0).then(|| V::of(form.arithmetic.scale)),
        last: if form.arithmetic.base_first { Vec::new() } else { base() },
    }
}

/// A chain `x == a`, else `x == b`, else … whose tests all lead to one child, as its first test
/// and its values: the way ONNX files write LightGBM's categories.
fn without_chain(form: &Ensemble, first: Split) -> (Split, Option<Vec<f64>>) {
    let Test::Equal(value) = first.test else { return (first, None) };
    let mut split = first;
    let mut values = vec![value];
    while let Node::Split(next) = &form.nodes[split.no as usize]
        && let Test::Equal(value) = next.test
        && (next.feature, next.yes, next.missing) == (first.feature, first.yes, first.missing)
    {
        values.push(value);
        split.no = next.no;
    }
    let chain = (values.len() > 1).then_some(values);
    (split, chain)
}

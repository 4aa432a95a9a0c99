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
use crate::room;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

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
    pub leaves: Arc<Leaves<V>>,
    pub sets: Vec<MemberSet<T>>,
    pub targets: usize,
    /// Features a row must have.
    pub width: usize,
    /// Some node has flags.
    pub general: bool,
    pub aggregate: Aggregate,
    pub finish: Finish<V>,
    /// For batches: the trees over ranks of thresholds, made for the first of them.
    blend: OnceLock<Option<Blend<T>>>,
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

/// Collects the columns that nodes ask for.
struct Register {
    /// The numbers of a feature's columns by rule; [`Register::NONE`] for what nobody asked for.
    numbers: Vec<[u32; Rule::COUNT]>,
    /// Those of the features beyond.
    far: HashMap<Column, u32>,
    list: Vec<Column>,
}

impl Register {
    const NONE: u32 = u32::MAX;

    /// For rows of `width` features and that many nodes: a file may speak of features that few
    /// nodes look at.
    fn new(width: usize, nodes: usize) -> Result<Register> {
        let near = width.min(nodes.max(1024));
        Ok(Register {
            numbers: room::filled(near, [Register::NONE; Rule::COUNT])?,
            far: HashMap::new(),
            list: Vec::new(),
        })
    }

    fn number(&mut self, column: Column) -> Result<u32> {
        let slot = match self.numbers.get_mut(column.feature as usize) {
            Some(rules) => &mut rules[column.rule as usize],
            None => self.far.entry(column).or_insert(Register::NONE),
        };
        if *slot == Register::NONE {
            *slot = self.list.len() as u32;
            room::reserve(&mut self.list, 1)?;
            self.list.push(column);
        }
        Ok(*slot)
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
        let width = form.width();
        let mut register = Register::new(width, listed)?;
        let mut nodes: Vec<Large<T>> = room::with_room(listed)?;
        let mut strict = Strict::default();
        let mut trees = room::with_room(form.roots.len())?;
        let mut numbers: Vec<u32> = room::with_room(form.leaves.len())?;
        let mut order: Vec<u32> = Vec::new();
        for &root in &form.roots {
            let (start, leaf) = (nodes.len(), numbers.len());
            order.clear();
            order.push(root);
            let (mut at, mut depth, mut level_end) = (0, 0usize, 1);
            while at < order.len() {
                if at == level_end {
                    depth += 1;
                    level_end = order.len();
                }
                let offset = (order.len() - at) as u32;
                // Beyond what was listed where trees share nodes.
                room::reserve(&mut nodes, 1)?;
                room::reserve(&mut numbers, 1)?;
                room::reserve(&mut order, 2)?;
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
                        nodes.push(Large { threshold, word: 0, offset: 0 });
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
                        if widens && plain.strict {
                            strict.set(nodes.len())?;
                        }
                        let word = register.number(column)? & COLUMN | plain.flags;
                        nodes.push(Large { threshold: plain.threshold, word, offset });
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
            trees.push(Tree {
                start: start as u32,
                nodes: order.len() as u32,
                depth: depth as u32,
                leaf: leaf as u32,
            });
        }
        // A set's index is kept in a threshold, which must hold it exactly.
        ensure!(sets.len() <= 1 << 24, LimitExceeded, "more than 2^24 category sets");
        let general = nodes.iter().any(|n| n.word & !COLUMN != 0);
        let columns = columns(register.list, &mut nodes, general)?;
        let forest = Forest {
            columns,
            trees,
            nodes: pack(nodes, general)?,
            leaves: leaves(form, &numbers)?.into(),
            sets,
            targets: form.targets,
            width,
            general,
            aggregate: form.aggregate,
            finish: finish(form),
            blend: OnceLock::new(),
            strict: strict.bits,
        };
        Ok(forest)
    }

    /// What folds the trees for batches, where that gains something. The first batch makes it:
    /// many a model is asked for single rows alone.
    pub(super) fn blend(&self) -> Option<&Blend<T>> {
        if self.blend.get().is_none() {
            // Made outside of the lock: a process that forks meanwhile has a child that can batch,
            // too. Of two batches that come first the slower one's work is lost.
            drop(self.blend.set(Blend::new(self)));
        }
        self.blend.get().and_then(Option::as_ref)
    }

    /// Bytes held so far: the first batch adds some.
    pub(super) fn bytes(&self) -> u64 {
        let sets: usize = self.sets.iter().map(MemberSet::bytes).sum();
        let blend = self.blend.get().and_then(Option::as_ref).map_or(0, Blend::bytes);
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
        Forest {
            columns: self.columns.clone(),
            trees: self.trees.clone(),
            nodes: Nodes::Large(nodes),
            leaves: Arc::new(Leaves {
                weights,
                targets: self.leaves.targets,
                linear: self.leaves.linear.clone(),
            }),
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
            blend: OnceLock::new(),
            strict: Vec::new(),
        }
    }
}

impl<V: Real> Forest<f64, V> {
    /// The same trees for rows of `f32`; sums and leaves stay what they are. Moving a threshold to
    /// the next smaller double first changes nothing of which floats it lets pass.
    ///
    /// # Errors
    /// `LimitExceeded` where there is no memory for them.
    pub(super) fn narrowed(&self) -> Result<Forest<f32, V>> {
        let threshold = |node: &Large<f64>| match (node.offset, node.word & (EQUAL | MEMBER)) {
            (0, _) => f32::numbered(node.threshold.number()),
            (_, 0) => f32::at_most(node.threshold),
            _ => exactly(node.threshold),
        };
        let nodes = match &self.nodes {
            Nodes::Small(nodes) => Nodes::Small(room::copied(nodes)?),
            Nodes::Large(nodes) if !self.general && are_small(nodes) => {
                Nodes::Small(room::collected(nodes.iter().map(|n| small(n, threshold(n))))?)
            }
            Nodes::Large(nodes) => {
                let node = |n: &Large<f64>| Large {
                    threshold: threshold(n),
                    word: n.word,
                    offset: n.offset,
                };
                Nodes::Large(room::collected(nodes.iter().map(node))?)
            }
        };
        Ok(Forest {
            columns: self.columns.clone(),
            trees: room::copied(&self.trees)?,
            nodes,
            leaves: self.leaves.clone(),
            sets: self.sets.iter().map(MemberSet::narrowed).collect(),
            targets: self.targets,
            width: self.width,
            general: self.general,
            aggregate: self.aggregate,
            finish: self.finish.clone(),
            blend: OnceLock::new(),
            strict: Vec::new(),
        })
    }
}

/// Which thresholds were `<`, a bit a node.
#[derive(Default)]
struct Strict {
    bits: Vec<u64>,
}

impl Strict {
    fn set(&mut self, node: usize) -> Result<()> {
        if self.bits.len() <= node / 64 {
            let more = node / 64 + 1 - self.bits.len();
            room::reserve(&mut self.bits, more)?;
            self.bits.resize(node / 64 + 1, 0);
        }
        self.bits[node / 64] |= 1 << (node % 64);
        Ok(())
    }
}

/// The columns in the end: the features themselves where no rule changes one and many are looked
/// at, so that a row is read in place.
fn columns<T>(list: Vec<Column>, nodes: &mut [Large<T>], general: bool) -> Result<Columns> {
    let width = list.iter().map(|c| c.feature as usize + 1).max().unwrap_or(0);
    let plain = list.iter().all(|c| c.rule == Rule::Plain);
    if !plain || list.len() * 4 < width || (width > usize::from(u16::MAX) && !general) {
        return Ok(Columns { list, identity: false });
    }
    for node in nodes.iter_mut().filter(|n| n.offset != 0) {
        let feature = list[(node.word & COLUMN) as usize].feature;
        node.word = node.word & !COLUMN | feature;
    }
    let plain = (0..width as u32).map(|feature| Column { feature, rule: Rule::Plain });
    Ok(Columns { list: room::collected(plain)?, identity: true })
}

fn pack<T: Real>(nodes: Vec<Large<T>>, general: bool) -> Result<Nodes<T>> {
    if size_of::<T>() != 4 || general || !are_small(&nodes) {
        return Ok(Nodes::Large(nodes));
    }
    let node = |n: &Large<T>| {
        // A leaf's NaN keeps its number only as bits.
        let threshold = match n.offset {
            0 => f32::numbered(n.threshold.number()),
            _ => n.threshold.f32(),
        };
        small(n, threshold)
    };
    Ok(Nodes::Small(room::collected(nodes.iter().map(node))?))
}

fn are_small<T>(nodes: &[Large<T>]) -> bool {
    let fits = |n: u32| n <= u32::from(u16::MAX);
    nodes.iter().all(|n| fits(n.word) && fits(n.offset))
}

fn small<T>(node: &Large<T>, threshold: f32) -> Small {
    Small { threshold, column: node.word as u16, offset: node.offset as u16 }
}

/// The leaves in the order of their numbers in the compiled trees.
fn leaves<V: Real>(form: &Ensemble, numbers: &[u32]) -> Result<Leaves<V>> {
    let of = |number: &u32| {
        let leaf = &form.leaves[*number as usize];
        (leaf, form.weights_of(leaf))
    };
    let targets = form.targets;
    let dense = |weights: &[(u32, f64)]| {
        weights.len() == targets && weights.iter().zip(0u32..).all(|(w, i)| w.0 == i)
    };
    let weights = if numbers.iter().all(|n| dense(of(n).1)) {
        let mut values = room::with_room(numbers.len().saturating_mul(targets))?;
        values.extend(numbers.iter().flat_map(|n| of(n).1).map(|w| V::of(w.1)));
        if targets == 1 { Weights::Single(values) } else { Weights::Dense(values) }
    } else {
        let mut starts = room::with_room(numbers.len() + 1)?;
        starts.push(0u32);
        let mut all = room::with_room(numbers.iter().map(|n| of(n).1.len()).sum())?;
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
        room::collected(numbers.iter().map(linear))?
    };
    Ok(Leaves { weights, targets, linear })
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

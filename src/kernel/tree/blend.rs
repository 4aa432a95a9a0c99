//! Batches over ranks: every node of a tree is evaluated for a tile of rows at once.
//!
//! A column's value is replaced by its rank among the column's thresholds, a byte: `x <= t` becomes
//! `rank(x) <= rank(t)`, exactly. A column with more thresholds than a byte can tell apart is
//! ranked more than once, each time for some of the trees. A tree is then folded from its leaves
//! up: each inner node chooses, row by row, between the leaf that its `yes` side ends at and that
//! of its `no` side. That is more comparisons than a descent makes, but without a jump or a gather,
//! and 16, 32 or 64 rows take one instruction. It pays for trees of few nodes for their depth, and
//! for the first levels of any.
//! Evaluating all nodes by vectors is the idea of QuickScorer (Lucchese et al., SIGIR 2015) and
//! its vector versions; folding replaces their bit vectors of leaves.

use super::forest::{Forest, Tree};
use super::node::Nodes;
use super::real::Real;
use crate::kernel::simd::blend::{
    CUTS, ENDS, Fold, Folds, LANES, Lanes, Pair, Place, Quad, Slot, Step, Table, Test, fold, rank,
    whole_blocks,
};

/// Columns at most: the ranks of a tile should stay near.
const MAX_COLUMNS: usize = 1024;

/// Scales at most: more trees than these are enough for are walked.
const MAX_SCALES: usize = 4096;

/// Levels that are folded of a tree which is too large as a whole.
const TOP_LEVELS: u32 = 6;
// The nodes up to the first level below have numbers of ends.
const _: () = assert!((2 << TOP_LEVELS) - 1 <= ENDS);

/// Steps of a walk in whose time a row's value is ranked.
const STEPS_PER_SCALE: usize = 3;

/// Nodes that are folded in the time that one step of a walk takes.
const NODES_PER_STEP: usize = 40;

/// Where the trees of a forest are folded.
#[derive(Debug)]
pub(super) struct Blend<T> {
    scales: Vec<Scale<T>>,
    folds: Folds,
    /// Levels of each tree above the ends at which walking goes on; 0 where folding ends at leaves.
    levels: Vec<u32>,
}

/// Thresholds among which a column has its ranks.
#[derive(Debug)]
struct Scale<T> {
    column: usize,
    /// Sorted, and filled up with infinity to [`whole_blocks`].
    cuts: Vec<T>,
}

/// How far folding brings a tile.
pub(super) enum Folded {
    /// Nowhere: the tree has to be walked from its root.
    Root,
    /// To nodes this many levels below the root, where walking goes on.
    Nodes(u32),
    /// To the numbers of the leaves.
    Leaves,
}

/// Memory for the ranks of some tiles, kept by a thread.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    /// Tile by tile, scale by scale.
    ranks: Vec<Lanes<i8>>,
    table: Table,
}

/// The levels of a tree that folding is cheaper for than walking: all, or its top.
fn levels(tree: &Tree) -> u32 {
    let inner = (tree.nodes / 2) as usize;
    if inner < ENDS && inner <= NODES_PER_STEP * tree.depth as usize {
        tree.depth
    } else {
        TOP_LEVELS.min(tree.depth)
    }
}

/// How many nodes of a tree lie on its first `levels` levels; they come first.
fn top<T: Real>(nodes: &Nodes<T>, tree: &Tree, levels: u32) -> u32 {
    let (mut first, mut end) = (0, 1);
    for _ in 0..levels {
        let inner = (first..end).filter(|&i| nodes.at((tree.start + i) as usize).offset != 0);
        (first, end) = (end, end + 2 * inner.count() as u32);
    }
    first
}

impl<T: Real> Blend<T> {
    /// The forest over ranks, or `None` where it gains nothing by it.
    pub(super) fn new<V>(forest: &Forest<T, V>) -> Option<Blend<T>> {
        let columns = forest.columns.list.len();
        if forest.general || columns == 0 || columns > MAX_COLUMNS {
            return None;
        }
        let mut scales =
            Scales { list: Vec::new(), open: vec![None; columns], of_nodes: Vec::new() };
        // By tree, levels and nodes that are folded.
        let mut folded = Vec::new();
        for tree in &forest.trees {
            let levels = levels(tree);
            let nodes = top(&forest.nodes, tree, levels);
            if scales.list.len() + nodes as usize > MAX_SCALES {
                break;
            }
            for i in 0..nodes {
                let node = forest.nodes.at((tree.start + i) as usize);
                scales.add(node.word as usize, (node.offset != 0).then_some(node.threshold));
            }
            folded.push((levels, nodes as usize));
        }
        let Scales { list, of_nodes, .. } = scales;
        if list.is_empty() {
            return None;
        }
        let mut blend = Blend { folds: Folds::new(list.len()), scales: list, levels: Vec::new() };
        let (mut first, mut gained) = (0, 0);
        for (t, tree) in forest.trees.iter().enumerate() {
            let (levels, nodes) = folded.get(t).copied().unwrap_or_default();
            let whole = levels == tree.depth;
            let scales = &of_nodes[first..first + nodes];
            first += nodes;
            blend.levels.push(if whole { 0 } else { levels });
            let fold = blend.fold_of(&forest.nodes, tree, whole, scales);
            blend.folds.push(&fold.unwrap_or_default());
            if blend.folds.has(t) {
                gained += (levels as usize).saturating_sub(nodes / 2 / NODES_PER_STEP);
            }
        }
        for scale in &mut blend.scales {
            scale.cuts.resize(whole_blocks(scale.cuts.len()), T::INFINITY);
        }
        (gained > STEPS_PER_SCALE * blend.scales.len()).then_some(blend)
    }

    /// What there is to fold of a tree, whose first nodes have these scales.
    fn fold_of(&self, nodes: &Nodes<T>, tree: &Tree, whole: bool, scales: &[u16]) -> Option<Fold> {
        let node = |at: usize| nodes.at(tree.start as usize + at);
        let is_end = |at: usize| at >= scales.len() || node(at).offset == 0;
        // Ends on the way have their position for a number.
        let end = |at: usize| if whole { node(at).threshold.number() } else { at as u32 } as u8;
        let mut results: Vec<Option<Outcome>> = vec![None; scales.len()];
        let mut fold = Fold::default();
        // Children come after their parents.
        for at in (0..scales.len()).rev().filter(|&at| !is_end(at)) {
            let this = node(at);
            let cuts = &self.scales[usize::from(scales[at])].cuts;
            let rank = cuts.partition_point(|&cut| cut < this.threshold) as u8;
            let test = Test::new(scales[at], rank);
            let no = at + this.offset as usize;
            // A NaN for a threshold passes nothing: both sides are the one that it leads to.
            let yes = if this.threshold.is_nan() { no } else { no + 1 };
            let outcome = |at: usize| results.get(at).copied().flatten();
            let sides = [yes, no].map(|at| outcome(at).unwrap_or(Outcome::End(end(at))));
            results[at] = Some(join(test, sides, &mut fold)?);
        }
        fold.answer = match results.first().copied().flatten()? {
            Outcome::End(_) => None,
            Outcome::Slot(slot) => Some(slot),
            Outcome::Pair(pair) => {
                let slot = next_slot(&fold)?;
                fold.pairs.push((pair, slot));
                Some(slot)
            }
        };
        Some(fold)
    }

    /// Writes the ranks of a block's columns.
    pub(super) fn rank(&self, rows: usize, columns: &[Lanes<T>], width: usize, ranks: &mut Ranks) {
        let scales = self.scales.len();
        let lanes = rows.div_ceil(LANES) * scales;
        if ranks.ranks.len() < lanes {
            ranks.ranks.resize(lanes, Lanes([0; LANES]));
        }
        let tiles = columns.chunks_exact(width).zip(ranks.ranks.chunks_exact_mut(scales));
        for (tile, (columns, ranks)) in tiles.enumerate() {
            for (scale, ranks) in self.scales.iter().zip(ranks) {
                rank(&scale.cuts, rows - tile * LANES, &columns[scale.column], ranks);
            }
        }
    }

    /// How many ranks a row has.
    #[cfg(test)]
    pub(super) fn scales(&self) -> usize {
        self.scales.len()
    }

    /// Whether folding brings a tree's rows to their leaves.
    pub(super) fn whole(&self, tree: usize) -> bool {
        self.levels.get(tree) == Some(&0) && self.folds.has(tree)
    }

    /// Folds tree `tree` for tile `tile` of `rows` rows: `ends` gets the numbers of the leaves, or
    /// the positions of the nodes where walking goes on.
    pub(super) fn fold(
        &self,
        tree: usize,
        (tile, rows): (usize, usize),
        ranks: &mut Ranks,
        ends: &mut Lanes<u8>,
    ) -> Folded {
        if !self.folds.has(tree) {
            return Folded::Root;
        }
        let scales = self.scales.len();
        let tile = &ranks.ranks[tile * scales..(tile + 1) * scales];
        fold(&self.folds, tree, rows, tile, &mut ranks.table, ends);
        match self.levels[tree] {
            0 => Folded::Leaves,
            levels => Folded::Nodes(levels),
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let scales = self.scales.iter().map(|s| size_of_val(s) + s.cuts.len() * size_of::<T>());
        scales.sum::<usize>() + self.folds.bytes() + self.levels.len() * 4
    }
}

/// What a node has come to, while a tree is taken apart.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    End(u8),
    /// Part of its parent yet, or not.
    Pair(Pair),
    Slot(Slot),
}

/// A slot that is not taken.
fn next_slot(fold: &Fold) -> Option<Slot> {
    Slot::new(fold.quads.len() + fold.pairs.len())
}

/// Adds an inner node; `None` where there are no slots left. A step takes the slot of one of its
/// sides.
fn join(test: Test, sides: [Outcome; 2], fold: &mut Fold) -> Option<Outcome> {
    let pair = |side| match side {
        Outcome::End(end) => Some(Pair { test, ends: [end; 2] }),
        Outcome::Pair(pair) => Some(pair),
        Outcome::Slot(_) => None,
    };
    if let [Outcome::End(yes), Outcome::End(no)] = sides {
        return Some(Outcome::Pair(Pair { test, ends: [yes, no] }));
    }
    if let [Some(yes), Some(no)] = sides.map(pair) {
        let slot = next_slot(fold)?;
        fold.quads.push((Quad { test, pairs: [yes, no] }, slot));
        return Some(Outcome::Slot(slot));
    }
    let mut out = None;
    let mut places = [Place::end(0); 2];
    for (place, side) in places.iter_mut().zip(sides) {
        let slot = match side {
            Outcome::End(end) => {
                *place = Place::end(end);
                continue;
            }
            Outcome::Pair(pair) => {
                let slot = next_slot(fold)?;
                fold.pairs.push((pair, slot));
                slot
            }
            Outcome::Slot(slot) => slot,
        };
        *place = slot.into();
        out = Some(slot);
    }
    let out = out?;
    fold.steps.push((Step { test, sides: places }, out));
    Some(Outcome::Slot(out))
}

/// Scales while they are made.
struct Scales<T> {
    list: Vec<Scale<T>>,
    /// By column, the scale that is not full.
    open: Vec<Option<u16>>,
    /// The scale of each node that was added.
    of_nodes: Vec<u16>,
}

impl<T: Real> Scales<T> {
    /// Adds a node's threshold (`None` for a leaf's) to a scale of its column. Trees that follow
    /// each other share scales, so that the ranks that they look at are near each other.
    fn add(&mut self, column: usize, cut: Option<T>) {
        let Some(cut) = cut.filter(|cut| !cut.is_nan()) else {
            return self.of_nodes.push(0);
        };
        if let Some(open) = self.open[column] {
            let cuts = &mut self.list[usize::from(open)].cuts;
            let at = cuts.partition_point(|&c| c < cut);
            // By value: the two zeros are one cut.
            let known = cuts.get(at) == Some(&cut);
            if known || cuts.len() < CUTS {
                if !known {
                    cuts.insert(at, cut);
                }
                return self.of_nodes.push(open);
            }
        }
        let number = self.list.len() as u16;
        self.list.push(Scale { column, cuts: vec![cut] });
        self.open[column] = Some(number);
        self.of_nodes.push(number);
    }
}

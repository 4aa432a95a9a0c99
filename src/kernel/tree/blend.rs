//! Batches over ranks: every node of a tree is evaluated for a tile of rows at once.
//!
//! A column's value is replaced by its rank among the column's thresholds, which fits a byte or
//! two: `x <= t` becomes `rank(x) <= rank(t)`, exactly. A tree is then folded from its leaves up:
//! each inner node chooses, row by row, between the leaf that its `yes` side ends at and that of
//! its `no` side. That is more comparisons than a descent makes, but without a jump or a gather,
//! and 32 or 16 rows take one instruction. It pays for trees of few nodes for their depth.
//! Evaluating all nodes by vectors is the idea of QuickScorer (Lucchese et al., SIGIR 2015) and
//! its vector versions; folding replaces their bit vectors of leaves.

use super::forest::{Forest, Tree};
use super::node::Nodes;
use super::real::Real;
use crate::kernel::simd::blend::{LANES, LEAVES, Rank, Ranked, SLOTS, Step, Table, fold, rank};

/// Columns at most: the ranks of a tile should stay near.
const MAX_COLUMNS: usize = 1024;

/// Levels that are folded of a tree which is too large as a whole, and the depth from which that
/// pays.
const TOP_LEVELS: u32 = 5;
const TOP_DEPTH: u32 = 7;

/// Where the trees of a forest are folded.
#[derive(Debug)]
pub(super) struct Blend<T> {
    /// Sorted thresholds of each column, filled up with infinity to one less than a power of two.
    cuts: Vec<Vec<T>>,
    /// The steps of all trees.
    steps: Vec<Step>,
    /// What is folded of each tree.
    folds: Vec<Fold>,
    /// Nodes at which folded tops end, by their position in the tree.
    ends: Vec<u32>,
    /// Whether a rank fits a byte.
    narrow: bool,
}

/// What is folded of one tree.
#[derive(Debug, Clone, Copy)]
struct Fold {
    /// First of its steps; the next tree's are one past its last.
    steps: u32,
    /// First of its [`Blend::ends`].
    ends: u32,
    /// Levels above the ends; 0 for a tree that is folded as a whole.
    levels: u32,
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
    narrow: Lane<u8>,
    wide: Lane<u16>,
}

#[derive(Debug, Default)]
struct Lane<R: Rank> {
    /// Tile by tile, column by column.
    ranks: Vec<[R; LANES]>,
    table: Table<R>,
}

/// The levels of a tree that folding is cheaper for than walking: all, its top, or none. With AVX2
/// a node costs a row about a twentieth of a step where ranks are bytes, and twice that otherwise.
fn levels(tree: &Tree, narrow: bool) -> u32 {
    let inner = (tree.nodes / 2) as usize;
    let per_step = if narrow { 20 } else { 10 };
    if inner < LEAVES && inner <= per_step * tree.depth as usize {
        tree.depth
    } else if tree.depth >= TOP_DEPTH {
        TOP_LEVELS
    } else {
        0
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
        let narrow = Blend::with(forest, true).filter(|blend| blend.most() <= u8::MAX.into());
        let blend = match narrow {
            Some(blend) => blend,
            None => Blend::with(forest, false).filter(|blend| blend.most() <= u16::MAX.into())?,
        };
        blend.finished(forest)
    }

    /// The most thresholds of a column.
    fn most(&self) -> usize {
        self.cuts.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// The thresholds of what is folded with ranks of that width.
    fn with<V>(forest: &Forest<T, V>, narrow: bool) -> Option<Blend<T>> {
        let mut cuts: Vec<Vec<T>> = vec![Vec::new(); forest.columns.list.len()];
        for tree in &forest.trees {
            for i in 0..top(&forest.nodes, tree, levels(tree, narrow)) {
                let node = forest.nodes.at((tree.start + i) as usize);
                if node.offset != 0 && !node.threshold.is_nan() {
                    cuts[node.word as usize].push(node.threshold);
                }
            }
        }
        for cuts in &mut cuts {
            cuts.sort_by(|a, b| a.f64().total_cmp(&b.f64()));
            // By value: the two zeros are one cut.
            cuts.dedup();
        }
        let some = cuts.iter().any(|c| !c.is_empty());
        some.then_some(Blend {
            cuts,
            steps: Vec::new(),
            folds: Vec::new(),
            ends: Vec::new(),
            narrow,
        })
    }

    fn finished<V>(mut self, forest: &Forest<T, V>) -> Option<Blend<T>> {
        let (mut gained, mut searched) = (0, 0);
        for tree in &forest.trees {
            let levels = levels(tree, self.narrow);
            let fold = Fold {
                steps: self.steps.len() as u32,
                ends: self.ends.len() as u32,
                levels: if levels < tree.depth { levels } else { 0 },
            };
            self.folds.push(fold);
            if self.tree(&forest.nodes, tree, levels).is_some() {
                gained += levels as usize;
            } else {
                self.steps.truncate(fold.steps as usize);
                self.ends.truncate(fold.ends as usize);
            }
        }
        let (steps, ends) = (self.steps.len() as u32, self.ends.len() as u32);
        self.folds.push(Fold { steps, ends, levels: 0 });
        for cuts in &mut self.cuts {
            searched += cuts.len().checked_ilog2().map_or(0, |n| n as usize + 1);
            cuts.resize((cuts.len() + 1).next_power_of_two() - 1, T::INFINITY);
        }
        // Ranking costs a search a column, and saves most of a descent a tree.
        (gained > 2 * searched).then_some(self)
    }

    /// Adds the steps of one tree; `None` where it needs more places than there are.
    fn tree(&mut self, nodes: &Nodes<T>, tree: &Tree, levels: u32) -> Option<()> {
        let whole = levels >= tree.depth;
        let limit = top(nodes, tree, levels);
        let node = |at: u32| nodes.at((tree.start + at) as usize);
        let is_end = |at: u32| at >= limit || node(at).offset == 0;
        let first_end = self.ends.len();
        // (node, place of its result, whether its children are done)
        let mut stack = vec![(0u32, 0usize, false)];
        while let Some((at, place, done)) = stack.pop() {
            if is_end(at) {
                continue;
            }
            let this = node(at);
            let (no, yes) = (at + this.offset, at + this.offset + 1);
            let yes_place = if is_end(no) { place } else { place + 1 };
            if !done {
                if yes_place >= SLOTS {
                    return None;
                }
                stack.push((at, place, true));
                // Popped last first: the `no` side is done before the `yes` side begins.
                stack.push((yes, yes_place, false));
                stack.push((no, place, false));
                continue;
            }
            let mut place_of = |at: u32, place: usize| -> u16 {
                if !is_end(at) {
                    return (LEAVES + place) as u16;
                }
                if whole {
                    return node(at).threshold.number() as u16;
                }
                self.ends.push(at);
                (self.ends.len() - first_end - 1) as u16
            };
            let cuts = &self.cuts[this.word as usize];
            let rank = cuts.partition_point(|&cut| cut < this.threshold) as u16;
            let no = place_of(no, place);
            // A NaN for a threshold passes nothing: both sides are the one that it leads to.
            let yes = if this.threshold.is_nan() { no } else { place_of(yes, yes_place) };
            let out = (LEAVES + place) as u16;
            self.steps.push(Step { column: this.word as u16, rank, yes, no, out });
        }
        (!self.steps.is_empty()).then_some(())
    }

    /// Writes the ranks of one more tile of columns.
    pub(super) fn rank(&self, columns: &[[T; LANES]], ranks: &mut Ranks) {
        if self.narrow {
            ranks.narrow.push(&self.cuts, columns);
        } else {
            ranks.wide.push(&self.cuts, columns);
        }
    }

    /// Folds tree `tree` for tile `tile`: `leaves` gets the numbers of the leaves, or the
    /// positions of the nodes where walking goes on.
    pub(super) fn fold(
        &self,
        tree: usize,
        tile: usize,
        ranks: &mut Ranks,
        leaves: &mut [u32; LANES],
    ) -> Folded {
        let (this, next) = (self.folds[tree], self.folds[tree + 1]);
        let steps = &self.steps[this.steps as usize..next.steps as usize];
        if steps.is_empty() {
            return Folded::Root;
        }
        let columns = self.cuts.len();
        let tile = tile * columns..(tile + 1) * columns;
        let mut numbers = [0u16; LANES];
        if self.narrow {
            fold(steps, &ranks.narrow.ranks[tile], &mut ranks.narrow.table, &mut numbers);
        } else {
            fold(steps, &ranks.wide.ranks[tile], &mut ranks.wide.table, &mut numbers);
        }
        if this.levels == 0 {
            *leaves = numbers.map(u32::from);
            return Folded::Leaves;
        }
        let ends = &self.ends[this.ends as usize..next.ends as usize];
        *leaves = numbers.map(|n| ends[usize::from(n)]);
        Folded::Nodes(this.levels)
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let cuts: usize = self.cuts.iter().map(|c| c.len() * size_of::<T>()).sum();
        let folds = self.folds.len() * size_of::<Fold>() + self.ends.len() * 4;
        cuts + folds + self.steps.len() * size_of::<Step>()
    }
}

impl Ranks {
    /// Forgets the tiles.
    pub(super) fn clear(&mut self) {
        self.narrow.ranks.clear();
        self.wide.ranks.clear();
    }
}

impl<R: Rank> Lane<R> {
    fn push<T: Ranked>(&mut self, cuts: &[Vec<T>], columns: &[[T; LANES]]) {
        for (cuts, x) in cuts.iter().zip(columns) {
            let mut ranks = [R::default(); LANES];
            rank(cuts, x, &mut ranks);
            self.ranks.push(ranks);
        }
    }
}

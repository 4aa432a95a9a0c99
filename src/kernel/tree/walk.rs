//! Descending the trees and adding up the leaves.
//!
//! A step waits for memory; so several descents run side by side: one row through sixteen trees, or
//! sixteen rows through one tree while it is in the cache. Batches go in tiles of rows, laid out
//! column by column, through [`super::blend`] where that pays. The leaves of a row are added in the
//! order of the trees in any case, so that a row's sum does not depend on its batch.

use super::blend::{Blend, Folded, Ranks};
use super::column::Columns;
use super::forest::{Forest, Tree};
use super::leaves::Weights;
use super::node::{Cell, EQUAL, MEMBER, NAN_YES, Nodes};
use super::real::Real;
use super::set::MemberSet;
use crate::ensemble::Aggregate;
use crate::kernel::simd::blend::{LANES as TILE, Lanes};
use crate::kernel::simd::fetch::fetch;

/// Trees that one row descends side by side: their nodes come from far.
const TREES: usize = 16;
/// Rows that descend one tree side by side.
const ROWS: usize = 16;
/// The same where there are no more.
const FEW: usize = 8;
/// Rows from which they do, instead of one after the other.
const BATCH: usize = 4;
/// Rows of a tile from which folding pays.
const FOLDED_ROWS: usize = 16;
/// Tiles of a block: a tree is used for all of them while it is in the cache.
const BLOCK_TILES: usize = 8;
/// Bytes of a block's columns, at most: they share the second-level cache with a tree.
const BLOCK_BYTES: usize = 192 * 1024;
/// Steps between two looks at whether all descents have arrived.
const STRIDE: u32 = 4;
/// Trees whose leaves are added at once: a row's sum is loaded and stored once for them.
const TOGETHER: usize = 4;
/// Bytes of nodes that do not stay in the second-level cache from one block to the next.
const FAR: usize = 512 * 1024;
/// How many trees before its use one is asked for.
const AHEAD: usize = 2;

/// A thread's memory for scoring, kept between calls.
#[derive(Debug)]
pub(super) struct Scratch<T, V> {
    row: Vec<T>,
    /// Tile by tile, column by column.
    columns: Vec<Lanes<T>>,
    ranks: Ranks,
    scores: Vec<V>,
    seen: Vec<bool>,
}

impl<T, V> Default for Scratch<T, V> {
    fn default() -> Self {
        Scratch {
            row: Vec::new(),
            columns: Vec::new(),
            ranks: Ranks::default(),
            scores: Vec::new(),
            seen: Vec::new(),
        }
    }
}

/// Rows of `Self` with sums of `V`.
pub(super) trait Pair<V: Real>: Real {
    /// Lends this thread's memory.
    fn scratch<R>(f: impl FnOnce(&mut Scratch<Self, V>) -> R) -> R;
}

macro_rules! pair {
    ($($t:ident $v:ident),+) => {$(
        impl Pair<$v> for $t {
            fn scratch<R>(f: impl FnOnce(&mut Scratch<$t, $v>) -> R) -> R {
                thread_local! {
                    static OWN: std::cell::Cell<Option<Box<Scratch<$t, $v>>>> = const { std::cell::Cell::new(None) };
                }
                OWN.with(|own| {
                    let mut scratch = own.take().unwrap_or_default();
                    let result = f(&mut scratch);
                    own.set(Some(scratch));
                    result
                })
            }
        }
    )+};
}
pair!(f32 f32, f32 f64, f64 f64);

impl<T: Pair<V>, V: Real> Forest<T, V> {
    /// Scores `rows` rows of `stride` features each (at least `self.width`). `finish` gets each
    /// row's scores, by target, and which targets had any leaf.
    pub(super) fn score(
        &self,
        rows: usize,
        x: &[T],
        stride: usize,
        mut finish: impl FnMut(usize, &mut [V], &mut [bool]),
    ) {
        let targets = self.targets.max(1);
        T::scratch(|scratch| {
            let columns = self.columns.list.len().max(1);
            let tiles = BLOCK_BYTES / (columns * TILE * size_of::<T>());
            let block = tiles.clamp(1, BLOCK_TILES) * TILE;
            let mut start = 0;
            while start < rows {
                let count = block.min(rows - start);
                let part = &x[start * stride..(start + count) * stride];
                self.begin(count, scratch);
                if count < BATCH {
                    for i in 0..count {
                        self.row(&part[i * stride..(i + 1) * stride], i, scratch);
                    }
                } else {
                    self.block(count, part, stride, scratch);
                }
                for i in 0..count {
                    let own = i * targets..(i + 1) * targets;
                    let scores = &mut scratch.scores[own.clone()];
                    self.end(scores);
                    finish(start + i, scores, &mut scratch.seen[own]);
                }
                start += count;
            }
        });
    }

    /// Rough cost of one row in nanoseconds.
    pub(super) fn row_ns(&self) -> usize {
        let steps: usize = self.trees.iter().map(|t| t.depth as usize).sum();
        steps + 2 * self.trees.len() + 20
    }

    fn begin(&self, rows: usize, scratch: &mut Scratch<T, V>) {
        let count = rows * self.targets.max(1);
        scratch.scores.clear();
        if self.finish.first.is_empty() {
            scratch.scores.resize(count, V::ZERO);
        } else {
            (0..rows).for_each(|_| scratch.scores.extend_from_slice(&self.finish.first));
        }
        scratch.seen.clear();
        // Sums of complete leaves do not tell; the smallest and the largest begin with a leaf.
        let sums = matches!(self.aggregate, Aggregate::Sum | Aggregate::Average);
        scratch.seen.resize(count, sums && self.leaves.complete() && !self.trees.is_empty());
    }

    fn end(&self, scores: &mut [V]) {
        for (i, score) in scores.iter_mut().enumerate() {
            if let Some(divisor) = self.finish.divisor {
                *score = score.divided(divisor);
            }
            if let Some(scale) = self.finish.scale {
                *score = *score * scale;
            }
            if let Some(&last) = self.finish.last.get(i) {
                *score += last;
            }
        }
    }

    /// Adds up one row, some trees at a time.
    fn row(&self, row: &[T], i: usize, scratch: &mut Scratch<T, V>) {
        let targets = self.targets.max(1);
        let Scratch { row: memory, scores, seen, .. } = scratch;
        let columns = if self.columns.identity {
            &row[..self.columns.list.len()]
        } else {
            self.columns.of_row(row, memory);
            memory.as_slice()
        };
        let own = i * targets..(i + 1) * targets;
        let (scores, seen) = (&mut scores[own.clone()], &mut seen[own]);
        for trees in self.trees.chunks(TREES) {
            let leaves = match &self.nodes {
                Nodes::Small(nodes) => self.row_leaves::<_, false>(nodes, trees, columns),
                Nodes::Large(nodes) if self.general => {
                    self.row_leaves::<_, true>(nodes, trees, columns)
                }
                Nodes::Large(nodes) => self.row_leaves::<_, false>(nodes, trees, columns),
            };
            match (&self.leaves.weights, self.aggregate) {
                (Weights::Single(values), Aggregate::Sum | Aggregate::Average)
                    if self.leaves.linear.is_empty() =>
                {
                    for (tree, leaf) in trees.iter().zip(leaves) {
                        scores[0] += values[(tree.leaf + leaf) as usize];
                    }
                }
                _ => {
                    for (tree, leaf) in trees.iter().zip(leaves) {
                        let leaf = (tree.leaf + leaf) as usize;
                        self.leaves.add(self.aggregate, leaf, row, scores, seen);
                    }
                }
            }
        }
    }

    /// The leaves of up to [`TREES`] trees for one row.
    #[inline(always)]
    fn row_leaves<C: Cell<T>, const GENERAL: bool>(
        &self,
        nodes: &[C],
        trees: &[Tree],
        columns: &[T],
    ) -> [u32; TREES] {
        let last = trees.len() - 1;
        let roots = std::array::from_fn(|k| trees[k.min(last)].start);
        let depth = trees.iter().map(|t| t.depth).max().unwrap_or(0);
        descend::<T, C, GENERAL, TREES>(nodes, &self.sets, roots, depth, |_, column| {
            *at(columns, column)
        })
    }

    /// Adds up a block of rows, tree by tree.
    fn block(&self, rows: usize, x: &[T], stride: usize, scratch: &mut Scratch<T, V>) {
        let Scratch { columns, ranks, scores, seen, .. } = scratch;
        let width = self.columns.list.len();
        let lanes = rows.div_ceil(TILE) * width;
        if columns.len() < lanes {
            columns.resize(lanes, Lanes([T::ZERO; TILE]));
        }
        let columns = &mut columns[..lanes];
        let tiles = columns.chunks_exact_mut(width.max(1));
        for (tile, x) in tiles.zip(x.chunks(TILE * stride.max(1))) {
            transpose(&self.columns, x, stride, tile);
        }
        let block = Block { rows, x, stride };
        match if rows >= FOLDED_ROWS { self.blend() } else { None } {
            Some(blend) => {
                blend.rank(rows, columns, width, ranks);
                self.add_trees(block, columns, Some((blend, ranks)), scores, seen);
            }
            None => self.add_trees(block, columns, None, scores, seen),
        }
    }

    /// Adds the trees to a block of rows.
    fn add_trees(
        &self,
        block: Block<'_, T>,
        columns: &[Lanes<T>],
        mut blend: Option<(&Blend<T>, &mut Ranks)>,
        scores: &mut [V],
        seen: &mut [bool],
    ) {
        let (targets, width) = (self.targets.max(1), self.columns.list.len());
        let mut leaves = [[0u32; TILE]; TOGETHER];
        let tiles = block.rows.div_ceil(TILE);
        let far = self.nodes.bytes() > FAR;
        let folds = blend.as_ref().map(|(blend, _)| *blend);
        let whole = |t: usize| folds.is_some_and(|folds| folds.whole(t));
        let mut next = 0;
        while next < self.trees.len() {
            let most = self.trees.len().min(next + TOGETHER);
            // Trees that are walked by many tiles stay in the first-level cache one by one.
            let some = (next..most).take_while(|&t| tiles == 1 || whole(t)).count();
            let together = next..next + some.max(1);
            next = together.end;
            let mut first = 0;
            for tile in 0..tiles {
                let count = TILE.min(block.rows - first);
                let own = first * targets..(first + count) * targets;
                let columns = &columns[tile * width..(tile + 1) * width];
                for (t, leaves) in together.clone().zip(&mut leaves) {
                    if far {
                        self.fetch(t + AHEAD, whole(t + AHEAD), tile, tiles);
                    }
                    let blend = blend.as_mut().map(|(blend, ranks)| (*blend, &mut **ranks));
                    self.tile_leaves(t, (tile, count), columns, blend, leaves);
                }
                let x = &block.x[first * block.stride..(first + count) * block.stride];
                let (scores, seen) = (&mut scores[own.clone()], &mut seen[own]);
                let leaves = &leaves[..together.len()];
                self.leaves.add_tile(self.aggregate, leaves, (x, block.stride), scores, seen);
                first += count;
            }
        }
    }

    /// Asks for part `part` of `parts` of what the descents of a tree will read; only its leaves
    /// where it is folded.
    #[inline(always)]
    fn fetch(&self, tree: usize, folded: bool, part: usize, parts: usize) {
        let Some(tree) = self.trees.get(tree) else { return };
        let share = |start: u32, count: usize| {
            let (first, each) = (start as usize, count.div_ceil(parts));
            first + (each * part).min(count)..first + (each * (part + 1)).min(count)
        };
        let nodes = share(tree.start, tree.nodes as usize);
        match &self.nodes {
            _ if folded => {}
            Nodes::Small(v) => fetch(&v[nodes]),
            Nodes::Large(v) => fetch(&v[nodes]),
        }
        let leaves = share(tree.leaf, tree.nodes as usize / 2 + 1);
        match &self.leaves.weights {
            Weights::Single(v) => fetch(&v[leaves]),
            Weights::Dense(v) => {
                fetch(&v[leaves.start * self.targets..leaves.end * self.targets]);
            }
            Weights::Sparse { .. } => {}
        }
    }

    /// The numbers of the leaves at which a tile's rows end in a tree.
    #[inline(always)]
    fn tile_leaves(
        &self,
        t: usize,
        (tile, count): (usize, usize),
        columns: &[Lanes<T>],
        blend: Option<(&Blend<T>, &mut Ranks)>,
        leaves: &mut [u32; TILE],
    ) {
        let tree = &self.trees[t];
        let mut ends = Lanes([0u8; TILE]);
        let folded = match blend {
            Some((blend, ranks)) => blend.fold(t, (tile, count), ranks, &mut ends),
            _ => Folded::Root,
        };
        // Also of rows that are not there, but walk beside others.
        let used = &mut leaves[..count.next_multiple_of(ROWS)];
        let (base, levels) = match folded {
            Folded::Leaves => (tree.leaf, None),
            Folded::Nodes(levels) => (0, Some(levels)),
            Folded::Root => (0, Some(0)),
        };
        for (leaf, &end) in used.iter_mut().zip(&ends.0) {
            *leaf = base + u32::from(end);
        }
        if let Some(levels) = levels {
            self.walk_tile(tree, tree.depth - levels, columns, count, leaves);
            leaves[..count].iter_mut().for_each(|leaf| *leaf += tree.leaf);
        }
    }

    /// The leaves of one tree for a tile of rows, from these nodes on, `depth` steps at most.
    fn walk_tile(
        &self,
        tree: &Tree,
        depth: u32,
        columns: &[Lanes<T>],
        count: usize,
        leaves: &mut [u32; TILE],
    ) {
        let range = tree.start as usize..(tree.start + tree.nodes) as usize;
        match &self.nodes {
            Nodes::Small(nodes) => {
                self.walk_nodes::<_, false>(&nodes[range], depth, columns, count, leaves);
            }
            Nodes::Large(nodes) if self.general => {
                self.walk_nodes::<_, true>(&nodes[range], depth, columns, count, leaves);
            }
            Nodes::Large(nodes) => {
                self.walk_nodes::<_, false>(&nodes[range], depth, columns, count, leaves);
            }
        }
    }

    #[inline(always)]
    fn walk_nodes<C: Cell<T>, const GENERAL: bool>(
        &self,
        nodes: &[C],
        depth: u32,
        columns: &[Lanes<T>],
        count: usize,
        leaves: &mut [u32; TILE],
    ) {
        if count <= FEW {
            self.walk_groups::<C, GENERAL, FEW>(nodes, depth, columns, count, leaves);
        } else {
            self.walk_groups::<C, GENERAL, ROWS>(nodes, depth, columns, count, leaves);
        }
    }

    #[inline(always)]
    fn walk_groups<C: Cell<T>, const GENERAL: bool, const K: usize>(
        &self,
        nodes: &[C],
        depth: u32,
        columns: &[Lanes<T>],
        count: usize,
        leaves: &mut [u32; TILE],
    ) {
        let groups = leaves.as_chunks_mut::<K>().0;
        for (g, group) in groups.iter_mut().enumerate().take(count.div_ceil(K)) {
            *group = descend::<T, C, GENERAL, K>(nodes, &self.sets, *group, depth, |k, column| {
                at(columns, column).0[g * K + k]
            });
        }
    }
}

/// `slice[i]` for an index that the compilation of the forest has bounded.
#[inline(always)]
#[expect(unsafe_code, reason = "the hot loop of every walk")]
pub(super) fn at<E>(slice: &[E], i: usize) -> &E {
    debug_assert!(i < slice.len());
    // SAFETY: `Forest::new` numbers columns and children itself: a node's column is below the
    // number of columns, which is the length of every slice of columns made here, and its
    // children lie within its tree, whose nodes the slice of nodes holds, as it does the nodes at
    // which folding ends. It numbers the leaves too, by which folding and walking end: there are as
    // many chunks of weights.
    unsafe { slice.get_unchecked(i) }
}

/// The numbers of the leaves at the end of `LANES` descents, of `depth` steps at most.
#[inline(always)]
fn descend<T: Real, C: Cell<T>, const GENERAL: bool, const LANES: usize>(
    nodes: &[C],
    sets: &[MemberSet<T>],
    mut position: [u32; LANES],
    mut depth: u32,
    x: impl Fn(usize, usize) -> T,
) -> [u32; LANES] {
    let step = |position: &mut [u32; LANES]| {
        for (k, position) in position.iter_mut().enumerate() {
            let node = *at(nodes, *position as usize);
            let x = x(k, node.column());
            let yes = if GENERAL { holds(node, x, sets) } else { x <= node.threshold() };
            *position += node.offset() + u32::from(yes);
        }
    };
    while depth > STRIDE {
        for _ in 1..STRIDE {
            step(&mut position);
        }
        let before = position;
        step(&mut position);
        if position == before {
            depth = 0;
            break;
        }
        depth -= STRIDE;
    }
    for _ in 0..depth {
        step(&mut position);
    }
    position.map(|p| at(nodes, p as usize).leaf())
}

#[inline(always)]
fn holds<T: Real, C: Cell<T>>(node: C, x: T, sets: &[MemberSet<T>]) -> bool {
    let (flags, threshold) = (node.flags(), node.threshold());
    let holds = match flags & (EQUAL | MEMBER) {
        0 => x <= threshold,
        EQUAL => x == threshold,
        _ => sets.get(threshold.f64() as usize).is_some_and(|s| s.contains(x)),
    };
    holds | (flags & NAN_YES != 0 && x.is_nan())
}

/// The columns of a tile of rows, each for all its rows. Where there are fewer rows than a tile
/// has, what was there stays: nobody reads what a descent beside theirs answers.
fn transpose<T: Real>(columns: &Columns, rows: &[T], stride: usize, tile: &mut [Lanes<T>]) {
    for (column, lanes) in columns.list.iter().zip(tile) {
        for (x, row) in lanes.0.iter_mut().zip(rows.chunks_exact(stride)) {
            *x = column.rule.apply(row[column.feature as usize]);
        }
    }
}

/// Rows that are answered together.
#[derive(Clone, Copy)]
struct Block<'a, T> {
    rows: usize,
    x: &'a [T],
    stride: usize,
}

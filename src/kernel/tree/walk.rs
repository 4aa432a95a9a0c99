//! Descending the trees and adding up the leaves.
//!
//! A step waits for memory; so eight descents run side by side: one row through eight trees, or
//! eight rows through one tree while it is in the cache. The leaves of a row are added in the
//! order of the trees either way, so that a row's sum does not depend on its batch.

use super::ensemble::{EQUAL, Ensemble, FEATURE, MEMBER, NAN_FIRST};
use super::real::Real;
use smallvec::SmallVec;

/// How the leaves of a target become its score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregate {
    Sum,
    /// The sum over the number of trees; divided by whoever finishes the row.
    Average,
    Min,
    Max,
}

/// Descents side by side.
const LANES: usize = 8;
/// Rows of a tile, at most: their features and the tree share the cache.
const TILE_ROWS: usize = 64;
/// Scores of a tile, at most (with one row, as many as there are targets).
const TILE_SCORES: usize = 256;
/// Steps between two looks at whether all descents have arrived.
const STRIDE: u32 = 4;

impl<T: Real> Ensemble<T> {
    /// Scores `rows` rows of `stride` features each (at least `self.width`). `finish` gets each
    /// row's scores, by target, and which targets had any leaf.
    pub(super) fn score(
        &self,
        aggregate: Aggregate,
        rows: usize,
        x: &[T],
        stride: usize,
        finish: impl FnMut(usize, &mut [T], &mut [bool]),
    ) {
        match (self.missing, self.general) {
            (false, false) => self.score_as::<false, false>(aggregate, rows, x, stride, finish),
            (true, false) => self.score_as::<true, false>(aggregate, rows, x, stride, finish),
            (_, true) => self.score_as::<true, true>(aggregate, rows, x, stride, finish),
        }
    }

    /// Rough cost of one row in nanoseconds.
    pub(super) fn row_ns(&self) -> usize {
        let steps: usize = self.depths.iter().map(|&d| d as usize).sum();
        2 * steps + 2 * self.roots.len() + 20
    }

    fn score_as<const MISSING: bool, const GENERAL: bool>(
        &self,
        aggregate: Aggregate,
        rows: usize,
        x: &[T],
        stride: usize,
        mut finish: impl FnMut(usize, &mut [T], &mut [bool]),
    ) {
        let targets = self.targets.max(1);
        let tile = (TILE_SCORES / targets).clamp(1, TILE_ROWS).min(rows.max(1));
        let mut scores: SmallVec<[T; TILE_SCORES]> = SmallVec::from_elem(T::ZERO, tile * targets);
        let mut seen: SmallVec<[bool; TILE_SCORES]> = SmallVec::from_elem(false, tile * targets);
        let mut start = 0;
        while start < rows {
            let count = tile.min(rows - start);
            let row = |i: usize| &x[(start + i) * stride..][..stride];
            scores.fill(T::ZERO);
            seen.fill(false);
            if count >= LANES / 2 {
                for (&root, &depth) in self.roots.iter().zip(&self.depths) {
                    let mut first = 0;
                    while first < count {
                        // Lanes beyond the last row repeat it and are not added.
                        let lanes: [&[T]; LANES] =
                            std::array::from_fn(|k| row((first + k).min(count - 1)));
                        let leaves =
                            self.descend::<LANES, MISSING, GENERAL>([root; LANES], lanes, depth);
                        for (i, leaf) in (first..count).zip(leaves) {
                            let own = i * targets..(i + 1) * targets;
                            self.add(aggregate, leaf, &mut scores[own.clone()], &mut seen[own]);
                        }
                        first += LANES;
                    }
                }
            } else {
                for i in 0..count {
                    let own = i * targets..(i + 1) * targets;
                    let (scores, seen) = (&mut scores[own.clone()], &mut seen[own]);
                    self.one_row::<MISSING, GENERAL>(aggregate, row(i), scores, seen);
                }
            }
            for i in 0..count {
                let own = i * targets..(i + 1) * targets;
                finish(start + i, &mut scores[own.clone()], &mut seen[own]);
            }
            start += count;
        }
    }

    /// Adds up one row, eight trees at a time.
    fn one_row<const MISSING: bool, const GENERAL: bool>(
        &self,
        aggregate: Aggregate,
        row: &[T],
        scores: &mut [T],
        seen: &mut [bool],
    ) {
        let mut tree = 0;
        while let (Some(roots), Some(depths)) =
            (self.roots[tree..].first_chunk::<LANES>(), self.depths[tree..].first_chunk::<LANES>())
        {
            let depth = depths.iter().copied().max().unwrap_or(0);
            for leaf in self.descend::<LANES, MISSING, GENERAL>(*roots, [row; LANES], depth) {
                self.add(aggregate, leaf, scores, seen);
            }
            tree += LANES;
        }
        for (&root, &depth) in self.roots[tree..].iter().zip(&self.depths[tree..]) {
            let [leaf] = self.descend::<1, MISSING, GENERAL>([root], [row], depth);
            self.add(aggregate, leaf, scores, seen);
        }
    }

    /// The leaves at the end of `N` descents, of `depth` steps at most.
    #[inline(always)]
    fn descend<const N: usize, const MISSING: bool, const GENERAL: bool>(
        &self,
        mut at: [u32; N],
        rows: [&[T]; N],
        mut depth: u32,
    ) -> [u32; N] {
        while depth > STRIDE {
            for _ in 1..STRIDE {
                for k in 0..N {
                    at[k] = self.step::<MISSING, GENERAL>(at[k], rows[k]);
                }
            }
            let before = at;
            for k in 0..N {
                at[k] = self.step::<MISSING, GENERAL>(at[k], rows[k]);
            }
            if at == before {
                return at;
            }
            depth -= STRIDE;
        }
        for _ in 0..depth {
            for k in 0..N {
                at[k] = self.step::<MISSING, GENERAL>(at[k], rows[k]);
            }
        }
        at
    }

    /// The node after `at`; a leaf is followed by itself.
    #[inline(always)]
    fn step<const MISSING: bool, const GENERAL: bool>(&self, at: u32, row: &[T]) -> u32 {
        let node = &self.nodes[at as usize];
        let x = row[(node.word & FEATURE) as usize];
        let mut first = if GENERAL && node.word & (EQUAL | MEMBER) != 0 {
            match node.word & MEMBER {
                0 => x == node.threshold,
                _ => self.is_member(node.threshold, x),
            }
        } else {
            x <= node.threshold
        };
        if MISSING {
            first |= (node.word & NAN_FIRST != 0) & x.is_nan();
        }
        node.child.wrapping_add(u32::from(!first))
    }

    /// Adds one leaf to a row's scores.
    #[inline(always)]
    fn add(&self, aggregate: Aggregate, leaf: u32, scores: &mut [T], seen: &mut [bool]) {
        if let ([score], [seen]) = (&mut *scores, &mut *seen) {
            let value = self.nodes[leaf as usize].value;
            return join(aggregate, value, score, seen);
        }
        let list = self.list_of[leaf as usize] as usize;
        let weights = &self.weights[self.lists[list] as usize..self.lists[list + 1] as usize];
        for &(target, weight) in weights {
            let i = target as usize;
            join(aggregate, weight, &mut scores[i], &mut seen[i]);
        }
    }
}

#[inline(always)]
fn join<T: Real>(aggregate: Aggregate, value: T, score: &mut T, seen: &mut bool) {
    match aggregate {
        Aggregate::Sum | Aggregate::Average => *score = *score + value,
        Aggregate::Min => {
            if !*seen || value < *score {
                *score = value;
            }
        }
        Aggregate::Max => {
            if !*seen || value > *score {
                *score = value;
            }
        }
    }
    *seen = true;
}

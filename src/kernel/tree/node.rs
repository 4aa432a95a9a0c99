//! The nodes of compiled trees.
//!
//! Children lie side by side, the `no` child first, so that a step is
//! `at + offset + (column <= threshold)` without a branch. A leaf has offset 0 and a NaN for its
//! threshold, and so follows itself: descents of unequal length run in lockstep. The NaN carries
//! the leaf's number.

use super::real::Real;

/// Compare by `==`.
pub(super) const EQUAL: u32 = 1 << 29;
/// Compare by set membership; the threshold is the set's index.
pub(super) const MEMBER: u32 = 1 << 30;
/// NaN takes the `yes` branch.
pub(super) const NAN_YES: u32 = 1 << 31;
/// The bits of [`Large::word`] that hold the column.
pub(super) const COLUMN: u32 = EQUAL - 1;

/// A node as a walk sees it.
pub(super) trait Cell<T>: Copy + Send + Sync {
    /// The column it looks at.
    fn column(self) -> usize;
    /// What it compares with.
    fn threshold(self) -> T;
    /// From the node to its `no` child; 0 for a leaf.
    fn offset(self) -> u32;
    /// [`EQUAL`], [`MEMBER`] and [`NAN_YES`].
    fn flags(self) -> u32;
    /// The number of a leaf within its tree.
    fn leaf(self) -> u32;
}

/// Eight bytes: what nearly every tree is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Small {
    pub threshold: f32,
    pub column: u16,
    pub offset: u16,
}

/// Doubles, more columns, larger trees, other comparisons.
#[derive(Debug, Clone, Copy)]
pub(super) struct Large<T> {
    pub threshold: T,
    /// Column and flags.
    pub word: u32,
    pub offset: u32,
}

impl<T: Real> Cell<T> for Small {
    #[inline(always)]
    fn column(self) -> usize {
        self.column.into()
    }
    #[inline(always)]
    fn threshold(self) -> T {
        // Only rows of f32 have such nodes: this is the number itself.
        T::of(self.threshold.into())
    }
    #[inline(always)]
    fn offset(self) -> u32 {
        self.offset.into()
    }
    #[inline(always)]
    fn flags(self) -> u32 {
        0
    }
    #[inline(always)]
    fn leaf(self) -> u32 {
        self.threshold.number()
    }
}

impl<T: Real> Cell<T> for Large<T> {
    #[inline(always)]
    fn column(self) -> usize {
        (self.word & COLUMN) as usize
    }
    #[inline(always)]
    fn threshold(self) -> T {
        self.threshold
    }
    #[inline(always)]
    fn offset(self) -> u32 {
        self.offset
    }
    #[inline(always)]
    fn flags(self) -> u32 {
        self.word & !COLUMN
    }
    #[inline(always)]
    fn leaf(self) -> u32 {
        self.threshold.number()
    }
}

/// The nodes of all trees of a forest.
#[derive(Debug)]
pub(super) enum Nodes<T> {
    /// Rows of `f32` only.
    Small(Vec<Small>),
    Large(Vec<Large<T>>),
}

impl<T: Real> Nodes<T> {
    /// Node `i`, whatever its form.
    pub(super) fn at(&self, i: usize) -> Large<T> {
        match self {
            Nodes::Small(v) => {
                let node = v[i];
                let threshold = match node.offset {
                    0 => T::numbered(node.threshold.number()),
                    _ => T::of(node.threshold.into()),
                };
                Large { threshold, word: node.column.into(), offset: node.offset.into() }
            }
            Nodes::Large(v) => v[i],
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Nodes::Small(v) => v.len() * size_of::<Small>(),
            Nodes::Large(v) => v.len() * size_of::<Large<T>>(),
        }
    }
}

//! Trees over ranks, a tile of rows at a time: see `kernel::tree::blend`.

use super::versioned;

/// Rows of a tile.
pub const LANES: usize = 64;
/// Leaves that have a place in a [`Table`].
pub const LEAVES: usize = 256;
/// Results of inner nodes that have a place in a [`Table`].
pub const SLOTS: usize = 64;

/// The rank of a value among the thresholds of its column.
pub trait Rank: Copy + PartialOrd + Default + Send + Sync + 'static {
    /// Above the rank of every threshold.
    const MAX: Self;
    /// The low bits.
    fn of(rank: u32) -> Self;
    /// The rank, or the number of a leaf.
    fn number(self) -> u16;
    /// `yes` or `no`, by arithmetic on bits: of a choice between two loads the compiler makes one
    /// load from a chosen address, and no vector instruction.
    fn choose(condition: bool, yes: Self, no: Self) -> Self;
}

macro_rules! rank {
    ($($t:ident),+) => {$(
        impl Rank for $t {
            const MAX: Self = $t::MAX;
            #[inline(always)]
            #[allow(clippy::cast_possible_truncation)] // ranks fit, or the type is not chosen
            fn of(rank: u32) -> Self { rank as $t }
            #[inline(always)]
            fn number(self) -> u16 { self.into() }
            #[inline(always)]
            fn choose(condition: bool, yes: $t, no: $t) -> $t {
                no ^ ((yes ^ no) & $t::from(condition).wrapping_neg())
            }
        }
    )+};
}
rank!(u8, u16);

/// A feature or threshold that has ranks.
pub trait Ranked: Copy + PartialOrd + Default + Send + Sync + 'static {}
impl Ranked for f32 {}
impl Ranked for f64 {}

/// One inner node: for each row `out = if ranks[column] <= rank { yes } else { no }`, all three
/// places in a [`Table`].
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Column it looks at.
    pub column: u16,
    /// Rank of its threshold.
    pub rank: u16,
    /// Where the leaf of its `yes` side stands.
    pub yes: u16,
    /// Where the leaf of its `no` side stands.
    pub no: u16,
    /// Where the result goes.
    pub out: u16,
}

/// Leaf numbers, row by row: place `i` below [`LEAVES`] holds the number `i` for every row, the
/// places after them the results of inner nodes.
#[derive(Debug)]
pub struct Table<R>(Box<[[R; LANES]]>);

impl<R: Rank> Default for Table<R> {
    fn default() -> Self {
        let leaves = (0..LEAVES as u32).map(|i| [R::of(i); LANES]);
        let slots = std::iter::repeat_n([R::default(); LANES], SLOTS);
        Table(leaves.chain(slots).collect())
    }
}

#[inline(always)]
fn fold_body<const FMA: bool, R: Rank>(
    steps: &[Step],
    ranks: &[[R; LANES]],
    table: &mut Table<R>,
    leaves: &mut [u16; LANES],
) {
    let table = &mut table.0;
    let mut last = 0;
    for step in steps {
        let rank = R::of(step.rank.into());
        let x = &ranks[usize::from(step.column)];
        let (yes, no) = (&table[usize::from(step.yes)], &table[usize::from(step.no)]);
        let mut out = [R::default(); LANES];
        for i in 0..LANES {
            out[i] = R::choose(x[i] <= rank, yes[i], no[i]);
        }
        last = usize::from(step.out);
        table[last] = out;
    }
    *leaves = table[last].map(R::number);
}

/// Counts the cuts below each value, by comparison with each.
#[inline(always)]
fn count_all<T: Ranked>(cuts: &[T], x: &[T; LANES], counts: &mut [u32; LANES]) {
    for &cut in cuts {
        for (count, &x) in counts.iter_mut().zip(x) {
            *count += u32::from(cut < x);
        }
    }
}

#[inline(always)]
#[expect(unsafe_code, reason = "an index that the length of the slice bounds")]
fn rank_body<const FMA: bool, T: Ranked, R: Rank>(
    cuts: &[T],
    x: &[T; LANES],
    ranks: &mut [R; LANES],
) {
    let mut counts = [0u32; LANES];
    if cuts.len() < 16 {
        count_all(cuts, x, &mut counts);
    } else if (cuts.len() + 1).is_power_of_two() {
        let mut half = cuts.len().div_ceil(2);
        while half > 0 {
            for (count, &x) in counts.iter_mut().zip(x) {
                // SAFETY: with 2^k - 1 cuts, the halves that are added before this one sum to at
                // most len + 1 - 2·half, so that count + half - 1 is at most len - half.
                let cut = unsafe { *cuts.get_unchecked(*count as usize + half - 1) };
                *count += if cut < x { half as u32 } else { 0 };
            }
            half /= 2;
        }
    } else {
        for (count, x) in counts.iter_mut().zip(x) {
            *count = cuts.partition_point(|cut| cut < x) as u32;
        }
    }
    for ((rank, count), x) in ranks.iter_mut().zip(counts).zip(x) {
        // NaN fails every test.
        *rank = if x.partial_cmp(x).is_none() { R::MAX } else { R::of(count) };
    }
}

versioned! {
    /// Folds a tree for a tile: `leaves` gets the number of each row's leaf. Without steps it is
    /// leaf 0.
    pub fn fold<R: Rank>(
        steps: &[Step],
        ranks: &[[R; LANES]],
        table: &mut Table<R>,
        leaves: &mut [u16; LANES]
    ) = fold_body;
}
versioned! {
    /// How many of the sorted `cuts` are below each value; NaN is above all. Fastest with
    /// 2^k - 1 cuts (fill up with infinity, which is below nothing).
    pub fn rank<T: Ranked, R: Rank>(
        cuts: &[T],
        x: &[T; LANES],
        ranks: &mut [R; LANES]
    ) = rank_body;
}

//! Trees over ranks, a tile of rows at a time: see `kernel::tree::blend`.

use super::versioned;

/// Rows of a tile.
pub const LANES: usize = 128;
/// Ends that have a place in a [`Table`].
pub const ENDS: usize = 256;
/// Results of inner nodes that have a place in a [`Table`].
const SLOTS: usize = ENDS / 2;

/// A value for each row of a tile, on a cache line of its own.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Lanes<T>(pub [T; LANES]);

/// Thresholds of a scale, at most: NaN has the rank after them, and passes none.
pub const CUTS: usize = u8::MAX as usize;

/// A feature or threshold that has ranks.
pub trait Ranked: Copy + PartialOrd + Default + Send + Sync + 'static {}
impl Ranked for f32 {}
impl Ranked for f64 {}

/// Whether a row's rank on a scale is at most that of a threshold.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// Where the scale's ranks lie, in bytes.
    offset: u32,
    rank: i8,
}

impl Test {
    /// Compares with rank `rank` on scale `scale`.
    pub fn new(scale: u16, rank: u8) -> Test {
        Test { offset: u32::from(scale) * LANES as u32, rank: biased(rank) }
    }
}

/// A rank, so that signed comparison orders ranks: it is one instruction, the unsigned are two.
#[inline(always)]
fn biased(rank: u8) -> i8 {
    (rank ^ 0x80).cast_signed()
}

/// A place in a [`Table`], in bytes from its start.
#[derive(Debug, Clone, Copy)]
pub struct Place(u16);

/// A place for the result of inner nodes.
#[derive(Debug, Clone, Copy)]
pub struct Slot(Place);

impl Slot {
    /// Slot `slot`; there are enough for a tree of as many ends as have a place.
    pub fn new(slot: usize) -> Option<Slot> {
        (slot < SLOTS).then_some(Slot(Place(((ENDS + slot) * LANES) as u16)))
    }
}

impl From<Slot> for Place {
    fn from(slot: Slot) -> Place {
        slot.0
    }
}

impl Place {
    /// The place of an end.
    pub fn end(number: u8) -> Place {
        Place(u16::from(number) * LANES as u16)
    }
}

/// An inner node above two ends.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// What it asks.
    pub test: Test,
    /// The ends of its `yes` and its `no` side.
    pub ends: [u8; 2],
}

/// An inner node above two pairs.
#[derive(Debug, Clone, Copy)]
pub struct Quad {
    /// What it asks.
    pub test: Test,
    /// Its `yes` and its `no` side.
    pub pairs: [Pair; 2],
}

/// Any other inner node.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What it asks.
    pub test: Test,
    /// Where what its `yes` and its `no` side have come to stands.
    pub sides: [Place; 2],
}

/// The inner nodes of one tree, with where their results go: a step may put its own where one was
/// that it has taken.
#[derive(Debug, Default)]
pub struct Fold {
    /// Come first.
    pub quads: Vec<(Quad, Slot)>,
    /// Come second.
    pub pairs: Vec<(Pair, Slot)>,
    /// Come last, in this order.
    pub steps: Vec<(Step, Slot)>,
    /// Where the answer is in the end; `None` for no tree at all.
    pub answer: Option<Slot>,
}

/// Where a tree's inner nodes end among those of all trees, by kind, and where its answer is.
#[derive(Debug, Clone, Copy)]
struct Tree {
    ends: [u32; 3],
    answer: Option<Slot>,
}

/// Trees to fold.
#[derive(Debug)]
pub struct Folds {
    /// Ranks that a row has.
    scales: usize,
    all: Fold,
    /// One after the other, behind one without nodes.
    trees: Vec<Tree>,
}

impl Folds {
    /// No trees yet, of rows with that many ranks.
    pub fn new(scales: usize) -> Folds {
        let trees = vec![Tree { ends: [0; 3], answer: None }];
        Folds { scales, all: Fold::default(), trees }
    }

    /// Adds a tree; nothing of it where it looks at other scales than there are.
    pub fn push(&mut self, tree: &Fold) {
        let pair = |pair: &Pair| pair.test.offset;
        let quads = tree
            .quads
            .iter()
            .flat_map(|(q, _)| [q.test.offset, pair(&q.pairs[0]), pair(&q.pairs[1])]);
        let pairs = tree.pairs.iter().map(|(p, _)| pair(p));
        let steps = tree.steps.iter().map(|(s, _)| s.test.offset);
        let known = |offset: u32| (offset as usize) < self.scales * LANES;
        let answer = tree.answer.filter(|_| quads.chain(pairs).chain(steps).all(known));
        if answer.is_some() {
            self.all.quads.extend_from_slice(&tree.quads);
            self.all.pairs.extend_from_slice(&tree.pairs);
            self.all.steps.extend_from_slice(&tree.steps);
        }
        let Fold { quads, pairs, steps, .. } = &self.all;
        let ends = [quads.len() as u32, pairs.len() as u32, steps.len() as u32];
        self.trees.push(Tree { ends, answer });
    }

    /// Whether there is anything to fold in tree `tree`.
    pub fn has(&self, tree: usize) -> bool {
        self.trees[tree + 1].answer.is_some()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let Fold { quads, pairs, steps, .. } = &self.all;
        size_of_val(&**quads)
            + size_of_val(&**pairs)
            + size_of_val(&**steps)
            + size_of_val(&*self.trees)
    }
}

/// Numbers of ends, row by row: place `i` below [`ENDS`] holds the number `i` for every row, the
/// places after them the results of inner nodes.
#[derive(Debug)]
pub struct Table(Box<[Lanes<u8>; ENDS + SLOTS]>);

impl Default for Table {
    fn default() -> Self {
        let mut table = Box::new([Lanes([0; LANES]); ENDS + SLOTS]);
        for (number, end) in (0..=u8::MAX).zip(table.iter_mut()) {
            *end = Lanes([number; LANES]);
        }
        Table(table)
    }
}

/// `yes` or `no`, by arithmetic on bits: of a choice between two loads the compiler makes one load
/// from a chosen address, and no vector instruction.
#[inline(always)]
fn choose(x: i8, rank: i8, yes: u8, no: u8) -> u8 {
    yes ^ ((yes ^ no) & u8::from(x > rank).wrapping_neg())
}

/// The first `N` rows of a tile.
#[inline(always)]
#[expect(unsafe_code, reason = "checks of every place would take as long as the work")]
fn fold_rows<const N: usize>(
    folds: &Folds,
    tree: usize,
    ranks: &[Lanes<i8>],
    table: &mut Table,
    ends: &mut Lanes<u8>,
) {
    let (before, this) = (folds.trees[tree], folds.trees[tree + 1]);
    let Some(answer) = this.answer else { return };
    let range = |kind: usize| before.ends[kind] as usize..this.ends[kind] as usize;
    let ranks = ranks[..folds.scales].as_ptr();
    let table = table.0.as_mut_ptr();
    // SAFETY: `push` has compared the offset with the length of `ranks`; it is one of a whole
    // `Lanes`, which has N elements and more.
    let x = |test: Test| unsafe { &*ranks.byte_add(test.offset as usize).cast::<[i8; N]>() };
    // SAFETY: every `Place` is that of whole `Lanes` in a table. What this lends is read before the
    // next `put`.
    let get = |place: Place| unsafe { &*table.byte_add(place.0.into()).cast::<[u8; N]>() };
    // SAFETY: as above.
    let put =
        |slot: Slot, value| unsafe { *table.byte_add(slot.0.0.into()).cast::<[u8; N]>() = value };
    for &(quad, slot) in &folds.all.quads[range(0)] {
        let [yes, no] = quad.pairs;
        let (x, x_yes, x_no) = (x(quad.test), x(yes.test), x(no.test));
        let mut out = [0; N];
        for i in 0..N {
            let yes = choose(x_yes[i], yes.test.rank, yes.ends[0], yes.ends[1]);
            let no = choose(x_no[i], no.test.rank, no.ends[0], no.ends[1]);
            out[i] = choose(x[i], quad.test.rank, yes, no);
        }
        put(slot, out);
    }
    for &(pair, slot) in &folds.all.pairs[range(1)] {
        let x = x(pair.test);
        let mut out = [0; N];
        for i in 0..N {
            out[i] = choose(x[i], pair.test.rank, pair.ends[0], pair.ends[1]);
        }
        put(slot, out);
    }
    for &(step, slot) in &folds.all.steps[range(2)] {
        let x = x(step.test);
        let [yes, no] = step.sides;
        let (yes, no) = (get(yes), get(no));
        let mut out = [0; N];
        for i in 0..N {
            out[i] = choose(x[i], step.test.rank, yes[i], no[i]);
        }
        put(slot, out);
    }
    ends.0[..N].copy_from_slice(get(answer.into()));
}

#[inline(always)]
fn fold_body<const FMA: bool>(
    folds: &Folds,
    tree: usize,
    rows: usize,
    ranks: &[Lanes<i8>],
    table: &mut Table,
    ends: &mut Lanes<u8>,
) {
    match rows {
        0..=32 => fold_rows::<32>(folds, tree, ranks, table, ends),
        33..=64 => fold_rows::<64>(folds, tree, ranks, table, ends),
        _ => fold_rows::<LANES>(folds, tree, ranks, table, ends),
    }
}

/// Cuts that are compared with every value, before a search goes on in the block between two.
const SPLITTERS: usize = 15;

/// How far apart the splitters of that many cuts are: a power of two.
fn block_of(cuts: usize) -> usize {
    (cuts + 1).div_ceil(SPLITTERS + 1).next_power_of_two()
}

/// The number of cuts, from `cuts` on, with which [`rank`] is fastest.
pub fn whole_blocks(cuts: usize) -> usize {
    (cuts + 1).next_multiple_of(block_of(cuts)) - 1
}

/// Rows that are ranked side by side: their counts stay in registers.
const RANKED: usize = 32;

#[inline(always)]
#[expect(unsafe_code, reason = "an index that the length of the slice bounds")]
fn rank_body<const FMA: bool, T: Ranked>(
    cuts: &[T],
    rows: usize,
    x: &Lanes<T>,
    ranks: &mut Lanes<i8>,
) {
    let block = block_of(cuts.len());
    let whole = cuts.len() == whole_blocks(cuts.len());
    let tile = x.0.as_chunks::<RANKED>().0.iter().zip(ranks.0.as_chunks_mut::<RANKED>().0);
    for (x, ranks) in tile.take(rows.div_ceil(RANKED)) {
        let mut counts = [0u32; RANKED];
        if whole {
            for &cut in cuts.iter().skip(block - 1).step_by(block) {
                for i in 0..RANKED {
                    counts[i] += u32::from(cut < x[i]);
                }
            }
            counts = counts.map(|count| count * block as u32);
            let mut half = block / 2;
            while half > 0 {
                for i in 0..RANKED {
                    // SAFETY: there are b·s + b - 1 cuts for s splitters and blocks of b. A count
                    // is at most b·s at first, and grows by at most b - 2·half before this read,
                    // which is thus at or below b·s + b - half - 1.
                    let cut = unsafe { *cuts.get_unchecked(counts[i] as usize + half - 1) };
                    counts[i] += if cut < x[i] { half as u32 } else { 0 };
                }
                half /= 2;
            }
        } else {
            counts = x.map(|x| cuts.partition_point(|&cut| cut < x) as u32);
        }
        for i in 0..RANKED {
            let nan = x[i].partial_cmp(&x[i]).is_none();
            let count = if nan { CUTS as u32 } else { counts[i].min(CUTS as u32) };
            ranks[i] = biased(count as u8);
        }
    }
}

versioned! {
    /// Folds a tree for the first `rows` rows of a tile: `ends` gets the number of each row's end,
    /// where there is a tree.
    pub fn fold(
        folds: &Folds,
        tree: usize,
        rows: usize,
        ranks: &[Lanes<i8>],
        table: &mut Table,
        ends: &mut Lanes<u8>
    ) = fold_body, avx512;
}
versioned! {
    /// How many of the sorted `cuts` (at most [`CUTS`]) are below each value, for the first `rows`
    /// rows of a tile; NaN is above all.
    pub fn rank<T: Ranked>(cuts: &[T], rows: usize, x: &Lanes<T>, ranks: &mut Lanes<i8>)
        = rank_body, avx512;
}

#[cfg(test)]
mod tests {
    use super::super::versions;
    use super::*;

    /// Numbers that look random.
    fn numbers(mut state: u64) -> impl FnMut(usize) -> usize {
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        }
    }

    fn ranked<T: Ranked>(of: impl Fn(f64) -> T) {
        let mut next = numbers(1);
        for count in 0..=CUTS {
            let mut cuts: Vec<f64> = (0..count).map(|_| next(3000) as f64 / 8.0).collect();
            cuts.sort_by(f64::total_cmp);
            let mut padded = cuts.clone();
            padded.resize(whole_blocks(count), f64::INFINITY);
            let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, -1.0, 1e9];
            let x: [f64; LANES] =
                std::array::from_fn(|i| special.get(i).copied().unwrap_or(next(3000) as f64 / 8.0));
            let expected = x.map(|x| {
                let below = cuts.iter().filter(|&&cut| cut < x).count();
                biased(if x.is_nan() { CUTS } else { below } as u8)
            });
            let x = Lanes(x.map(&of));
            for cuts in [&cuts, &padded] {
                let cuts: Vec<T> = cuts.iter().map(|&cut| of(cut)).collect();
                let rows = [1, 31, 64, 65, LANES][next(5)];
                versions::each(|| {
                    let mut ranks = Lanes([0; LANES]);
                    rank(&cuts, rows, &x, &mut ranks);
                    assert_eq!(ranks.0[..rows], expected[..rows], "{count} cuts");
                });
            }
        }
    }

    #[test]
    fn every_version_ranks_alike() {
        ranked(|x| x as f32);
        ranked(|x| x);
    }

    #[test]
    fn every_version_folds_as_its_nodes_say() {
        let mut next = numbers(2);
        for scales in [1, 3, 40] {
            let mut folds = Folds::new(scales);
            let test = |next: &mut dyn FnMut(usize) -> usize| {
                let (scale, rank) = (next(scales), next(CUTS));
                (scale, rank, Test::new(scale as u16, rank as u8))
            };
            // ((a | b) above ((c | d) | (e | f))): a pair and a quad below a step.
            let [top, left, right, c, e] = std::array::from_fn(|_| test(&mut next));
            let pair =
                |test: (usize, usize, Test), first| Pair { test: test.2, ends: [first, first + 1] };
            let (quad, alone) = (Slot::new(0).unwrap(), Slot::new(127).unwrap());
            assert!(Slot::new(128).is_none());
            folds.push(&Fold {
                quads: vec![(Quad { test: right.2, pairs: [pair(c, 2), pair(e, 254)] }, quad)],
                pairs: vec![(pair(left, 0), alone)],
                steps: vec![(Step { test: top.2, sides: [alone.into(), quad.into()] }, quad)],
                answer: Some(quad),
            });
            folds.push(&Fold::default());
            let unknown = Pair { test: Test::new(scales as u16, 0), ends: [0, 1] };
            folds.push(&Fold {
                pairs: vec![(unknown, quad)],
                answer: Some(quad),
                ..Fold::default()
            });
            assert!(folds.has(0) && !folds.has(1) && !folds.has(2));

            let ranks: Vec<Lanes<i8>> = (0..scales)
                .map(|_| Lanes([0; LANES].map(|_: i8| biased(next(256) as u8))))
                .collect();
            let expected: [u8; LANES] = std::array::from_fn(|i| {
                let holds = |t: (usize, usize, Test)| ranks[t.0].0[i] <= biased(t.1 as u8);
                let end = |t, first: u8| first + u8::from(!holds(t));
                match (holds(top), holds(right)) {
                    (true, _) => end(left, 0),
                    (false, true) => end(c, 2),
                    (false, false) => end(e, 254),
                }
            });
            let mut table = Table::default();
            for rows in 1..=LANES {
                versions::each(|| {
                    let mut ends = Lanes([0; LANES]);
                    fold(&folds, 0, rows, &ranks, &mut table, &mut ends);
                    assert_eq!(ends.0[..rows], expected[..rows]);
                });
            }
        }
    }
}

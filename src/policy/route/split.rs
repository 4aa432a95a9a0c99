//! Who goes where: points on a line of 10^8 units, and the intervals that arms hold on it.
//!
//! A key falls on the same point always; weights are the lengths of intervals. Growing an arm
//! adds stable's units to it and moves nobody else, shrinking gives its last units back: who was
//! in stays in as a percentage grows, and comes back first when it is raised again.
//!
//! Every arm has a home on the line and grows from there in one direction. Two arms share a
//! block and grow towards each other from its ends; `m` pairs divide the line into `m` blocks.
//! While each pair fits its block the layout follows from the weights alone, so that processes
//! with the same weights send a key the same way. (That covers one or two canaries at any
//! weights. For three or more no layout can do it at all weights: with arms 1, 2 and 3, arm 1 at
//! `x` and arm 2 at `1 − x` fill the line, so the places of 2 are those that 1 leaves; the same
//! holds of 3, and 2 and 3 would claim the same places.) An arm that has outgrown its block takes
//! what stable has elsewhere; within a process its keys still stay.

use crate::error::{Result, bail, ensure};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Units of the whole line; one is 0.000 001 %.
pub(super) const UNITS: u64 = 100_000_000;
/// Homes of arms lie at whole percents, so that whole percents are exact in [`Sequence`].
const PERCENT: u64 = UNITS / 100;

/// The arm that holds what no other does.
pub(super) const STABLE: usize = 0;

/// A percentage in units.
///
/// # Errors
/// `InvalidArgument` unless it is from 0 to 100.
pub(super) fn units(percent: f64) -> Result<u64> {
    ensure!(
        (0.0..=100.0).contains(&percent),
        InvalidArgument,
        "a weight is a percentage from 0 to 100, got {percent}"
    );
    Ok((percent * PERCENT as f64).round() as u64)
}

/// Units as a percentage.
pub(super) fn percent(units: u64) -> f64 {
    units as f64 / PERCENT as f64
}

/// Maps keys to points, for one experiment. Built on keyed BLAKE3, so that keys chosen by
/// somebody else cannot be aimed at an arm, and two experiments (salts) split independently.
#[derive(Debug, Clone)]
pub(super) struct KeyHash([u8; 32]);

impl KeyHash {
    pub(super) fn new(salt: &str) -> KeyHash {
        KeyHash(blake3::derive_key("modelserve traffic split 1", salt.as_bytes()))
    }

    /// The key's point, from 0 to `UNITS`.
    pub(super) fn point(&self, key: &str) -> u64 {
        let hash = blake3::keyed_hash(&self.0, key.as_bytes());
        let head = hash.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
        ((u128::from(u64::from_le_bytes(head)) * u128::from(UNITS)) >> 64) as u64
    }
}

/// Points for requests without a key: the van der Corput sequence in base 100 with permuted
/// digits. Of any 100 requests in a row exactly `p` fall on an interval of `p` whole percents
/// (of 10,000 that begin at a multiple of 10,000: exactly on hundredths of a percent, and so on),
/// and they are spread evenly among the others.
#[derive(Debug, Default)]
pub(super) struct Sequence(AtomicU64);

impl Sequence {
    /// The next request's point.
    pub(super) fn next(&self) -> u64 {
        // Relaxed: requests side by side may take any order, but never the same number.
        let mut number = self.0.fetch_add(1, Relaxed);
        let (mut point, mut cell) = (0, UNITS);
        while cell > 1 {
            cell /= 100;
            // 61 ≈ 100/φ has no factor in common with 100: neighbours land far apart, and the
            // permutation is complete. It begins in the middle, not with the canary.
            point += (number % 100 * 61 + 50) % 100 * cell;
            number /= 100;
        }
        point
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    start: u64,
    end: u64,
    arm: usize,
}

/// The intervals of all arms at one moment. Arm 0 is stable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Split {
    /// In order, without gaps, from 0 to `UNITS`.
    pieces: Vec<Piece>,
    /// Stable and the others.
    arms: usize,
}

impl Split {
    /// All for stable, with `canaries` other arms of no weight.
    pub(super) fn new(canaries: usize) -> Split {
        let all = Piece { start: 0, end: UNITS, arm: STABLE };
        Split { pieces: vec![all], arms: canaries + 1 }
    }

    /// The arm that holds a point.
    pub(super) fn arm_at(&self, point: u64) -> usize {
        let i = self.pieces.partition_point(|piece| piece.end <= point);
        self.pieces.get(i).map_or(STABLE, |piece| piece.arm)
    }

    /// The units that an arm holds.
    pub(super) fn held(&self, arm: usize) -> u64 {
        self.pieces.iter().filter(|p| p.arm == arm).map(|p| p.end - p.start).sum()
    }

    /// The same split with other weights for some arms (in units). What shrinks does so first;
    /// then each grows at stable's expense, in the order given.
    ///
    /// # Errors
    /// `InvalidArgument` for stable, an arm that there is not, or more than stable can give.
    pub(super) fn with(&self, weights: &[(usize, u64)]) -> Result<Split> {
        let mut split = self.clone();
        for &(arm, want) in weights {
            ensure!(
                arm != STABLE && arm < self.arms,
                InvalidArgument,
                "stable has what the canaries leave: set the weight of a canary"
            );
            let held = split.held(arm);
            split.convert(arm, STABLE, held.saturating_sub(want));
        }
        for &(arm, want) in weights {
            let more = want.saturating_sub(split.held(arm));
            let free = split.held(STABLE);
            if more > free {
                bail!(
                    InvalidArgument,
                    "the weights of the canaries would be {} % together; they have 100 %",
                    percent(UNITS - free + more)
                );
            }
            split.convert(STABLE, arm, more);
        }
        Ok(split)
    }

    /// Turns `amount` units of `from` into `to`, one of which is stable: the other grows away
    /// from its home, and shrinks towards it.
    fn convert(&mut self, from: usize, to: usize, mut amount: u64) {
        let growing = from == STABLE;
        let (home, upward) = self.home(if growing { to } else { from });
        // The line from the home on, in the order in which the arm claims it.
        let cut_at = |p: &Piece| {
            let cut = home.clamp(p.start, p.end);
            [Piece { end: cut, ..*p }, Piece { start: cut, ..*p }]
        };
        let mut line: Vec<Piece> =
            self.pieces.iter().flat_map(cut_at).filter(|p| p.start < p.end).collect();
        line.sort_unstable_by_key(|p| (p.start < home, p.start));
        // Downward is the same walk backwards; so is shrinking.
        if upward != growing {
            line.reverse();
        }
        let mut out = Vec::with_capacity(line.len() + 1);
        for piece in line {
            let take = if piece.arm == from { amount.min(piece.end - piece.start) } else { 0 };
            amount -= take;
            let (taken, rest) = if upward == growing {
                let cut = piece.start + take;
                (Piece { end: cut, arm: to, ..piece }, Piece { start: cut, ..piece })
            } else {
                let cut = piece.end - take;
                (Piece { start: cut, arm: to, ..piece }, Piece { end: cut, ..piece })
            };
            out.extend([taken, rest]);
        }
        out.retain(|p| p.start < p.end);
        out.sort_unstable_by_key(|p| p.start);
        out.dedup_by(|next, last| {
            let joined = next.arm == last.arm;
            if joined {
                last.end = next.end;
            }
            joined
        });
        self.pieces = out;
    }

    /// Where an arm begins, and whether it grows upward.
    fn home(&self, arm: usize) -> (u64, bool) {
        let index = arm.saturating_sub(1) as u64;
        let blocks = (self.arms as u64 / 2).max(1);
        let start = |block: u64| 100 * block / blocks * PERCENT;
        match index % 2 {
            0 => (start(index / 2), true),
            // The end of the last block is the beginning of the line, seen downward.
            _ => (start(index / 2 + 1) % UNITS, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(weights: &[f64]) -> Split {
        let given: Vec<_> =
            weights.iter().enumerate().map(|(i, w)| (i + 1, units(*w).unwrap())).collect();
        Split::new(weights.len()).with(&given).unwrap()
    }

    fn whole(split: &Split) {
        let mut at = 0;
        for piece in &split.pieces {
            assert!(piece.start == at && piece.end > at, "{split:?}");
            at = piece.end;
        }
        assert_eq!(at, UNITS);
    }

    /// Checked with the reference implementation (the `blake3` package for Python).
    #[test]
    fn the_point_of_a_key_is_fixed_for_ever() {
        let hash = KeyHash::new("churn");
        assert_eq!(hash.point("alice"), 35_700_282);
        assert_eq!(hash.point("bob"), 38_992_116);
        assert_eq!(hash.point(""), 18_557_113);
    }

    #[test]
    fn a_hundred_thousand_keys_land_within_one_percent() {
        let hash = KeyHash::new("route");
        let split = split(&[25.0, 10.0, 1.0]);
        let mut counts = [0u32; 4];
        for i in 0..100_000 {
            counts[split.arm_at(hash.point(&format!("user-{i}")))] += 1;
        }
        for (count, percent) in counts.iter().zip([64.0, 25.0, 10.0, 1.0]) {
            let share = f64::from(*count) / 1000.0;
            assert!((share - percent).abs() < 1.0, "{percent} %: {share}");
            // Four standard deviations of a binomial share.
            let spread = 4.0 * (percent * (100.0 - percent) / 1e5).sqrt();
            assert!((share - percent).abs() < spread, "{percent} %: {share}");
        }
    }

    #[test]
    fn keys_stay_in_as_the_percentage_grows() {
        let hash = KeyHash::new("route");
        let points: Vec<u64> = (0..20_000).map(|i| hash.point(&format!("k{i}"))).collect();
        for arms in 1..=5 {
            // Every arm has some; then one grows at stable's expense alone.
            let mut weights = vec![7.0; arms];
            for arm in 0..arms {
                let mut before = split(&weights);
                weights[arm] = 7.0;
                for percent in [7.5, 10.0, 20.0, 33.3, 50.0, 65.0] {
                    let after = before.with(&[(arm + 1, units(percent).unwrap())]).unwrap();
                    whole(&after);
                    assert_eq!(after.held(arm + 1), units(percent).unwrap());
                    for point in &points {
                        let (was, is) = (before.arm_at(*point), after.arm_at(*point));
                        assert!(was == is || (was == STABLE && is == arm + 1), "{was} to {is}");
                    }
                    before = after;
                }
                // And back: what shrinks goes to stable, and nobody else is touched.
                let after = before.with(&[(arm + 1, units(7.0).unwrap())]).unwrap();
                assert_eq!(after, split(&weights), "{arms} canaries, arm {arm}");
            }
        }
    }

    #[test]
    fn one_or_two_canaries_lie_where_their_weights_say() {
        let steps = [0.0, 3.0, 50.0, 20.0, 1.0, 49.0];
        let mut grown = Split::new(2);
        for (i, first) in steps.iter().enumerate() {
            let second = steps[(i * 5 + 1) % steps.len()];
            let to = [(1, units(*first).unwrap()), (2, units(second).unwrap())];
            grown = grown.with(&to).unwrap();
            assert_eq!(grown, split(&[*first, second]));
        }
        assert_eq!(split(&[30.0, 70.0]).held(STABLE), 0);
    }

    #[test]
    fn unkeyed_requests_hit_exact_proportions() {
        let split = split(&[5.0, 30.0, 1.0]);
        let sequence = Sequence::default();
        let arms: Vec<usize> = (0..20_000).map(|_| split.arm_at(sequence.next())).collect();
        for window in arms.windows(100) {
            let count = |arm| window.iter().filter(|a| **a == arm).count();
            assert_eq!([count(0), count(1), count(2), count(3)], [64, 5, 30, 1]);
        }
        // Hundredths of a percent need 10,000.
        let fine = Split::new(1).with(&[(1, units(0.37).unwrap())]).unwrap();
        let sequence = Sequence::default();
        for _ in 0..3 {
            let hits = (0..10_000).filter(|_| fine.arm_at(sequence.next()) == 1).count();
            assert_eq!(hits, 37);
        }
    }

    #[test]
    fn weights_that_do_not_fit_are_refused() {
        let split = split(&[60.0, 30.0]);
        let e = split.with(&[(1, units(71.0).unwrap())]).unwrap_err();
        assert!(e.message().contains("101 %"), "{e}");
        assert!(split.with(&[(0, 1)]).is_err() && split.with(&[(3, 1)]).is_err());
        // What one gives, another may take in the same change.
        let swapped = split.with(&[(2, units(60.0).unwrap()), (1, units(40.0).unwrap())]).unwrap();
        assert_eq!(swapped.held(STABLE), 0);
        whole(&swapped);
        assert!([-1.0, 100.1, f64::NAN].iter().all(|p| units(*p).is_err()));
        assert_eq!(percent(units(33.3).unwrap()), 33.3);
    }
}

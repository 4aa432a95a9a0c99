//! The sets of membership tests.

use super::real::Real;
use crate::ensemble::CategorySet;

/// The values of a set membership test.
#[derive(Debug, Clone)]
pub(super) struct MemberSet<T> {
    /// Bit `i` stands for the value `i`, where all values are small integers.
    bits: Vec<u64>,
    /// Sorted, where they are not.
    sorted: Vec<T>,
    /// A value above this loses its fraction before it is looked up, and others are in no set.
    above: Option<f64>,
}

/// The largest double below zero.
const BELOW_ZERO: f64 = -f64::from_bits(1);
/// Values below this go into bits.
const MAX_BIT: f64 = 4096.0;

impl<T: Real> MemberSet<T> {
    pub(super) fn new(set: &CategorySet) -> MemberSet<T> {
        let small = |v: &f64| (0.0..MAX_BIT).contains(v) && v.fract() == 0.0;
        // The fractions of values between -1 and 0 leave 0 where they count.
        let above = set.truncate.then_some(if set.negative_fractions { -1.0 } else { BELOW_ZERO });
        if set.values.iter().all(small) {
            let mut bits = Vec::new();
            for &v in &set.values {
                let (word, bit) = (v as usize / 64, v as usize % 64);
                if bits.len() <= word {
                    bits.resize(word + 1, 0u64);
                }
                bits[word] |= 1 << bit;
            }
            return MemberSet { bits, sorted: Vec::new(), above };
        }
        let mut sorted: Vec<f64> = set.values.iter().copied().filter(|v| !v.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        MemberSet { bits: Vec::new(), sorted: sorted.into_iter().map(T::of).collect(), above }
    }

    pub(super) fn contains(&self, x: T) -> bool {
        let x = match self.above {
            None => x,
            Some(bound) if x.f64() > bound => T::of(x.f64().trunc()),
            Some(_) => return false,
        };
        if !self.sorted.is_empty() {
            let at = self.sorted.partition_point(|&v| v < x);
            return self.sorted.get(at).is_some_and(|&v| v == x);
        }
        let x = x.f64();
        // The cast saturates; a fraction, a negative or a NaN does not come back as itself.
        let i = x as usize;
        i as f64 == x && self.bits.get(i / 64).is_some_and(|w| w >> (i % 64) & 1 == 1)
    }

    pub(super) fn widened(&self) -> MemberSet<f64> {
        MemberSet {
            bits: self.bits.clone(),
            sorted: self.sorted.iter().map(|v| v.f64()).collect(),
            above: self.above,
        }
    }

    /// For rows of `f32`, which are never equal to what floats do not hold.
    pub(super) fn narrowed(&self) -> MemberSet<f32> {
        let exact = |v: &&T| f64::from(v.f32()) == v.f64();
        MemberSet {
            bits: self.bits.clone(),
            sorted: self.sorted.iter().filter(exact).map(|v| v.f32()).collect(),
            above: self.above,
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bits.len() * 8 + self.sorted.len() * size_of::<T>()
    }
}

//! The generator of random numbers: xoshiro256++ of Blackman and Vigna.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Where a kernel's numbers come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seed(Option<u64>);

impl Seed {
    /// The seed of a node, where it has one: every run of it draws the same numbers then.
    pub fn new(seed: Option<u64>) -> Seed {
        Seed(seed)
    }

    /// Whether two runs draw different numbers.
    pub fn is_random(self) -> bool {
        self.0.is_none()
    }

    /// The generator of one run.
    pub fn generator(self) -> Generator {
        Generator::new(self.0.unwrap_or_else(fresh))
    }
}

/// A seed that no other run has: neither of this process nor of one forked from it.
fn fresh() -> u64 {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    // Every run needs a number of its own; nothing else is read by it.
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::UNIX_EPOCH.elapsed().map(|d| d.as_nanos()).unwrap_or_default();
    // The keys of the hash come from the system; a forked child has its parent's.
    RandomState::new().hash_one((run, now, std::process::id()))
}

/// A stream of random numbers.
pub struct Generator {
    state: [u64; 4],
}

impl Generator {
    fn new(seed: u64) -> Generator {
        // SplitMix64 spreads the seed over the state, as the generator's authors advise.
        let mut z = seed;
        let state = std::array::from_fn(|_| {
            z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut x = z;
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        });
        Generator { state }
    }

    fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number from 0 to 1, without 1.
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Two numbers of the standard normal distribution (Box and Muller).
    pub fn normals(&mut self) -> [f64; 2] {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        [radius * cos, radius * sin]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_published_one() {
        // The first numbers of xoshiro256++ from the state 1, 2, 3, 4.
        let mut generator = Generator { state: [1, 2, 3, 4] };
        let first: Vec<u64> = (0..4).map(|_| generator.next()).collect();
        assert_eq!(first, [41943041, 58720359, 3588806011781223, 3591011842654386]);
    }

    #[test]
    fn seeds_repeat_and_their_absence_does_not() {
        let draw = |seed: Seed| seed.generator().next();
        assert_eq!(draw(Seed::new(Some(7))), draw(Seed::new(Some(7))));
        assert_ne!(draw(Seed::new(Some(7))), draw(Seed::new(Some(8))));
        assert_ne!(draw(Seed::new(None)), draw(Seed::new(None)));
    }
}

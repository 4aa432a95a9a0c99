//! The buckets of times and of rows.
//!
//! Times are counted in ten buckets a decade (the preferred numbers of ISO 3 R10, 26 % apart),
//! which is what quantiles are read from; three of them a decade (1, 2.5, 5) are exported.

/// Bounds of the fine buckets: 100 ns to 100 s.
const FINE_BOUNDS: usize = 91;
/// Fine buckets, the one beyond the last bound included.
pub(super) const FINE: usize = FINE_BOUNDS + 1;
/// Bounds of the exported buckets: 500 ns to 10 s.
const COARSE_BOUNDS: usize = 23;
/// Exported buckets, the one beyond the last bound included.
pub(super) const COARSE: usize = COARSE_BOUNDS + 1;
/// Bounds of the buckets of rows: 1, 2, 4 … 65,536.
const ROW_BOUNDS: usize = 17;
/// Buckets of rows, the one beyond the last bound included.
pub(super) const ROWS: usize = ROW_BOUNDS + 1;

const MANTISSAS: [u64; 10] = [100, 125, 160, 200, 250, 315, 400, 500, 630, 800];

/// Upper bounds in nanoseconds, each included in its bucket.
const BOUNDS: [u64; FINE_BOUNDS] = bounds();
/// The first fine bucket that a time of so many binary digits can be in.
const START: [u8; 64] = starts();
/// The exported bucket of each fine one.
const TO_COARSE: [u8; FINE] = to_coarse();

const fn bounds() -> [u64; FINE_BOUNDS] {
    let mut out = [0; FINE_BOUNDS];
    let (mut i, mut scale) = (0, 1);
    while i < FINE_BOUNDS {
        out[i] = MANTISSAS[i % 10] * scale;
        i += 1;
        if i % 10 == 0 {
            scale *= 10;
        }
    }
    out
}

const fn starts() -> [u8; 64] {
    let mut out = [0; 64];
    let mut digit = 0;
    while digit < 64 {
        let mut i = 0;
        while i < FINE_BOUNDS && BOUNDS[i] < 1 << digit {
            i += 1;
        }
        out[digit] = i as u8;
        digit += 1;
    }
    out
}

/// Whether a fine bound is exported too.
const fn exported(i: usize) -> bool {
    let mantissa = MANTISSAS[i % 10];
    (mantissa == 100 || mantissa == 250 || mantissa == 500)
        && BOUNDS[i] >= 500
        && BOUNDS[i] <= 10_000_000_000
}

const fn to_coarse() -> [u8; FINE] {
    let mut out = [0; FINE];
    let (mut i, mut coarse) = (0, 0);
    while i < FINE {
        out[i] = coarse;
        if i < FINE_BOUNDS && exported(i) {
            coarse += 1;
        }
        i += 1;
    }
    out
}

/// The fine bucket of a time: `FINE - 1` above 100 s.
pub(super) fn fine(ns: u64) -> usize {
    let digit = (ns | 1).ilog2() as usize;
    let mut i = START.get(digit).copied().map_or(0, usize::from);
    // An octave holds at most four bounds.
    for _ in 0..4 {
        i += usize::from(BOUNDS.get(i).is_some_and(|bound| ns > *bound));
    }
    i
}

/// The exported bucket of a fine one.
pub(super) fn coarse_of(fine: usize) -> usize {
    TO_COARSE.get(fine).copied().map_or(COARSE - 1, usize::from)
}

/// The upper bound of a fine bucket in nanoseconds; the last bound for the bucket beyond it.
pub(super) fn fine_bound(fine: usize) -> u64 {
    BOUNDS.get(fine).or(BOUNDS.last()).copied().unwrap_or(0)
}

/// The exported bounds in seconds, infinity last.
pub(super) fn coarse_bounds() -> [f64; COARSE] {
    let mut out = [f64::INFINITY; COARSE];
    let exported = BOUNDS.iter().enumerate().filter(|(i, _)| exported(*i));
    for (slot, (_, ns)) in out.iter_mut().take(COARSE_BOUNDS).zip(exported) {
        *slot = *ns as f64 / 1e9;
    }
    out
}

/// The bucket of a number of rows.
pub(super) fn of_rows(rows: usize) -> usize {
    let digits = usize::BITS - rows.saturating_sub(1).leading_zeros();
    (digits as usize).min(ROWS - 1)
}

/// The bounds of rows, infinity last.
pub(super) fn row_bounds() -> [f64; ROWS] {
    let mut out = [f64::INFINITY; ROWS];
    for (i, slot) in out.iter_mut().take(ROW_BOUNDS).enumerate() {
        *slot = (1u64 << i) as f64;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By definition: the first bucket whose bound is not below the value.
    fn slow(ns: u64) -> usize {
        BOUNDS.iter().position(|b| ns <= *b).unwrap_or(FINE - 1)
    }

    #[test]
    fn every_time_falls_into_its_bucket() {
        let near = BOUNDS.iter().flat_map(|b| [b - 1, *b, b + 1]);
        let powers = (0..64).flat_map(|i| [(1u64 << i) - 1, 1 << i, (1 << i) + 1]);
        for ns in near.chain(powers).chain([0, u64::MAX]) {
            assert_eq!(fine(ns), slow(ns), "{ns}");
        }
        assert!(BOUNDS.windows(2).all(|w| w[0] < w[1] && (w[1] as f64 / w[0] as f64) < 1.29));
        assert_eq!((BOUNDS[0], BOUNDS[FINE_BOUNDS - 1]), (100, 100_000_000_000));
    }

    #[test]
    fn exported_buckets_hold_whole_fine_ones() {
        let bounds = coarse_bounds();
        assert_eq!((bounds[0], bounds[1], bounds[2], bounds[3]), (5e-7, 1e-6, 2.5e-6, 5e-6));
        assert_eq!((bounds[COARSE - 2], bounds[COARSE - 1]), (10.0, f64::INFINITY));
        assert!(bounds.windows(2).all(|w| w[0] < w[1]));
        for ns in BOUNDS.iter().flat_map(|b| [*b, b + 1]).chain([0, u64::MAX]) {
            let expected = bounds.iter().position(|b| ns as f64 / 1e9 <= *b).unwrap();
            assert_eq!(coarse_of(fine(ns)), expected, "{ns}");
        }
    }

    #[test]
    fn rows_fall_into_powers_of_two() {
        let bounds = row_bounds();
        for rows in [0, 1, 2, 3, 4, 5, 8, 9, 1000, 65_536, 65_537, usize::MAX] {
            let expected = bounds.iter().position(|b| rows as f64 <= *b).unwrap();
            assert_eq!(of_rows(rows), expected, "{rows}");
        }
    }
}

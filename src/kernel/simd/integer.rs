//! Inner products of 16-bit integers, several side by side that share their loads. Sums wrap.

use super::versioned;

/// Two neighbours: CPUs multiply such pairs and add both products in one instruction.
pub type Pair = [i16; 2];

/// Every row of `a` times every row of `b`.
#[inline(always)]
fn tile<const R: usize, const C: usize>(a: [&[Pair]; R], b: [&[Pair]; C]) -> [[i32; C]; R] {
    let mut len = usize::MAX;
    for row in a.iter().chain(&b) {
        len = len.min(row.len());
    }
    // One length for all, so that the loop below checks no bounds.
    let (a, b) = (a.map(|row| &row[..len]), b.map(|row| &row[..len]));
    let mut sums = [[0i32; C]; R];
    for i in 0..len {
        for r in 0..R {
            for c in 0..C {
                let (x, y) = (a[r][i], b[c][i]);
                let first = i32::from(x[0]).wrapping_mul(i32::from(y[0]));
                let second = i32::from(x[1]).wrapping_mul(i32::from(y[1]));
                sums[r][c] = sums[r][c].wrapping_add(first.wrapping_add(second));
            }
        }
    }
    sums
}

#[inline(always)]
fn two_by_four<const FMA: bool>(a: [&[Pair]; 2], b: [&[Pair]; 4]) -> [[i32; 4]; 2] {
    tile(a, b)
}

#[inline(always)]
fn one_by_four<const FMA: bool>(a: [&[Pair]; 1], b: [&[Pair]; 4]) -> [[i32; 4]; 1] {
    tile(a, b)
}

versioned! {
    /// The inner products of two rows with four.
    pub fn inner_2x4(a: [&[Pair]; 2], b: [&[Pair]; 4]) -> [[i32; 4]; 2] = two_by_four, avx512;
}
versioned! {
    /// The inner products of one row with four.
    pub fn inner_1x4(a: [&[Pair]; 1], b: [&[Pair]; 4]) -> [[i32; 4]; 1] = one_by_four, avx512;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::simd::versions;

    fn row(len: usize, seed: usize) -> Vec<Pair> {
        let value = |i: usize| ((i * 7919 + seed * 104_729) % 511) as i16 - 255;
        (0..len).map(|i| [value(2 * i), value(2 * i + 1)]).collect()
    }

    #[test]
    fn inner_products_of_all_lengths_are_exact() {
        for len in [0, 1, 3, 7, 8, 9, 16, 31, 64, 100] {
            let rows: Vec<_> = (0..6).map(|seed| row(len, seed)).collect();
            let exact = |a: usize, b: usize| -> i32 {
                let products = rows[a].iter().zip(&rows[b]);
                products.map(|(x, y)| (0..2).map(|k| x[k] as i32 * y[k] as i32).sum::<i32>()).sum()
            };
            let (a, b) = ([&rows[0][..], &rows[1]], [&rows[2][..], &rows[3], &rows[4], &rows[5]]);
            versions::each(|| {
                let two = inner_2x4(a, b);
                assert_eq!(two, [0, 1].map(|r| [2, 3, 4, 5].map(|c| exact(r, c))), "{len}");
                assert_eq!(inner_1x4([a[1]], b)[0], two[1]);
            });
        }
    }

    #[test]
    fn sums_wrap() {
        let big = vec![[i16::MIN; 2]; 3];
        let b = [&big[..]; 4];
        // Six products of 2³⁰ are 2³² + 2³¹.
        assert_eq!(inner_1x4([&big], b), [[i32::MIN; 4]]);
    }
}

//! Products of integer matrices, exact in 32 bits (sums wrap).
//!
//! Both operands lie as rows along the inner dimension, widened to 16 bits and less their zero
//! points: then nothing is left to correct after the product, whatever the types and however many
//! zero points there are.

use super::level::Byte;
use crate::kernel::simd::integer::{Pair, inner_1x4, inner_2x4};
use crate::threads::Threads;
use std::ops::Range;

/// Rows of the left operand worked through at a time: they stay in the second-level cache while
/// the columns pass by.
const BLOCK: usize = 64;
/// Columns of a tile.
const TILE: usize = 4;

/// Elements of a row for an inner dimension of `depth`: padded with zeros to whole vectors, for
/// short ones to whole pairs.
pub(super) fn padded(depth: usize) -> usize {
    depth.next_multiple_of(if depth < 16 { 2 } else { 16 })
}

/// A matrix of integers, row after row, each `step` elements long.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    data: &'a [i16],
    step: usize,
    rows: usize,
}

impl<'a> Rows<'a> {
    /// `rows` rows of `step` elements from the beginning of `data`.
    pub fn new(data: &'a [i16], step: usize, rows: usize) -> Rows<'a> {
        Rows { data, step, rows }
    }

    /// Rows `start..start + rows`.
    pub fn part(&self, start: usize, rows: usize) -> Rows<'a> {
        let data = self.data.get(start.saturating_mul(self.step)..).unwrap_or(&[]);
        Rows { data, step: self.step, rows }
    }

    /// The elements of row `i`.
    pub fn row(&self, i: usize) -> &'a [i16] {
        self.data.get(i * self.step..(i + 1) * self.step).unwrap_or(&[])
    }

    fn pairs(&self, i: usize) -> &'a [Pair] {
        self.row(i).as_chunks().0
    }
}

/// `out[i][j] = a.row(i) · b.row(j)`; `out` has `b.rows` columns and is overwritten.
pub(super) fn product(threads: &Threads, a: Rows<'_>, b: Rows<'_>, out: &mut [i32]) {
    let (m, n) = (a.rows, b.rows);
    if m == 0 || n == 0 {
        return;
    }
    // About 16 multiply-adds a nanosecond on one core.
    let ns = (a.step / 16).max(1);
    if m == 1 {
        threads.split_rows(out, 1, ns, |columns, out| block(a, 0..1, b, columns, out));
    } else if m >= 2 * threads.size() || m >= n || threads.size() == 1 {
        threads.split_rows(out, n, ns.saturating_mul(n), |rows, out| block(a, rows, b, 0..n, out));
    } else {
        // Few rows, many columns: by columns, each thread into rows of its own.
        let mut turned = vec![0; out.len()];
        product(threads, b, a, &mut turned);
        for (i, row) in out.chunks_mut(n).enumerate() {
            row.iter_mut().zip(turned.iter().skip(i).step_by(m)).for_each(|(o, &x)| *o = x);
        }
    }
}

/// The products of `rows` of `a` with the rows `columns` of `b`.
fn block(a: Rows<'_>, rows: Range<usize>, b: Rows<'_>, columns: Range<usize>, out: &mut [i32]) {
    let width = columns.len();
    let mut put = |row: usize, column: usize, sums: &[i32]| {
        let at = (row - rows.start) * width + (column - columns.start);
        if let Some(out) = out.get_mut(at..at + sums.len()) {
            out.copy_from_slice(sums);
        }
    };
    for first in rows.clone().step_by(BLOCK) {
        let last = (first + BLOCK).min(rows.end);
        for column in columns.clone().step_by(TILE) {
            // Beyond the last column the last one is repeated, and the result left out.
            let count = TILE.min(columns.end - column);
            let right = [0, 1, 2, 3].map(|j: usize| b.pairs(column + j.min(count - 1)));
            let mut row = first;
            while row + 1 < last {
                let [one, two] = inner_2x4([a.pairs(row), a.pairs(row + 1)], right);
                put(row, column, &one[..count]);
                put(row + 1, column, &two[..count]);
                row += 2;
            }
            if row < last {
                let [one] = inner_1x4([a.pairs(row)], right);
                put(row, column, &one[..count]);
            }
        }
    }
}

/// `out = x - zero`.
pub(super) fn centre<T: Byte>(x: &[T], zero: i16, out: &mut [i16]) {
    for (out, &x) in out.iter_mut().zip(x) {
        let x: i16 = x.into();
        *out = x - zero;
    }
}

/// Columns of a row-major matrix `b` with `n` columns as rows of `step` elements, each less its
/// zero point.
pub(super) fn turn<T: Byte>(
    b: &[T],
    n: usize,
    step: usize,
    zero: impl Fn(usize) -> i16,
    out: &mut [i16],
) {
    // So many rows are written side by side.
    const SIDE: usize = 32;
    for (i, out) in out.chunks_mut((SIDE * step).max(1)).enumerate() {
        let first = i * SIDE;
        let columns = SIDE.min(n.saturating_sub(first));
        let zeros: Vec<i16> = (first..first + columns).map(&zero).collect();
        for (d, row) in b.chunks_exact(n.max(1)).enumerate() {
            let row = row.get(first..first + columns).unwrap_or(&[]);
            let out = out.iter_mut().skip(d).step_by(step.max(1));
            for ((out, &x), zero) in out.zip(row).zip(&zeros) {
                let x: i16 = x.into();
                *out = x - zero;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_all_sizes_and_splits_are_exact() {
        for (m, k, n) in [(1, 5, 1), (1, 40, 300), (2, 17, 131), (5, 16, 3), (70, 33, 9)] {
            let step = padded(k);
            let fill = |rows: usize, seed: usize| -> Vec<i16> {
                let value = |i: usize| ((i * 31 + seed * 17) % 511) as i16 - 255;
                let inside = |i: usize| i % step < k;
                (0..rows * step).map(|i| if inside(i) { value(i) } else { 0 }).collect()
            };
            let (a, b) = (fill(m, 1), fill(n, 2));
            let (a, b) = (Rows::new(&a, step, m), Rows::new(&b, step, n));
            let dot = |i: usize, j: usize| -> i32 {
                a.row(i).iter().zip(b.row(j)).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum()
            };
            let exact: Vec<i32> =
                (0..m).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| dot(i, j)).collect();
            for threads in [1, 3] {
                let mut out = vec![-1; m * n];
                product(&Threads::new(threads), a, b, &mut out);
                assert_eq!(out, exact, "{m} × {k} × {n} on {threads}");
            }
        }
    }

    #[test]
    fn few_rows_are_split_by_columns() {
        // Large enough that the threads share it.
        let (m, k, n) = (2, 1024, 4096);
        let a: Vec<i16> = (0..m * k).map(|i| (i % 7) as i16 - 3).collect();
        let b: Vec<i16> = (0..n * k).map(|i| (i % 11) as i16 - 5).collect();
        let (a, b) = (Rows::new(&a, k, m), Rows::new(&b, k, n));
        let (mut one, mut three) = (vec![0; m * n], vec![1; m * n]);
        product(&Threads::new(1), a, b, &mut one);
        product(&Threads::new(3), a, b, &mut three);
        assert_eq!(one, three);
    }

    #[test]
    fn columns_become_rows_less_their_zero_points() {
        let b: Vec<u8> = (0..3 * 40).map(|i| i as u8).collect();
        let step = padded(3);
        let mut out = vec![0; 40 * step];
        turn(&b, 40, step, |column| column as i16, &mut out);
        for column in 0..40 {
            assert_eq!(out[column * step..(column + 1) * step], [0, 40, 80, 0]);
        }
    }
}

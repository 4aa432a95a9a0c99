//! Functions of the rows of a matrix, for many rows in one call: what a row needs of its own
//! (a maximum, a sum) is interleaved with its neighbours' by the processor.

use super::elementary::exp_shifted;
use super::reduction::{max_body, sum_body};
use super::versioned;

/// Elements of rows that go through the passes of one function before the next rows: they stay in
/// the first-level cache.
const PIECE: usize = 2048;
/// Elements scaled at a time.
const LANES: usize = 8;

#[inline(always)]
fn softmax_body<const FMA: bool>(rows: &mut [f32], width: usize) {
    let width = width.max(1);
    for piece in rows.chunks_mut((PIECE / width).max(1) * width) {
        for row in piece.chunks_exact_mut(width) {
            let max = max_body::<FMA>(row);
            exp_shifted::<FMA>(row, max);
        }
        for row in piece.chunks_exact_mut(width) {
            let sum = sum_body::<FMA>(row);
            row.iter_mut().for_each(|v| *v /= sum);
        }
    }
}

versioned! {
    /// Softmax of each row of `width` elements, in place.
    pub fn softmax_rows(rows: &mut [f32], width: usize) = softmax_body;
}

#[inline(always)]
fn scale_body<const FMA: bool>(rows: &mut [f32], offset: &[f32], scale: &[f32]) {
    let (offsets, offset_tail) = offset.as_chunks::<LANES>();
    let (scales, scale_tail) = scale.as_chunks::<LANES>();
    for row in rows.chunks_exact_mut(offset.len().max(1)) {
        // Eight at a time: rows are too short for the compiler's longer strides.
        let (chunks, tail) = row.as_chunks_mut::<LANES>();
        for ((x, offset), scale) in chunks.iter_mut().zip(offsets).zip(scales) {
            for k in 0..LANES {
                x[k] = (x[k] - offset[k]) * scale[k];
            }
        }
        for ((x, offset), scale) in tail.iter_mut().zip(offset_tail).zip(scale_tail) {
            *x = (*x - offset) * scale;
        }
    }
}

versioned! {
    /// `(x − offset) · scale` for each row, in place; rows are as long as the two.
    pub fn scale_rows(rows: &mut [f32], offset: &[f32], scale: &[f32]) = scale_body;
}

#[cfg(test)]
mod tests {
    use super::super::{exp_minus, map, max, sum};
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 17.0 - 3.0).collect()
    }

    #[test]
    fn softmax_of_rows_is_that_of_each_row() {
        for width in [1, 2, 7, 10, 31, 32, 40, 3000] {
            let mut rows = numbers(9 * width, width);
            let mut alone = rows.clone();
            softmax_rows(&mut rows, width);
            for row in alone.chunks_mut(width) {
                let top = max(row);
                exp_minus(row, top);
                let total = sum(row);
                map(row, |v| v / total);
            }
            assert_eq!(rows, alone, "width {width}");
        }
        let mut rows = [0.0, f32::NAN, 1.0, -1e9, f32::NEG_INFINITY, 5.0, 5.0, 5.0];
        softmax_rows(&mut rows, 2);
        assert!(rows[..2].iter().all(|v| v.is_nan()));
        assert_eq!(rows[2..], [1.0, 0.0, 0.0, 1.0, 0.5, 0.5]);
    }
}

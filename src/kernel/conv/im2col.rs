//! Convolution as a matrix product over the unfolded input ("im2col"), a tile at a time.

use super::product::{Matrix, MatrixMut, product};
use super::real::Real;
use super::window::SlidingMap;
use super::{FirstError, Plan};
use crate::error::Result;
use crate::threads::Threads;
use std::ops::Range;

/// Writes row `row` (channel and kernel element) of the unfolded input at the output positions
/// `range` to `out`.
fn unfold<T: Real>(map: &SlidingMap, input: &[T], row: usize, range: Range<usize>, out: &mut [T]) {
    let channel = row / map.kernel;
    let input = input.get(channel * map.input..(channel + 1) * map.input).unwrap_or(&[]);
    if !map.dense {
        out.fill(T::ZERO);
    }
    map.pairs(row % map.kernel, range, out, input, |o, &x| *o = x);
}

impl<T: Real> Plan<'_, T> {
    /// Convolves one group of one image; `out` already holds the bias.
    pub(super) fn unfolded(
        &self,
        threads: &Threads,
        input: &[T],
        weights: &[T],
        out: &mut [T],
    ) -> Result<()> {
        let positions = self.map.output;
        if self.pointwise {
            return self.tile(threads, weights, input, positions, 0..positions, out);
        }
        let mut columns = vec![T::ZERO; self.filter * self.tile.min(positions)];
        let mut start = 0;
        while start < positions {
            let range = start..(start + self.tile).min(positions);
            let tile = range.len();
            let columns = columns.get_mut(..self.filter * tile).unwrap_or(&mut []);
            threads.split_rows(columns, tile, tile / 2, |rows, chunk| {
                for (row, out) in rows.zip(chunk.chunks_mut(tile)) {
                    unfold(&self.map, input, row, range.clone(), out);
                }
            });
            self.tile(threads, weights, columns, tile, range.clone(), out)?;
            start = range.end;
        }
        Ok(())
    }

    /// Multiplies the filters with the unfolded input of the output positions `range`.
    fn tile(
        &self,
        threads: &Threads,
        weights: &[T],
        columns: &[T],
        width: usize,
        range: Range<usize>,
        out: &mut [T],
    ) -> Result<()> {
        let (positions, filter) = (self.map.output, self.filter);
        let columns = Matrix::new(columns, filter, width, width, 1)?;
        let block = self.block * positions;
        let ns = filter.saturating_mul(self.block * width) / 10;
        let error = FirstError::default();
        let one = |index: usize, out: &mut [T]| -> Result<()> {
            let rows = out.len() / positions;
            let weights = weights.get(index * self.block * filter..).unwrap_or(&[]);
            let out = out.get_mut(range.start..).unwrap_or(&mut []);
            product(
                &Matrix::new(weights, rows, filter, filter, 1)?,
                &columns,
                &mut MatrixMut::new(out, rows, width, positions, 1)?,
                self.bias.is_some(),
            )
        };
        // The last chunk may hold a block with fewer channels.
        threads.split_rows(out, block, ns, |blocks, chunk| {
            for (i, out) in chunk.chunks_mut(block).enumerate() {
                error.note(one(blocks.start + i, out));
            }
        });
        error.into_result()
    }
}

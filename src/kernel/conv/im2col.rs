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
            return self.tile(threads, weights, input, positions, out, positions);
        }
        let tiles = positions.div_ceil(self.tile);
        if threads.size() > 1 && tiles > 1 {
            return self.by_tiles(threads, input, weights, out, tiles);
        }
        let mut columns = vec![T::ZERO; self.filter * self.tile.min(positions)];
        for tile in 0..tiles {
            let range = self.range(tile);
            let width = range.len();
            let columns = columns.get_mut(..self.filter * width).unwrap_or(&mut []);
            threads.split_rows(columns, width, width / 2, |rows, chunk| {
                for (row, out) in rows.zip(chunk.chunks_mut(width)) {
                    unfold(&self.map, input, row, range.clone(), out);
                }
            });
            let out = out.get_mut(range.start..).unwrap_or(&mut []);
            self.tile(threads, weights, columns, width, out, positions)?;
        }
        Ok(())
    }

    /// The output positions of a tile.
    fn range(&self, tile: usize) -> Range<usize> {
        tile * self.tile..((tile + 1) * self.tile).min(self.map.output)
    }

    /// Several tiles at once: each is computed aside, where it is contiguous, and put in its
    /// place afterwards.
    fn by_tiles(
        &self,
        threads: &Threads,
        input: &[T],
        weights: &[T],
        out: &mut [T],
        tiles: usize,
    ) -> Result<()> {
        let (positions, tile) = (self.map.output, self.tile);
        let size = out.len() / positions * tile;
        let mut parts = vec![T::ZERO; tiles * size];
        let ns = self.filter.saturating_mul(size) / 10;
        let (alone, error) = (Threads::new(1), FirstError::default());
        let bias: &[T] = out;
        threads.split_rows(&mut parts, size, ns, |range, chunk| {
            let mut columns = vec![T::ZERO; self.filter * tile];
            for (index, part) in range.zip(chunk.chunks_mut(size)) {
                let range = self.range(index);
                let width = range.len();
                let columns = columns.get_mut(..self.filter * width).unwrap_or(&mut []);
                for (row, out) in columns.chunks_mut(width).enumerate() {
                    unfold(&self.map, input, row, range.clone(), out);
                }
                for (part, bias) in part.chunks_mut(tile).zip(bias.iter().step_by(positions)) {
                    part.fill(*bias);
                }
                error.note(self.tile(&alone, weights, columns, width, part, tile));
            }
        });
        error.into_result()?;
        for (row, out) in out.chunks_mut(positions).enumerate() {
            for (out, part) in out.chunks_mut(tile).zip(parts.chunks(size)) {
                let part = part.get(row * tile..row * tile + out.len()).unwrap_or(&[]);
                out.copy_from_slice(part);
            }
        }
        Ok(())
    }

    /// Multiplies the filters with `width` columns of unfolded input; `out` starts at the first
    /// position, and its channels lie `step` apart.
    fn tile(
        &self,
        threads: &Threads,
        weights: &[T],
        columns: &[T],
        width: usize,
        out: &mut [T],
        step: usize,
    ) -> Result<()> {
        let filter = self.filter;
        let columns = Matrix::new(columns, filter, width, width, 1)?;
        let block = self.block * step;
        let ns = filter.saturating_mul(self.block * width) / 10;
        let error = FirstError::default();
        let one = |index: usize, out: &mut [T]| -> Result<()> {
            // The first tile's chunks are whole; a later one's last chunk ends with its rows.
            let rows = out.len().div_ceil(step);
            let weights = weights.get(index * self.block * filter..).unwrap_or(&[]);
            product(
                &Matrix::new(weights, rows, filter, filter, 1)?,
                &columns,
                &mut MatrixMut::new(out, rows, width, step, 1)?,
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

//! Copies through strides: the one loop behind transposing, slicing, expanding and tiling.

use crate::error::{Result, ensure};
use crate::kernel::Context;
use crate::tensor::{Data, Element, Shape, Tensor, for_each_carrier};
use smallvec::SmallVec;
use std::ops::Range;

/// Side of the square tiles in which two axes change places: a tile's source and target lines
/// stay in the first-level cache.
const TILE: usize = 16;

/// A strided walk over a source buffer, in the order in which the result is written. Axes of one
/// element are dropped and neighbours that walk on evenly are merged as they are added.
#[derive(Debug, Clone)]
pub(in crate::kernel) struct View {
    axes: SmallVec<[(usize, isize); 6]>,
    offset: usize,
}

impl View {
    /// A walk that starts at element `offset`.
    pub(in crate::kernel) fn new(offset: usize) -> View {
        View { axes: SmallVec::new(), offset }
    }

    /// Adds the next inner axis: `dim` steps of `stride` elements.
    pub(in crate::kernel) fn push(&mut self, dim: usize, stride: isize) {
        if dim == 1 {
            return;
        }
        if let Some(last) = self.axes.last_mut()
            && stride.checked_mul(dim as isize) == Some(last.1)
            && let Some(merged) = last.0.checked_mul(dim)
        {
            *last = (merged, stride);
        } else {
            self.axes.push((dim, stride));
        }
    }

    /// Whether the walk visits `len` elements from the first on, in order.
    fn is_identity(&self, len: usize) -> bool {
        self.offset == 0
            && match self.axes.as_slice() {
                [] => len == 1,
                [(n, 1)] => *n == len,
                _ => false,
            }
    }

    /// The tensor of this shape that the walk over `source` gives; `source` itself under the new
    /// shape where no element moves. `shape` has as many elements as the walk.
    pub(in crate::kernel) fn tensor(
        &self,
        ctx: &mut Context<'_>,
        source: &Tensor,
        shape: Shape,
    ) -> Result<Tensor> {
        if self.is_identity(source.len()) {
            return source.clone().reshaped(shape);
        }
        check_text(ctx, source, shape.len())?;
        for_each_carrier!(source.data(), v => {
            let out = self.copy(ctx, v, shape.len())?;
            Tensor::moved(shape, out, source.dtype())
        })
    }

    fn copy<T: Element>(&self, ctx: &mut Context<'_>, source: &[T], len: usize) -> Result<Vec<T>> {
        let mut out = ctx.buffer(len)?;
        if len == 0 {
            return Ok(out);
        }
        self.check(source.len(), len)?;
        let (cols, step) = self.axes.last().copied().unwrap_or((1, 1));
        if self.axes.len() < 2 && step == 1 {
            out.extend_from_slice(&source[self.offset..self.offset + len]);
            return Ok(out);
        }
        out.resize(len, T::default());
        ctx.threads.split_rows(&mut out, cols, cols, |rows, out| self.rows(source, rows, out));
        Ok(out)
    }

    /// The walk must stay inside its source and visit `len` elements: what the loops rely on.
    fn check(&self, source: usize, len: usize) -> Result<()> {
        let (mut low, mut high, mut visits) = (self.offset as i128, self.offset as i128, 1i128);
        for &(dim, stride) in &self.axes {
            let reach = (dim as i128 - 1) * stride as i128;
            if reach < 0 {
                low += reach;
            } else {
                high += reach;
            }
            visits = visits.saturating_mul(dim as i128);
        }
        ensure!(
            low >= 0 && high < source as i128 && visits == len as i128,
            Internal,
            "a strided copy of {visits} elements, {low} to {high} of {source}, into {len}"
        );
        Ok(())
    }

    /// Rows `rows` of the result, a row being the innermost axis.
    fn rows<T: Element>(&self, source: &[T], rows: Range<usize>, out: &mut [T]) {
        let n = self.axes.len();
        let (cols, col_step) = self.axes.last().copied().unwrap_or((1, 1));
        let (height, row_step) = if n < 2 { (1, 0) } else { self.axes[n - 2] };
        let outer = &self.axes[..n.saturating_sub(2)];
        let (mut row, mut rest) = (rows.start, out);
        while row < rows.end {
            let first = row % height;
            let count = (height - first).min(rows.end - row);
            let mut base = self.offset as isize + first as isize * row_step;
            let mut plane = row / height;
            for &(dim, stride) in outer.iter().rev() {
                base += (plane % dim) as isize * stride;
                plane /= dim;
            }
            let (block, tail) = rest.split_at_mut(count * cols);
            copy_plane(source, base, row_step, col_step, cols, block);
            rest = tail;
            row += count;
        }
    }
}

/// One plane: rows `row_step` apart of `cols` elements `col_step` apart, from `base` on.
fn copy_plane<T: Element>(
    source: &[T],
    base: isize,
    row_step: isize,
    col_step: isize,
    cols: usize,
    out: &mut [T],
) {
    let height = out.len() / cols;
    if row_step == 1 && col_step > 1 && height >= 4 && cols >= 4 {
        return transpose_plane(&source[base as usize..], col_step as usize, cols, out);
    }
    for (r, row) in out.chunks_exact_mut(cols).enumerate() {
        let at = base + r as isize * row_step;
        match col_step {
            1 => row.clone_from_slice(&source[at as usize..at as usize + cols]),
            0 => row.fill(source[at as usize].clone()),
            _ => {
                for (c, to) in row.iter_mut().enumerate() {
                    *to = source[(at + c as isize * col_step) as usize].clone();
                }
            }
        }
    }
}

/// `out[r, c] = source[c, r]`, source rows `stride` apart, tile by tile.
fn transpose_plane<T: Element>(source: &[T], stride: usize, cols: usize, out: &mut [T]) {
    let height = out.len() / cols;
    for r0 in (0..height).step_by(TILE) {
        let r1 = (r0 + TILE).min(height);
        for c0 in (0..cols).step_by(TILE) {
            let c1 = (c0 + TILE).min(cols);
            for r in r0..r1 {
                let line = &mut out[r * cols + c0..r * cols + c1];
                for (c, to) in (c0..c1).zip(line) {
                    *to = source[c * stride + r].clone();
                }
            }
        }
    }
}

/// Refuses a result of `len` strings taken from `source` that could pass the run's byte limit:
/// a repeated string costs its text each time, not only its handle.
pub(in crate::kernel) fn check_text(ctx: &Context<'_>, source: &Tensor, len: usize) -> Result<()> {
    if let Data::String(v) = source.data()
        && len > v.len()
    {
        let longest = v.iter().map(String::len).max().unwrap_or(0) as u64;
        ensure!(
            longest.saturating_mul(len as u64) <= ctx.limits.run_bytes,
            LimitExceeded,
            "a result of {len} strings of up to {longest} bytes passes the limit of {} bytes \
             (RequestLimits::run_bytes)",
            ctx.limits.run_bytes
        );
    }
    Ok(())
}

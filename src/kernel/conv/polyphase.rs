//! The polyphase layout of a plane: for each remainder of the position by the stride, the elements
//! of that remainder side by side, padding included. Neighbouring outputs then meet neighbouring
//! elements under every kernel element, whatever stride and dilation.

use super::window::{Dims, Sliding, SlidingMap};
use crate::error::Result;
use crate::kernel::Context;
use crate::kernel::simd::{
    Tap, WindowReduction, WindowRows, reduce_windows, split_pairs, window_span,
};
use crate::tensor::Element;

/// Most entries of the table of taps.
const MAX_TAPS: usize = 1 << 16;
/// A layout that takes more than so many times the plane's room (and this many elements) is none.
const MAX_GROWTH: usize = 4;
const SMALL: usize = 4096;

/// How planes of one size are laid out for one window.
pub(in crate::kernel) struct Polyphase {
    /// The remainders that a kernel element falls on.
    phases: Dims,
    /// Elements of one phase of one row.
    length: usize,
    stride: usize,
    before: usize,
    /// Elements of an input row.
    size: usize,
    rows: usize,
    width: usize,
    taps: Vec<Tap>,
    /// Where the taps of each output row begin in `taps`; one more than there are rows.
    starts: Vec<usize>,
}

impl Polyphase {
    /// The layout for this window, `None` where it would not pay.
    ///
    /// # Errors
    /// `LimitExceeded` where its scratch memory passes the run's limit.
    pub fn new<T: Element>(
        ctx: &Context<'_>,
        sliding: &Sliding,
        map: &SlidingMap,
    ) -> Result<Option<Polyphase>> {
        let Some(layout) = Polyphase::plan(sliding, map) else { return Ok(None) };
        ctx.shape_of::<T>(&[layout.len(), ctx.threads.size()])?;
        Ok(Some(layout))
    }

    fn plan(sliding: &Sliding, map: &SlidingMap) -> Option<Polyphase> {
        let last = sliding.input.len().checked_sub(1)?;
        let (size, stride) = (sliding.input[last], sliding.strides[last]);
        let (columns, dilation) = (sliding.kernel[last], sliding.dilations[last]);
        let width = map.width;
        if size == 0 || width == 0 || map.out_rows.checked_mul(map.kernel)? > MAX_TAPS {
            return None;
        }
        let mut phases = Dims::new();
        let mut places = Vec::with_capacity(columns);
        let mut reach = 0;
        for column in 0..columns {
            let offset = column.checked_mul(dilation)?;
            let phase = phases.iter().position(|&p| p == offset % stride).unwrap_or_else(|| {
                phases.push(offset % stride);
                phases.len() - 1
            });
            places.push((phase, offset / stride));
            reach = reach.max(offset / stride);
        }
        let length = window_span(width).checked_add(reach)?;
        let rows = map.input / size;
        let pitch = phases.len().checked_mul(length)?;
        if rows.checked_mul(pitch)? > map.input.saturating_mul(MAX_GROWTH).max(SMALL) {
            return None;
        }
        let mut taps = vec![];
        let mut starts = vec![0];
        for out_row in 0..map.out_rows {
            for kernel_row in 0..map.kernel / columns {
                let Some(start) = map.input_row(kernel_row, out_row) else { continue };
                let row = start / size * pitch;
                taps.extend(places.iter().enumerate().map(|(column, &(phase, offset))| Tap {
                    at: row + phase * length + offset,
                    kernel: kernel_row * columns + column,
                }));
            }
            starts.push(taps.len());
        }
        let before = sliding.before[last];
        Some(Polyphase { phases, length, stride, before, size, rows, width, taps, starts })
    }

    /// Elements of a plane that is laid out.
    fn len(&self) -> usize {
        self.rows * self.phases.len() * self.length
    }

    /// Room for a plane, with `padding` where no input element will lie.
    pub fn room<T: Copy>(&self, padding: T) -> Vec<T> {
        vec![padding; self.len()]
    }

    /// Puts a plane into its room.
    pub fn lay<T: Copy>(&self, plane: &[T], room: &mut [T]) {
        if self.stride == 2 && self.phases.as_slice() == [0, 1] {
            return split_pairs(plane, self.size, self.before, room, self.length);
        }
        let pitch = self.phases.len() * self.length;
        for (row, room) in plane.chunks_exact(self.size).zip(room.chunks_exact_mut(pitch)) {
            for (&phase, room) in self.phases.iter().zip(room.chunks_exact_mut(self.length)) {
                // Positions count from the beginning of the padding.
                let first = self.before.saturating_sub(phase).div_ceil(self.stride);
                let from = first * self.stride + phase - self.before;
                let (Some(row), Some(room)) = (row.get(from..), room.get_mut(first..)) else {
                    continue;
                };
                match self.stride {
                    1 => {
                        let n = row.len().min(room.len());
                        room[..n].copy_from_slice(&row[..n]);
                    }
                    stride => {
                        let row = row.iter().step_by(stride);
                        room.iter_mut().zip(row).for_each(|(place, x)| *place = *x);
                    }
                }
            }
        }
    }

    /// Reduces each window of a plane that was laid out; `start` is what each begins with.
    pub fn reduce<R: WindowReduction>(
        &self,
        reduction: &R,
        room: &[R::Element],
        start: R::Element,
        out: &mut [R::Element],
    ) {
        let rows = WindowRows { taps: &self.taps, starts: &self.starts, width: self.width };
        reduce_windows(reduction, rows, room, start, out);
    }
}

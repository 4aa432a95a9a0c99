//! Which scale belongs to which element: one for all, one an index of an axis, or one a block.

use crate::error::{Result, ensure};
use crate::tensor::Shape;
use crate::threads::Threads;
use std::ops::Range;

/// Elements of a row where rows mean nothing: small enough to be shared out among threads.
const PIECE: usize = 4096;

enum Kind {
    /// One scale for all elements.
    Tensor,
    /// One scale a row; so many of them, then from the first again.
    Rows(usize),
    /// One scale an element of a row, the same for all rows.
    Columns,
    /// Rows lie along the blocked axis: `blocks` scales a row, each for `size` elements.
    Along { size: usize, blocks: usize },
    /// Rows lie across the blocked axis, `length` of them along it: `size` rows share a row of
    /// scales, of which there are `blocks`.
    Across { size: usize, blocks: usize, length: usize },
}

/// How a tensor's scales (and zero points) lie among its elements.
pub(super) struct Layout {
    row: usize,
    kind: Kind,
}

/// The scales of a run of elements: from number `start` on, one an element unless `shared`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scales {
    pub start: usize,
    pub shared: bool,
}

impl Scales {
    /// Those of `values` that a run of `len` elements has: one, or one an element.
    pub fn of<'a, T>(&self, values: &'a [T], len: usize) -> &'a [T] {
        let len = if self.shared { 1 } else { len };
        values.get(self.start..self.start + len).unwrap_or(&[])
    }
}

impl Layout {
    /// The layout of scales of shape `scale` over elements of shape `x`; `block` is 0 where an
    /// axis has a scale for each of its indices.
    ///
    /// # Errors
    /// `InvalidInput` where the shapes do not fit each other.
    pub fn new(x: &Shape, scale: &Shape, axis: i64, block: usize) -> Result<Layout> {
        if scale.len() == 1 {
            return Ok(Layout { row: PIECE, kind: Kind::Tensor });
        }
        let axis = x.axis(axis)?;
        let (_, length, inner) = x.split_at(axis);
        if block == 0 {
            ensure!(
                scale.rank() == 1 && scale.len() == length,
                InvalidInput,
                "scales of shape {scale} for axis {axis} of shape {x}"
            );
            return Ok(match inner {
                1 => Layout { row: length, kind: Kind::Columns },
                _ => Layout { row: inner, kind: Kind::Rows(length) },
            });
        }
        let blocks = length.div_ceil(block);
        let fits = scale.rank() == x.rank()
            && (0..x.rank()).all(|i| scale.dim(i) == if i == axis { blocks } else { x.dim(i) });
        ensure!(
            fits,
            InvalidInput,
            "scales of shape {scale} for blocks of {block} along axis {axis} of shape {x}"
        );
        Ok(match inner {
            1 => Layout { row: length, kind: Kind::Along { size: block, blocks } },
            _ => Layout { row: inner, kind: Kind::Across { size: block, blocks, length } },
        })
    }

    /// Calls `each` with the runs of row `row`, which has `len` elements.
    fn runs(&self, row: usize, len: usize, mut each: impl FnMut(Range<usize>, Scales)) {
        match self.kind {
            Kind::Tensor => each(0..len, Scales { start: 0, shared: true }),
            Kind::Rows(n) => each(0..len, Scales { start: row % n.max(1), shared: true }),
            Kind::Columns => each(0..len, Scales { start: 0, shared: false }),
            Kind::Along { size, blocks } => {
                for (i, start) in (0..len).step_by(size).enumerate() {
                    let range = start..start.saturating_add(size).min(len);
                    each(range, Scales { start: row * blocks + i, shared: true });
                }
            }
            Kind::Across { size, blocks, length } => {
                let (outer, along) = (row / length.max(1), row % length.max(1));
                let start = (outer * blocks + along / size) * len;
                each(0..len, Scales { start, shared: false });
            }
        }
    }

    /// Calls `body` with each run of `x`, the part of `out` in the same place, and the run's
    /// scales.
    pub fn each<S: Sync, D: Send>(
        &self,
        threads: &Threads,
        x: &[S],
        out: &mut [D],
        body: impl Fn(&[S], &mut [D], Scales) + Send + Sync,
    ) {
        let row = self.row.max(1);
        threads.split_rows(out, row, row, |rows, chunk| {
            for (i, out) in chunk.chunks_mut(row).enumerate() {
                let index = rows.start + i;
                let x = x.get(index * row..index * row + out.len()).unwrap_or(&[]);
                self.runs(index, out.len(), |range, scales| {
                    if let (Some(x), Some(out)) = (x.get(range.clone()), out.get_mut(range)) {
                        body(x, out, scales);
                    }
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of the scale that each element has.
    fn numbers(x: &[usize], scale: &[usize], axis: i64, block: usize) -> Vec<usize> {
        let (x, scale) = (Shape::new(x).unwrap(), Shape::new(scale).unwrap());
        let values: Vec<usize> = (0..scale.len()).collect();
        let elements = vec![0u8; x.len()];
        let mut out = vec![usize::MAX; x.len()];
        let layout = Layout::new(&x, &scale, axis, block).unwrap();
        layout.each(&Threads::new(1), &elements, &mut out, |_, out, scales| {
            let values = scales.of(&values, out.len());
            for (i, o) in out.iter_mut().enumerate() {
                *o = values[if scales.shared { 0 } else { i }];
            }
        });
        out
    }

    #[test]
    fn every_element_finds_its_scale() {
        assert_eq!(numbers(&[3], &[], 1, 0), [0; 3]);
        assert_eq!(numbers(&[2, 2, 2], &[2], 1, 0), [0, 0, 1, 1, 0, 0, 1, 1]);
        assert_eq!(numbers(&[2, 3], &[3], -1, 0), [0, 1, 2, 0, 1, 2]);
        // Blocks of two; the last one is cut short.
        assert_eq!(numbers(&[2, 3], &[2, 2], 1, 2), [0, 0, 1, 2, 2, 3]);
        assert_eq!(numbers(&[3, 2], &[2, 2], 0, 2), [0, 1, 0, 1, 2, 3]);
        assert_eq!(numbers(&[2, 3, 2], &[2, 2, 2], 1, 2)[6..], [4, 5, 4, 5, 6, 7]);
        assert!(numbers(&[0, 3], &[3], 1, 0).is_empty());
    }

    #[test]
    fn scales_that_do_not_fit_are_refused() {
        let s = |d: &[usize]| Shape::new(d).unwrap();
        assert!(Layout::new(&s(&[2, 3]), &s(&[2]), 1, 0).is_err());
        assert!(Layout::new(&s(&[2, 3]), &s(&[2, 3]), 1, 0).is_err());
        assert!(Layout::new(&s(&[2, 3]), &s(&[3]), 2, 0).is_err());
        assert!(Layout::new(&s(&[2, 4]), &s(&[2, 3]), 1, 2).is_err());
        assert!(Layout::new(&s(&[2, 4]), &s(&[2]), 1, 2).is_err());
    }
}

//! Matrix products of `f32` over a packed right-hand side.
//!
//! `B` (k × n) lies in panels of 16 columns, each panel row after row, so that a kernel reads it
//! front to back; what is left over of eight columns or fewer is a panel of eight. Each output
//! element is one chain of multiply-adds over k in order, whatever the kernel, the number of rows
//! or the threads: a row of a product is the same bits alone and in a batch. The chain may pause
//! between blocks of k (the partial sum waits in the output).

use super::tile::{HALF, Level, PANEL, Tile};
use super::{fma, versioned};
use crate::error::Result;
use crate::room;
use crate::threads::Threads;
use std::ops::Range;

/// Rows of `B` worked through at a time: a panel's block then fits the first-level cache.
const BLOCK_K: usize = 512;
/// Rows of `A` worked through at a time: their blocks then fit the second-level cache.
const BLOCK_M: usize = 96;
/// Panels that a block of rows is multiplied with before the next rows: they share the rows'
/// loads. One row alone takes as many as there are registers for.
const GROUP: usize = 2;
const GROUP_OF_ONE_ROW: usize = 4;

/// Where the elements of a matrix lie in its slice.
#[derive(Debug, Clone, Copy)]
pub struct Strides {
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub column: usize,
}

/// What is done with each element of a product before it leaves the registers: the same
/// operations, hence the same bits, as in passes of their own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// A row to add to each row, as long as they are.
    pub add: Option<&'a [f32]>,
    /// Whether what is below 0 becomes 0.
    pub relu: bool,
}

/// The right-hand side of a product, packed.
#[derive(Debug, Clone, Default)]
pub struct PackedMatrix {
    k: usize,
    n: usize,
    data: Vec<f32>,
}

impl PackedMatrix {
    /// As [`PackedMatrix::new`], for weights, whose size is a file's.
    ///
    /// # Errors
    /// `LimitExceeded` where there is no memory for them.
    pub fn of_weights(k: usize, n: usize, strides: Strides, b: &[f32]) -> Result<PackedMatrix> {
        let mut packed = PackedMatrix { k, n, data: Vec::new() };
        packed.data = room::with_room(packed.packed_len())?;
        packed.pack(k, n, strides, b);
        Ok(packed)
    }

    /// Packs the k × n matrix in `b`. Elements beyond the slice count as 0.
    pub fn new(k: usize, n: usize, strides: Strides, b: &[f32]) -> PackedMatrix {
        let mut packed = PackedMatrix::default();
        packed.pack(k, n, strides, b);
        packed
    }

    /// As [`PackedMatrix::new`], into this one's buffer.
    pub fn pack(&mut self, k: usize, n: usize, strides: Strides, b: &[f32]) {
        (self.k, self.n) = (k, n);
        self.data.clear();
        let len = self.packed_len();
        self.data.reserve_exact(len);
        self.data.resize(len, 0.0);
        if k == 0 {
            return;
        }
        for p in 0..n.div_ceil(PANEL) {
            let columns = PANEL.min(n - p * PANEL);
            let width = if p < self.panels() { PANEL } else { HALF };
            let panel = &mut self.data[p * k * PANEL..][..k * width];
            for (i, row) in panel.chunks_exact_mut(width).enumerate() {
                let start = i * strides.row + p * PANEL * strides.column;
                if strides.column == 1
                    && let Some(source) = b.get(start..start + columns)
                {
                    row[..columns].copy_from_slice(source);
                } else {
                    for (j, v) in row[..columns].iter_mut().enumerate() {
                        *v = b.get(start + j * strides.column).copied().unwrap_or(0.0);
                    }
                }
            }
        }
    }

    /// Rows of the matrix: the inner dimension of the product.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of the matrix.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Whether the last columns are half a panel.
    fn has_half(&self) -> bool {
        (1..=HALF).contains(&(self.n % PANEL))
    }

    /// Panels of 16 columns; the last may be cut short.
    fn panels(&self) -> usize {
        self.n.div_ceil(PANEL) - usize::from(self.has_half())
    }

    /// Elements that the panels take.
    fn packed_len(&self) -> usize {
        let half = if self.has_half() { HALF } else { 0 };
        // Kernels read whole panels: beyond the last row of half a panel lies another half.
        self.k * (self.panels() * PANEL + half) + half
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        (self.data.len() * size_of::<f32>()) as u64
    }

    /// `out = a · self` for a row-major `a` of `m` rows, then `epilogue`; `out` is row-major
    /// m × n and overwritten. Slices of other lengths than m × k and m × n are a defect of the
    /// caller and leave `out` as it is.
    pub fn multiply(&self, m: usize, a: &[f32], out: &mut [f32], epilogue: Epilogue<'_>) {
        if self.fits(m, a, out, epilogue) {
            let target = Target(out.as_mut_ptr());
            self.block(a, target, 0..m, 0..self.n.div_ceil(PANEL), epilogue);
        }
    }

    /// As [`PackedMatrix::multiply`], with the work split over `threads` where it is large.
    pub fn multiply_on(
        &self,
        threads: &Threads,
        m: usize,
        a: &[f32],
        out: &mut [f32],
        epilogue: Epilogue<'_>,
    ) {
        if !self.fits(m, a, out, epilogue) {
            return;
        }
        let target = Target(out.as_mut_ptr());
        let panels = self.n.div_ceil(PANEL);
        // About 16 multiply-adds a nanosecond on one core.
        if m >= 24 * threads.size() {
            let ns = (self.k * panels).max(1);
            threads.split(m, ns, 12, |rows| self.block(a, target, rows, 0..panels, epilogue));
        } else {
            let ns = self.k.saturating_mul(m).max(1);
            threads.split(panels, ns, 4, |panels| self.block(a, target, 0..m, panels, epilogue));
        }
    }

    fn fits(&self, m: usize, a: &[f32], out: &mut [f32], epilogue: Epilogue<'_>) -> bool {
        let fits = m.checked_mul(self.k) == Some(a.len())
            && m.checked_mul(self.n) == Some(out.len())
            && epilogue.add.is_none_or(|row| row.len() == self.n);
        debug_assert!(fits, "{m} rows: {} × {} of {} and {}", self.k, self.n, a.len(), out.len());
        fits && !out.is_empty()
    }

    /// The panels from `start` that rows are multiplied with before the next rows come: half a
    /// panel goes with whole ones for one row, which leaves registers free, else alone.
    fn group_end(&self, rows: usize, start: usize, end: usize) -> usize {
        let whole = end.min(self.panels());
        let size = if rows == 1 { GROUP_OF_ONE_ROW } else { GROUP };
        let group = (start + size).min(whole);
        if group == whole && (rows == 1 || start >= whole) { end } else { group }
    }

    /// Computes the output block `rows` × `panels` (half a panel counts as one). Only called with
    /// ranges inside the matrices, and never for overlapping blocks at once.
    fn block(
        &self,
        a: &[f32],
        out: Target,
        rows: Range<usize>,
        panels: Range<usize>,
        epilogue: Epilogue<'_>,
    ) {
        let level = Level::detect();
        let operands = Operands { packed: self, a, out, epilogue };
        for i0 in rows.clone().step_by(BLOCK_M) {
            let rows = i0..(i0 + BLOCK_M).min(rows.end);
            // No inner dimension is one empty block: the epilogue is still to be done.
            for k0 in (0..self.k.max(1)).step_by(BLOCK_K) {
                let ks = k0..(k0 + BLOCK_K).min(self.k);
                let mut p0 = panels.start;
                while p0 < panels.end {
                    let p1 = self.group_end(rows.len(), p0, panels.end);
                    operands.group(level, rows.clone(), ks.clone(), p0..p1);
                    p0 = p1;
                }
            }
        }
    }
}

/// The matrices of one product.
struct Operands<'a> {
    packed: &'a PackedMatrix,
    a: &'a [f32],
    out: Target,
    epilogue: Epilogue<'a>,
}

impl Operands<'_> {
    /// Computes `rows` × `panels` for the part `ks` of the inner dimension.
    #[expect(unsafe_code, reason = "kernels over raw rows; bounds are established here")]
    fn group(&self, level: Level, rows: Range<usize>, ks: Range<usize>, panels: Range<usize>) {
        let PackedMatrix { k, n, data } = self.packed;
        let (k, n) = (*k, *n);
        let half = panels.end > self.packed.panels();
        let whole = panels.start..panels.end - usize::from(half);
        let last = ks.end == k;
        let mut i = rows.start;
        while i < rows.end {
            let height = level.height(rows.end - i, half);
            let mut p = panels.start;
            while p < panels.end {
                let kernel = level.kernel(height, whole.end - p, half);
                let halved = if kernel.half { self.packed.panels() } else { 0 };
                // SAFETY: rows i..i+height of `a` (k long each) and columns from p·16 of `out`
                // (n long rows) exist, since the ranges are inside the matrices that `fits`
                // measured; panels p..p+kernel.panels lie in `data`, as does half a panel behind
                // them where the kernel reads one, with another half behind that; `columns` keeps
                // reads of `add` and writes inside a row; the kernel's CPU features were detected.
                unsafe {
                    (kernel.run)(Tile {
                        kc: ks.len(),
                        a: self.a.as_ptr().add(i * k + ks.start),
                        lda: k,
                        b: data.as_ptr().add((p * k + ks.start) * PANEL),
                        panel: k * PANEL,
                        half: data.as_ptr().add(halved * k * PANEL + ks.start * HALF),
                        out: self.out.0.add(i * n + p * PANEL),
                        ldo: n,
                        columns: (n - p * PANEL).min(kernel.columns()),
                        first: ks.start == 0,
                        add: match self.epilogue.add {
                            Some(row) if last => row.as_ptr().add(p * PANEL),
                            _ => std::ptr::null(),
                        },
                        relu: self.epilogue.relu && last,
                    });
                }
                p += kernel.panels + usize::from(kernel.half);
            }
            i += height;
        }
    }
}

/// The output of a product, shared by threads that write disjoint blocks of it.
#[derive(Clone, Copy)]
struct Target(*mut f32);
#[expect(unsafe_code, reason = "threads write disjoint blocks")]
// SAFETY: the pointer is only written through by `block`, whose callers hand out disjoint
// blocks and hold the output's exclusive borrow until all have finished.
unsafe impl Send for Target {}
#[expect(unsafe_code, reason = "threads write disjoint blocks")]
// SAFETY: as for Send.
unsafe impl Sync for Target {}

#[inline(always)]
fn unpacked_body<const FMA: bool>(k: usize, n: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    if k == 0 || n == 0 {
        return;
    }
    for (a, out) in a.chunks_exact(k).zip(out.chunks_exact_mut(n)) {
        for (&a, b) in a.iter().zip(b.chunks_exact(n)) {
            for (o, &b) in out.iter_mut().zip(b) {
                *o = fma::<FMA>(a, b, *o);
            }
        }
    }
}

versioned! {
    /// `out = a · b` for row-major matrices (`b` of k rows and n columns) without packing: for
    /// few rows or columns. The same chain for each element, hence the same bits.
    pub fn multiply_unpacked(k: usize, n: usize, a: &[f32], b: &[f32], out: &mut [f32])
        = unpacked_body;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, columns: usize, seed: usize) -> Vec<f32> {
        (0..rows * columns).map(|i| ((i * 31 + seed * 17) % 103) as f32 / 51.0 - 1.0).collect()
    }

    fn exact(m: usize, k: usize, n: usize, a: &[f32], b: &[f32]) -> Vec<f64> {
        let mut out = vec![0f64; m * n];
        for i in 0..m {
            for p in 0..k {
                for j in 0..n {
                    out[i * n + j] += f64::from(a[i * k + p]) * f64::from(b[p * n + j]);
                }
            }
        }
        out
    }

    #[test]
    fn products_of_all_heights_and_cut_panels_are_right() {
        for (m, k, n) in [
            (1, 3, 1),
            (1, 7, 70),
            (1, 9, 72),
            (1, 4, 125),
            (1, 4, 5),
            (2, 600, 33),
            (5, 1, 16),
            (13, 40, 17),
            (27, 11, 8),
            (40, 600, 68),
            (100, 20, 50),
            (27, 0, 3),
        ] {
            let (a, b) = (matrix(m, k, 1), matrix(k, n, 2));
            let packed = PackedMatrix::new(k, n, Strides { row: n, column: 1 }, &b);
            let mut out = vec![f32::NAN; m * n];
            packed.multiply(m, &a, &mut out, Epilogue::default());
            for (g, e) in out.iter().zip(exact(m, k, n, &a, &b)) {
                assert!((f64::from(*g) - e).abs() < 1e-4, "{m}×{k}×{n}: {g} for {e}");
            }
            let mut after = vec![f32::NAN; m * n];
            let add = matrix(1, n, 8);
            packed.multiply(m, &a, &mut after, Epilogue { add: Some(&add), relu: true });
            for (i, v) in out.iter().enumerate() {
                let sum = v + add[i % n];
                assert_eq!(after[i], if sum < 0.0 { 0.0 } else { sum }, "{m}×{k}×{n}");
            }
        }
    }

    #[test]
    fn a_row_is_the_same_alone_in_a_batch_and_unpacked() {
        for n in [83, 68] {
            alone_and_in_a_batch(n);
        }
    }

    fn alone_and_in_a_batch(n: usize) {
        let (m, k) = (31, 1100);
        let (a, b) = (matrix(m, k, 3), matrix(k, n, 4));
        let packed = PackedMatrix::new(k, n, Strides { row: n, column: 1 }, &b);
        let mut batch = vec![0.0; m * n];
        packed.multiply_on(&Threads::new(3), m, &a, &mut batch, Epilogue::default());
        let mut alone = vec![0.0; n];
        let mut unpacked = vec![0.0; n];
        for (i, row) in a.chunks(k).enumerate() {
            packed.multiply(1, row, &mut alone, Epilogue::default());
            multiply_unpacked(k, n, row, &b, &mut unpacked);
            assert_eq!(alone, batch[i * n..(i + 1) * n]);
            assert_eq!(alone, unpacked);
        }
    }

    #[test]
    fn a_transposed_matrix_packs_by_its_strides() {
        let (k, n) = (5, 20);
        let b = matrix(k, n, 7);
        let transposed: Vec<f32> = (0..n * k).map(|i| b[i % k * n + i / k]).collect();
        let x = PackedMatrix::new(k, n, Strides { row: n, column: 1 }, &b);
        let y = PackedMatrix::new(k, n, Strides { row: 1, column: k }, &transposed);
        assert_eq!(x.data, y.data);
        // A panel, half a panel, and another half that kernels may read.
        assert_eq!((y.k(), y.n(), y.bytes()), (5, 20, (5 * 24 + 8) * 4));
    }
}

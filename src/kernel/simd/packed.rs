//! Matrix products of `f32` over a packed right-hand side.
//!
//! `B` (k × n) lies in panels of 16 columns, each panel row after row, so that a kernel reads it
//! front to back. Each output element is one chain of multiply-adds over k in order, whatever the
//! kernel, the number of rows or the threads: a row of a product is the same bits alone and in a
//! batch. The chain may pause between blocks of k (the partial sum waits in the output).

use super::NATIVE_FMA;
use super::{fma, has_avx2, versioned};
use crate::threads::Threads;

/// Columns of a panel: one AVX-512 register, two of AVX2.
const PANEL: usize = 16;
/// Columns of the widest kernel, four panels.
const EDGE: usize = 4 * PANEL;
/// Rows of `B` worked through at a time: a panel's block then fits the first-level cache.
const BLOCK_K: usize = 512;
/// Rows of `A` worked through at a time: their blocks then fit the second-level cache.
const BLOCK_M: usize = 96;

/// Where the elements of a matrix lie in its slice.
#[derive(Debug, Clone, Copy)]
pub struct Strides {
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub column: usize,
}

/// The right-hand side of a product, packed.
#[derive(Debug, Clone, Default)]
pub struct PackedMatrix {
    k: usize,
    n: usize,
    data: Vec<f32>,
}

impl PackedMatrix {
    /// Packs the k × n matrix in `b`. Elements beyond the slice count as 0.
    pub fn new(k: usize, n: usize, strides: Strides, b: &[f32]) -> PackedMatrix {
        let mut packed = PackedMatrix::default();
        packed.pack(k, n, strides, b);
        packed
    }

    /// As [`PackedMatrix::new`], into this one's buffer.
    pub fn pack(&mut self, k: usize, n: usize, strides: Strides, b: &[f32]) {
        let panels = n.div_ceil(PANEL);
        (self.k, self.n) = (k, n);
        self.data.clear();
        self.data.resize(panels * k * PANEL, 0.0);
        if k == 0 {
            return;
        }
        for (p, panel) in self.data.chunks_exact_mut(k * PANEL).enumerate() {
            let columns = PANEL.min(n - p * PANEL);
            for (i, row) in panel.chunks_exact_mut(PANEL).enumerate() {
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

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        (self.data.len() * size_of::<f32>()) as u64
    }

    /// `out = a · self` for a row-major `a` of `m` rows; `out` is row-major m × n and
    /// overwritten. Slices of other lengths than m × k and m × n are a defect of the caller and
    /// leave `out` as it is.
    pub fn multiply(&self, m: usize, a: &[f32], out: &mut [f32]) {
        if self.fits(m, a, out) {
            let target = Target(out.as_mut_ptr());
            self.block(a, target, 0..m, 0..self.n.div_ceil(PANEL));
        }
    }

    /// As [`PackedMatrix::multiply`], with the work split over `threads` where it is large.
    pub fn multiply_on(&self, threads: &Threads, m: usize, a: &[f32], out: &mut [f32]) {
        if !self.fits(m, a, out) {
            return;
        }
        let target = Target(out.as_mut_ptr());
        let panels = self.n.div_ceil(PANEL);
        // About 16 multiply-adds a nanosecond on one core.
        if m >= 24 * threads.size() {
            let ns = (self.k * panels).max(1);
            threads.split(m, ns, 12, |rows| self.block(a, target, rows, 0..panels));
        } else {
            let ns = self.k.saturating_mul(m).max(1);
            threads.split(panels, ns, 4, |panels| self.block(a, target, 0..m, panels));
        }
    }

    fn fits(&self, m: usize, a: &[f32], out: &mut [f32]) -> bool {
        let fits =
            m.checked_mul(self.k) == Some(a.len()) && m.checked_mul(self.n) == Some(out.len());
        debug_assert!(fits, "{m} rows: {} × {} of {} and {}", self.k, self.n, a.len(), out.len());
        if fits && self.k == 0 {
            out.fill(0.0);
        }
        fits && self.k > 0 && !out.is_empty()
    }

    /// Computes the output block `rows` × `panels`. Only called with ranges inside the matrices,
    /// and never for overlapping blocks at once.
    #[expect(unsafe_code, reason = "kernels over raw rows; bounds are established here")]
    fn block(
        &self,
        a: &[f32],
        out: Target,
        rows: std::ops::Range<usize>,
        panels: std::ops::Range<usize>,
    ) {
        let level = Level::detect();
        let (k, n) = (self.k, self.n);
        for i0 in rows.clone().step_by(BLOCK_M) {
            let i1 = (i0 + BLOCK_M).min(rows.end);
            for k0 in (0..k).step_by(BLOCK_K) {
                let kc = (k - k0).min(BLOCK_K);
                let group = if i1 - i0 == 1 { 4 } else { 2 };
                for p0 in panels.clone().step_by(group) {
                    let p1 = (p0 + group).min(panels.end);
                    let mut i = i0;
                    while i < i1 {
                        let mut p = p0;
                        let mut height = 1;
                        while p < p1 {
                            let kernel = level.kernel(i1 - i, p1 - p);
                            height = kernel.rows;
                            // SAFETY: rows i..i+height of `a` (k long each) and columns from
                            // p·16 of `out` (n long rows) exist, since the ranges are inside
                            // the matrices that `fits` measured; panels p..p+kernel.panels lie
                            // in `data`; `columns` keeps writes inside a row; the kernel's CPU
                            // features were detected.
                            unsafe {
                                (kernel.run)(Tile {
                                    kc,
                                    a: a.as_ptr().add(i * k + k0),
                                    lda: k,
                                    b: self.data.as_ptr().add((p * k + k0) * PANEL),
                                    panel: k * PANEL,
                                    out: out.0.add(i * n + p * PANEL),
                                    ldo: n,
                                    columns: (n - p * PANEL).min(kernel.panels * PANEL),
                                    first: k0 == 0,
                                });
                            }
                            p += kernel.panels;
                        }
                        i += height;
                    }
                }
            }
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

/// One kernel call: R rows of `a` times P panels of `b`.
struct Tile {
    kc: usize,
    a: *const f32,
    lda: usize,
    b: *const f32,
    /// Elements from one panel to the next.
    panel: usize,
    out: *mut f32,
    ldo: usize,
    /// Columns to write: all of the panels' unless the last is cut short.
    columns: usize,
    /// Whether the chain starts here (else it goes on from what is in `out`).
    first: bool,
}

struct TileKernel {
    run: unsafe fn(Tile),
    rows: usize,
    panels: usize,
}

#[derive(Clone, Copy)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    fn detect() -> Level {
        #[cfg(target_arch = "x86_64")]
        if has_avx2() {
            return if std::arch::is_x86_feature_detected!("avx512f") {
                Level::Avx512
            } else {
                Level::Avx2
            };
        }
        let _ = has_avx2;
        Level::Portable
    }

    /// The largest kernel for what is left of a block.
    fn kernel(self, rows: usize, panels: usize) -> TileKernel {
        macro_rules! kernels {
            ($f:ident, $per_panel:literal: $($rows:literal by $panels:literal),+) => {
                $(if rows >= $rows && panels >= $panels {
                    return TileKernel {
                        run: $f::<$rows, { $panels * $per_panel }>,
                        rows: $rows,
                        panels: $panels,
                    };
                })+
            };
        }
        match self {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => {
                // A height must not depend on the panels left: all of a group share their rows.
                kernels!(avx512, 1: 12 by 2, 12 by 1, 8 by 2, 8 by 1, 4 by 2, 4 by 1, 2 by 2, 2 by 1, 1 by 4, 1 by 1);
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => {
                kernels!(avx2, 2: 6 by 1, 4 by 1, 3 by 1, 2 by 2, 2 by 1, 1 by 4, 1 by 1);
            }
            Level::Portable => {}
        }
        kernels!(portable, 1: 4 by 1, 1 by 1);
        TileKernel { run: portable::<1, 1>, rows: 1, panels: 1 }
    }
}

/// Defines a kernel of R rows × V vectors; `$width` elements a vector.
macro_rules! vector_kernel {
    ($name:ident, $features:literal, $width:literal, $vector:ty,
     $zero:ident, $splat:ident, $load:ident, $store:ident, $fma:ident) => {
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "explicit vector code over raw rows")]
        #[target_feature(enable = $features)]
        unsafe fn $name<const R: usize, const V: usize>(tile: Tile) {
            use std::arch::x86_64::*;
            const PER_PANEL: usize = PANEL / $width;
            let whole = tile.columns == V * $width;
            // A cut panel's rows go through here, 64 columns (four panels) at most. Cleared only
            // when it is used.
            let mut edge = std::mem::MaybeUninit::<[[f32; EDGE]; R]>::uninit();
            let edge = edge.as_mut_ptr().cast::<f32>();
            // SAFETY: the caller vouches for R rows of `a` with `kc` elements, V/PER_PANEL panels
            // of `kc` rows in `b` and R rows of `columns` elements in `out`; `edge` rows hold
            // V·width ≤ 64 elements and are only touched after they were cleared.
            unsafe {
                if !whole {
                    std::ptr::write_bytes(edge, 0, R * EDGE);
                }
                let mut acc: [[$vector; V]; R] = [[$zero(); V]; R];
                if !tile.first {
                    for r in 0..R {
                        let mut row = tile.out.add(r * tile.ldo).cast_const();
                        if !whole {
                            std::ptr::copy_nonoverlapping(row, edge.add(r * EDGE), tile.columns);
                            row = edge.add(r * EDGE).cast_const();
                        }
                        for v in 0..V {
                            acc[r][v] = $load(row.add(v * $width));
                        }
                    }
                }
                for k in 0..tile.kc {
                    let mut b = [$zero(); V];
                    for v in 0..V {
                        let panel = v / PER_PANEL;
                        let within = (v - panel * PER_PANEL) * $width;
                        b[v] = $load(tile.b.add(panel * tile.panel + k * PANEL + within));
                    }
                    for r in 0..R {
                        let a = $splat(*tile.a.add(r * tile.lda + k));
                        for v in 0..V {
                            acc[r][v] = $fma(a, b[v], acc[r][v]);
                        }
                    }
                }
                for r in 0..R {
                    let row = tile.out.add(r * tile.ldo);
                    let to = if whole { row } else { edge.add(r * EDGE) };
                    for v in 0..V {
                        $store(to.add(v * $width), acc[r][v]);
                    }
                    if !whole {
                        std::ptr::copy_nonoverlapping(edge.add(r * EDGE), row, tile.columns);
                    }
                }
            }
        }
    };
}

vector_kernel!(
    avx2,
    "avx2,fma",
    8,
    __m256,
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_fmadd_ps
);
vector_kernel!(
    avx512,
    "avx512f",
    16,
    __m512,
    _mm512_setzero_ps,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_fmadd_ps
);

/// The same without vector types: the compiler makes of it what the baseline has. V is 1.
#[expect(unsafe_code, reason = "raw rows, as the other kernels")]
unsafe fn portable<const R: usize, const V: usize>(tile: Tile) {
    // SAFETY: as for the vector kernels; one panel.
    unsafe {
        let mut acc = [[0f32; PANEL]; R];
        if !tile.first {
            for (r, acc) in acc.iter_mut().enumerate() {
                let row = tile.out.add(r * tile.ldo);
                std::ptr::copy_nonoverlapping(row, acc.as_mut_ptr(), tile.columns);
            }
        }
        for k in 0..tile.kc {
            let b = &*tile.b.add(k * PANEL).cast::<[f32; PANEL]>();
            for (r, acc) in acc.iter_mut().enumerate() {
                let a = *tile.a.add(r * tile.lda + k);
                for (acc, &b) in acc.iter_mut().zip(b) {
                    *acc = fma::<NATIVE_FMA>(a, b, *acc);
                }
            }
        }
        for (r, acc) in acc.iter().enumerate() {
            let row = tile.out.add(r * tile.ldo);
            std::ptr::copy_nonoverlapping(acc.as_ptr(), row, tile.columns);
        }
    }
}

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
            (2, 600, 33),
            (5, 1, 16),
            (13, 40, 17),
            (100, 20, 50),
            (27, 0, 3),
        ] {
            let (a, b) = (matrix(m, k, 1), matrix(k, n, 2));
            let packed = PackedMatrix::new(k, n, Strides { row: n, column: 1 }, &b);
            let mut out = vec![f32::NAN; m * n];
            packed.multiply(m, &a, &mut out);
            for (g, e) in out.iter().zip(exact(m, k, n, &a, &b)) {
                assert!((f64::from(*g) - e).abs() < 1e-4, "{m}×{k}×{n}: {g} for {e}");
            }
        }
    }

    #[test]
    fn a_row_is_the_same_alone_in_a_batch_and_unpacked() {
        let (m, k, n) = (31, 1100, 83);
        let (a, b) = (matrix(m, k, 3), matrix(k, n, 4));
        let packed = PackedMatrix::new(k, n, Strides { row: n, column: 1 }, &b);
        let mut batch = vec![0.0; m * n];
        packed.multiply_on(&Threads::new(3), m, &a, &mut batch);
        let mut alone = vec![0.0; n];
        let mut unpacked = vec![0.0; n];
        for (i, row) in a.chunks(k).enumerate() {
            packed.multiply(1, row, &mut alone);
            multiply_unpacked(k, n, row, &b, &mut unpacked);
            assert_eq!(alone, batch[i * n..(i + 1) * n]);
            assert_eq!(alone, unpacked);
        }
    }

    #[test]
    fn every_level_computes_the_same_chain() {
        #[cfg(target_arch = "x86_64")]
        if has_avx2() {
            let (k, n) = (50, 16);
            let (a, b) = (matrix(6, k, 5), matrix(k, n, 6));
            let tile = |out: *mut f32| Tile {
                kc: k,
                a: a.as_ptr(),
                lda: k,
                b: b.as_ptr(),
                panel: 0,
                out,
                ldo: n,
                columns: n,
                first: true,
            };
            let mut six = vec![0f32; 6 * n];
            let mut plain = vec![0f32; 4 * n];
            #[expect(unsafe_code, reason = "calls the kernels themselves")]
            // SAFETY: the matrices have the tiles' sizes.
            unsafe {
                avx2::<6, 2>(tile(six.as_mut_ptr()));
                portable::<4, 1>(tile(plain.as_mut_ptr()));
            }
            for (x, y) in plain.iter().zip(&six) {
                assert!((x - y).abs() < 1e-4);
            }
            if std::arch::is_x86_feature_detected!("avx512f") {
                let mut wide = vec![0f32; 4 * n];
                #[expect(unsafe_code, reason = "calls the kernel itself")]
                // SAFETY: as above.
                unsafe {
                    avx512::<4, 1>(tile(wide.as_mut_ptr()));
                }
                assert_eq!(wide, six[..4 * n]);
            }
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
        assert_eq!((y.k(), y.n(), y.bytes()), (5, 20, 2 * 5 * 16 * 4));
    }
}

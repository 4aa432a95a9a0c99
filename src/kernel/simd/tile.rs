//! The kernels of packed products: a few rows times a few panels, held in registers.

#[cfg(target_arch = "x86_64")]
use super::has_avx2;
use super::{NATIVE_FMA, fma};

/// Columns of a panel: one AVX-512 register, two of AVX2.
pub const PANEL: usize = 16;
/// Columns of half a panel.
pub const HALF: usize = PANEL / 2;

/// One kernel call: R rows of `a` times some panels of `b`, and half a panel where the kernel
/// takes one.
pub struct Tile {
    pub kc: usize,
    pub a: *const f32,
    pub lda: usize,
    pub b: *const f32,
    /// Elements from one panel to the next.
    pub panel: usize,
    /// The half panel.
    pub half: *const f32,
    pub out: *mut f32,
    pub ldo: usize,
    /// Columns to write: all of the panels' unless the last is cut short.
    pub columns: usize,
    /// Whether the chain starts here (else it goes on from what is in `out`).
    pub first: bool,
    /// What to add at the end, a value a column; null for nothing.
    pub add: *const f32,
    /// Whether what is below 0 then becomes 0.
    pub relu: bool,
}

/// A kernel with the panels that it takes.
pub struct TileKernel {
    pub run: unsafe fn(Tile),
    /// Whole panels.
    pub panels: usize,
    /// Whether half a panel follows them.
    pub half: bool,
}

impl TileKernel {
    /// The most columns it writes.
    pub fn columns(&self) -> usize {
        self.panels * PANEL + if self.half { HALF } else { 0 }
    }
}

/// What the CPU has.
#[derive(Clone, Copy)]
pub enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    pub fn detect() -> Level {
        #[cfg(target_arch = "x86_64")]
        if has_avx2() {
            return if std::arch::is_x86_feature_detected!("avx512f") {
                Level::Avx512
            } else {
                Level::Avx2
            };
        }
        Level::Portable
    }

    /// The rows to take at once of so many; half a panel leaves registers for more of them.
    pub fn height(self, rows: usize, half: bool) -> usize {
        let heights: &[usize] = match (self, half) {
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, _) | (Level::Avx2, true) => &[12, 8, 4, 2],
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2, false) => &[6, 4, 3, 2],
            (Level::Portable, _) => &[4],
        };
        heights.iter().copied().find(|&h| h <= rows).unwrap_or(1)
    }

    /// The kernel for `height` rows that takes most of so many panels, and half a panel if that
    /// is what follows them. There is one for each height that [`Level::height`] answers.
    pub fn kernel(self, height: usize, panels: usize, half: bool) -> TileKernel {
        // `rows: panels…` without half a panel, `rows + half: panels…` with one behind them.
        macro_rules! kernels {
            ($f:ident, $per_panel:literal:
             [$($rows:literal: $panels:literal),+] and half [$($hrows:literal: $hpanels:literal),+]
            ) => {
                $(if half && height == $hrows && panels == $hpanels {
                    return TileKernel {
                        run: $f::<$hrows, { $hpanels * $per_panel + 1 }, true>,
                        panels: $hpanels,
                        half: true,
                    };
                })+
                $(if height == $rows && panels >= $panels {
                    return TileKernel {
                        run: $f::<$rows, { $panels * $per_panel }, false>,
                        panels: $panels,
                        half: false,
                    };
                })+
            };
        }
        match self {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => {
                kernels!(avx512, 1:
                    [12: 2, 12: 1, 8: 2, 8: 1, 4: 2, 4: 1, 2: 2, 2: 1, 1: 4, 1: 3, 1: 2, 1: 1]
                    and half [12: 0, 8: 0, 4: 0, 2: 0, 1: 4, 1: 3, 1: 2, 1: 1, 1: 0]);
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => {
                kernels!(avx2, 2:
                    [6: 1, 4: 1, 3: 1, 2: 2, 2: 1, 1: 4, 1: 3, 1: 2, 1: 1]
                    and half [12: 0, 8: 0, 4: 0, 2: 0, 1: 4, 1: 3, 1: 2, 1: 1, 1: 0]);
            }
            Level::Portable => {}
        }
        kernels!(portable, 1: [4: 1, 1: 1] and half [4: 0, 1: 0]);
        TileKernel { run: portable::<1, 1, false>, panels: 1, half: false }
    }
}

/// Columns of the widest kernel.
const EDGE: usize = 4 * PANEL + HALF;

/// Defines a kernel of R rows × N vectors, the last of them half a panel where H; `$width`
/// elements a vector.
macro_rules! vector_kernel {
    ($name:ident, $features:literal, $width:literal, $vector:ty, $zero:ident, $splat:ident,
     $load:ident, $store:ident, $fma:ident, $add:ident, $max:ident) => {
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "explicit vector code over raw rows")]
        #[target_feature(enable = $features)]
        unsafe fn $name<const R: usize, const N: usize, const H: bool>(tile: Tile) {
            use std::arch::x86_64::*;
            const PER_PANEL: usize = PANEL / $width;
            const ROW: usize = EDGE.next_multiple_of($width);
            let whole = tile.columns == N * $width;
            // The rows of a cut panel go through here. Never cleared: of what is read, only the
            // part that was written is used.
            let mut edge = [std::mem::MaybeUninit::<[f32; ROW]>::uninit(); R];
            let edge = edge.as_mut_ptr().cast::<f32>();
            // SAFETY: the caller vouches for R rows of `a` with `kc` elements, the panels of `kc`
            // rows in `b`, R rows of `columns` elements in `out` and as many in `add`; behind the
            // last row of half a panel are as many elements again. `edge` rows hold the N vectors,
            // and are cleared before the first that is not written whole is read.
            unsafe {
                let mut acc: [[$vector; N]; R] = [[$zero(); N]; R];
                if !tile.first {
                    let (mut from, mut stride) = (tile.out.cast_const(), tile.ldo);
                    if !whole {
                        std::ptr::write_bytes(edge, 0, R * ROW);
                        for r in 0..R {
                            copy_part(from.add(r * stride), edge.add(r * ROW), tile.columns);
                        }
                        (from, stride) = (edge.cast_const(), ROW);
                    }
                    for r in 0..R {
                        for v in 0..N {
                            acc[r][v] = $load(from.add(r * stride + v * $width));
                        }
                    }
                }
                for k in 0..tile.kc {
                    let mut b = [$zero(); N];
                    for v in 0..N {
                        b[v] = if H && v == N - 1 {
                            $load(tile.half.add(k * HALF))
                        } else {
                            let panel = v / PER_PANEL;
                            let within = (v - panel * PER_PANEL) * $width;
                            $load(tile.b.add(panel * tile.panel + k * PANEL + within))
                        };
                    }
                    for r in 0..R {
                        let a = $splat(*tile.a.add(r * tile.lda + k));
                        for v in 0..N {
                            acc[r][v] = $fma(a, b[v], acc[r][v]);
                        }
                    }
                }
                if !tile.add.is_null() {
                    let mut add = tile.add;
                    if !whole {
                        std::ptr::write_bytes(edge, 0, ROW);
                        copy_part(add, edge, tile.columns);
                        add = edge.cast_const();
                    }
                    for v in 0..N {
                        let add = $load(add.add(v * $width));
                        for r in 0..R {
                            acc[r][v] = $add(acc[r][v], add);
                        }
                    }
                }
                if tile.relu {
                    for r in 0..R {
                        for v in 0..N {
                            // Of equals and with NaN the second operand is the result.
                            acc[r][v] = $max($zero(), acc[r][v]);
                        }
                    }
                }
                let (mut to, mut stride) = (tile.out, tile.ldo);
                if !whole {
                    (to, stride) = (edge, ROW);
                }
                for r in 0..R {
                    for v in 0..N {
                        $store(to.add(r * stride + v * $width), acc[r][v]);
                    }
                }
                if !whole {
                    for r in 0..R {
                        copy_part(edge.add(r * ROW), tile.out.add(r * tile.ldo), tile.columns);
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
    _mm256_fmadd_ps,
    _mm256_add_ps,
    _mm256_max_ps
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
    _mm512_fmadd_ps,
    _mm512_add_ps,
    _mm512_max_ps
);

/// Copies `n` elements: few, so that a call would take longer.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "raw rows, as the kernels")]
#[inline(always)]
unsafe fn copy_part(mut from: *const f32, mut to: *mut f32, n: usize) {
    // SAFETY: the caller vouches for `n` elements at both ends; 8, 4, 2 and 1 are copied as
    // they are there.
    unsafe {
        for _ in 0..n / 8 {
            to.cast::<[f32; 8]>().write(from.cast::<[f32; 8]>().read());
            (from, to) = (from.add(8), to.add(8));
        }
        if n & 4 != 0 {
            to.cast::<[f32; 4]>().write(from.cast::<[f32; 4]>().read());
            (from, to) = (from.add(4), to.add(4));
        }
        if n & 2 != 0 {
            to.cast::<[f32; 2]>().write(from.cast::<[f32; 2]>().read());
            (from, to) = (from.add(2), to.add(2));
        }
        if n & 1 != 0 {
            to.write(from.read());
        }
    }
}

/// The same without vector types: the compiler makes of it what the baseline has. N is 1: a panel,
/// or half of one where H.
#[expect(unsafe_code, reason = "raw rows, as the other kernels")]
unsafe fn portable<const R: usize, const N: usize, const H: bool>(tile: Tile) {
    // SAFETY: as for the vector kernels; one panel.
    unsafe {
        let mut acc = [[0f32; PANEL]; R];
        if !tile.first {
            for (r, acc) in acc.iter_mut().enumerate() {
                let row = tile.out.add(r * tile.ldo);
                std::ptr::copy_nonoverlapping(row, acc.as_mut_ptr(), tile.columns);
            }
        }
        let (b, width) = if H { (tile.half, HALF) } else { (tile.b, PANEL) };
        for k in 0..tile.kc {
            let b = &*b.add(k * width).cast::<[f32; PANEL]>();
            for (r, acc) in acc.iter_mut().enumerate() {
                let a = *tile.a.add(r * tile.lda + k);
                for (acc, &b) in acc.iter_mut().zip(b) {
                    *acc = fma::<NATIVE_FMA>(a, b, *acc);
                }
            }
        }
        for (r, acc) in acc.iter_mut().enumerate() {
            let acc = &mut acc[..tile.columns];
            if !tile.add.is_null() {
                let add = std::slice::from_raw_parts(tile.add, tile.columns);
                acc.iter_mut().zip(add).for_each(|(v, add)| *v += add);
            }
            if tile.relu {
                acc.iter_mut().for_each(|v| *v = if *v < 0.0 { 0.0 } else { *v });
            }
            let row = tile.out.add(r * tile.ldo);
            std::ptr::copy_nonoverlapping(acc.as_ptr(), row, tile.columns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_computes_the_same_chain() {
        #[cfg(target_arch = "x86_64")]
        if has_avx2() {
            let (k, n) = (50, 16);
            let fill = |rows: usize, columns: usize, seed: usize| -> Vec<f32> {
                (0..rows * columns).map(|i| ((i * 31 + seed) % 103) as f32 / 51.0 - 1.0).collect()
            };
            let (a, b, add) = (fill(6, k, 5), fill(k + 1, n, 6), fill(1, n, 7));
            let tile = |out: *mut f32, columns: usize| Tile {
                kc: k,
                a: a.as_ptr(),
                lda: k,
                b: b.as_ptr(),
                panel: 0,
                half: b.as_ptr(),
                out,
                ldo: n,
                columns,
                first: true,
                add: add.as_ptr(),
                relu: true,
            };
            let mut six = vec![0f32; 6 * n];
            let mut plain = vec![0f32; 4 * n];
            let (mut half, mut plain_half) = (vec![0f32; 4 * n], vec![0f32; 4 * n]);
            #[expect(unsafe_code, reason = "calls the kernels themselves")]
            // SAFETY: the matrices have the tiles' sizes.
            unsafe {
                avx2::<6, 2, false>(tile(six.as_mut_ptr(), n));
                portable::<4, 1, false>(tile(plain.as_mut_ptr(), n));
                avx2::<4, 1, true>(tile(half.as_mut_ptr(), 7));
                portable::<4, 1, true>(tile(plain_half.as_mut_ptr(), 7));
            }
            for (x, y) in plain.iter().zip(&six).chain(plain_half.iter().zip(&half)) {
                assert!((x - y).abs() < 1e-4);
            }
            if std::arch::is_x86_feature_detected!("avx512f") {
                let (mut wide, mut wide_half) = (vec![0f32; 4 * n], vec![0f32; 4 * n]);
                #[expect(unsafe_code, reason = "calls the kernels themselves")]
                // SAFETY: as above.
                unsafe {
                    avx512::<4, 1, false>(tile(wide.as_mut_ptr(), n));
                    avx512::<4, 1, true>(tile(wide_half.as_mut_ptr(), 7));
                }
                assert_eq!(wide, six[..4 * n]);
                assert_eq!(wide_half, half);
            }
        }
    }
}

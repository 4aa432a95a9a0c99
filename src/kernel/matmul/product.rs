//! Batches of products of two matrices that are both known only at run time.

use crate::kernel::simd::packed::{Epilogue, PackedMatrix, Strides, multiply_unpacked};
use crate::tensor::Element;
use crate::threads::Threads;

/// The sizes of one product: (m × k) · (k × n).
#[derive(Debug, Clone, Copy)]
pub struct Dims {
    pub m: usize,
    pub k: usize,
    pub n: usize,
}

/// An element type that products are computed in directly. Integers wrap.
pub trait Number: Element + Copy {
    /// `self + a·b`
    fn add_product(self, a: Self, b: Self) -> Self;
    /// `self + other`
    fn plus(self, other: Self) -> Self;
    /// `alpha · self`, truncated for integers.
    fn scaled(self, alpha: f32) -> Self;
}

macro_rules! float {
    ($($t:ty),+) => {$(
        impl Number for $t {
            #[inline(always)]
            fn add_product(self, a: Self, b: Self) -> Self { self + a * b }
            #[inline(always)]
            fn plus(self, other: Self) -> Self { self + other }
            #[inline(always)]
            fn scaled(self, alpha: f32) -> Self { <$t>::from(alpha) * self }
        }
    )+};
}
float!(f32, f64);

macro_rules! integer {
    ($($t:ty),+) => {$(
        impl Number for $t {
            #[inline(always)]
            fn add_product(self, a: Self, b: Self) -> Self {
                self.wrapping_add(a.wrapping_mul(b))
            }
            #[inline(always)]
            fn plus(self, other: Self) -> Self { self.wrapping_add(other) }
            #[inline(always)]
            fn scaled(self, alpha: f32) -> Self { (f64::from(alpha) * self as f64) as $t }
        }
    )+};
}
integer!(i32, i64, u32, u64);

fn matrix<T>(all: &[T], index: usize, len: usize) -> &[T] {
    all.get(index * len..(index + 1) * len).unwrap_or(&[])
}

/// One product per pair of matrix numbers, each m × n of `out`.
pub fn batched_f32(
    threads: &Threads,
    dims: Dims,
    pairs: &[(usize, usize)],
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
) {
    let Dims { m, k, n } = dims;
    let packs = m >= 4 && n >= 16;
    let strides = Strides { row: n, column: 1 };
    if let (&[(i, j)], true) = (pairs, packs) {
        let packed = PackedMatrix::new(k, n, strides, matrix(b, j, k * n));
        return packed.multiply_on(threads, m, matrix(a, i, m * k), out, Epilogue::default());
    }
    let ns = (m * n).saturating_mul(k) / 16;
    threads.split_rows(out, m * n, ns.max(1), |range, out| {
        let mut packed = (usize::MAX, PackedMatrix::default());
        for (&(i, j), out) in pairs[range].iter().zip(out.chunks_exact_mut((m * n).max(1))) {
            let (a, b) = (matrix(a, i, m * k), matrix(b, j, k * n));
            if packs {
                if packed.0 != j {
                    packed.1.pack(k, n, strides, b);
                    packed.0 = j;
                }
                packed.1.multiply(m, a, out, Epilogue::default());
            } else {
                multiply_unpacked(k, n, a, b, out);
            }
        }
    });
}

/// As [`batched_f32`], for the other types. `out` starts at zero.
pub fn batched_plain<T: Number>(
    threads: &Threads,
    dims: Dims,
    pairs: &[(usize, usize)],
    a: &[T],
    b: &[T],
    out: &mut [T],
) {
    let Dims { m, k, n } = dims;
    if k == 0 || n == 0 || m == 0 {
        return;
    }
    // Rows of all products together are the items, so that one large product is split too.
    threads.split_rows(out, n, n.saturating_mul(k).max(1), |rows, out| {
        for (row, out) in rows.zip(out.chunks_exact_mut(n)) {
            let Some(&(i, j)) = pairs.get(row / m) else { continue };
            let a = matrix(matrix(a, i, m * k), row % m, k);
            for (&a, b) in a.iter().zip(matrix(b, j, k * n).chunks_exact(n)) {
                for (o, &b) in out.iter_mut().zip(b) {
                    *o = o.add_product(a, b);
                }
            }
        }
    });
}

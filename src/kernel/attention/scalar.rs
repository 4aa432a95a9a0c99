//! The two precisions attention is computed in: their products, their softmax, their functions.

use crate::error::Result;
use crate::kernel::conv::product::row_exact_product;
use crate::kernel::conv::real::Real;
use crate::kernel::simd::packed::{Epilogue, PackedMatrix, Strides, multiply_unpacked};
use crate::kernel::simd::{self};
use crate::tensor::{Data, Tensor};
use std::borrow::Cow;

/// Rows below which packing the other matrix costs more than it saves.
const FEW_ROWS: usize = 4;

/// `f32` or `f64`.
pub(super) trait Scalar: Real {
    /// The lowest finite value.
    const LOWEST: Self;
    /// What a score becomes that is to have no weight: −∞.
    const HIDDEN: Self;

    /// The elements of a tensor, converted where it is of another type.
    fn read(tensor: &Tensor) -> Result<Cow<'_, [Self]>>;

    /// The value in double precision.
    fn wide(self) -> f64;

    /// `out = a · b` for row-major `a` (m × k) and `b` (k × n), of sizes `[m, k, n]`.
    fn product(sizes: [usize; 3], a: &[Self], b: &[Self], out: &mut [Self]) -> Result<()>;

    /// `out = a · bᵀ` for row-major `a` (m × k) and `b` (n × k), of sizes `[m, k, n]`.
    fn product_transposed(
        sizes: [usize; 3],
        a: &[Self],
        b: &[Self],
        out: &mut [Self],
    ) -> Result<()>;

    /// Softmax of each row of `width` elements, in place.
    fn softmax_rows(rows: &mut [Self], width: usize);

    /// tanh in place.
    fn tanh_in_place(values: &mut [Self]);
}

impl Scalar for f32 {
    const LOWEST: f32 = f32::MIN;
    const HIDDEN: f32 = f32::NEG_INFINITY;

    fn read(tensor: &Tensor) -> Result<Cow<'_, [f32]>> {
        Ok(match tensor.data() {
            Data::F32(v) => Cow::Borrowed(v),
            _ => Cow::Owned(tensor.to_f32_vec()?),
        })
    }

    fn wide(self) -> f64 {
        self.into()
    }

    fn product([m, k, n]: [usize; 3], a: &[f32], b: &[f32], out: &mut [f32]) -> Result<()> {
        if m < FEW_ROWS {
            multiply_unpacked(k, n, a, b, out);
        } else {
            let packed = PackedMatrix::new(k, n, Strides { row: n, column: 1 }, b);
            packed.multiply(m, a, out, Epilogue::default());
        }
        Ok(())
    }

    fn product_transposed(
        [m, k, n]: [usize; 3],
        a: &[f32],
        b: &[f32],
        out: &mut [f32],
    ) -> Result<()> {
        if m < FEW_ROWS {
            for (a, out) in a.chunks_exact(k.max(1)).zip(out.chunks_exact_mut(n.max(1))) {
                for (out, b) in out.iter_mut().zip(b.chunks_exact(k.max(1))) {
                    *out = simd::dot(a, b);
                }
            }
        } else {
            let packed = PackedMatrix::new(k, n, Strides { row: 1, column: k }, b);
            packed.multiply(m, a, out, Epilogue::default());
        }
        Ok(())
    }

    fn softmax_rows(rows: &mut [f32], width: usize) {
        simd::softmax_rows(rows, width);
    }

    fn tanh_in_place(values: &mut [f32]) {
        simd::tanh_in_place(values);
    }
}

impl Scalar for f64 {
    const LOWEST: f64 = f64::MIN;
    const HIDDEN: f64 = f64::NEG_INFINITY;

    fn read(tensor: &Tensor) -> Result<Cow<'_, [f64]>> {
        Ok(match tensor.data() {
            Data::F64(v) => Cow::Borrowed(v),
            _ => Cow::Owned(tensor.to_f64_vec()?),
        })
    }

    fn wide(self) -> f64 {
        self
    }

    fn product([m, k, n]: [usize; 3], a: &[f64], b: &[f64], out: &mut [f64]) -> Result<()> {
        row_exact_product(m, k, n, a, b, out)
    }

    fn product_transposed(
        [m, k, n]: [usize; 3],
        a: &[f64],
        b: &[f64],
        out: &mut [f64],
    ) -> Result<()> {
        let mut turned = Vec::with_capacity(b.len());
        for i in 0..k {
            turned.extend(b.iter().skip(i).step_by(k));
        }
        row_exact_product(m, k, n, a, &turned, out)
    }

    fn softmax_rows(rows: &mut [f64], width: usize) {
        for row in rows.chunks_exact_mut(width.max(1)) {
            let max = row.iter().fold(f64::NEG_INFINITY, |m, &v| if v > m { v } else { m });
            let mut sum = 0.0;
            for v in &mut *row {
                *v = (*v - max).exp();
                sum += *v;
            }
            for v in row {
                *v /= sum;
            }
        }
    }

    fn tanh_in_place(values: &mut [f64]) {
        values.iter_mut().for_each(|v| *v = v.tanh());
    }
}

//! Single-threaded matrix products over checked views.

#![expect(unsafe_code, reason = "the matrix product of the gemm crate takes raw pointers")]

use super::real::Real;
use crate::error::{Result, ensure, err};

/// Terms summed in one go: the product's own blocking along the summed dimension starts above
/// this and depends on the other dimensions, which must not change a row's bits.
const DEPTH: usize = 512;

fn check(len: usize, rows: usize, cols: usize, row_step: usize, col_step: usize) -> Result<()> {
    let fits = || {
        if rows == 0 || cols == 0 {
            return Some(true);
        }
        let down = (rows - 1).checked_mul(row_step)?;
        let along = (cols - 1).checked_mul(col_step)?;
        Some(down.checked_add(along)? < len)
    };
    let signed = |v: usize| isize::try_from(v).is_ok();
    ensure!(
        fits() == Some(true) && signed(row_step) && signed(col_step),
        Internal,
        "a {rows} x {cols} matrix with steps {row_step} and {col_step} in {len} elements"
    );
    Ok(())
}

/// A matrix seen in a slice: element (i, j) lies at `i * row_step + j * col_step`.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_step: usize,
    col_step: usize,
}

impl<'a, T: Real> Matrix<'a, T> {
    /// A view of `data`; `Internal` when it reaches beyond.
    pub fn new(
        data: &'a [T],
        rows: usize,
        cols: usize,
        row_step: usize,
        col_step: usize,
    ) -> Result<Self> {
        check(data.len(), rows, cols, row_step, col_step)?;
        Ok(Matrix { data, rows, cols, row_step, col_step })
    }

    /// Columns `start..start + cols` of a matrix.
    fn columns(&self, start: usize, cols: usize) -> Result<Self> {
        let data = self.data.get(start.saturating_mul(self.col_step)..).unwrap_or(&[]);
        Matrix::new(data, self.rows, cols, self.row_step, self.col_step)
    }

    /// Rows `start..start + rows` of a matrix.
    fn rows(&self, start: usize, rows: usize) -> Result<Self> {
        let data = self.data.get(start.saturating_mul(self.row_step)..).unwrap_or(&[]);
        Matrix::new(data, rows, self.cols, self.row_step, self.col_step)
    }
}

/// As [`Matrix`], to be written.
pub(in crate::kernel) struct MatrixMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    cols: usize,
    row_step: usize,
    col_step: usize,
}

impl<'a, T: Real> MatrixMut<'a, T> {
    /// A view of `data`; `Internal` when it reaches beyond.
    pub fn new(
        data: &'a mut [T],
        rows: usize,
        cols: usize,
        row_step: usize,
        col_step: usize,
    ) -> Result<Self> {
        check(data.len(), rows, cols, row_step, col_step)?;
        Ok(MatrixMut { data, rows, cols, row_step, col_step })
    }
}

/// `out = a · b`, or `out += a · b` with `accumulate`, in the calling thread.
pub(in crate::kernel) fn product<T: Real>(
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
    out: &mut MatrixMut<'_, T>,
    accumulate: bool,
) -> Result<()> {
    ensure!(
        a.cols == b.rows && a.rows == out.rows && b.cols == out.cols,
        Internal,
        "a product of {} x {} and {} x {} into {} x {}",
        a.rows,
        a.cols,
        b.rows,
        b.cols,
        out.rows,
        out.cols
    );
    if out.rows == 0 || out.cols == 0 {
        return Ok(());
    }
    // SAFETY: the three views were checked when made: every (i, j) below their rows and columns
    // lies inside their slices, and the steps fit isize; the shapes agree as checked above. The
    // product reads `a` and `b` and writes `out` at just these places, and `out` is borrowed
    // mutably, so that it overlaps neither. It starts no thread (`Parallelism::None`). The
    // elements are f32 or f64 (`Real` has no other implementation), which the crate dispatches
    // by type.
    unsafe {
        gemm::gemm(
            out.rows,
            out.cols,
            a.cols,
            out.data.as_mut_ptr(),
            out.col_step as isize,
            out.row_step as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_step as isize,
            a.row_step as isize,
            b.data.as_ptr(),
            b.col_step as isize,
            b.row_step as isize,
            if accumulate { T::ONE } else { T::ZERO },
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
    Ok(())
}

/// `out = a · b` for contiguous row-major `a` (rows × depth), `b` (depth × cols), `out`, such
/// that a row of the result has the same bits however many rows there are.
pub(in crate::kernel) fn row_exact_product<T: Real>(
    rows: usize,
    depth: usize,
    cols: usize,
    a: &[T],
    b: &[T],
    out: &mut [T],
) -> Result<()> {
    if rows == 0 || cols == 0 {
        return Ok(());
    }
    if depth == 0 {
        out.fill(T::ZERO);
        return Ok(());
    }
    if cols == 1 {
        // The product would choose between sums of different order by the number of rows.
        for (out, row) in out.iter_mut().zip(a.chunks_exact(depth)) {
            *out = dot(row, b);
        }
        return Ok(());
    }
    if rows == 1 {
        // A single row takes another way through the product: give it company.
        let mut two = a.to_vec();
        two.resize(2 * depth, T::ZERO);
        let mut result = vec![T::ZERO; 2 * cols];
        row_exact_product(2, depth, cols, &two, b, &mut result)?;
        let row = result.get(..cols).ok_or_else(|| err!(Internal, "a product without rows"))?;
        out.copy_from_slice(row);
        return Ok(());
    }
    let a = Matrix::new(a, rows, depth, depth, 1)?;
    let b = Matrix::new(b, depth, cols, cols, 1)?;
    let mut out = MatrixMut::new(out, rows, cols, cols, 1)?;
    let mut start = 0;
    while start < depth {
        let part = DEPTH.min(depth - start);
        product(&a.columns(start, part)?, &b.rows(start, part)?, &mut out, start > 0)?;
        start += part;
    }
    Ok(())
}

fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::ZERO; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let (ra, rb) = (a8.remainder(), b8.remainder());
    for (a, b) in a8.zip(b8) {
        for ((lane, &x), &y) in lanes.iter_mut().zip(a).zip(b) {
            *lane += x * y;
        }
    }
    let mut sum = T::ZERO;
    for lane in lanes {
        sum += lane;
    }
    for (&x, &y) in ra.iter().zip(rb) {
        sum += x * y;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_beyond_their_slice_are_refused() {
        let v = [0f32; 6];
        assert!(Matrix::new(&v, 2, 3, 3, 1).is_ok());
        assert!(Matrix::new(&v, 3, 2, 3, 1).is_err());
        assert!(Matrix::new(&v, usize::MAX, 2, usize::MAX, 1).is_err());
        assert!(Matrix::new(&v, 0, 3, 100, 100).is_ok());
        let mut out = [0f32; 4];
        let a = Matrix::new(&v, 2, 3, 3, 1).unwrap();
        let b = Matrix::new(&v, 2, 2, 3, 1).unwrap();
        let mut out = MatrixMut::new(&mut out, 2, 2, 2, 1).unwrap();
        assert!(product(&a, &b, &mut out, false).is_err());
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_among_others() {
        for (depth, cols) in [(700, 5), (1100, 1), (64, 70), (3, 2)] {
            let rows = 300;
            let wave = |i: usize| ((i * 7919 % 1013) as f32 / 1013.0 - 0.5) * 1.7;
            let a: Vec<f32> = (0..rows * depth).map(wave).collect();
            let b: Vec<f32> = (0..depth * cols).map(|i| wave(i * 31 + 5)).collect();
            let mut all = vec![0f32; rows * cols];
            row_exact_product(rows, depth, cols, &a, &b, &mut all).unwrap();
            for n in [1usize, 2, 7, 65] {
                let mut some = vec![0f32; n * cols];
                row_exact_product(n, depth, cols, &a[..n * depth], &b, &mut some).unwrap();
                assert_eq!(some, all[..n * cols], "{n} rows of {depth} x {cols}");
            }
            let exact: f64 = (0..depth).map(|k| f64::from(a[k]) * f64::from(b[k * cols])).sum();
            assert!((exact - f64::from(all[0])).abs() < 1e-3);
        }
    }
}

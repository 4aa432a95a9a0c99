//! QGemm: `alpha · A · B + C` on quantised matrices.

use super::level::{Byte, scale, with_byte, with_bytes, zero, zeros};
use super::lines::{Direction, Lines};
use super::product::{Rows, centre, padded, product, turn};
use crate::error::{Result, bail, ensure};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Shape, Tensor};

/// B with its columns as rows, less their zero points.
struct Right {
    n: usize,
    k: usize,
    step: usize,
    data: Vec<i16>,
}

struct QGemm {
    transpose: [bool; 2],
    alpha: f32,
    right: Option<Right>,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(6..=9)?;
    let a = spec.attributes;
    let transpose = [a.flag("transA", false)?, a.flag("transB", false)?];
    let right = match (spec.constant(3), spec.constant(5)) {
        (Some(b), Some(zero)) => {
            Some(Right::new(b, zero, transpose[1]).map_err(|e| spec.invalid(e.message()))?)
        }
        _ => None,
    };
    Ok(Box::new(QGemm { transpose, alpha: a.float("alpha", 1.0)?, right }))
}

/// The sizes of a matrix, its dimensions exchanged with `transposed`.
fn sizes(t: &Tensor, transposed: bool, what: &str) -> Result<(usize, usize)> {
    match (t.dims(), transposed) {
        (&[rows, columns], false) | (&[columns, rows], true) => Ok((rows, columns)),
        _ => bail!(InvalidInput, "QGemm: {what} is of shape {}, expected a matrix", t.shape()),
    }
}

/// Lines along the inner dimension of an operand, one a row (of A) or a column (of B): they lie
/// as they are needed where `rows`, else across.
fn lines(
    t: &Tensor,
    (count, depth): (usize, usize),
    rows: bool,
    zero: &Lines<i16>,
    out: &mut [i16],
) -> Result<()> {
    let step = padded(depth);
    let zero = |line: usize| zero.at(0, line).unwrap_or(0);
    with_bytes!("QGemm", t, v => {
        if rows {
            let pairs = out.chunks_mut(step.max(1)).zip(v.chunks(depth.max(1)));
            for (line, (out, v)) in pairs.enumerate() {
                centre(v, zero(line), out);
            }
        } else {
            turn(v, count, step, zero, out);
        }
        Ok(())
    })
}

impl Right {
    fn new(b: &Tensor, zero: &Tensor, transposed: bool) -> Result<Right> {
        let (k, n) = sizes(b, transposed, "B")?;
        let what = "the zero point of B";
        let values = zeros(Some(zero), b.dtype(), what)?;
        let zero = Lines::new(values, zero.dims(), &[k, n], Direction::Column, what)?;
        let step = padded(k);
        let mut data = vec![0; Shape::new(&[n, step])?.len()];
        lines(b, (n, k), transposed, &zero, &mut data)?;
        Ok(Right { n, k, step, data })
    }
}

impl QGemm {
    /// Adds C, which broadcasts to the m × n sums.
    fn add(c: &Tensor, m: usize, n: usize, sums: &mut [i32]) -> Result<()> {
        let (rows, columns) = match c.dims() {
            [] => (1, 1),
            &[columns] => (1, columns),
            &[rows, columns] => (rows, columns),
            _ => (0, 0),
        };
        ensure!(
            (rows == 1 || rows == m) && (columns == 1 || columns == n),
            InvalidInput,
            "QGemm: C of shape {} does not broadcast to [{m}, {n}]",
            c.shape()
        );
        let c = c.as_slice::<i32>()?;
        for (i, sums) in sums.chunks_mut(n.max(1)).enumerate() {
            let start = if rows == 1 { 0 } else { i * columns };
            match c.get(start..start + columns) {
                Some(&[c]) => sums.iter_mut().for_each(|sum| *sum = sum.wrapping_add(c)),
                Some(c) => sums.iter_mut().zip(c).for_each(|(sum, &c)| *sum = sum.wrapping_add(c)),
                None => {}
            }
        }
        Ok(())
    }

    fn sums(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>, right: &Right) -> Result<Vec<i32>> {
        let a = inputs.tensor(0)?;
        let (m, k) = sizes(a, self.transpose[0], "A")?;
        let (n, step) = (right.n, right.step);
        ensure!(
            k == right.k,
            InvalidInput,
            "QGemm: rows of {k} elements with columns of {}",
            right.k
        );
        let zero = zero(inputs.tensor_opt(2)?, a.dtype(), "the zero point of A")?;
        let size = ctx.shape_of::<i16>(&[m, step])?.len();
        let mut left = ctx.filled(size, 0i16)?;
        lines(a, (m, k), !self.transpose[0], &Lines::all(zero), &mut left)?;
        let size = ctx.shape_of::<i32>(&[m, n])?.len();
        let mut sums = ctx.filled(size, 0i32)?;
        ctx.check_deadline()?;
        let (a, b) = (Rows::new(&left, step, m), Rows::new(&right.data, step, n));
        product(ctx.threads, a, b, &mut sums);
        ctx.recycle(left);
        if let Some(c) = inputs.tensor_opt(6)? {
            QGemm::add(c, m, n, &mut sums)?;
        }
        Ok(sums)
    }
}

/// `sums` in the output's scale, as levels.
fn levels<T: Byte>(
    ctx: &mut Context<'_>,
    shape: Shape,
    sums: &[i32],
    by: &[f32],
    zero: i16,
) -> Result<Tensor> {
    let mut out = ctx.filled(sums.len(), T::default())?;
    let zero = f32::from(zero);
    for (out, sums) in out.chunks_mut(by.len().max(1)).zip(sums.chunks(by.len().max(1))) {
        for ((out, &sum), &by) in out.iter_mut().zip(sums).zip(by) {
            *out = T::quantised(sum as f32 * by, zero);
        }
    }
    ctx.tensor(shape, out)
}

impl Kernel for QGemm {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let fresh;
        let right = match &self.right {
            Some(right) => right,
            None => {
                let b = inputs.tensor(3)?;
                ctx.shape_of::<i16>(&[b.len(), 2])?;
                fresh = Right::new(b, inputs.tensor(5)?, self.transpose[1])?;
                &fresh
            }
        };
        let sums = self.sums(ctx, inputs, right)?;
        let n = right.n;
        let (a_scale, b_scale) = (scale(inputs.tensor(1)?, "the scale of A")?, inputs.tensor(4)?);
        let what = "the scale of B";
        let of = [right.k, n];
        let values = b_scale.to_f32_vec()?;
        let b_scale = Lines::new(values, b_scale.dims(), &of, Direction::Column, what)?;
        let y_scale = match inputs.tensor_opt(7)? {
            Some(y) => Some(scale(y, "the scale of Y")?),
            None => None,
        };
        let by: Vec<f32> = (0..n)
            .map(|column| {
                let by = self.alpha * a_scale * b_scale.at(0, column).unwrap_or(1.0);
                y_scale.map_or(by, |y| by / y)
            })
            .collect();
        let (m, _) = sizes(inputs.tensor(0)?, self.transpose[0], "A")?;
        let shape = ctx.shape_of::<f32>(&[m, n])?;
        if y_scale.is_some() {
            let y_zero = inputs.tensor_opt(8)?;
            let dtype = y_zero.map_or(inputs.tensor(0)?.dtype(), Tensor::dtype);
            let zero = zero(y_zero, dtype, "the zero point of Y")?;
            return one(with_byte!("QGemm", dtype, T => {
                levels::<T>(ctx, shape, &sums, &by, zero)
            })?);
        }
        let mut out = ctx.filled(sums.len(), 0f32)?;
        for (out, sums) in out.chunks_mut(n.max(1)).zip(sums.chunks(n.max(1))) {
            for ((out, &sum), &by) in out.iter_mut().zip(sums).zip(&by) {
                *out = sum as f32 * by;
            }
        }
        ctx.recycle(sums);
        one(ctx.tensor(shape, out)?)
    }

    fn packed_bytes(&self) -> u64 {
        self.right.as_ref().map_or(0, |right| (right.data.len() * size_of::<i16>()) as u64)
    }

    fn holds(&self, i: usize) -> bool {
        i == 3 && self.right.is_some()
    }
}

//! Softmax, LogSoftmax, Hardmax.

use super::elementwise::broadcast::owned;
use super::registry::{Entry, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, RowOp, RowShape, one, simd};
use crate::error::{Result, bail};
use crate::tensor::{Data, Shape, Tensor};
use half::{bf16, f16};

pub(super) const OPS: &[Entry] = &[
    onnx("Softmax", 1, |s| prepare(s, Normalizer::Softmax)),
    onnx("LogSoftmax", 1, |s| prepare(s, Normalizer::LogSoftmax)),
    onnx("Hardmax", 1, |s| prepare(s, Normalizer::Hardmax)),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Normalizer {
    Softmax,
    LogSoftmax,
    Hardmax,
}

/// Which elements make a row.
pub(super) struct Rows {
    axis: i64,
    /// Before 13 everything from `axis` on is one row.
    flatten: bool,
}

struct Softmax {
    normalizer: Normalizer,
    rows: Rows,
}

fn prepare(spec: &OpSpec<'_>, normalizer: Normalizer) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    Ok(Box::new(Softmax { normalizer, rows: Rows::new(spec)? }))
}

/// Puts 1 at the first largest element and 0 elsewhere.
fn hardmax<T: PartialOrd + Copy>(row: &mut [T], zero: T, one: T) {
    let mut best = 0;
    for i in 1..row.len() {
        if row[i] > row[best] {
            best = i;
        }
    }
    row.fill(zero);
    if let Some(v) = row.get_mut(best) {
        *v = one;
    }
}

impl Normalizer {
    fn rows_f32(self, rows: &mut [f32], width: usize) {
        match self {
            Normalizer::Softmax => simd::softmax_rows(rows, width),
            _ => rows.chunks_exact_mut(width.max(1)).for_each(|row| self.row_f32(row)),
        }
    }

    fn row_f32(self, row: &mut [f32]) {
        match self {
            Normalizer::Softmax => simd::softmax_rows(row, row.len()),
            Normalizer::LogSoftmax => {
                let max = simd::max(row);
                let mut sum = 0f64;
                let mut scratch = [0f32; 256];
                for piece in row.chunks(scratch.len()) {
                    let scratch = &mut scratch[..piece.len()];
                    scratch.copy_from_slice(piece);
                    simd::exp_minus(scratch, max);
                    sum += f64::from(simd::sum(scratch));
                }
                let log = sum.ln() as f32;
                simd::map(row, |v| v - max - log);
            }
            Normalizer::Hardmax => hardmax(row, 0.0, 1.0),
        }
    }

    fn row_f64(self, row: &mut [f64]) {
        if self == Normalizer::Hardmax {
            return hardmax(row, 0.0, 1.0);
        }
        let max = row.iter().fold(f64::NEG_INFINITY, |m, &v| if v > m { v } else { m });
        let sum: f64 = row.iter().map(|v| (v - max).exp()).sum();
        let log = sum.ln();
        for v in row {
            *v = match self {
                Normalizer::Softmax => (*v - max).exp() / sum,
                _ => *v - max - log,
            };
        }
    }
}

/// Applies `f` to all lines of `width` elements that lie `inner` apart, one or more at a time.
fn lines<T: Copy + Default + Send>(
    ctx: &Context<'_>,
    data: &mut [T],
    width: usize,
    inner: usize,
    f: impl Fn(&mut [T]) + Send + Sync,
) {
    if data.is_empty() {
        return;
    }
    let block = width * inner;
    ctx.threads.split_rows(data, block, 2 * block + 10, |_, data| {
        if inner == 1 {
            return f(data);
        }
        let mut line = vec![T::default(); width];
        for block in data.chunks_exact_mut(block) {
            for i in 0..inner {
                for (to, from) in line.iter_mut().zip(block.iter().skip(i).step_by(inner)) {
                    *to = *from;
                }
                f(&mut line);
                for (from, to) in line.iter().zip(block.iter_mut().skip(i).step_by(inner)) {
                    *to = *from;
                }
            }
        }
    });
}

impl Rows {
    /// The rows of a node.
    pub fn new(spec: &OpSpec<'_>) -> Result<Rows> {
        let flatten = spec.version < 13;
        let axis = spec.attributes.int("axis", if flatten { 1 } else { -1 })?;
        Ok(Rows { axis, flatten })
    }

    /// The length of a row and the distance of its elements.
    pub fn of(&self, shape: &Shape) -> Result<(usize, usize)> {
        if shape.rank() == 0 {
            return Ok((1, 1));
        }
        if !self.flatten {
            let (_, width, inner) = shape.split_at(shape.axis(self.axis)?);
            return Ok((width, inner));
        }
        // One beyond the last axis leaves rows of one element.
        let axis = match usize::try_from(self.axis) {
            Ok(axis) if axis == shape.rank() => axis,
            _ => shape.axis(self.axis)?,
        };
        Ok((shape.dims().iter().skip(axis).product(), 1))
    }
}

impl Kernel for Softmax {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let input = inputs.take_tensor(0)?;
        let shape = input.shape().clone();
        let (width, inner) = self.rows.of(&shape)?;
        let normalizer = self.normalizer;
        let wide = |ctx: &Context<'_>, input: &Tensor| -> Result<Vec<f32>> {
            let mut data = input.to_f32_vec()?;
            lines(ctx, &mut data, width, inner, |rows| normalizer.rows_f32(rows, width));
            Ok(data)
        };
        let data = match input.data() {
            Data::F32(_) => {
                let mut data = owned::<f32>(ctx, input)?;
                lines(ctx, &mut data, width, inner, |rows| normalizer.rows_f32(rows, width));
                Data::F32(data)
            }
            Data::F64(_) => {
                let mut data = owned::<f64>(ctx, input)?;
                lines(ctx, &mut data, width, inner, |rows| {
                    rows.chunks_exact_mut(width).for_each(|row| normalizer.row_f64(row));
                });
                Data::F64(data)
            }
            Data::F16(_) => Data::F16(wide(ctx, &input)?.into_iter().map(f16::from_f32).collect()),
            Data::BF16(_) => {
                Data::BF16(wide(ctx, &input)?.into_iter().map(bf16::from_f32).collect())
            }
            other => bail!(InvalidInput, "{normalizer:?} of {}", other.dtype()),
        };
        one(ctx.tensor_from(shape, data)?)
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        // Rows are matrices of the batch: axis 1 or the last.
        matches!(self.rows.axis, 1 | -1).then_some(self as &dyn RowOp)
    }
}

impl RowOp for Softmax {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let &[width] = inputs else { return None };
        Some(RowShape { width, classes: None })
    }

    fn run_rows(&self, rows: usize, inputs: &[&[f32]], out: &mut [f32], _: &mut [u32]) {
        let width = out.len() / rows.max(1);
        if let [x] = inputs
            && x.len() == out.len()
            && width > 0
        {
            out.copy_from_slice(x);
            self.normalizer.rows_f32(out, width);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, assert_close, t};

    #[test]
    fn softmax_runs_along_its_axis() {
        let x = t(&[1, 2, 3], &[1f32, 2.0, 3.0, 1000.0, 1000.0, 1000.0]);
        let third = 1.0 / 3.0;
        let expected =
            t(&[1, 2, 3], &[0.090_030_57f32, 0.244_728_48, 0.665_240_94, third, third, third]);
        assert_close(&Op::onnx("Softmax", 13).run1(std::slice::from_ref(&x)), &expected);
        // Along axis 1 the second row wins by 1000.
        let expected = t(&[1, 2, 3], &[0f32, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_close(
            &Op::onnx("Softmax", 13).int("axis", 1).run1(std::slice::from_ref(&x)),
            &expected,
        );
        // Before 13 axis 1 flattens: six elements share 1.
        let expected = t(&[1, 2, 3], &[0f32, 0.0, 0.0, third, third, third]);
        assert_close(&Op::onnx("Softmax", 11).run1(std::slice::from_ref(&x)), &expected);
    }

    #[test]
    fn logarithms_and_hard_maxima() {
        let x = t(&[1, 3], &[-1f32, 0.0, 1.0]);
        let log = Op::onnx("LogSoftmax", 13).run1(std::slice::from_ref(&x));
        assert_close(&log, &t(&[1, 3], &[-2.407_606f32, -1.407_606, -0.407_606]));
        let hard = Op::onnx("Hardmax", 13).run1(&[t(&[2, 3], &[1f32, 3.0, 3.0, 2.0, 1.0, 0.0])]);
        assert_eq!(hard, t(&[2, 3], &[0f32, 1.0, 0.0, 1.0, 0.0, 0.0]));
        let wide = Op::onnx("Softmax", 13).run1(&[t(&[2], &[0f64, 0.0])]);
        assert_eq!(wide, t(&[2], &[0.5f64, 0.5]));
        let infinite = Op::onnx("Softmax", 13).run1(&[t(&[2], &[f32::NEG_INFINITY; 2])]);
        assert!(infinite.as_slice::<f32>().unwrap().iter().all(|v| v.is_nan()));
        assert_eq!(Op::onnx("Softmax", 13).run1(&[t::<f32>(&[2, 0], &[])]).dims(), [2, 0]);
    }
}

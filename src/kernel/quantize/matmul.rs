//! Products of 8-bit matrices: MatMulInteger, QLinearMatMul, MatMulIntegerToFloat and
//! DynamicQuantizeMatMul. They share the product and differ in what becomes of its sums.

use super::columns::Columns;
use super::dynamic::Range;
use super::level::{Byte, scale, with_byte, with_bytes, zeros};
use super::lines::{Direction, Lines};
use super::product::{Rows, centre, padded, product};
use crate::error::{Result, bail, ensure};
use crate::kernel::conv::real::{narrowed, widened};
use crate::kernel::matmul::{Plan, plan};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{ElementType, Tensor};
use half::{bf16, f16};

/// What the operators do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// The sums themselves.
    Integer,
    /// Quantised again.
    Quantised,
    /// Scaled to floats.
    Float,
    /// As `Float`, with a left operand that is quantised first.
    Dynamic,
}

/// The numbers of the inputs.
#[derive(Debug, Clone, Copy)]
struct Places {
    b: usize,
    a_scale: Option<usize>,
    a_zero: Option<usize>,
    b_scale: Option<usize>,
    b_zero: usize,
    bias: Option<usize>,
}

struct QuantisedMatMul {
    op: String,
    kind: Kind,
    at: Places,
    columns: Option<Columns>,
}

fn prepare(spec: &OpSpec<'_>, kind: Kind, at: Places) -> Result<Box<dyn Kernel>> {
    let columns = Columns::constant(spec, at.b, at.b_zero)?;
    Ok(Box::new(QuantisedMatMul { op: spec.op.to_string(), kind, at, columns }))
}

pub(super) fn prepare_integer(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=4)?;
    let at = Places { b: 1, a_scale: None, a_zero: Some(2), b_scale: None, b_zero: 3, bias: None };
    prepare(spec, Kind::Integer, at)
}

pub(super) fn prepare_quantised(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(8..=8)?;
    let at =
        Places { b: 3, a_scale: Some(1), a_zero: Some(2), b_scale: Some(4), b_zero: 5, bias: None };
    prepare(spec, Kind::Quantised, at)
}

pub(super) fn prepare_float(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(4..=7)?;
    let at = Places {
        b: 1,
        a_scale: Some(2),
        a_zero: Some(4),
        b_scale: Some(3),
        b_zero: 5,
        bias: Some(6),
    };
    prepare(spec, Kind::Float, at)
}

pub(super) fn prepare_dynamic(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=5)?;
    let at =
        Places { b: 1, a_scale: None, a_zero: None, b_scale: Some(2), b_zero: 3, bias: Some(4) };
    prepare(spec, Kind::Dynamic, at)
}

/// `a · b / y` in the precision of the scales' type.
fn multiplier(dtype: ElementType, a: f32, b: f32, y: f32) -> f32 {
    let round = |x: f32| match dtype {
        ElementType::F16 => f16::from_f32(x).to_f32(),
        ElementType::BF16 => bf16::from_f32(x).to_f32(),
        _ => x,
    };
    round(round(a * b) / y)
}

/// The rows of A, less their zero points.
struct Left {
    data: Vec<i16>,
    step: usize,
    scale: Lines<f32>,
}

/// A product's sums, and which matrices of A and B each of its matrices comes from.
struct Sums<'a> {
    plan: Plan,
    data: Vec<i32>,
    left: &'a Left,
    right: Lines<f32>,
    /// Rows of one matrix of A.
    rows: usize,
}

impl Sums<'_> {
    /// Calls `each` with every row of the sums, its number, the scale of the row of A, and the
    /// scales of the columns of B.
    fn rows(&self, mut each: impl FnMut(usize, &[i32], f32, &[f32])) {
        let (m, n) = (self.plan.dims.m, self.plan.dims.n);
        for (p, &(i, j)) in self.plan.pairs.iter().enumerate() {
            let right = self.right.of(j);
            for row in 0..m {
                let number = p * m + row;
                let sums = self.data.get(number * n..(number + 1) * n).unwrap_or(&[]);
                // All matrices of A may lie one below the other as one.
                let line = i * m + row;
                let (matrix, line) = (line / self.rows.max(1), line % self.rows.max(1));
                each(number, sums, self.left.scale.at(matrix, line).unwrap_or(1.0), right);
            }
        }
    }
}

/// The scale of column `column`.
fn column_scale(scales: &[f32], column: usize) -> f32 {
    match scales {
        &[scale] => scale,
        more => more.get(column).copied().unwrap_or(1.0),
    }
}

impl QuantisedMatMul {
    /// Scales as lines of an operand; 1 where the operator has none.
    fn scales(
        &self,
        inputs: &Inputs<'_>,
        at: Option<usize>,
        of: &[usize],
        direction: Direction,
    ) -> Result<Lines<f32>> {
        let Some(at) = at else { return Ok(Lines::all(1.0)) };
        let scales = inputs.tensor(at)?;
        ensure!(
            scales.dtype().is_float(),
            InvalidInput,
            "{}: a scale of {}",
            self.op,
            scales.dtype()
        );
        let what = if direction == Direction::Row { "the scale of A" } else { "the scale of B" };
        Lines::new(scales.to_f32_vec()?, scales.dims(), of, direction, what)
    }

    fn left(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>, a: &Tensor) -> Result<Left> {
        let k = a.dims().last().copied().unwrap_or(1);
        let lines = a.len().checked_div(k).unwrap_or(0);
        let step = padded(k);
        let size = ctx.shape_of::<i16>(&[lines, step])?.len();
        let mut data = ctx.filled(size, 0i16)?;
        if self.kind == Kind::Dynamic {
            let x = a.as_slice::<f32>()?;
            let range = Range::of(x);
            ctx.threads.split_rows(&mut data, step, k, |rows, out| {
                for (row, out) in rows.zip(out.chunks_mut(step.max(1))) {
                    range.centred(x.get(row * k..(row + 1) * k).unwrap_or(&[]), out);
                }
            });
            return Ok(Left { data, step, scale: Lines::all(range.scale) });
        }
        let zero = match self.at.a_zero.map(|at| inputs.tensor_opt(at)).transpose()?.flatten() {
            Some(zero) => {
                let what = "the zero point of A";
                let values = zeros(Some(zero), a.dtype(), what)?;
                Lines::new(values, zero.dims(), a.dims(), Direction::Row, what)?
            }
            None => Lines::all(0),
        };
        let rows = a.dims().iter().rev().nth(1).copied().unwrap_or(1).max(1);
        with_bytes!(&self.op, a, v => {
            let pairs = data.chunks_mut(step.max(1)).zip(v.chunks(k.max(1)));
            for (i, (out, v)) in pairs.enumerate() {
                centre(v, zero.at(i / rows, i % rows).unwrap_or(0), out);
            }
            Ok(())
        })?;
        let scale = self.scales(inputs, self.at.a_scale, a.dims(), Direction::Row)?;
        Ok(Left { data, step, scale })
    }

    fn compute(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>) -> Result<Tensor> {
        let a = inputs.tensor(0)?;
        let fresh;
        let columns = match &self.columns {
            Some(columns) => columns,
            None => {
                let b = inputs.tensor(self.at.b)?;
                ctx.shape_of::<i16>(&[b.len(), 2])?;
                fresh = Columns::of(&self.op, b, inputs.tensor_opt(self.at.b_zero)?)?;
                &fresh
            }
        };
        let plan = plan(a.dims(), &columns.dims, [false; 2])?;
        ctx.shape_of::<i32>(plan.shape.dims())?;
        let left = self.left(ctx, inputs, a)?;
        let (m, n) = (plan.dims.m, plan.dims.n);
        let mut data = ctx.filled(plan.shape.len(), 0i32)?;
        let rows = Rows::new(&left.data, left.step, 0);
        for (&(i, j), out) in plan.pairs.iter().zip(data.chunks_mut((m * n).max(1))) {
            ctx.check_deadline()?;
            product(ctx.threads, rows.part(i * m, m), columns.matrix(j), out);
        }
        if self.kind == Kind::Integer {
            return ctx.tensor(plan.shape, data);
        }
        let right = self.scales(inputs, self.at.b_scale, &columns.dims, Direction::Column)?;
        let rows = a.dims().iter().rev().nth(1).copied().unwrap_or(1);
        let sums = Sums { plan, data, left: &left, right, rows };
        let out = match self.kind {
            Kind::Quantised => {
                let zero = inputs.tensor(7)?;
                with_byte!(&self.op, zero.dtype(), T => self.quantised::<T>(ctx, inputs, &sums))?
            }
            _ => self.float(ctx, inputs, &sums)?,
        };
        ctx.recycle(sums.data);
        ctx.recycle(left.data);
        Ok(out)
    }

    /// The sums in the output's scale, as levels.
    fn quantised<T: Byte>(
        &self,
        ctx: &mut Context<'_>,
        inputs: &Inputs<'_>,
        sums: &Sums<'_>,
    ) -> Result<Tensor> {
        let y = scale(inputs.tensor(6)?, "the scale of Y")?;
        let zero = match inputs.tensor(7)?.to_f32_vec()?.as_slice() {
            &[zero] => zero,
            _ => bail!(InvalidInput, "{}: the zero point of Y must be one number", self.op),
        };
        let dtype = inputs.tensor(1)?.dtype();
        let n = sums.plan.dims.n;
        let mut out = ctx.filled(sums.data.len(), T::default())?;
        sums.rows(|row, sums, a, b| {
            let out = out.get_mut(row * n..(row + 1) * n).unwrap_or(&mut []);
            if let &[b] = b {
                let by = multiplier(dtype, a, b, y);
                for (out, &sum) in out.iter_mut().zip(sums) {
                    *out = T::quantised(sum as f32 * by, zero);
                }
            } else {
                for ((out, &sum), &b) in out.iter_mut().zip(sums).zip(b) {
                    *out = T::quantised(sum as f32 * multiplier(dtype, a, b, y), zero);
                }
            }
        });
        ctx.tensor(sums.plan.shape.clone(), out)
    }

    /// The sums as floats, and the bias.
    fn float(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>, sums: &Sums<'_>) -> Result<Tensor> {
        let n = sums.plan.dims.n;
        let bias = match self.at.bias.map(|at| inputs.tensor_opt(at)).transpose()?.flatten() {
            Some(bias) => {
                let bias = widened(bias)?.into_vec::<f32>()?;
                ensure!(
                    bias.len() == n,
                    InvalidInput,
                    "{}: a bias of {} elements for {n} columns",
                    self.op,
                    bias.len()
                );
                Some(bias)
            }
            None => None,
        };
        let mut out = ctx.filled(sums.data.len(), 0f32)?;
        sums.rows(|row, sums, a, b| {
            let out = out.get_mut(row * n..(row + 1) * n).unwrap_or(&mut []);
            for (column, (out, &sum)) in out.iter_mut().zip(sums).enumerate() {
                *out = sum as f32 * (a * column_scale(b, column));
            }
            if let Some(bias) = &bias {
                out.iter_mut().zip(bias).for_each(|(out, b)| *out += b);
            }
        });
        let dtype = match self.at.a_scale {
            Some(at) => inputs.tensor(at)?.dtype(),
            None => ElementType::F32,
        };
        narrowed(ctx.tensor(sums.plan.shape.clone(), out)?, dtype)
    }
}

impl Kernel for QuantisedMatMul {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        one(self.compute(ctx, inputs)?)
    }

    fn packed_bytes(&self) -> u64 {
        self.columns.as_ref().map_or(0, Columns::bytes)
    }

    fn holds(&self, i: usize) -> bool {
        i == self.at.b && self.columns.is_some()
    }
}

//! Matrix products: MatMul, Gemm, and what com.microsoft makes of them.

mod fused_gemm;
mod fused_matmul;
mod gemm;
mod product;

use super::registry::{Entry, microsoft, onnx};
use super::simd::packed::{Epilogue, PackedMatrix, Strides};
use super::{Context, Followers, Inputs, Kernel, OpSpec, Outputs, RowOp, RowShape, one};
use crate::error::{Result, bail, ensure};
use crate::tensor::{Data, ElementType, Shape, Tensor};
use half::{bf16, f16};
use product::{Dims, Number, batched_f32, batched_plain};
use smallvec::SmallVec;

pub(super) const OPS: &[Entry] = &[
    onnx("MatMul", 1, prepare),
    onnx("Gemm", 1, gemm::prepare),
    microsoft("FusedMatMul", fused_matmul::prepare),
    // Its old name.
    microsoft("TransposeMatMul", fused_matmul::prepare),
    microsoft("FusedGemm", fused_gemm::prepare),
];

/// NumPy's matrix product; `B` is packed where it is a constant matrix.
struct MatMul {
    packed: Option<PackedMatrix>,
    transpose: [bool; 2],
    alpha: f32,
}

fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    Ok(Box::new(MatMul { packed: pack_constant(spec, false)?, transpose: [false; 2], alpha: 1.0 }))
}

/// Input 1 packed, where it is a constant matrix of f32.
fn pack_constant(spec: &OpSpec<'_>, transposed: bool) -> Result<Option<PackedMatrix>> {
    let Some(b) = spec.constant(1) else { return Ok(None) };
    let (Data::F32(data), &[rows, columns]) = (b.data(), b.dims()) else { return Ok(None) };
    pack(rows, columns, transposed, data).map(Some)
}

fn pack(rows: usize, columns: usize, transposed: bool, data: &[f32]) -> Result<PackedMatrix> {
    if transposed {
        PackedMatrix::of_weights(columns, rows, Strides { row: 1, column: columns }, data)
    } else {
        PackedMatrix::of_weights(rows, columns, Strides { row: columns, column: 1 }, data)
    }
}

/// The last two dimensions exchanged: a copy.
fn transposed<T: Copy>(rows: usize, columns: usize, data: &[T], to: &mut Vec<T>) {
    if rows == 0 || columns == 0 {
        return;
    }
    for matrix in data.chunks_exact(rows * columns) {
        for j in 0..columns {
            to.extend((0..rows).map(|i| matrix[i * columns + j]));
        }
    }
}

/// What the product of a row with `packed` is, where rows of this width fit.
fn row_shape(packed: &PackedMatrix, inputs: &[usize]) -> Option<RowShape> {
    (inputs == [packed.k()]).then_some(RowShape { width: packed.n(), classes: None })
}

fn scale_all<T: Number>(alpha: f32, out: &mut [T]) {
    if alpha != 1.0 {
        for v in out {
            *v = v.scaled(alpha);
        }
    }
}

/// What a product of these two shapes is.
pub(super) struct Plan {
    pub(super) dims: Dims,
    /// Which matrix of A and of B belongs to each output matrix.
    pub(super) pairs: Vec<(usize, usize)>,
    pub(super) shape: Shape,
}

/// Lays out a product by NumPy's rules.
pub(super) fn plan(a: &[usize], b: &[usize], transpose: [bool; 2]) -> Result<Plan> {
    ensure!(
        !a.is_empty() && !b.is_empty(),
        InvalidInput,
        "MatMul takes no scalars, got shapes {a:?} and {b:?}"
    );
    // One-dimensional operands become a row and a column for the product.
    let split = |dims: &[usize], vector: [usize; 2], transposed: bool| match dims {
        [] | [_] => (SmallVec::<[usize; 4]>::new(), vector),
        [batch @ .., rows, columns] => {
            let matrix = if transposed { [*columns, *rows] } else { [*rows, *columns] };
            (SmallVec::from_slice(batch), matrix)
        }
    };
    let (batch_a, [m, k]) = split(a, [1, a.last().copied().unwrap_or(1)], transpose[0]);
    let (batch_b, [k2, n]) = split(b, [b.last().copied().unwrap_or(1), 1], transpose[1]);
    ensure!(k == k2, InvalidInput, "MatMul of shapes {a:?} and {b:?}: {k} and {k2} must be equal");
    let (batch_a, batch_b) = (Shape::new(&batch_a)?, Shape::new(&batch_b)?);
    let batch = batch_a.broadcast(&batch_b)?;
    let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(batch.dims());
    if a.len() > 1 {
        dims.push(m);
    }
    if b.len() > 1 {
        dims.push(n);
    }
    let shape = Shape::new(&dims)?;
    // Rows of all matrices of A times one B are one product.
    if batch_b.len() == 1 && batch == batch_a && !transpose[0] {
        let dims = Dims { m: m.saturating_mul(batch.len()), k, n };
        let pairs = if dims.m == 0 { vec![] } else { vec![(0, 0)] };
        return Ok(Plan { dims, pairs, shape });
    }
    let mut pairs = vec![];
    if shape.len() > 0 {
        let index = |at: usize, of: &Shape| {
            let (mut rest, mut index, mut step) = (at, 0, 1);
            let offset = batch.rank() - of.rank();
            for axis in (0..batch.rank()).rev() {
                let i = rest % batch.dim(axis);
                rest /= batch.dim(axis);
                if let Some(own) = axis.checked_sub(offset) {
                    if of.dim(own) > 1 {
                        index += i * step;
                    }
                    step *= of.dim(own);
                }
            }
            index
        };
        pairs.extend((0..batch.len()).map(|i| (index(i, &batch_a), index(i, &batch_b))));
    }
    Ok(Plan { dims: Dims { m, k, n }, pairs, shape })
}

impl MatMul {
    fn f32(&self, ctx: &mut Context<'_>, plan: &Plan, a: &[f32], b: &[f32]) -> Result<Vec<f32>> {
        let mut out = ctx.filled(plan.shape.len(), 0f32)?;
        match &self.packed {
            Some(packed) if plan.pairs.len() == 1 && plan.dims.k == packed.k() => {
                packed.multiply_on(ctx.threads, plan.dims.m, a, &mut out, Epilogue::default());
            }
            _ => batched_f32(ctx.threads, plan.dims, &plan.pairs, a, b, &mut out),
        }
        scale_all(self.alpha, &mut out);
        Ok(out)
    }

    /// The product with a B that is held nowhere else.
    fn held(&self, ctx: &mut Context<'_>, a: &Tensor, packed: &PackedMatrix) -> Result<Outputs> {
        let plan = plan(a.dims(), &[packed.k(), packed.n()], [false; 2])?;
        let Data::F32(data) = a.data() else {
            bail!(InvalidInput, "MatMul of {} and {}", a.dtype(), ElementType::F32)
        };
        let mut out = ctx.filled(plan.shape.len(), 0f32)?;
        packed.multiply_on(ctx.threads, plan.dims.m, data, &mut out, Epilogue::default());
        scale_all(self.alpha, &mut out);
        one(ctx.tensor(plan.shape, out)?)
    }

    fn plain<T: Number>(
        &self,
        ctx: &mut Context<'_>,
        plan: &Plan,
        a: &[T],
        b: &[T],
    ) -> Result<Vec<T>> {
        let mut out = ctx.filled(plan.shape.len(), T::default())?;
        batched_plain(ctx.threads, plan.dims, &plan.pairs, a, b, &mut out);
        scale_all(self.alpha, &mut out);
        Ok(out)
    }
}

/// `tensor` with its last two dimensions exchanged in memory where `transpose` and the rank
/// allow; the plan has been made from the original dimensions.
fn arranged(tensor: &Tensor, transpose: bool) -> Result<Tensor> {
    let &[.., rows, columns] = tensor.dims() else { return Ok(tensor.clone()) };
    if !transpose {
        return Ok(tensor.clone());
    }
    macro_rules! turn {
        ($($variant:ident),+) => {
            match tensor.data() {
                $(Data::$variant(v) => {
                    let mut to = Vec::with_capacity(v.len());
                    transposed(rows, columns, v, &mut to);
                    Tensor::new(tensor.shape().clone(), Data::$variant(to))
                })+
                other => bail!(InvalidInput, "a matrix product of {}", other.dtype()),
            }
        };
    }
    turn!(F32, F64, F16, BF16, I32, I64, U32, U64)
}

impl Kernel for MatMul {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (a, b) = match (inputs.tensor(0)?, inputs.tensor_opt(1)?, &self.packed) {
            (a, None, Some(packed)) => return self.held(ctx, a, packed),
            (a, ..) => (a, inputs.tensor(1)?),
        };
        let plan = plan(a.dims(), b.dims(), self.transpose)?;
        let a = arranged(a, self.transpose[0])?;
        let b = match &self.packed {
            Some(_) if plan.pairs.len() <= 1 => b.clone(),
            _ => arranged(b, self.transpose[1])?,
        };
        let data = match (a.data(), b.data()) {
            (Data::F32(a), Data::F32(b)) => Data::F32(self.f32(ctx, &plan, a, b)?),
            (Data::F64(a), Data::F64(b)) => Data::F64(self.plain(ctx, &plan, a, b)?),
            (Data::I32(a), Data::I32(b)) => Data::I32(self.plain(ctx, &plan, a, b)?),
            (Data::I64(a), Data::I64(b)) => Data::I64(self.plain(ctx, &plan, a, b)?),
            (Data::U32(a), Data::U32(b)) => Data::U32(self.plain(ctx, &plan, a, b)?),
            (Data::U64(a), Data::U64(b)) => Data::U64(self.plain(ctx, &plan, a, b)?),
            (Data::F16(_), Data::F16(_)) => {
                let out = self.f32(ctx, &plan, &a.to_f32_vec()?, &b.to_f32_vec()?)?;
                Data::F16(out.into_iter().map(f16::from_f32).collect())
            }
            (Data::BF16(_), Data::BF16(_)) => {
                let out = self.f32(ctx, &plan, &a.to_f32_vec()?, &b.to_f32_vec()?)?;
                Data::BF16(out.into_iter().map(bf16::from_f32).collect())
            }
            (a, b) => bail!(InvalidInput, "MatMul of {} and {}", a.dtype(), b.dtype()),
        };
        one(ctx.tensor_from(plan.shape, data)?)
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        (self.packed.is_some() && !self.transpose[0]).then_some(self as &dyn RowOp)
    }

    fn packed_bytes(&self) -> u64 {
        self.packed.as_ref().map_or(0, PackedMatrix::bytes)
    }

    fn holds(&self, i: usize) -> bool {
        // Matrices of a transposed batch are multiplied one by one, with B as it stands.
        i == 1 && self.packed.is_some() && !self.transpose[0]
    }
}

impl RowOp for MatMul {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        row_shape(self.packed.as_ref()?, inputs)
    }

    fn run_rows(&self, rows: usize, inputs: &[&[f32]], out: &mut [f32], _: &mut [u32]) {
        if let (Some(packed), [a]) = (&self.packed, inputs) {
            packed.multiply(rows, a, out, Epilogue::default());
            scale_all(self.alpha, out);
        }
    }

    fn takes(&self, followers: Followers<'_, f32>) -> bool {
        let width = self.packed.as_ref().map_or(0, PackedMatrix::n);
        self.alpha == 1.0 && followers.add.is_none_or(|row| row.len() == width)
    }

    fn run_rows_with(
        &self,
        rows: usize,
        inputs: &[&[f32]],
        out: &mut [f32],
        followers: Followers<'_, f32>,
    ) {
        if let (Some(packed), [a]) = (&self.packed, inputs) {
            let Followers { add, relu } = followers;
            packed.multiply(rows, a, out, Epilogue { add, relu });
        }
    }
}

#[cfg(test)]
mod tests;

//! Gemm: α·A·B + β·C.

use super::product::{Dims, Number, batched_f32, batched_plain};
use super::{pack, row_shape, scale_all, transposed};
use crate::error::{Result, bail, ensure};
use crate::kernel::simd::packed::{Epilogue, PackedMatrix};
use crate::kernel::{Context, Followers, Inputs, Kernel, OpSpec, Outputs, RowOp, RowShape, one};
use crate::tensor::{Data, ElementType, Shape, Tensor};
use half::{bf16, f16};

struct Gemm {
    alpha: f32,
    beta: f32,
    transpose: [bool; 2],
    /// B, where it is a constant of f32.
    packed: Option<PackedMatrix>,
    bias: Bias,
}

/// What is known of C.
enum Bias {
    None,
    /// β·C of a constant C that is the same for all rows, n long.
    Row(Vec<f32>),
    /// Read at run time.
    Input,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    // C became optional in 11; absent, it counts as 0 in any version.
    spec.arity(2..=3)?;
    let attributes = spec.attributes;
    let transpose = [attributes.flag("transA", false)?, attributes.flag("transB", false)?];
    let (alpha, beta) = (attributes.float("alpha", 1.0)?, attributes.float("beta", 1.0)?);
    let mut packed = None;
    if let Some(b) = spec.constant(1) {
        let &[rows, columns] = b.dims() else {
            return Err(spec.invalid(format_args!("B must be a matrix, got {}", b.shape())));
        };
        if let Data::F32(data) = b.data() {
            packed = Some(pack(rows, columns, transpose[1], data)?);
        }
    }
    let bias = match (spec.has_input(2), spec.constant(2), &packed) {
        (false, ..) => Bias::None,
        (true, Some(c), Some(packed)) => row_bias(c, beta, packed.n()),
        _ => Bias::Input,
    };
    Ok(Box::new(Gemm { alpha, beta, transpose, packed, bias }))
}

/// β·C spread over a row, where C does not vary by row.
fn row_bias(c: &Tensor, beta: f32, n: usize) -> Bias {
    let row = match (c.data(), c.dims()) {
        (Data::F32(v), [] | [1] | [1, 1]) => vec![v.first().copied().unwrap_or(0.0); n],
        (Data::F32(v), &[w] | &[1, w]) if w == n => v.clone(),
        _ => return Bias::Input,
    };
    Bias::Row(row.into_iter().map(|c| beta * c).collect())
}

/// `out += beta·c`, `c` broadcast to the rows × n of `out`.
fn add_c<T: Number>(out: &mut [T], n: usize, c: &[T], dims: &[usize], beta: f32) -> Result<()> {
    let m = out.len() / n.max(1);
    let (rows, columns) = match *dims {
        [] => (1, 1),
        [columns] => (1, columns),
        [rows, columns] => (rows, columns),
        _ => bail!(InvalidInput, "Gemm: C must be a matrix at most, got shape {dims:?}"),
    };
    ensure!(
        (rows == 1 || rows == m) && (columns == 1 || columns == n) || out.is_empty(),
        InvalidInput,
        "Gemm: C of shape {dims:?} does not broadcast to [{m}, {n}]"
    );
    if n == 0 || c.is_empty() {
        return Ok(());
    }
    for (i, out) in out.chunks_exact_mut(n).enumerate() {
        let start = if rows == 1 { 0 } else { i * columns };
        let c = &c[start..start + columns];
        if let (&[c], true) = (c, columns < n) {
            let c = if beta == 1.0 { c } else { c.scaled(beta) };
            out.iter_mut().for_each(|o| *o = o.plus(c));
        } else {
            for (o, &c) in out.iter_mut().zip(c) {
                *o = o.plus(if beta == 1.0 { c } else { c.scaled(beta) });
            }
        }
    }
    Ok(())
}

/// One operand in row-major order, as it enters the product.
fn upright<T: Number>(
    ctx: &mut Context<'_>,
    dims: [usize; 2],
    transpose: bool,
    data: &[T],
) -> Result<Option<Vec<T>>> {
    if !transpose {
        return Ok(None);
    }
    let mut to = ctx.buffer(data.len())?;
    transposed(dims[0], dims[1], data, &mut to);
    Ok(Some(to))
}

impl Gemm {
    /// The dimensions of the product of operands of these shapes.
    fn dims(&self, a: &Shape, b: &Shape) -> Result<(Dims, [usize; 2], [usize; 2])> {
        let (&[a0, a1], &[b0, b1]) = (a.dims(), b.dims()) else {
            bail!(InvalidInput, "Gemm takes matrices, got shapes {a} and {b}");
        };
        let (m, k) = if self.transpose[0] { (a1, a0) } else { (a0, a1) };
        let (k2, n) = if self.transpose[1] { (b1, b0) } else { (b0, b1) };
        ensure!(k == k2, InvalidInput, "Gemm of shapes {a} and {b}: {k} and {k2} must be equal");
        Ok((Dims { m, k, n }, [a0, a1], [b0, b1]))
    }

    /// The product with a B that is held nowhere else.
    fn held(
        &self,
        ctx: &mut Context<'_>,
        a: &Tensor,
        packed: &PackedMatrix,
        c: Option<&Tensor>,
    ) -> Result<Outputs> {
        let (rows, columns) = (packed.k(), packed.n());
        let b = if self.transpose[1] { [columns, rows] } else { [rows, columns] };
        let (dims, ad, bd) = self.dims(a.shape(), &Shape::new(&b)?)?;
        let Data::F32(data) = a.data() else {
            bail!(InvalidInput, "Gemm of {} and {}", a.dtype(), ElementType::F32)
        };
        let c = c.map(|c| Ok::<_, crate::Error>((c.as_slice()?, c.dims()))).transpose()?;
        let out = self.f32(ctx, (data, ad), (&[], bd), dims, c)?;
        one(ctx.tensor(Shape::new(&[dims.m, dims.n])?, out)?)
    }

    fn f32(
        &self,
        ctx: &mut Context<'_>,
        a: (&[f32], [usize; 2]),
        b: (&[f32], [usize; 2]),
        dims: Dims,
        c: Option<(&[f32], &[usize])>,
    ) -> Result<Vec<f32>> {
        let shape = ctx.shape_of::<f32>(&[dims.m, dims.n])?;
        let mut out = ctx.filled(shape.len(), 0f32)?;
        let turned = upright(ctx, a.1, self.transpose[0], a.0)?;
        let a = turned.as_deref().unwrap_or(a.0);
        match &self.packed {
            Some(packed) if packed.k() == dims.k && packed.n() == dims.n => {
                packed.multiply_on(ctx.threads, dims.m, a, &mut out, self.epilogue(false));
                self.finish(&mut out, dims.n);
            }
            _ if shape.len() > 0 => {
                let turned = upright(ctx, b.1, self.transpose[1], b.0)?;
                let b = turned.as_deref().unwrap_or(b.0);
                batched_f32(ctx.threads, dims, &[(0, 0)], a, b, &mut out);
                scale_all(self.alpha, &mut out);
            }
            _ => {}
        }
        if let (Bias::Input, Some((c, c_dims))) = (&self.bias, c) {
            add_c(&mut out, dims.n, c, c_dims, self.beta)?;
        }
        Ok(out)
    }

    /// What the product does at its end: all that is left, unless it is to be scaled first.
    fn epilogue(&self, relu: bool) -> Epilogue<'_> {
        match &self.bias {
            Bias::Row(row) if self.alpha == 1.0 => Epilogue { add: Some(row), relu },
            _ => Epilogue { add: None, relu },
        }
    }

    /// What [`Gemm::epilogue`] leaves of α and a bias known at load.
    fn finish(&self, out: &mut [f32], n: usize) {
        if self.alpha == 1.0 {
            return;
        }
        scale_all(self.alpha, out);
        if let Bias::Row(bias) = &self.bias
            && n > 0
        {
            for row in out.chunks_exact_mut(n) {
                for (o, b) in row.iter_mut().zip(bias) {
                    *o += b;
                }
            }
        }
    }

    fn plain<T: Number>(
        &self,
        ctx: &mut Context<'_>,
        a: (&[T], [usize; 2]),
        b: (&[T], [usize; 2]),
        dims: Dims,
        c: Option<&Tensor>,
    ) -> Result<Data> {
        let shape = ctx.shape_of::<T>(&[dims.m, dims.n])?;
        let mut out = ctx.filled(shape.len(), T::default())?;
        let turned = [
            upright(ctx, a.1, self.transpose[0], a.0)?,
            upright(ctx, b.1, self.transpose[1], b.0)?,
        ];
        let a = turned[0].as_deref().unwrap_or(a.0);
        let b = turned[1].as_deref().unwrap_or(b.0);
        batched_plain(ctx.threads, dims, &[(0, 0)], a, b, &mut out);
        scale_all(self.alpha, &mut out);
        if let Some(c) = c {
            add_c(&mut out, dims.n, c.as_slice::<T>()?, c.dims(), self.beta)?;
        }
        Ok(T::wrap(out))
    }
}

impl Kernel for Gemm {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (a, c) = (inputs.tensor(0)?, inputs.tensor_opt(2)?);
        let b = match (inputs.tensor_opt(1)?, &self.packed) {
            (None, Some(packed)) => return self.held(ctx, a, packed, c),
            _ => inputs.tensor(1)?,
        };
        let (dims, ad, bd) = self.dims(a.shape(), b.shape())?;
        macro_rules! plain {
            ($a:expr, $b:expr) => {
                self.plain(ctx, ($a, ad), ($b, bd), dims, c)?
            };
        }
        let data = match (a.data(), b.data()) {
            (Data::F32(a), Data::F32(b)) => {
                let c = c.map(|c| Ok::<_, crate::Error>((c.as_slice()?, c.dims()))).transpose()?;
                Data::F32(self.f32(ctx, (a, ad), (b, bd), dims, c)?)
            }
            (Data::F64(a), Data::F64(b)) => plain!(a, b),
            (Data::I32(a), Data::I32(b)) => plain!(a, b),
            (Data::I64(a), Data::I64(b)) => plain!(a, b),
            (Data::U32(a), Data::U32(b)) => plain!(a, b),
            (Data::U64(a), Data::U64(b)) => plain!(a, b),
            (Data::F16(_), Data::F16(_)) | (Data::BF16(_), Data::BF16(_)) => {
                let wide = c.map(|c| Ok::<_, crate::Error>((c.to_f32_vec()?, c.dims())));
                let wide = wide.transpose()?;
                let c = wide.as_ref().map(|(c, dims)| (c.as_slice(), *dims));
                let (wa, wb) = (a.to_f32_vec()?, b.to_f32_vec()?);
                let out = self.f32(ctx, (&wa, ad), (&wb, bd), dims, c)?;
                match a.data() {
                    Data::F16(_) => Data::F16(out.into_iter().map(f16::from_f32).collect()),
                    _ => Data::BF16(out.into_iter().map(bf16::from_f32).collect()),
                }
            }
            (a, b) => bail!(InvalidInput, "Gemm of {} and {}", a.dtype(), b.dtype()),
        };
        one(ctx.tensor_from(Shape::new(&[dims.m, dims.n])?, data)?)
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        let fixed = self.packed.is_some() && !matches!(self.bias, Bias::Input);
        (fixed && !self.transpose[0]).then_some(self as &dyn RowOp)
    }

    fn holds(&self, i: usize) -> bool {
        match i {
            1 => self.packed.is_some(),
            2 => matches!(self.bias, Bias::Row(_)),
            _ => false,
        }
    }

    fn packed_bytes(&self) -> u64 {
        let bias = match &self.bias {
            Bias::Row(row) => (row.len() * size_of::<f32>()) as u64,
            _ => 0,
        };
        self.packed.as_ref().map_or(0, PackedMatrix::bytes) + bias
    }
}

impl RowOp for Gemm {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        row_shape(self.packed.as_ref()?, inputs)
    }

    fn run_rows(&self, rows: usize, inputs: &[&[f32]], out: &mut [f32], _: &mut [u32]) {
        if let (Some(packed), [a]) = (&self.packed, inputs) {
            packed.multiply(rows, a, out, self.epilogue(false));
            self.finish(out, packed.n());
        }
    }

    fn takes(&self, followers: Followers<'_, f32>) -> bool {
        self.alpha == 1.0 && followers.add.is_none()
    }

    fn run_rows_with(
        &self,
        rows: usize,
        inputs: &[&[f32]],
        out: &mut [f32],
        followers: Followers<'_, f32>,
    ) {
        if let (Some(packed), [a]) = (&self.packed, inputs) {
            packed.multiply(rows, a, out, self.epilogue(followers.relu));
        }
    }
}

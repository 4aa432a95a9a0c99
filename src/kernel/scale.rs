//! Row-wise feature transforms of ai.onnx.ml: Scaler, Normalizer, Binarizer, Imputer.

use super::registry::{Entry, ml};
use super::row::as_floats;
use super::{Context, Inputs, Kernel, OpSpec, Outputs, RowOp, RowShape, Sparsity, one, simd};
use crate::error::{Result, bail, ensure};
use crate::tensor::{Data, Element, ElementType, Shape, Tensor};
use smallvec::SmallVec;

pub(super) const OPS: &[Entry] = &[
    ml("Scaler", 1, prepare_scaler),
    ml("Normalizer", 1, prepare_normalizer),
    ml("Binarizer", 1, prepare_binarizer),
    ml("Imputer", 1, prepare_imputer),
];

/// The number of features of a row: the only dimension, or the second.
fn feature_count(shape: &Shape) -> Result<usize> {
    match *shape.dims() {
        [] => bail!(InvalidInput, "expected rows of features, got a scalar"),
        [n] => Ok(n),
        [_, n, ..] => Ok(n),
    }
}

/// A transform of `f32` rows that keeps their width.
trait RowTransform: Send + Sync {
    /// Refuses rows of another width than the transform is made for.
    fn check(&self, width: usize) -> Result<()>;
    /// Whether it transforms `f32` rows at all.
    fn takes_f32(&self) -> bool {
        true
    }
    /// Whether whole numbers are transformed as the floats they are equal to.
    fn takes_whole(&self) -> bool {
        false
    }
    /// Whether rows of `f64` stay `f64`.
    fn is_wide(&self) -> bool {
        false
    }
    /// Transforms rows of `width` features in place.
    fn rows(&self, rows: &mut [f32], width: usize) {
        rows.chunks_exact_mut(width.max(1)).for_each(|row| self.row(row));
    }
    /// Whether a row without its zeros is transformed to the same numbers.
    fn skips_zeros(&self) -> bool {
        false
    }
    /// Transforms one row in place.
    fn row(&self, row: &mut [f32]);
    /// Transforms one row of `f64` in place, where [`RowTransform::is_wide`].
    fn wide_row(&self, _: &mut [f64]) {}
    /// The output for an input of another type than `f32`.
    fn other(&self, ctx: &mut Context<'_>, input: &Tensor, width: usize) -> Result<Tensor>;
}

struct RowTransformKernel<M>(M);

impl<M: RowTransform> Kernel for RowTransformKernel<M> {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let width = feature_count(inputs.tensor(0)?.shape())?;
        self.0.check(width)?;
        if !(self.0.takes_f32() && matches!(inputs.tensor(0)?.data(), Data::F32(_))) {
            let out = self.0.other(ctx, inputs.tensor(0)?, width)?;
            return one(out);
        }
        let (shape, mut data) = match inputs.take_unique::<f32>(0) {
            Some(own) => own,
            None => {
                let tensor = inputs.tensor(0)?;
                let mut data = ctx.buffer::<f32>(tensor.len())?;
                data.extend_from_slice(tensor.as_slice()?);
                (tensor.shape().clone(), data)
            }
        };
        ctx.threads.split_rows(&mut data, width, width, |_, chunk| self.0.rows(chunk, width));
        one(ctx.tensor(shape, data)?)
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        self.0.takes_f32().then_some(self)
    }

    fn wide_row_op(&self) -> Option<&dyn RowOp<f64>> {
        self.0.is_wide().then_some(self)
    }
}

impl<M: RowTransform> RowOp<f64> for RowTransformKernel<M> {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        RowOp::<f32>::shape(self, inputs)
    }

    fn run_rows(&self, rows: usize, inputs: &[&[f64]], out: &mut [f64], _: &mut [u32]) {
        if let ([x], 1..) = (inputs, rows) {
            out.copy_from_slice(x);
            out.chunks_exact_mut((x.len() / rows).max(1)).for_each(|row| self.0.wide_row(row));
        }
    }
}

impl<M: RowTransform> RowOp for RowTransformKernel<M> {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let [width] = *inputs else { return None };
        let fits = width > 0 && self.0.check(width).is_ok();
        fits.then_some(RowShape { width, classes: None })
    }

    fn typed(&self, inputs: &[ElementType]) -> Option<ElementType> {
        match self.0.takes_whole() {
            true => as_floats(inputs),
            false => inputs.iter().all(|&t| t == ElementType::F32).then_some(ElementType::F32),
        }
    }

    fn run_rows(&self, rows: usize, inputs: &[&[f32]], out: &mut [f32], _: &mut [u32]) {
        if let ([x], 1..) = (inputs, rows) {
            out.copy_from_slice(x);
            self.0.rows(out, x.len() / rows);
        }
    }

    fn sparsity(&self) -> Option<Sparsity> {
        self.0.skips_zeros().then_some(Sparsity::Kept)
    }

    fn run_sparse(
        &self,
        support: &[u32],
        inputs: &[&[f32]],
        out: &mut [f32],
        _: &mut [u32],
    ) -> bool {
        let [x] = inputs else { return false };
        let at = |i: &u32| x.get(*i as usize).copied().unwrap_or_default();
        let mut row: SmallVec<[f32; 128]> = support.iter().map(at).collect();
        self.0.row(&mut row);
        for (&i, &value) in support.iter().zip(&row) {
            if let Some(out) = out.get_mut(i as usize) {
                *out = value;
            }
        }
        true
    }
}

/// A value for all features, or one for each.
#[derive(Debug, Clone)]
struct PerFeature<T>(Vec<T>);

impl<T: Copy> PerFeature<T> {
    fn check(&self, width: usize, what: &str) -> Result<()> {
        ensure!(
            self.0.len() == 1 || self.0.len() == width,
            InvalidInput,
            "{what} for {} features, the rows have {width}",
            self.0.len()
        );
        Ok(())
    }

    /// The values along a row, over and over.
    fn cycle(&self) -> impl Iterator<Item = T> + '_ {
        self.0.iter().copied().cycle()
    }
}

struct Scaler {
    offset: PerFeature<f32>,
    scale: PerFeature<f32>,
}

fn prepare_scaler(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let scale = spec.attributes.floats("scale")?;
    let offset = spec.attributes.floats("offset")?;
    let len = scale.len().max(offset.len());
    let fill = |given: &[f32], default: f32| match given.len() {
        0 => Ok(PerFeature(vec![default; len.max(1)])),
        1 => Ok(PerFeature(vec![given[0]; len])),
        n if n == len => Ok(PerFeature(given.to_vec())),
        _ => Err(spec.invalid(format_args!(
            "{} values of 'scale', {} of 'offset'",
            scale.len(),
            offset.len()
        ))),
    };
    let scaler = Scaler { offset: fill(offset, 0.0)?, scale: fill(scale, 1.0)? };
    Ok(Box::new(RowTransformKernel(scaler)))
}

impl RowTransform for Scaler {
    fn check(&self, width: usize) -> Result<()> {
        self.scale.check(width, "scales")
    }

    fn takes_whole(&self) -> bool {
        true
    }

    fn rows(&self, rows: &mut [f32], _: usize) {
        if let ([offset], [scale]) = (&*self.offset.0, &*self.scale.0) {
            return simd::map(rows, |x| (x - offset) * scale);
        }
        simd::scale_rows(rows, &self.offset.0, &self.scale.0);
    }

    fn row(&self, row: &mut [f32]) {
        self.rows(row, row.len());
    }

    fn other(&self, ctx: &mut Context<'_>, input: &Tensor, _: usize) -> Result<Tensor> {
        let mut out = ctx.buffer::<f32>(input.len())?;
        let pairs = self.offset.cycle().zip(self.scale.cycle());
        match input.data() {
            // Only `f64` is wider than the arithmetic.
            Data::F64(v) => out.extend(
                v.iter().zip(pairs).map(|(x, (o, s))| ((x - f64::from(o)) * f64::from(s)) as f32),
            ),
            _ => out
                .extend(input.to_f32_vec()?.into_iter().zip(pairs).map(|(x, (o, s))| (x - o) * s)),
        }
        ctx.tensor(input.shape().clone(), out)
    }
}

/// By what a row is divided.
#[derive(Debug, Clone, Copy)]
enum Norm {
    Max,
    L1,
    L2,
}

struct Normalizer(Norm);

fn prepare_normalizer(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let norm = match spec.attributes.str("norm", "MAX")?.as_str() {
        "MAX" => Norm::Max,
        "L1" => Norm::L1,
        "L2" => Norm::L2,
        other => return Err(spec.invalid(format_args!("norm '{other}' is not known"))),
    };
    Ok(Box::new(RowTransformKernel(Normalizer(norm))))
}

impl Normalizer {
    /// `squares` are those of the row in its own type; a row without extent stays as it is.
    fn normalise(&self, row: &mut [f32], squares: impl Fn(usize, f32) -> f32) {
        match self.0 {
            Norm::Max => {
                let max = row.iter().fold(f32::MIN, |m, &x| if m < x { x } else { m });
                if max != 0.0 {
                    row.iter_mut().for_each(|x| *x /= max);
                }
            }
            Norm::L1 => {
                let sum = row.iter().fold(0f32, |s, x| s + x.abs());
                if sum != 0.0 {
                    row.iter_mut().for_each(|x| *x /= sum);
                }
            }
            Norm::L2 => {
                let sum = row.iter().enumerate().fold(0f32, |s, (i, &x)| s + squares(i, x));
                if sum != 0.0 {
                    for (i, x) in row.iter_mut().enumerate() {
                        let part = (squares(i, *x) / sum).sqrt();
                        *x = if *x < 0.0 { -part } else { part };
                    }
                }
            }
        }
    }
}

impl RowTransform for Normalizer {
    fn check(&self, _: usize) -> Result<()> {
        Ok(())
    }

    fn skips_zeros(&self) -> bool {
        matches!(self.0, Norm::L1 | Norm::L2)
    }

    fn row(&self, row: &mut [f32]) {
        self.normalise(row, |_, x| x * x);
    }

    fn other(&self, ctx: &mut Context<'_>, input: &Tensor, width: usize) -> Result<Tensor> {
        let wide = input.to_f64_vec()?;
        let mut out = ctx.buffer::<f32>(input.len())?;
        out.extend(wide.iter().map(|&x| x as f32));
        let width = width.max(1);
        for (row, wide) in out.chunks_exact_mut(width).zip(wide.chunks_exact(width)) {
            self.normalise(row, |i, _| (wide[i] * wide[i]) as f32);
        }
        ctx.tensor(input.shape().clone(), out)
    }
}

struct Binarizer(f32);

fn prepare_binarizer(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    Ok(Box::new(RowTransformKernel(Binarizer(spec.attributes.float("threshold", 0.0)?))))
}

impl RowTransform for Binarizer {
    fn check(&self, _: usize) -> Result<()> {
        Ok(())
    }

    fn row(&self, row: &mut [f32]) {
        row.iter_mut().for_each(|x| *x = f32::from(u8::from(*x > self.0)));
    }

    fn other(&self, _: &mut Context<'_>, input: &Tensor, _: usize) -> Result<Tensor> {
        let threshold = f64::from(self.0);
        let above = |x: f64| u8::from(x > threshold);
        let shape = input.shape().clone();
        let data = match input.data() {
            Data::F64(v) => Data::F64(v.iter().map(|&x| above(x).into()).collect()),
            Data::I64(v) => Data::I64(v.iter().map(|&x| above(x as f64).into()).collect()),
            Data::I32(v) => Data::I32(v.iter().map(|&x| above(x.into()).into()).collect()),
            other => bail!(InvalidInput, "Binarizer: elements of type {}", other.dtype()),
        };
        Tensor::new(shape, data)
    }
}

/// Replaces one value by others: floats or integers, whichever the model has.
enum Imputer {
    Floats { replaced: f32, by: PerFeature<f32> },
    Ints { replaced: i64, by: PerFeature<i64> },
}

fn prepare_imputer(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let floats = spec.attributes.floats("imputed_value_floats")?;
    let ints = spec.attributes.ints("imputed_value_int64s")?;
    ensure!(
        floats.is_empty() != ints.is_empty(),
        InvalidModel,
        "{}: expected one of 'imputed_value_floats' and 'imputed_value_int64s'",
        spec.op
    );
    let imputer = if ints.is_empty() {
        let replaced = spec.attributes.float("replaced_value_float", 0.0)?;
        Imputer::Floats { replaced, by: PerFeature(floats.to_vec()) }
    } else {
        let replaced = spec.attributes.int("replaced_value_int64", 0)?;
        Imputer::Ints { replaced, by: PerFeature(ints.to_vec()) }
    };
    Ok(Box::new(RowTransformKernel(imputer)))
}

fn impute<T: Element + Copy>(
    ctx: &mut Context<'_>,
    values: &[T],
    is_missing: impl Fn(T) -> bool,
    by: impl Iterator<Item = T>,
) -> Result<Data> {
    let mut out = ctx.buffer::<T>(values.len())?;
    out.extend(values.iter().zip(by).map(|(&x, v)| if is_missing(x) { v } else { x }));
    Ok(T::wrap(out))
}

/// Whether `x` is the value to replace, which may be NaN.
fn is_missing(x: f64, replaced: f64) -> bool {
    x == replaced || (x.is_nan() && replaced.is_nan())
}

impl RowTransform for Imputer {
    fn check(&self, width: usize) -> Result<()> {
        match self {
            Imputer::Floats { by, .. } => by.check(width, "imputed values"),
            Imputer::Ints { by, .. } => by.check(width, "imputed values"),
        }
    }

    fn takes_f32(&self) -> bool {
        matches!(self, Imputer::Floats { .. })
    }

    fn is_wide(&self) -> bool {
        matches!(self, Imputer::Floats { .. })
    }

    fn wide_row(&self, row: &mut [f64]) {
        if let Imputer::Floats { replaced, by } = self {
            let replaced = f64::from(*replaced);
            for (x, v) in row.iter_mut().zip(by.cycle()) {
                *x = if is_missing(*x, replaced) { v.into() } else { *x };
            }
        }
    }

    fn row(&self, row: &mut [f32]) {
        let Imputer::Floats { replaced, by } = self else { return };
        if replaced.is_nan() {
            for (x, v) in row.iter_mut().zip(by.cycle()) {
                *x = if x.is_nan() { v } else { *x };
            }
        } else {
            for (x, v) in row.iter_mut().zip(by.cycle()) {
                *x = if *x == *replaced { v } else { *x };
            }
        }
    }

    fn other(&self, ctx: &mut Context<'_>, input: &Tensor, _: usize) -> Result<Tensor> {
        let data = match (self, input.data()) {
            (Imputer::Floats { replaced, by }, Data::F64(v)) => {
                let replaced = f64::from(*replaced);
                impute(ctx, v, |x| is_missing(x, replaced), by.cycle().map(f64::from))?
            }
            (Imputer::Ints { replaced, by }, Data::I64(v)) => {
                impute(ctx, v, |x| x == *replaced, by.cycle())?
            }
            (Imputer::Ints { replaced, by }, Data::I32(v)) => {
                impute(ctx, v, |x| i64::from(x) == *replaced, by.cycle().map(|v| v as i32))?
            }
            (_, other) => {
                bail!(InvalidInput, "Imputer: its values do not fit elements of {}", other.dtype())
            }
        };
        Tensor::new(input.shape().clone(), data)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Op, assert_close, t};
    use crate::attribute::Attribute;

    #[test]
    fn rows_are_scaled_and_other_widths_refused() {
        let op = Op::ml("Scaler", 1)
            .attr("offset", Attribute::Floats(vec![1.0, 2.0]))
            .attr("scale", Attribute::Floats(vec![0.5, 3.0]));
        let y = t(&[2, 2], &[0f32, 0.0, 1.0, 3.0]);
        assert_eq!(op.run1(&[t(&[2, 2], &[1f32, 2.0, 3.0, 3.0])]), y);
        assert_eq!(op.run1(&[t(&[2, 2], &[1i64, 2, 3, 3])]), y);
        assert_eq!(op.run1(&[t(&[2, 2], &[1f64, 2.0, 3.0, 3.0])]), y);
        assert!(op.run(&[t(&[1, 3], &[0f32; 3])]).is_err());
    }

    // Expected values are ONNX Runtime's: the maximum is signed, empty rows stay.
    #[test]
    fn norms() {
        let x = t(&[3, 2], &[3f32, -4.0, 0.0, 0.0, -1.0, -2.0]);
        let cases = [
            ("MAX", [1.0f32, -1.333_333_4, 0.0, 0.0, 1.0, 2.0]),
            ("L1", [0.428_571_43, -0.571_428_6, 0.0, 0.0, -0.333_333_34, -0.666_666_7]),
            ("L2", [0.6, -0.8, 0.0, 0.0, -0.447_213_6, -0.894_427_2]),
        ];
        for (norm, expected) in cases {
            let op = Op::ml("Normalizer", 1).attr("norm", Attribute::String(norm.into()));
            assert_close(&op.run1(std::slice::from_ref(&x)), &t(&[3, 2], &expected));
            let wide = t(&[3, 2], &[3f64, -4.0, 0.0, 0.0, -1.0, -2.0]);
            assert_close(&op.run1(&[wide]), &t(&[3, 2], &expected));
        }
    }

    #[test]
    fn missing_values_are_replaced() {
        let op = Op::ml("Imputer", 1)
            .attr("imputed_value_floats", Attribute::Floats(vec![7.0, 8.0]))
            .float("replaced_value_float", f32::NAN);
        let x = t(&[2, 2], &[1f32, f32::NAN, f32::NAN, 2.0]);
        assert_eq!(op.run1(&[x]), t(&[2, 2], &[1f32, 8.0, 7.0, 2.0]));
        assert!(op.run(&[t(&[1, 2], &[1i64, 2])]).is_err());
        let op = Op::ml("Imputer", 1)
            .attr("imputed_value_int64s", Attribute::Ints(vec![9]))
            .int("replaced_value_int64", -1);
        assert_eq!(op.run1(&[t(&[3], &[1i64, -1, 2])]), t(&[3], &[1i64, 9, 2]));
        assert!(op.run(&[t(&[1, 1], &[1f32])]).is_err());
        let op = Op::ml("Binarizer", 1).float("threshold", 1.5);
        assert_eq!(op.run1(&[t(&[3], &[1.5f32, 1.6, f32::NAN])]), t(&[3], &[0f32, 1.0, 0.0]));
    }
}

//! A caller's rows bound to a model's inputs.

use super::{Signature, TensorSpec};
use crate::error::{Result, bail, ensure, err};
use crate::graph::Dim;
use crate::kernel::Context;
use crate::kernel::cast::cast;
use crate::limits::RequestLimits;
use crate::tensor::{Data, Element, ElementType, Shape, Tensor, Value, shape::checked_len};
use smallvec::SmallVec;

/// Rows as a caller has them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Features<'a> {
    /// `rows × width` values row-major, read in place: the fast path.
    F32 {
        /// The values.
        data: &'a [f32],
        /// Number of rows.
        rows: usize,
        /// Values a row.
        width: usize,
    },
    /// `rows × width` doubles row-major, read in place, too; rounded where the input is narrower.
    F64 {
        /// The values.
        data: &'a [f64],
        /// Number of rows.
        rows: usize,
        /// Values a row.
        width: usize,
    },
    /// One tensor `[rows, …]` of any element type, converted to the input's; for a model whose
    /// inputs are columns, split over them in order.
    Tensor(Tensor),
    /// Named columns: input names, or feature names of a single wide input. Each `[rows]` or
    /// `[rows, k…]`, of any element type.
    Columns(Vec<(String, Tensor)>),
    /// One tensor an input, in input order.
    Inputs(Vec<Tensor>),
}

/// Values for a plan, and how many rows they hold.
pub(super) struct Bound {
    pub values: SmallVec<[Value; 4]>,
    pub rows: usize,
}

/// Binds rows to the inputs.
pub(super) fn bind(
    signature: &Signature,
    features: Features<'_>,
    limits: &RequestLimits,
) -> Result<Bound> {
    let inputs = &signature.inputs;
    let tensors: Vec<Tensor> = match features {
        Features::F32 { data, rows, width } => spread(inputs, copied(data, rows, width, limits)?)?,
        Features::F64 { data, rows, width } => spread(inputs, copied(data, rows, width, limits)?)?,
        Features::Tensor(tensor) => spread(inputs, tensor)?,
        Features::Columns(columns) => by_name(signature, columns)?,
        Features::Inputs(tensors) => tensors,
    };
    ensure!(
        tensors.len() == inputs.len(),
        InvalidInput,
        "the model takes {} inputs ({}), got {}",
        inputs.len(),
        names(inputs),
        tensors.len()
    );
    let bytes: u64 = tensors.iter().map(Tensor::byte_len).fold(0, u64::saturating_add);
    ensure!(
        bytes <= limits.request_bytes,
        LimitExceeded,
        "a request of {bytes} bytes (at most {}, RequestLimits::request_bytes)",
        limits.request_bytes
    );
    let mut values = SmallVec::new();
    let mut rows = None;
    for (tensor, spec) in tensors.into_iter().zip(inputs) {
        let tensor = conform(tensor, spec)?;
        if spec.batch_axis == Some(0) {
            let n = tensor.shape().dim(0);
            check_rows(n, limits)?;
            ensure!(
                rows.is_none_or(|r| r == n),
                InvalidInput,
                "input '{}' has {n} rows, another has {}",
                spec.name,
                rows.unwrap_or(0)
            );
            rows = Some(n);
        }
        values.push(Value::Tensor(tensor));
    }
    Ok(Bound { values, rows: rows.unwrap_or(1) })
}

/// Borrowed rows as a tensor.
fn copied<T: Element + Copy>(
    data: &[T],
    rows: usize,
    width: usize,
    limits: &RequestLimits,
) -> Result<Tensor> {
    let len = checked_len(&[rows, width])?;
    ensure!(
        data.len() == len,
        InvalidInput,
        "{rows} rows of {width} values are {len} values, got {}",
        data.len()
    );
    check_rows(rows, limits)?;
    Tensor::from_vec(&[rows, width], data.to_vec())
}

/// As [`bind`], as tensors: see [`super::Model::bind`].
pub(super) fn bind_tensors(
    signature: &Signature,
    features: Features<'_>,
    limits: &RequestLimits,
) -> Result<(Vec<Tensor>, usize)> {
    let Bound { values, rows } = bind(signature, features, limits)?;
    let tensors = values.into_iter().map(Value::into_tensor).collect::<Result<_>>()?;
    Ok((tensors, rows))
}

pub(super) fn check_rows(rows: usize, limits: &RequestLimits) -> Result<()> {
    ensure!(
        rows <= limits.rows,
        LimitExceeded,
        "a batch of {rows} rows (at most {}, RequestLimits::rows): split it",
        limits.rows
    );
    Ok(())
}

fn names(specs: &[TensorSpec]) -> String {
    specs.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// One tensor for a single input, or cut into the columns of several.
fn spread(inputs: &[TensorSpec], tensor: Tensor) -> Result<Vec<Tensor>> {
    if inputs.len() == 1 {
        return Ok(vec![tensor]);
    }
    let widths: Option<Vec<usize>> = inputs.iter().map(TensorSpec::row_width).collect();
    let total: Option<usize> = widths.as_ref().map(|w| w.iter().sum());
    let (Some(widths), Some(total)) = (widths, total) else {
        bail!(
            InvalidInput,
            "the model takes {} inputs ({}): give them by name",
            inputs.len(),
            names(inputs)
        );
    };
    ensure!(
        tensor.shape().rank() == 2 && tensor.shape().dim(1) == total,
        InvalidInput,
        "the inputs ({}) take {total} values a row together, got shape {}",
        names(inputs),
        tensor.shape()
    );
    let rows = tensor.shape().dim(0);
    let mut start = 0;
    let mut out = Vec::with_capacity(inputs.len());
    for width in widths {
        out.push(columns_of(&tensor, rows, start, width)?);
        start += width;
    }
    Ok(out)
}

fn columns_of(tensor: &Tensor, rows: usize, start: usize, width: usize) -> Result<Tensor> {
    let total = tensor.shape().dim(1);
    crate::tensor::for_each_type!(tensor.data(), v => {
        let mut part = Vec::with_capacity(rows * width);
        for row in v.chunks(total.max(1)) {
            part.extend_from_slice(row.get(start..start + width).unwrap_or_default());
        }
        Tensor::from_vec(&[rows, width], part)
    })
}

/// Columns by input name; or, for a single input, by feature name.
fn by_name(signature: &Signature, mut columns: Vec<(String, Tensor)>) -> Result<Vec<Tensor>> {
    let inputs = &signature.inputs;
    let by_input = inputs.iter().any(|i| columns.iter().any(|(name, _)| *name == i.name));
    if inputs.len() > 1 || by_input {
        let mut out = Vec::with_capacity(inputs.len());
        for input in inputs {
            match columns.iter().position(|(name, _)| *name == input.name) {
                Some(i) => out.push(columns.swap_remove(i).1),
                None => bail!(
                    InvalidInput,
                    "input '{}' is missing; the model takes {}",
                    input.name,
                    names(inputs)
                ),
            }
        }
        if let Some((name, _)) = columns.first() {
            let known = inputs.iter().any(|i| i.name == *name);
            ensure!(!known, InvalidInput, "input '{name}' is given twice");
            bail!(InvalidInput, "'{name}' is no input of the model; it takes {}", names(inputs));
        }
        return Ok(out);
    }
    let Some(features) = &signature.feature_names else {
        bail!(
            InvalidInput,
            "the model has one input ('{}') and knows no feature names: give an array, or name the \
             features at load (feature_names)",
            names(inputs)
        );
    };
    for (name, _) in &columns {
        ensure!(
            features.contains(name),
            InvalidInput,
            "column '{name}' is no feature of the model; it takes {}",
            features.join(", ")
        );
    }
    let mut parts = Vec::with_capacity(features.len());
    let mut rows = None;
    for feature in features {
        let found = columns.iter().position(|(name, _)| name == feature);
        let Some(i) = found else { bail!(InvalidInput, "column '{feature}' is missing") };
        let (_, tensor) = columns.swap_remove(i);
        let n = tensor.shape().dim(0);
        ensure!(
            matches!(tensor.dims(), [_] | [_, 1]),
            InvalidInput,
            "column '{feature}': expected [rows] or [rows, 1], got {}",
            tensor.shape()
        );
        ensure!(
            rows.is_none_or(|r| r == n),
            InvalidInput,
            "column '{feature}' has {n} rows, another has {}",
            rows.unwrap_or(0)
        );
        rows = Some(n);
        parts.push(tensor);
    }
    if let Some((name, _)) = columns.first() {
        bail!(InvalidInput, "column '{name}' is given twice");
    }
    interleave(parts, rows.unwrap_or(0))
}

/// `[rows, parts]` from columns: strings stay strings, f64 stays f64, all else becomes f32.
fn interleave(parts: Vec<Tensor>, rows: usize) -> Result<Vec<Tensor>> {
    let width = parts.len();
    checked_len(&[rows, width])?;
    if parts.iter().any(|p| p.dtype() == ElementType::String) {
        let columns: Vec<Vec<String>> =
            parts.into_iter().map(Tensor::into_vec).collect::<Result<_>>()?;
        let mut out = Vec::with_capacity(rows * width);
        for row in 0..rows {
            out.extend(columns.iter().map(|c| c[row].clone()));
        }
        return Ok(vec![Tensor::from_vec(&[rows, width], out)?]);
    }
    let columns: Vec<Vec<f64>> = parts.iter().map(Tensor::to_f64_vec).collect::<Result<_>>()?;
    let mut out = Vec::with_capacity(rows * width);
    for row in 0..rows {
        out.extend(columns.iter().map(|c| c[row]));
    }
    Ok(vec![Tensor::from_vec(&[rows, width], out)?])
}

/// A tensor as the input wants it: its element type, rank and fixed dimensions.
pub(super) fn conform(tensor: Tensor, spec: &TensorSpec) -> Result<Tensor> {
    let wrong = |tensor: &Tensor| {
        err!(
            InvalidInput,
            "input '{}': expected {}, got {}{}",
            spec.name,
            spec.ty.as_ref().map_or("a tensor".to_string(), ToString::to_string),
            tensor.dtype(),
            tensor.shape()
        )
    };
    let tensor = match spec.dtype() {
        Some(dtype) if dtype != tensor.dtype() => {
            let text = |t: ElementType| t == ElementType::String;
            if text(dtype) != text(tensor.dtype()) {
                return Err(wrong(&tensor));
            }
            if let Some(value) = not_taken(&tensor, dtype)? {
                bail!(InvalidInput, "input '{}' takes {dtype}, which cannot be {value}", spec.name);
            }
            convert(tensor, dtype)?
        }
        _ => tensor,
    };
    let Some(dims) = spec.dims() else { return Ok(tensor) };
    let tensor = match reshape_rows(&tensor, spec, dims) {
        Some(shape) => tensor.reshaped(shape)?,
        None => tensor,
    };
    let fits = tensor.shape().rank() == dims.len()
        && dims.iter().zip(tensor.dims()).enumerate().all(|(axis, (dim, &got))| match dim {
            Dim::Fixed(n) => spec.batch_axis == Some(axis) || *n == got,
            _ => true,
        });
    if fits { Ok(tensor) } else { Err(wrong(&tensor)) }
}

/// The smallest and the largest value of a type of whole numbers.
fn whole_numbers(dtype: ElementType) -> Option<(i128, i128)> {
    Some(match dtype {
        ElementType::I8 => (i8::MIN.into(), i8::MAX.into()),
        ElementType::I16 => (i16::MIN.into(), i16::MAX.into()),
        ElementType::I32 => (i32::MIN.into(), i32::MAX.into()),
        ElementType::I64 => (i64::MIN.into(), i64::MAX.into()),
        ElementType::U8 => (0, u8::MAX.into()),
        ElementType::U16 => (0, u16::MAX.into()),
        ElementType::U32 => (0, u32::MAX.into()),
        ElementType::U64 => (0, u64::MAX.into()),
        ElementType::Bool => (0, 1),
        ElementType::I4 => (-8, 7),
        ElementType::U4 => (0, 15),
        ElementType::I2 => (-2, 1),
        ElementType::U2 => (0, 3),
        _ => return None,
    })
}

/// The first value that an input of that type does not take.
fn not_taken(tensor: &Tensor, dtype: ElementType) -> Result<Option<String>> {
    whole_numbers(dtype).map_or(Ok(None), |range| not_among(tensor, range))
}

/// The first value that is no whole number of that range, which Cast would wrap or cut.
fn not_among(tensor: &Tensor, (least, most): (i128, i128)) -> Result<Option<String>> {
    let fits = |x: i128| least <= x && x <= most;
    if let Some((low, high)) = whole_numbers(tensor.dtype())
        && fits(low)
        && fits(high)
    {
        return Ok(None);
    }
    Ok(match tensor.data() {
        // Whole numbers of a double are exact in 128 bits, or beyond what any type holds.
        _ if tensor.dtype().is_float() => {
            let bad = |x: &f64| !x.is_finite() || x.fract() != 0.0 || !fits(*x as i128);
            tensor.to_f64_vec()?.into_iter().find(bad).map(|x| format!("{x:?}"))
        }
        Data::U64(values) => {
            values.iter().find(|x| !fits(i128::from(**x))).map(ToString::to_string)
        }
        _ => {
            let all = tensor.to_i64_vec()?;
            all.into_iter().find(|x| !fits(i128::from(*x))).map(|x| x.to_string())
        }
    })
}

/// Rows given flat (`[rows]` for a column, `[rows, width]` for an input of higher rank), in the
/// input's own shape.
fn reshape_rows(tensor: &Tensor, spec: &TensorSpec, dims: &[Dim]) -> Option<Shape> {
    let rank = tensor.shape().rank();
    if spec.batch_axis != Some(0) || rank == dims.len() || rank == 0 || rank > 2 {
        return None;
    }
    let width = spec.row_width()?;
    let rows = tensor.shape().dim(0);
    if tensor.len() != rows.checked_mul(width)? {
        return None;
    }
    let mut shape: SmallVec<[usize; 6]> = smallvec::smallvec![rows];
    for dim in dims.get(1..)? {
        match dim {
            Dim::Fixed(n) => shape.push(*n),
            _ => return None,
        }
    }
    Shape::new(&shape).ok()
}

/// `tensor`, of any shape, with the elements that an input of type `to` takes of it: those of
/// ONNX's Cast, but that a type of whole numbers takes only numbers that it has. What `run` does
/// to tensors whose type is not the declared one.
///
/// # Errors
/// `InvalidInput` for a number that the type has not, for text where numbers are taken or numbers
/// where text is, and for complex numbers.
pub fn convert_input(tensor: Tensor, to: ElementType) -> Result<Tensor> {
    let from = tensor.dtype();
    ensure!(
        (from == ElementType::String) == (to == ElementType::String),
        InvalidInput,
        "expected {to}, got {from}"
    );
    if let Some(value) = not_taken(&tensor, to)? {
        bail!(InvalidInput, "{to} cannot be {value}");
    }
    convert(tensor, to)
}

/// A tensor in another element type, by the rules of ONNX's Cast.
pub(super) fn convert(tensor: Tensor, dtype: ElementType) -> Result<Tensor> {
    Context::alone(|ctx| cast(ctx, tensor, dtype))
}

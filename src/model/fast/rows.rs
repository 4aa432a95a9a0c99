//! A caller's rows as the inputs of a row program: borrowed where they have the program's type,
//! converted as Cast does it where not. What does not fit is left to the general path, which says
//! why.

use crate::kernel::RowNumber;
use crate::limits::RequestLimits;
use crate::model::{Features, Signature};
use crate::plan::{RowColumn, RowInput, RowProgram};
use crate::tensor::{Data, ElementType, Tensor};
use smallvec::SmallVec;
use std::ops::Range;

/// The inputs of a program.
pub(crate) type Inputs<'a, T> = SmallVec<[RowInput<'a, T>; 16]>;

/// Where the values of one input are.
enum Place<'a, T> {
    /// With the caller.
    Numbers(&'a [T]),
    /// In the converted numbers.
    Converted(Range<usize>),
    /// With the caller.
    Texts(&'a [String]),
}

/// The only row of a program with one input of numbers, where it is there in the program's type:
/// the most common request, and the one whose cost shows most.
pub(crate) fn own_row<'a, T: RowNumber>(
    program: &RowProgram<T>,
    features: &'a Features<'_>,
) -> Option<&'a [T]> {
    let row = match features {
        Features::F32 { data, rows: 1, width } if data.len() == *width => T::from_f32(data)?,
        Features::F64 { data, rows: 1, width } if data.len() == *width => T::from_f64(data)?,
        _ => return None,
    };
    match *program.columns() {
        [RowColumn::Numbers { width, dtype }] if width == row.len() && dtype == T::TYPE => {
            Some(row)
        }
        _ => None,
    }
}

/// The number of rows and the inputs; `None` where the general path has to look at it.
pub(crate) fn bound<'a, T: RowNumber>(
    program: &RowProgram<T>,
    signature: &Signature,
    limits: &RequestLimits,
    features: &'a Features<'_>,
    converted: &'a mut Vec<T>,
) -> Option<(usize, Inputs<'a, T>)> {
    let columns = program.columns();
    let mut places: SmallVec<[Place<'a, T>; 16]> = SmallVec::new();
    let rows = match features {
        Features::F32 { data, rows, width } => {
            let fits = rows.checked_mul(*width) == Some(data.len());
            places.push(floats(columns, data, fits.then_some(*width)?, converted)?);
            *rows
        }
        Features::F64 { data, rows, width } => {
            let fits = rows.checked_mul(*width) == Some(data.len());
            places.push(doubles(columns, data, fits.then_some(*width)?, converted)?);
            *rows
        }
        Features::Tensor(tensor) => {
            let (rows, place) = whole(columns, tensor, converted)?;
            places.push(place);
            rows
        }
        Features::Inputs(tensors) => {
            let tensors = |i: usize| tensors.get(i);
            if tensors(columns.len()).is_some() {
                return None;
            }
            each(columns, tensors, &mut places, converted)?
        }
        Features::Columns(given) if by_input(signature, given) => {
            if given.len() != columns.len() {
                return None;
            }
            let named = |i: usize| {
                let name = &signature.inputs.get(i)?.name;
                // Callers mostly keep the model's order.
                let here = given.get(i).filter(|(given, _)| given == name);
                here.or_else(|| given.iter().find(|(given, _)| given == name)).map(|(_, t)| t)
            };
            each(columns, named, &mut places, converted)?
        }
        Features::Columns(given) => {
            let (rows, place) = by_feature(columns, signature, given, converted)?;
            places.push(place);
            rows
        }
    };
    let bytes = if places.len() > 1 { features.byte_len() } else { 0 };
    if bytes > limits.request_bytes {
        return None;
    }
    let converted = &*converted;
    let inputs = places.into_iter().map(|place| match place {
        Place::Numbers(values) => Some(RowInput::Numbers(values)),
        Place::Converted(range) => converted.get(range).map(RowInput::Numbers),
        Place::Texts(texts) => Some(RowInput::Texts(texts)),
    });
    Some((rows, inputs.collect::<Option<_>>()?))
}

/// Whether columns are named after inputs, not after features of the only input.
fn by_input(signature: &Signature, given: &[(String, Tensor)]) -> bool {
    signature.inputs.len() > 1
        || signature.inputs.iter().any(|input| given.iter().any(|(name, _)| *name == input.name))
}

/// Rows of floats for the only input, which takes numbers.
fn floats<'a, T: RowNumber>(
    columns: &[RowColumn],
    data: &'a [f32],
    width: usize,
    converted: &mut Vec<T>,
) -> Option<Place<'a, T>> {
    match *columns {
        [RowColumn::Numbers { width: wanted, dtype }] if wanted == width && dtype.is_float() => {
            Some(match T::from_f32(data) {
                Some(same) => Place::Numbers(same),
                None => store(converted, data.iter().map(|&x| T::of(x.into()))),
            })
        }
        _ => None,
    }
}

/// Rows of doubles for the only input, which takes numbers.
fn doubles<'a, T: RowNumber>(
    columns: &[RowColumn],
    data: &'a [f64],
    width: usize,
    converted: &mut Vec<T>,
) -> Option<Place<'a, T>> {
    match *columns {
        [RowColumn::Numbers { width: wanted, dtype }] if wanted == width && dtype.is_float() => {
            Some(of_doubles(data, dtype, converted))
        }
        _ => None,
    }
}

fn of_doubles<'a, T: RowNumber>(
    data: &'a [f64],
    dtype: ElementType,
    converted: &mut Vec<T>,
) -> Place<'a, T> {
    match T::from_f64(data) {
        Some(same) if dtype == ElementType::F64 => Place::Numbers(same),
        _ => store(converted, data.iter().map(|&x| float(x, dtype))),
    }
}

/// A tensor for the only input.
fn whole<'a, T: RowNumber>(
    columns: &[RowColumn],
    tensor: &'a Tensor,
    converted: &mut Vec<T>,
) -> Option<(usize, Place<'a, T>)> {
    let [column] = columns else { return None };
    // One row of one value may be given flat; a flat row of several is the general path's.
    let rows = rows_of(column, tensor)?;
    Some((rows, place(column, tensor, converted)?))
}

/// A tensor for each input.
fn each<'a, T: RowNumber>(
    columns: &[RowColumn],
    tensor: impl Fn(usize) -> Option<&'a Tensor>,
    places: &mut SmallVec<[Place<'a, T>; 16]>,
    converted: &mut Vec<T>,
) -> Option<usize> {
    let mut rows = None;
    for (i, column) in columns.iter().enumerate() {
        let tensor = tensor(i)?;
        let n = rows_of(column, tensor)?;
        if rows.is_some_and(|rows| rows != n) {
            return None;
        }
        rows = Some(n);
        places.push(place(column, tensor, converted)?);
    }
    rows
}

/// The rows of a tensor that has as many values a row as the column.
fn rows_of(column: &RowColumn, tensor: &Tensor) -> Option<usize> {
    match *tensor.dims() {
        [rows] if column.width() == 1 => Some(rows),
        [rows, width] if column.width() == width => Some(rows),
        _ => None,
    }
}

/// Columns named after the features of the only input, which takes numbers.
fn by_feature<'a, T: RowNumber>(
    columns: &[RowColumn],
    signature: &Signature,
    given: &[(String, Tensor)],
    converted: &mut Vec<T>,
) -> Option<(usize, Place<'a, T>)> {
    let &[RowColumn::Numbers { width, dtype }] = columns else { return None };
    let names = signature.feature_names.as_ref()?;
    if names.len() != width || given.len() != width || !dtype.is_float() {
        return None;
    }
    let rows = given.first()?.1.dims().first().copied()?;
    let start = converted.len();
    converted.resize(start + rows.checked_mul(width)?, T::default());
    let out = converted.get_mut(start..)?;
    for (i, name) in names.iter().enumerate() {
        let here = given.get(i).filter(|(given, _)| given == name);
        let (_, tensor) = here.or_else(|| given.iter().find(|(given, _)| given == name))?;
        if !matches!(*tensor.dims(), [n] | [n, 1] if n == rows) {
            return None;
        }
        let slots = out.iter_mut().skip(i).step_by(width);
        // As the general path joins them: by way of doubles.
        match tensor.data() {
            Data::F32(v) => slots.zip(v).for_each(|(o, &x)| *o = float(x.into(), dtype)),
            Data::F64(v) => slots.zip(v).for_each(|(o, &x)| *o = float(x, dtype)),
            Data::I64(v) => slots.zip(v).for_each(|(o, &x)| *o = float(x as f64, dtype)),
            Data::I32(v) => slots.zip(v).for_each(|(o, &x)| *o = float(x.into(), dtype)),
            Data::Bool(v) => {
                slots.zip(v).for_each(|(o, &x)| *o = float(u8::from(x).into(), dtype));
            }
            _ => return None,
        }
    }
    Some((rows, Place::Converted(start..converted.len())))
}

/// The values of a tensor that has the column's shape.
fn place<'a, T: RowNumber>(
    column: &RowColumn,
    tensor: &'a Tensor,
    converted: &mut Vec<T>,
) -> Option<Place<'a, T>> {
    let dtype = match *column {
        RowColumn::Texts { .. } => {
            let Data::String(texts) = tensor.data() else { return None };
            return Some(Place::Texts(texts));
        }
        RowColumn::Numbers { dtype, .. } => dtype,
    };
    if dtype.is_float() {
        return Some(match tensor.data() {
            Data::F32(v) => match T::from_f32(v) {
                Some(same) => Place::Numbers(same),
                None => store(converted, v.iter().map(|&x| T::of(x.into()))),
            },
            Data::F64(v) => of_doubles(v, dtype, converted),
            Data::I64(v) if dtype == ElementType::F32 => {
                store(converted, v.iter().map(|&x| T::of((x as f32).into())))
            }
            Data::I64(v) => store(converted, v.iter().map(|&x| T::of(x as f64))),
            Data::I32(v) => store(converted, v.iter().map(|&x| float(x.into(), dtype))),
            Data::Bool(v) => store(converted, v.iter().map(|&x| T::of(u8::from(x).into()))),
            _ => return None,
        });
    }
    let start = converted.len();
    let mut whole = |x: i64| {
        let number = T::of(x as f64);
        let back: f64 = number.into();
        let fits = dtype == ElementType::I64 || i32::try_from(x).is_ok();
        converted.push(number);
        (fits && back as i128 == i128::from(x)).then_some(())
    };
    match (dtype, tensor.data()) {
        (ElementType::I64 | ElementType::I32, Data::I64(v)) => {
            v.iter().try_for_each(|&x| whole(x))?;
        }
        (ElementType::I64 | ElementType::I32, Data::I32(v)) => {
            v.iter().try_for_each(|&x| whole(x.into()))?;
        }
        (_, Data::Bool(v)) => v.iter().try_for_each(|&x| whole(x.into()))?,
        _ => return None,
    }
    Some(Place::Converted(start..converted.len()))
}

/// A double as a float of that type, in a program of `T`.
fn float<T: RowNumber>(x: f64, dtype: ElementType) -> T {
    T::of(if dtype == ElementType::F32 { f64::from(x as f32) } else { x })
}

fn store<'a, T>(converted: &mut Vec<T>, values: impl Iterator<Item = T>) -> Place<'a, T> {
    let start = converted.len();
    converted.extend(values);
    Place::Converted(start..converted.len())
}

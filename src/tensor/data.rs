//! The tensor: a checked shape over a shared buffer.

use super::{Element, ElementType, Shape};
use crate::error::{Result, ensure, err};
use half::{bf16, f16};
use std::sync::Arc;

/// The elements of a tensor, row-major and contiguous.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)] // one variant per element type
pub enum Data {
    F32(Vec<f32>),
    F64(Vec<f64>),
    F16(Vec<f16>),
    BF16(Vec<bf16>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    Bool(Vec<bool>),
    String(Vec<String>),
}

/// `for_each_type!(data, vec => expression)`: the expression with `vec` bound to the typed
/// vector, whatever the type. For code that is the same for all elements (data movement).
#[macro_export]
#[doc(hidden)]
macro_rules! for_each_type {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            $crate::tensor::Data::F32($v) => $body,
            $crate::tensor::Data::F64($v) => $body,
            $crate::tensor::Data::F16($v) => $body,
            $crate::tensor::Data::BF16($v) => $body,
            $crate::tensor::Data::I8($v) => $body,
            $crate::tensor::Data::I16($v) => $body,
            $crate::tensor::Data::I32($v) => $body,
            $crate::tensor::Data::I64($v) => $body,
            $crate::tensor::Data::U8($v) => $body,
            $crate::tensor::Data::U16($v) => $body,
            $crate::tensor::Data::U32($v) => $body,
            $crate::tensor::Data::U64($v) => $body,
            $crate::tensor::Data::Bool($v) => $body,
            $crate::tensor::Data::String($v) => $body,
        }
    };
}
pub use for_each_type;

impl Data {
    /// The element type.
    pub fn dtype(&self) -> ElementType {
        fn of<T: Element>(_: &[T]) -> ElementType {
            T::TYPE
        }
        for_each_type!(self, v => of(v))
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        for_each_type!(self, v => v.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A dense tensor: shape, element type and a shared row-major buffer. Strings are an element
/// type like any other. Cheap to clone; the elements are copied only when a shared buffer has
/// to be changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: Arc<Data>,
}

impl Tensor {
    /// A tensor over `data` without copying it.
    ///
    /// # Errors
    /// `InvalidInput` when the buffer's length is not the shape's number of elements.
    pub fn new(shape: Shape, data: Data) -> Result<Tensor> {
        ensure!(
            data.len() == shape.len(),
            InvalidInput,
            "a buffer of {} elements does not fill shape {shape}",
            data.len()
        );
        Ok(Tensor { shape, data: Arc::new(data) })
    }

    /// A tensor of dimensions `dims` over `data` without copying it.
    ///
    /// # Errors
    /// As [`Shape::new`] and [`Tensor::new`].
    pub fn from_vec<T: Element>(dims: &[usize], data: Vec<T>) -> Result<Tensor> {
        Tensor::new(Shape::new(dims)?, T::wrap(data))
    }

    /// A one-element tensor of rank 0.
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor { shape: Shape::scalar(), data: Arc::new(T::wrap(vec![value])) }
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        self.shape.dims()
    }

    /// The number of elements.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.shape.len()
    }

    /// The element type.
    pub fn dtype(&self) -> ElementType {
        self.data.dtype()
    }

    /// The typed buffer.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Bytes of the elements in memory (strings: handles and text).
    pub fn byte_len(&self) -> u64 {
        let text: usize = match &*self.data {
            Data::String(v) => v.iter().map(String::len).sum(),
            _ => 0,
        };
        (self.len() as u64).saturating_mul(self.dtype().size() as u64).saturating_add(text as u64)
    }

    /// The elements as a slice of `T`.
    ///
    /// # Errors
    /// `InvalidInput` when the element type is another.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        T::slice(&self.data).ok_or_else(|| {
            err!(InvalidInput, "expected a {} tensor, got {}", T::TYPE, self.dtype())
        })
    }

    /// The elements as an owned vector: moved out when this is the only reference, else copied.
    ///
    /// # Errors
    /// `InvalidInput` when the element type is another.
    pub fn into_vec<T: Element>(self) -> Result<Vec<T>> {
        let dtype = self.dtype();
        T::unwrap(self.into_data())
            .map_err(|_| err!(InvalidInput, "expected a {} tensor, got {dtype}", T::TYPE))
    }

    /// Puts `values` in the place of the elements, where those are as many of that type and this
    /// is the only reference to them; whether it did.
    pub(crate) fn overwrite<T: Element>(&mut self, values: &[T]) -> bool {
        match Arc::get_mut(&mut self.data).and_then(T::slice_mut) {
            Some(elements) if elements.len() == values.len() => {
                elements.clone_from_slice(values);
                true
            }
            _ => false,
        }
    }

    /// The elements moved out when this is the only reference to a buffer of `T`; else the
    /// tensor itself again.
    pub fn try_into_unique_vec<T: Element>(self) -> std::result::Result<(Shape, Vec<T>), Tensor> {
        let Tensor { shape, data } = self;
        match Arc::try_unwrap(data) {
            Ok(data) => match T::unwrap(data) {
                Ok(v) => Ok((shape, v)),
                Err(data) => Err(Tensor { shape, data: Arc::new(data) }),
            },
            Err(data) => Err(Tensor { shape, data }),
        }
    }

    /// The buffer: moved out when this is the only reference to it, else copied.
    pub fn into_data(self) -> Data {
        Arc::try_unwrap(self.data).unwrap_or_else(|shared| (*shared).clone())
    }

    /// The buffer moved out when this is the only reference to it.
    pub fn into_unique_data(self) -> Option<Data> {
        Arc::try_unwrap(self.data).ok()
    }

    /// The same elements under another shape; nothing is copied.
    ///
    /// # Errors
    /// `InvalidInput` when the number of elements differs.
    pub fn reshaped(self, shape: Shape) -> Result<Tensor> {
        ensure!(
            shape.len() == self.shape.len(),
            InvalidInput,
            "a tensor of shape {} cannot be seen as {shape}",
            self.shape
        );
        Ok(Tensor { shape, data: self.data })
    }

    /// The elements converted to `i64`, for shapes, axes and indices.
    ///
    /// # Errors
    /// `InvalidInput` when the tensor is not of an integer type (or a value exceeds `i64`).
    pub fn to_i64_vec(&self) -> Result<Vec<i64>> {
        Ok(match &*self.data {
            Data::I64(v) => v.clone(),
            Data::I32(v) => v.iter().map(|&x| x.into()).collect(),
            Data::I16(v) => v.iter().map(|&x| x.into()).collect(),
            Data::I8(v) => v.iter().map(|&x| x.into()).collect(),
            Data::U32(v) => v.iter().map(|&x| x.into()).collect(),
            Data::U16(v) => v.iter().map(|&x| x.into()).collect(),
            Data::U8(v) => v.iter().map(|&x| x.into()).collect(),
            Data::U64(v) => v
                .iter()
                .map(|&x| i64::try_from(x).map_err(|_| err!(InvalidInput, "{x} exceeds int64")))
                .collect::<Result<_>>()?,
            other => {
                return Err(err!(
                    InvalidInput,
                    "expected an integer tensor, got {}",
                    other.dtype()
                ));
            }
        })
    }

    /// The elements converted to `f32` (rounded where wider); integers and bools count as
    /// numbers.
    ///
    /// # Errors
    /// `InvalidInput` for strings.
    pub fn to_f32_vec(&self) -> Result<Vec<f32>> {
        Ok(match &*self.data {
            Data::F32(v) => v.clone(),
            Data::F64(v) => v.iter().map(|&x| x as f32).collect(),
            Data::F16(v) => v.iter().map(|x| x.to_f32()).collect(),
            Data::BF16(v) => v.iter().map(|x| x.to_f32()).collect(),
            Data::I8(v) => v.iter().map(|&x| x.into()).collect(),
            Data::I16(v) => v.iter().map(|&x| x.into()).collect(),
            Data::I32(v) => v.iter().map(|&x| x as f32).collect(),
            Data::I64(v) => v.iter().map(|&x| x as f32).collect(),
            Data::U8(v) => v.iter().map(|&x| x.into()).collect(),
            Data::U16(v) => v.iter().map(|&x| x.into()).collect(),
            Data::U32(v) => v.iter().map(|&x| x as f32).collect(),
            Data::U64(v) => v.iter().map(|&x| x as f32).collect(),
            Data::Bool(v) => v.iter().map(|&x| u8::from(x).into()).collect(),
            Data::String(_) => return Err(err!(InvalidInput, "expected numbers, got strings")),
        })
    }

    /// The elements converted to `f64`; integers and bools count as numbers.
    ///
    /// # Errors
    /// `InvalidInput` for strings.
    pub fn to_f64_vec(&self) -> Result<Vec<f64>> {
        Ok(match &*self.data {
            Data::F64(v) => v.clone(),
            Data::F32(v) => v.iter().map(|&x| x.into()).collect(),
            Data::I64(v) => v.iter().map(|&x| x as f64).collect(),
            Data::U64(v) => v.iter().map(|&x| x as f64).collect(),
            Data::I32(v) => v.iter().map(|&x| x.into()).collect(),
            Data::U32(v) => v.iter().map(|&x| x.into()).collect(),
            _ => self.to_f32_vec()?.into_iter().map(f64::from).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshaping_and_taking_the_only_reference_do_not_copy() {
        let v = vec![1f32, 2.0, 3.0, 4.0];
        let at = v.as_ptr();
        let t = Tensor::from_vec(&[2, 2], v).unwrap();
        let t = t.reshaped(Shape::new(&[4]).unwrap()).unwrap();
        let same = t.into_vec::<f32>().unwrap();
        assert_eq!(same.as_ptr(), at);
    }

    #[test]
    fn a_shared_buffer_is_copied_not_stolen() {
        let t = Tensor::from_vec(&[2], vec![1i64, 2]).unwrap();
        let u = t.clone();
        assert!(t.clone().try_into_unique_vec::<i64>().is_err());
        assert_eq!(t.into_vec::<i64>().unwrap(), [1, 2]);
        assert_eq!(u.as_slice::<i64>().unwrap(), [1, 2]);
        assert!(u.as_slice::<f32>().is_err());
    }

    #[test]
    fn lengths_must_match() {
        assert!(Tensor::from_vec(&[3], vec![1f32]).is_err());
        assert!(Tensor::from_vec::<f32>(&[1 << 32, 1 << 32], vec![]).is_err());
    }
}

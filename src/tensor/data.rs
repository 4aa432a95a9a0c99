//! The tensor: a checked shape over a shared buffer.

use super::{
    Complex, Element, ElementType, Float4E2M1, Float6E2M3, Float6E3M2, Float8E4M3FN,
    Float8E4M3FNUZ, Float8E5M2, Float8E5M2FNUZ, Float8E8M0, Int2, Int4, Shape, UInt2, UInt4,
};
use crate::error::{Result, ensure, err};
use crate::room;
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
    I4(Vec<Int4>),
    U4(Vec<UInt4>),
    I2(Vec<Int2>),
    U2(Vec<UInt2>),
    F8E4M3FN(Vec<Float8E4M3FN>),
    F8E4M3FNUZ(Vec<Float8E4M3FNUZ>),
    F8E5M2(Vec<Float8E5M2>),
    F8E5M2FNUZ(Vec<Float8E5M2FNUZ>),
    F8E8M0(Vec<Float8E8M0>),
    F6E2M3(Vec<Float6E2M3>),
    F6E3M2(Vec<Float6E3M2>),
    F4E2M1(Vec<Float4E2M1>),
    C64(Vec<Complex<f32>>),
    C128(Vec<Complex<f64>>),
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
            $crate::tensor::Data::I4($v) => $body,
            $crate::tensor::Data::U4($v) => $body,
            $crate::tensor::Data::I2($v) => $body,
            $crate::tensor::Data::U2($v) => $body,
            $crate::tensor::Data::F8E4M3FN($v) => $body,
            $crate::tensor::Data::F8E4M3FNUZ($v) => $body,
            $crate::tensor::Data::F8E5M2($v) => $body,
            $crate::tensor::Data::F8E5M2FNUZ($v) => $body,
            $crate::tensor::Data::F8E8M0($v) => $body,
            $crate::tensor::Data::F6E2M3($v) => $body,
            $crate::tensor::Data::F6E3M2($v) => $body,
            $crate::tensor::Data::F4E2M1($v) => $body,
            $crate::tensor::Data::C64($v) => $body,
            $crate::tensor::Data::C128($v) => $body,
        }
    };
}
pub use for_each_type;

/// `for_each_common_type!(data, vec => expression, other => refusal)`: as [`for_each_type!`] for
/// the types that are computed with, and strings; the second expression for all others.
macro_rules! for_each_common_type {
    ($data:expr, $v:ident => $body:expr, $other:ident => $refusal:expr) => {
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
            $other => $refusal,
        }
    };
}
pub(crate) use for_each_common_type;

impl Data {
    /// The element type.
    pub fn dtype(&self) -> ElementType {
        fn of<T: Element>(_: &[T]) -> ElementType {
            T::TYPE
        }
        for_each_type!(self, v => of(v))
    }

    /// `len` zeros (empty strings, `false`) of that type.
    pub fn zeros(dtype: ElementType, len: usize) -> Data {
        fn of<T: Element>(len: usize) -> Data {
            T::wrap(vec![T::default(); len])
        }
        match dtype {
            ElementType::F32 => of::<f32>(len),
            ElementType::F64 => of::<f64>(len),
            ElementType::F16 => of::<f16>(len),
            ElementType::BF16 => of::<bf16>(len),
            ElementType::I8 => of::<i8>(len),
            ElementType::I16 => of::<i16>(len),
            ElementType::I32 => of::<i32>(len),
            ElementType::I64 => of::<i64>(len),
            ElementType::U8 => of::<u8>(len),
            ElementType::U16 => of::<u16>(len),
            ElementType::U32 => of::<u32>(len),
            ElementType::U64 => of::<u64>(len),
            ElementType::Bool => of::<bool>(len),
            ElementType::String => of::<String>(len),
            ElementType::I4 => of::<Int4>(len),
            ElementType::U4 => of::<UInt4>(len),
            ElementType::I2 => of::<Int2>(len),
            ElementType::U2 => of::<UInt2>(len),
            ElementType::F8E4M3FN => of::<Float8E4M3FN>(len),
            ElementType::F8E4M3FNUZ => of::<Float8E4M3FNUZ>(len),
            ElementType::F8E5M2 => of::<Float8E5M2>(len),
            ElementType::F8E5M2FNUZ => of::<Float8E5M2FNUZ>(len),
            ElementType::F8E8M0 => of::<Float8E8M0>(len),
            ElementType::F6E2M3 => of::<Float6E2M3>(len),
            ElementType::F6E3M2 => of::<Float6E3M2>(len),
            ElementType::F4E2M1 => of::<Float4E2M1>(len),
            ElementType::C64 => of::<Complex<f32>>(len),
            ElementType::C128 => of::<Complex<f64>>(len),
        }
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
    /// `InvalidInput` when the tensor is not of an integer type (or a value exceeds `i64`);
    /// `LimitExceeded` where there is no memory for them.
    pub fn to_i64_vec(&self) -> Result<Vec<i64>> {
        Ok(match &*self.data {
            Data::I64(v) => room::copied(v)?,
            Data::I32(v) => room::collected(v.iter().map(|&x| x.into()))?,
            Data::I16(v) => room::collected(v.iter().map(|&x| x.into()))?,
            Data::I8(v) => room::collected(v.iter().map(|&x| x.into()))?,
            Data::U32(v) => room::collected(v.iter().map(|&x| x.into()))?,
            Data::U16(v) => room::collected(v.iter().map(|&x| x.into()))?,
            Data::U8(v) => room::collected(v.iter().map(|&x| x.into()))?,
            Data::I4(v) => room::collected(v.iter().map(|x| x.get().into()))?,
            Data::U4(v) => room::collected(v.iter().map(|x| x.get().into()))?,
            Data::I2(v) => room::collected(v.iter().map(|x| x.get().into()))?,
            Data::U2(v) => room::collected(v.iter().map(|x| x.get().into()))?,
            Data::U64(v) => {
                room::collected_if(v.iter().map(|&x| {
                    i64::try_from(x).map_err(|_| err!(InvalidInput, "{x} exceeds int64"))
                }))?
            }
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
    /// `InvalidInput` for strings and complex numbers; `LimitExceeded` where there is no memory.
    pub fn to_f32_vec(&self) -> Result<Vec<f32>> {
        Ok(match &*self.data {
            Data::F32(v) => room::copied(v)?,
            Data::F64(v) => room::collected(v.iter().map(|&x| x as f32))?,
            Data::F16(v) => room::collected(v.iter().map(|x| x.to_f32()))?,
            Data::BF16(v) => room::collected(v.iter().map(|x| x.to_f32()))?,
            Data::I8(v) => room::collected(v.iter().map(|&x| x.into()))?,
            Data::I16(v) => room::collected(v.iter().map(|&x| x.into()))?,
            Data::I32(v) => room::collected(v.iter().map(|&x| x as f32))?,
            Data::I64(v) => room::collected(v.iter().map(|&x| x as f32))?,
            Data::U8(v) => room::collected(v.iter().map(|&x| x.into()))?,
            Data::U16(v) => room::collected(v.iter().map(|&x| x.into()))?,
            Data::U32(v) => room::collected(v.iter().map(|&x| x as f32))?,
            Data::U64(v) => room::collected(v.iter().map(|&x| x as f32))?,
            Data::Bool(v) => room::collected(v.iter().map(|&x| u8::from(x).into()))?,
            Data::I4(v) => room::collected(v.iter().map(|x| x.to_f32()))?,
            Data::U4(v) => room::collected(v.iter().map(|x| x.to_f32()))?,
            Data::I2(v) => room::collected(v.iter().map(|x| x.to_f32()))?,
            Data::U2(v) => room::collected(v.iter().map(|x| x.to_f32()))?,
            Data::F8E4M3FN(v) => room::collected(v.iter().map(|x| x.to_f32()))?,
            Data::F8E4M3FNUZ(v) => room::collected(v.iter().map(|x| x.to_f32()))?,
            Data::F8E5M2(v) => room::collected(v.iter().map(|x| x.to_f32()))?,
            Data::F8E5M2FNUZ(v) => room::collected(v.iter().map(|x| x.to_f32()))?,
            Data::F8E8M0(v) => room::collected(v.iter().map(|x| x.to_f32()))?,
            Data::F6E2M3(v) => room::collected(v.iter().map(|x| x.to_f32()))?,
            Data::F6E3M2(v) => room::collected(v.iter().map(|x| x.to_f32()))?,
            Data::F4E2M1(v) => room::collected(v.iter().map(|x| x.to_f32()))?,
            Data::String(_) => return Err(err!(InvalidInput, "expected numbers, got strings")),
            Data::C64(_) | Data::C128(_) => {
                return Err(err!(InvalidInput, "expected real numbers, got {}", self.dtype()));
            }
        })
    }

    /// The elements converted to `f64`; integers and bools count as numbers.
    ///
    /// # Errors
    /// `InvalidInput` for strings and complex numbers; `LimitExceeded` where there is no memory.
    pub fn to_f64_vec(&self) -> Result<Vec<f64>> {
        Ok(match &*self.data {
            Data::F64(v) => room::copied(v)?,
            Data::F32(v) => room::collected(v.iter().map(|&x| x.into()))?,
            Data::I64(v) => room::collected(v.iter().map(|&x| x as f64))?,
            Data::U64(v) => room::collected(v.iter().map(|&x| x as f64))?,
            Data::I32(v) => room::collected(v.iter().map(|&x| x.into()))?,
            Data::U32(v) => room::collected(v.iter().map(|&x| x.into()))?,
            _ => room::collected(self.to_f32_vec()?.into_iter().map(f64::from))?,
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

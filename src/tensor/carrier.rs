//! Elements as bits, for code that only moves them: compiled once for all types of a width, not
//! for each of them.

use super::{
    Complex, Data, Element, ElementType, Float4E2M1, Float6E2M3, Float6E3M2, Float8E4M3FN,
    Float8E4M3FNUZ, Float8E5M2, Float8E5M2FNUZ, Float8E8M0, Int2, Int4, Shape, Tensor, UInt2,
    UInt4,
};
use crate::error::{Result, ensure, err};
use bytemuck::{cast_slice, cast_vec};
use half::slice::HalfFloatSliceExt;
use half::vec::{HalfBitsVecExt, HalfFloatVecExt};
use std::borrow::Cow;

/// A type that stands for the elements of all types that [`ElementType::carrier`] gives it for,
/// with their bits; its default stands for theirs. What reads values must not use it: the numbers
/// that carriers show are no one's.
pub(crate) trait Carrier: Element {
    /// The elements of `data`, where this type stands for theirs. Those of small types are
    /// copied.
    fn carried(data: &Data) -> Option<Cow<'_, [Self]>>;
}

impl Carrier for u8 {
    fn carried(data: &Data) -> Option<Cow<'_, [u8]>> {
        Some(match data {
            Data::U8(v) => Cow::Borrowed(v.as_slice()),
            Data::I8(v) => Cow::Borrowed(cast_slice(v)),
            Data::I4(v) => Cow::Owned(v.iter().map(|x| x.bits()).collect()),
            Data::U4(v) => Cow::Owned(v.iter().map(|x| x.bits()).collect()),
            Data::I2(v) => Cow::Owned(v.iter().map(|x| x.bits()).collect()),
            Data::U2(v) => Cow::Owned(v.iter().map(|x| x.bits()).collect()),
            Data::F8E4M3FN(v) => Cow::Owned(v.iter().map(|x| x.to_bits()).collect()),
            Data::F8E4M3FNUZ(v) => Cow::Owned(v.iter().map(|x| x.to_bits()).collect()),
            Data::F8E5M2(v) => Cow::Owned(v.iter().map(|x| x.to_bits()).collect()),
            Data::F8E5M2FNUZ(v) => Cow::Owned(v.iter().map(|x| x.to_bits()).collect()),
            Data::F8E8M0(v) => Cow::Owned(v.iter().map(|x| x.to_bits()).collect()),
            Data::F6E2M3(v) => Cow::Owned(v.iter().map(|x| x.to_bits()).collect()),
            Data::F6E3M2(v) => Cow::Owned(v.iter().map(|x| x.to_bits()).collect()),
            Data::F4E2M1(v) => Cow::Owned(v.iter().map(|x| x.to_bits()).collect()),
            _ => return None,
        })
    }
}

impl Carrier for u16 {
    fn carried(data: &Data) -> Option<Cow<'_, [u16]>> {
        Some(Cow::Borrowed(match data {
            Data::U16(v) => v.as_slice(),
            Data::I16(v) => cast_slice(v),
            Data::F16(v) => v.reinterpret_cast(),
            Data::BF16(v) => v.reinterpret_cast(),
            _ => return None,
        }))
    }
}

impl Carrier for u32 {
    fn carried(data: &Data) -> Option<Cow<'_, [u32]>> {
        Some(Cow::Borrowed(match data {
            Data::U32(v) => v.as_slice(),
            Data::I32(v) => cast_slice(v),
            Data::F32(v) => cast_slice(v),
            _ => return None,
        }))
    }
}

impl Carrier for u64 {
    fn carried(data: &Data) -> Option<Cow<'_, [u64]>> {
        Some(Cow::Borrowed(match data {
            Data::U64(v) => v.as_slice(),
            Data::I64(v) => cast_slice(v),
            Data::F64(v) => cast_slice(v),
            _ => return None,
        }))
    }
}

/// Types that stand for themselves: not every byte is a bool, and the others have an alignment or
/// an owner of their own.
macro_rules! own {
    ($($t:ty),+) => {$(
        impl Carrier for $t {
            fn carried(data: &Data) -> Option<Cow<'_, [$t]>> {
                <$t>::slice(data).map(Cow::Borrowed)
            }
        }
    )+};
}
own!(bool, String, Complex<f32>, Complex<f64>);

impl ElementType {
    /// The type that stands for this one where elements are moved: a [`Carrier`].
    pub(crate) fn carrier(self) -> ElementType {
        match self {
            ElementType::Bool
            | ElementType::String
            | ElementType::C64
            | ElementType::C128
            | ElementType::U8
            | ElementType::U16
            | ElementType::U32
            | ElementType::U64 => self,
            ElementType::F16 | ElementType::BF16 | ElementType::I16 => ElementType::U16,
            ElementType::F32 | ElementType::I32 => ElementType::U32,
            ElementType::F64 | ElementType::I64 => ElementType::U64,
            _ => ElementType::U8,
        }
    }

    /// Whether a buffer of one of the two types can hold the other without being copied.
    pub(crate) fn shares_buffers(self, other: ElementType) -> bool {
        let plain = |t: ElementType| t.is_float() || t.is_integer();
        self == other || (plain(self) && plain(other) && self.size() == other.size())
    }
}

impl Data {
    /// Elements of a carrier as the elements of type `dtype` that they stand for.
    fn uncarried(self, dtype: ElementType) -> Data {
        fn of<T>(bits: Vec<u8>, from_bits: impl Fn(u8) -> T) -> Vec<T> {
            bits.into_iter().map(from_bits).collect()
        }
        match (self, dtype) {
            (Data::U8(v), ElementType::I8) => Data::I8(cast_vec(v)),
            (Data::U16(v), ElementType::I16) => Data::I16(cast_vec(v)),
            (Data::U16(v), ElementType::F16) => Data::F16(v.reinterpret_into()),
            (Data::U16(v), ElementType::BF16) => Data::BF16(v.reinterpret_into()),
            (Data::U32(v), ElementType::I32) => Data::I32(cast_vec(v)),
            (Data::U32(v), ElementType::F32) => Data::F32(cast_vec(v)),
            (Data::U64(v), ElementType::I64) => Data::I64(cast_vec(v)),
            (Data::U64(v), ElementType::F64) => Data::F64(cast_vec(v)),
            (Data::U8(v), ElementType::I4) => Data::I4(of(v, Int4::from_bits)),
            (Data::U8(v), ElementType::U4) => Data::U4(of(v, UInt4::from_bits)),
            (Data::U8(v), ElementType::I2) => Data::I2(of(v, Int2::from_bits)),
            (Data::U8(v), ElementType::U2) => Data::U2(of(v, UInt2::from_bits)),
            (Data::U8(v), ElementType::F8E4M3FN) => Data::F8E4M3FN(of(v, Float8E4M3FN::from_bits)),
            (Data::U8(v), ElementType::F8E4M3FNUZ) => {
                Data::F8E4M3FNUZ(of(v, Float8E4M3FNUZ::from_bits))
            }
            (Data::U8(v), ElementType::F8E5M2) => Data::F8E5M2(of(v, Float8E5M2::from_bits)),
            (Data::U8(v), ElementType::F8E5M2FNUZ) => {
                Data::F8E5M2FNUZ(of(v, Float8E5M2FNUZ::from_bits))
            }
            (Data::U8(v), ElementType::F8E8M0) => Data::F8E8M0(of(v, Float8E8M0::from_bits)),
            (Data::U8(v), ElementType::F6E2M3) => Data::F6E2M3(of(v, Float6E2M3::from_bits)),
            (Data::U8(v), ElementType::F6E3M2) => Data::F6E3M2(of(v, Float6E3M2::from_bits)),
            (Data::U8(v), ElementType::F4E2M1) => Data::F4E2M1(of(v, Float4E2M1::from_bits)),
            (data, _) => data,
        }
    }

    /// The buffer with elements of type `dtype`, which are of no use; with its own where the two
    /// types do not share buffers.
    pub(crate) fn reused(self, dtype: ElementType) -> Data {
        let bits = match self {
            Data::I8(v) => Data::U8(cast_vec(v)),
            Data::I16(v) => Data::U16(cast_vec(v)),
            Data::F16(v) => Data::U16(v.reinterpret_into()),
            Data::BF16(v) => Data::U16(v.reinterpret_into()),
            Data::I32(v) => Data::U32(cast_vec(v)),
            Data::F32(v) => Data::U32(cast_vec(v)),
            Data::I64(v) => Data::U64(cast_vec(v)),
            Data::F64(v) => Data::U64(cast_vec(v)),
            other => other,
        };
        bits.uncarried(dtype)
    }
}

impl Tensor {
    /// The elements as those of their carrier, of a tensor of type `dtype`.
    ///
    /// # Errors
    /// `InvalidInput` when the element type is another.
    pub(crate) fn carried<T: Carrier>(&self, dtype: ElementType) -> Result<Cow<'_, [T]>> {
        let wrong = || err!(InvalidInput, "expected a {dtype} tensor, got {}", self.dtype());
        if self.dtype() != dtype {
            return Err(wrong());
        }
        T::carried(self.data()).ok_or_else(wrong)
    }

    /// A tensor over the elements of type `dtype` that `data` stands for.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub(crate) fn moved<T: Carrier>(
        shape: Shape,
        data: Vec<T>,
        dtype: ElementType,
    ) -> Result<Tensor> {
        let data = T::wrap(data).uncarried(dtype);
        ensure!(
            data.dtype() == dtype,
            Internal,
            "elements moved as {} are none of type {dtype}",
            data.dtype()
        );
        Tensor::new(shape, data)
    }
}

/// `for_each_carrier!(data, elements => expression)`: the expression with `elements` bound to the
/// slice of what stands for the elements of `data`. For code that moves elements and reads none,
/// where `for_each_type!` would compile it for each of them; results become tensors by
/// [`Tensor::moved`].
macro_rules! for_each_carrier {
    ($data:expr, $v:ident => $body:expr) => {{
        let data: &$crate::tensor::Data = $data;
        match data.dtype().carrier() {
            $crate::tensor::ElementType::U8 => {
                $crate::tensor::for_each_carrier!(@ u8, data, $v, $body)
            }
            $crate::tensor::ElementType::U16 => {
                $crate::tensor::for_each_carrier!(@ u16, data, $v, $body)
            }
            $crate::tensor::ElementType::U32 => {
                $crate::tensor::for_each_carrier!(@ u32, data, $v, $body)
            }
            $crate::tensor::ElementType::U64 => {
                $crate::tensor::for_each_carrier!(@ u64, data, $v, $body)
            }
            $crate::tensor::ElementType::Bool => {
                $crate::tensor::for_each_carrier!(@ bool, data, $v, $body)
            }
            $crate::tensor::ElementType::String => {
                $crate::tensor::for_each_carrier!(@ String, data, $v, $body)
            }
            $crate::tensor::ElementType::C64 => {
                $crate::tensor::for_each_carrier!(@ $crate::tensor::Complex<f32>, data, $v, $body)
            }
            _ => {
                $crate::tensor::for_each_carrier!(@ $crate::tensor::Complex<f64>, data, $v, $body)
            }
        }
    }};
    (@ $t:ty, $data:expr, $v:ident, $body:expr) => {{
        // There: the match was on the carrier.
        let carried = <$t as $crate::tensor::Carrier>::carried($data).unwrap_or_default();
        let $v: &[$t] = &carried;
        $body
    }};
}
pub(crate) use for_each_carrier;

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    fn through(x: &Tensor) -> Tensor {
        for_each_carrier!(x.data(), v => {
            Tensor::moved(x.shape().clone(), v.to_vec(), x.dtype()).unwrap()
        })
    }

    #[test]
    fn every_type_comes_back_with_its_bits() {
        let every = |bits: usize| (0..=255u8).map(move |b| b & ((1 << bits) - 1) as u8);
        let halves = [0x0001u16, 0x7c01, 0xfe00, 0x8000, 0x3c00, 0xffff];
        let floats = [1u32, 0x7fa0_0000, 0xffc0_0001, 1 << 31, 0x3f80_0000];
        let doubles = [1u64, 0x7ff4_0000_0000_0000, 1 << 63, u64::MAX];
        macro_rules! check {
            ($($values:expr, $bits:expr;)+) => {$({
                let values: Vec<_> = $values.collect();
                let x = Tensor::from_vec(&[values.len()], values.clone()).unwrap();
                let y = through(&x);
                assert_eq!((y.dtype(), y.shape()), (x.dtype(), x.shape()));
                let got = y.into_vec().unwrap();
                let bits = |v: &Vec<_>| v.iter().map($bits).collect::<Vec<_>>();
                assert_eq!(bits(&got), bits(&values), "{}", x.dtype());
            })+};
        }
        check! {
            every(8), |&v: &u8| v;
            every(8).map(|b| b as i8), |&v: &i8| v;
            every(8).map(|b| b > 99), |&v: &bool| v;
            every(8).map(|b| b.to_string()), |v: &String| v.clone();
            every(4).map(Int4::from_bits), |v: &Int4| v.get();
            every(4).map(UInt4::from_bits), |v: &UInt4| v.get();
            every(2).map(Int2::from_bits), |v: &Int2| v.get();
            every(2).map(UInt2::from_bits), |v: &UInt2| v.get();
            every(8).map(Float8E4M3FN::from_bits), |v: &Float8E4M3FN| v.to_bits();
            every(8).map(Float8E4M3FNUZ::from_bits), |v: &Float8E4M3FNUZ| v.to_bits();
            every(8).map(Float8E5M2::from_bits), |v: &Float8E5M2| v.to_bits();
            every(8).map(Float8E5M2FNUZ::from_bits), |v: &Float8E5M2FNUZ| v.to_bits();
            every(8).map(Float8E8M0::from_bits), |v: &Float8E8M0| v.to_bits();
            every(6).map(Float6E2M3::from_bits), |v: &Float6E2M3| v.to_bits();
            every(6).map(Float6E3M2::from_bits), |v: &Float6E3M2| v.to_bits();
            every(4).map(Float4E2M1::from_bits), |v: &Float4E2M1| v.to_bits();
            halves.into_iter(), |&v: &u16| v;
            halves.into_iter().map(|b| b as i16), |&v: &i16| v;
            halves.into_iter().map(f16::from_bits), |v: &f16| v.to_bits();
            halves.into_iter().map(bf16::from_bits), |v: &bf16| v.to_bits();
            floats.into_iter(), |&v: &u32| v;
            floats.into_iter().map(|b| b as i32), |&v: &i32| v;
            floats.into_iter().map(f32::from_bits), |v: &f32| v.to_bits();
            doubles.into_iter(), |&v: &u64| v;
            doubles.into_iter().map(|b| b as i64), |&v: &i64| v;
            doubles.into_iter().map(f64::from_bits), |v: &f64| v.to_bits();
            floats.into_iter().map(|b| Complex { re: f32::from_bits(b), im: -0.0 }),
                |v: &Complex<f32>| (v.re.to_bits(), v.im.to_bits());
            doubles.into_iter().map(|b| Complex { re: f64::from_bits(b), im: -0.0 }),
                |v: &Complex<f64>| (v.re.to_bits(), v.im.to_bits());
        }
    }

    #[test]
    fn defaults_stand_for_defaults() {
        for dtype in ElementType::ALL {
            let x = Tensor::new(Shape::new(&[3]).unwrap(), Data::zeros(dtype, 3)).unwrap();
            let zeros = for_each_carrier!(x.data(), v => {
                let mut zeros = v.to_vec();
                zeros.fill(Default::default());
                Tensor::moved(x.shape().clone(), zeros, dtype).unwrap()
            });
            assert_eq!(zeros, x, "{dtype}");
        }
    }

    #[test]
    fn carriers_are_of_the_type_that_is_asked_for() {
        let x = Tensor::scalar(1f32);
        assert_eq!(x.carried::<u32>(ElementType::F32).unwrap()[..], [0x3f80_0000]);
        assert!(x.carried::<u32>(ElementType::I32).is_err());
        assert!(x.carried::<u16>(ElementType::F32).is_err());
        let shape = || Shape::new(&[1]).unwrap();
        assert!(Tensor::moved(shape(), vec![1u32], ElementType::F64).is_err());
        assert!(Tensor::moved(shape(), vec![1u32, 2], ElementType::F32).is_err());
    }
}

//! Tensors of the caller: any dtype, any byte strides.

use crate::pointer::{self, slice, text};
use crate::status::*;
use half::{bf16, f16};
use modelserve::limits::{MAX_RANK, RequestLimits};
use modelserve::tensor::{Complex, Data, Element, ElementType, Shape, Tensor};
use std::ffi::{c_char, c_void};
use std::ptr;

/// No tensor: a sequence or a map (see `modelserve_outputs_json`).
pub const MODELSERVE_DTYPE_NONE: i32 = 0;
/// 32-bit floating point. The numbers are those of ONNX.
pub const MODELSERVE_DTYPE_FLOAT32: i32 = 1;
/// 8-bit unsigned.
pub const MODELSERVE_DTYPE_UINT8: i32 = 2;
/// 8-bit signed.
pub const MODELSERVE_DTYPE_INT8: i32 = 3;
/// 16-bit unsigned.
pub const MODELSERVE_DTYPE_UINT16: i32 = 4;
/// 16-bit signed.
pub const MODELSERVE_DTYPE_INT16: i32 = 5;
/// 32-bit signed.
pub const MODELSERVE_DTYPE_INT32: i32 = 6;
/// 64-bit signed.
pub const MODELSERVE_DTYPE_INT64: i32 = 7;
/// Text: elements are `const char *` in, and read with `modelserve_outputs_string`.
pub const MODELSERVE_DTYPE_STRING: i32 = 8;
/// One byte, 0 or 1.
pub const MODELSERVE_DTYPE_BOOL: i32 = 9;
/// IEEE half precision.
pub const MODELSERVE_DTYPE_FLOAT16: i32 = 10;
/// 64-bit floating point.
pub const MODELSERVE_DTYPE_FLOAT64: i32 = 11;
/// 32-bit unsigned.
pub const MODELSERVE_DTYPE_UINT32: i32 = 12;
/// 64-bit unsigned.
pub const MODELSERVE_DTYPE_UINT64: i32 = 13;
/// The upper half of a 32-bit floating point number.
pub const MODELSERVE_DTYPE_BFLOAT16: i32 = 16;
/// Two `float`: the real part, then the imaginary part.
pub const MODELSERVE_DTYPE_COMPLEX64: i32 = 14;
/// Two `double`: the real part, then the imaginary part.
pub const MODELSERVE_DTYPE_COMPLEX128: i32 = 15;
/// 8 bits, 4 of exponent, without infinities; one byte, as all types below.
pub const MODELSERVE_DTYPE_FLOAT8E4M3FN: i32 = 17;
/// As `MODELSERVE_DTYPE_FLOAT8E4M3FN`, without negative zero.
pub const MODELSERVE_DTYPE_FLOAT8E4M3FNUZ: i32 = 18;
/// 8 bits, 5 of exponent.
pub const MODELSERVE_DTYPE_FLOAT8E5M2: i32 = 19;
/// As `MODELSERVE_DTYPE_FLOAT8E5M2`, without infinities and negative zero.
pub const MODELSERVE_DTYPE_FLOAT8E5M2FNUZ: i32 = 20;
/// 4-bit unsigned, in the low bits of a byte; the upper bits are 0 (and ignored in inputs).
pub const MODELSERVE_DTYPE_UINT4: i32 = 21;
/// 4-bit signed, two's complement in the low bits of a byte.
pub const MODELSERVE_DTYPE_INT4: i32 = 22;
/// 4 bits, 2 of exponent.
pub const MODELSERVE_DTYPE_FLOAT4E2M1: i32 = 23;
/// A power of two by its exponent.
pub const MODELSERVE_DTYPE_FLOAT8E8M0: i32 = 24;
/// 2-bit unsigned.
pub const MODELSERVE_DTYPE_UINT2: i32 = 25;
/// 2-bit signed.
pub const MODELSERVE_DTYPE_INT2: i32 = 26;
/// 6 bits, 2 of exponent.
pub const MODELSERVE_DTYPE_FLOAT6E2M3: i32 = 27;
/// 6 bits, 3 of exponent.
pub const MODELSERVE_DTYPE_FLOAT6E3M2: i32 = 28;

/// A named tensor to read from. It points into the caller's memory, which has to live during the
/// call only.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_tensor {
    /// The name of the model's input.
    pub name: *const c_char,
    /// The first element. NULL where there are no elements. No alignment is asked for.
    pub data: *const c_void,
    /// `rank` dimensions, outermost first. NULL where `rank` is 0.
    pub dims: *const i64,
    /// `rank` strides in bytes (as NumPy has them), or NULL: row-major without gaps.
    pub strides: *const isize,
    /// The number of dimensions, at most 32.
    pub rank: usize,
    /// One of `MODELSERVE_DTYPE_*`.
    pub dtype: i32,
    /// Always 0.
    pub reserved: i32,
}

/// The number of an element type.
pub(crate) fn dtype_number(dtype: ElementType) -> i32 {
    dtype.onnx_number()
}

/// Named tensors of the caller, copied.
///
/// # Safety
/// `pointer` is NULL or points to `len` tensors, each as its description says.
pub(crate) unsafe fn tensors(
    pointer: *const modelserve_tensor,
    len: usize,
    name: &str,
) -> Outcome<Vec<(String, Tensor)>> {
    // SAFETY: promised by the caller.
    let all = unsafe { slice(pointer, len, name) }?;
    // SAFETY: promised by the caller.
    all.iter().map(|c| unsafe { read(c) }).collect()
}

/// A name and the tensor of the caller, copied.
///
/// # Safety
/// Every pointer of `c` is as its description says.
unsafe fn read(c: &modelserve_tensor) -> Outcome<(String, Tensor)> {
    // SAFETY: promised by the caller.
    let (name, dims) = unsafe { (text(c.name, "name")?, slice(c.dims, c.rank, "dims")?) };
    if c.reserved != 0 {
        return Err(Failure::argument(format!("input '{name}': 'reserved' is not 0")));
    }
    let dims: Option<Vec<usize>> = dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    let dims =
        dims.ok_or_else(|| Failure::input(format!("input '{name}' has a negative dimension")))?;
    let size = element_size(c.dtype).ok_or_else(|| {
        Failure::argument(format!("input '{name}' has the unknown dtype {}", c.dtype))
    })?;
    let strides = match c.strides.is_null() {
        true => dense(&dims, size)?,
        // SAFETY: promised by the caller.
        false => unsafe { slice(c.strides, c.rank, "strides") }?.to_vec(),
    };
    let elements = Strided::new(c.data.cast(), &dims, &strides, name)?;
    // SAFETY: promised by the caller.
    let tensor = unsafe {
        match c.dtype {
            MODELSERVE_DTYPE_FLOAT32 => numbers::<f32>(elements, &dims),
            MODELSERVE_DTYPE_UINT8 => numbers::<u8>(elements, &dims),
            MODELSERVE_DTYPE_INT8 => numbers::<i8>(elements, &dims),
            MODELSERVE_DTYPE_UINT16 => numbers::<u16>(elements, &dims),
            MODELSERVE_DTYPE_INT16 => numbers::<i16>(elements, &dims),
            MODELSERVE_DTYPE_INT32 => numbers::<i32>(elements, &dims),
            MODELSERVE_DTYPE_INT64 => numbers::<i64>(elements, &dims),
            MODELSERVE_DTYPE_FLOAT16 => numbers::<f16>(elements, &dims),
            MODELSERVE_DTYPE_FLOAT64 => numbers::<f64>(elements, &dims),
            MODELSERVE_DTYPE_UINT32 => numbers::<u32>(elements, &dims),
            MODELSERVE_DTYPE_UINT64 => numbers::<u64>(elements, &dims),
            MODELSERVE_DTYPE_BFLOAT16 => numbers::<bf16>(elements, &dims),
            MODELSERVE_DTYPE_BOOL => bools(elements, &dims),
            MODELSERVE_DTYPE_COMPLEX64 => numbers::<Complex<f32>>(elements, &dims),
            MODELSERVE_DTYPE_COMPLEX128 => numbers::<Complex<f64>>(elements, &dims),
            MODELSERVE_DTYPE_STRING => strings(elements, &dims),
            other => small(other, elements, &dims),
        }
    }?;
    Ok((name.to_string(), tensor))
}

/// The type of at most eight bits of that number, one element a byte.
fn small_type(dtype: i32) -> Option<ElementType> {
    Some(match dtype {
        MODELSERVE_DTYPE_FLOAT8E4M3FN => ElementType::F8E4M3FN,
        MODELSERVE_DTYPE_FLOAT8E4M3FNUZ => ElementType::F8E4M3FNUZ,
        MODELSERVE_DTYPE_FLOAT8E5M2 => ElementType::F8E5M2,
        MODELSERVE_DTYPE_FLOAT8E5M2FNUZ => ElementType::F8E5M2FNUZ,
        MODELSERVE_DTYPE_UINT4 => ElementType::U4,
        MODELSERVE_DTYPE_INT4 => ElementType::I4,
        MODELSERVE_DTYPE_FLOAT4E2M1 => ElementType::F4E2M1,
        MODELSERVE_DTYPE_FLOAT8E8M0 => ElementType::F8E8M0,
        MODELSERVE_DTYPE_UINT2 => ElementType::U2,
        MODELSERVE_DTYPE_INT2 => ElementType::I2,
        MODELSERVE_DTYPE_FLOAT6E2M3 => ElementType::F6E2M3,
        MODELSERVE_DTYPE_FLOAT6E3M2 => ElementType::F6E3M2,
        _ => return None,
    })
}

fn element_size(dtype: i32) -> Option<usize> {
    Some(match dtype {
        MODELSERVE_DTYPE_UINT8 | MODELSERVE_DTYPE_INT8 | MODELSERVE_DTYPE_BOOL => 1,
        MODELSERVE_DTYPE_UINT16 | MODELSERVE_DTYPE_INT16 => 2,
        MODELSERVE_DTYPE_FLOAT16 | MODELSERVE_DTYPE_BFLOAT16 => 2,
        MODELSERVE_DTYPE_FLOAT32 | MODELSERVE_DTYPE_INT32 | MODELSERVE_DTYPE_UINT32 => 4,
        MODELSERVE_DTYPE_FLOAT64 | MODELSERVE_DTYPE_INT64 | MODELSERVE_DTYPE_UINT64 => 8,
        MODELSERVE_DTYPE_COMPLEX64 => 8,
        MODELSERVE_DTYPE_COMPLEX128 => 16,
        MODELSERVE_DTYPE_STRING => size_of::<*const c_char>(),
        other if small_type(other).is_some() => 1,
        _ => return None,
    })
}

fn dense(dims: &[usize], size: usize) -> Outcome<Vec<isize>> {
    let mut strides = vec![0; dims.len()];
    let mut step = isize::try_from(size).unwrap_or(isize::MAX);
    for (stride, &dim) in strides.iter_mut().zip(dims).rev() {
        *stride = step;
        let next = isize::try_from(dim.max(1)).ok().and_then(|dim| step.checked_mul(dim));
        step = next.ok_or_else(|| Failure::argument("the dimensions pass the address space"))?;
    }
    Ok(strides)
}

unsafe fn numbers<T: Element + Copy>(elements: Strided<'_>, dims: &[usize]) -> Outcome<Tensor> {
    // SAFETY: promised by the caller; every bit pattern is a number.
    Ok(Tensor::from_vec(dims, unsafe { elements.gather::<T>() }?)?)
}

unsafe fn bools(elements: Strided<'_>, dims: &[usize]) -> Outcome<Tensor> {
    // SAFETY: promised by the caller. Read as bytes: others than 0 and 1 are no `bool`.
    let bytes = unsafe { elements.gather::<u8>() }?;
    if bytes.iter().any(|&byte| byte > 1) {
        return Err(Failure::input(format!(
            "input '{}' has bools that are not 0 or 1",
            elements.name
        )));
    }
    Ok(Tensor::from_vec(dims, bytes.into_iter().map(|byte| byte == 1).collect::<Vec<bool>>())?)
}

unsafe fn small(dtype: i32, elements: Strided<'_>, dims: &[usize]) -> Outcome<Tensor> {
    // SAFETY: promised by the caller.
    let bytes = unsafe { elements.gather::<u8>() }?;
    let data = small_type(dtype).and_then(|of| Data::from_small_bits(of, bytes.into_iter()));
    let data = data.ok_or_else(|| Failure::argument(format!("the dtype {dtype} is unknown")))?;
    Ok(Tensor::new(Shape::new(dims)?, data)?)
}

unsafe fn strings(elements: Strided<'_>, dims: &[usize]) -> Outcome<Tensor> {
    // SAFETY: promised by the caller.
    let pointers = unsafe { elements.gather::<*const c_char>() }?;
    // SAFETY: promised by the caller.
    let texts = || pointers.iter().map(|&p| unsafe { pointer::text(p, elements.name) });
    // All lengths before the first copy: many elements may point to one and the same text.
    let mut bytes = (pointers.len() as u64).saturating_mul(size_of::<String>() as u64);
    for text in texts() {
        bytes = bytes.saturating_add(text?.len() as u64);
        elements.within_limit(bytes)?;
    }
    let mut owned: Vec<String> = Vec::new();
    owned.try_reserve_exact(pointers.len()).map_err(|_| elements.no_memory(bytes))?;
    for text in texts() {
        owned.push(text?.to_string());
    }
    Ok(Tensor::from_vec(dims, owned)?)
}

/// Elements that lie `strides` bytes apart; every offset is known to stay below `isize::MAX`.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a> {
    base: *const u8,
    dims: &'a [usize],
    strides: &'a [isize],
    len: usize,
    name: &'a str,
}

impl<'a> Strided<'a> {
    /// Checks the arithmetic of all offsets, and that there is memory at all.
    pub(crate) fn new(
        base: *const u8,
        dims: &'a [usize],
        strides: &'a [isize],
        name: &'a str,
    ) -> Outcome<Self> {
        let len = modelserve::tensor::Shape::new(dims)?.len();
        if len > 0 {
            if base.is_null() {
                return Err(Failure::null(name));
            }
            let mut span = 16isize;
            for (&dim, stride) in dims.iter().zip(strides) {
                let reach = isize::try_from(dim.saturating_sub(1)).ok();
                let reach = reach.and_then(|last| last.checked_mul(stride.checked_abs()?));
                let reach = reach.and_then(|reach| span.checked_add(reach));
                span = reach.ok_or_else(|| {
                    Failure::argument(format!("the strides of '{name}' pass the address space"))
                })?;
            }
        }
        Ok(Strided { base, dims, strides, len, name })
    }

    fn over(&self, bytes: u64, what: &str) -> Failure {
        let message = format!("'{}' has {bytes} bytes, {what}", self.name);
        Failure::new(MODELSERVE_STATUS_LIMIT_EXCEEDED, message)
    }

    fn no_memory(&self, bytes: u64) -> Failure {
        self.over(bytes, "more than there is memory")
    }

    fn within_limit(&self, bytes: u64) -> Outcome {
        let limit = RequestLimits::default().request_bytes;
        match bytes <= limit {
            true => Ok(()),
            false => Err(self.over(bytes, &format!("the limit is {limit}"))),
        }
    }

    /// The elements, row-major.
    ///
    /// # Safety
    /// Every offset of the dimensions and strides holds a valid `T`, aligned or not.
    pub(crate) unsafe fn gather<T: Copy>(&self) -> Outcome<Vec<T>> {
        let mut all = Vec::new();
        // SAFETY: promised by the caller.
        unsafe { self.gather_into(&mut all) }?;
        Ok(all)
    }

    /// The elements, row-major, in the place of those that `all` holds: nothing is allocated where
    /// it has the room.
    ///
    /// # Safety
    /// As [`Strided::gather`].
    pub(crate) unsafe fn gather_into<T: Copy>(&self, all: &mut Vec<T>) -> Outcome {
        let bytes = (self.len as u64).saturating_mul(size_of::<T>() as u64);
        self.within_limit(bytes)?;
        all.clear();
        all.try_reserve_exact(self.len).map_err(|_| self.no_memory(bytes))?;
        let Some((&inner, outer)) = self.dims.split_last() else {
            // SAFETY: one element (rank 0), valid as promised by the caller.
            all.push(unsafe { self.base.cast::<T>().read_unaligned() });
            return Ok(());
        };
        let step = self.strides.last().copied().unwrap_or_default();
        // A shape has at most `MAX_RANK` dimensions.
        let mut at = [0usize; MAX_RANK];
        let at = at.get_mut(..outer.len()).unwrap_or_default();
        while all.len() < self.len {
            let start: isize = at.iter().zip(self.strides).map(|(&i, s)| i as isize * s).sum();
            if usize::try_from(step) == Ok(size_of::<T>()) {
                let done = all.len();
                // SAFETY: from `start` on lie `inner` valid elements without gaps, as promised by
                // the caller; there is room for all elements (reserved above), and no more than
                // those are copied, as `inner` divides their number; no overlap with own memory.
                unsafe {
                    let from = self.base.offset(start);
                    let to = all.as_mut_ptr().add(done).cast::<u8>();
                    ptr::copy_nonoverlapping(from, to, inner * size_of::<T>());
                    all.set_len(done + inner);
                }
            } else {
                for i in 0..inner {
                    let offset = start + i as isize * step;
                    // SAFETY: the offset stays within the span checked in `new`, and holds a valid
                    // element, as promised by the caller.
                    all.push(unsafe { self.base.offset(offset).cast::<T>().read_unaligned() });
                }
            }
            for (i, &dim) in at.iter_mut().zip(outer).rev() {
                *i += 1;
                if *i < dim {
                    break;
                }
                *i = 0;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_are_bytes_in_any_direction() {
        let data = [1f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let gather = |start: usize, dims: &[usize], strides: &[isize]| {
            let base = data.as_ptr().wrapping_add(start).cast();
            // SAFETY: the offsets of these tests lie inside `data`.
            unsafe { Strided::new(base, dims, strides, "x").unwrap().gather::<f32>().unwrap() }
        };
        assert_eq!(gather(0, &[2, 3], &[12, 4]), data);
        assert_eq!(gather(0, &[3, 2], &[4, 12]), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(gather(5, &[6], &[-4]), [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
        assert_eq!(gather(0, &[2, 2], &[0, 4]), [1.0, 2.0, 1.0, 2.0]);
        assert_eq!(gather(3, &[], &[]), [4.0]);
        assert!(gather(0, &[2, 0], &[0, 4]).is_empty());
        assert_eq!(gather(0, &[2, 2], &[12, 4]), [1.0, 2.0, 4.0, 5.0]);
    }

    #[test]
    fn memory_that_is_there_is_used_again() {
        let data = [1f32, 2.0, 3.0, 4.0];
        let columns = Strided::new(data.as_ptr().cast(), &[2, 2], &[4, 8], "x").unwrap();
        let mut all = Vec::with_capacity(4);
        let at = all.as_ptr();
        for _ in 0..3 {
            // SAFETY: the offsets lie inside `data`.
            unsafe { columns.gather_into::<f32>(&mut all) }.unwrap();
            assert_eq!(all, [1.0, 3.0, 2.0, 4.0]);
        }
        assert_eq!(all.as_ptr(), at);
    }

    #[test]
    fn spans_that_pass_the_address_space_are_refused() {
        let base = [0u8].as_ptr();
        assert!(Strided::new(base, &[3], &[isize::MAX / 2], "x").is_err());
        assert!(Strided::new(base, &[2], &[isize::MIN], "x").is_err());
        let broadcast = Strided::new(base, &[1 << 39], &[0], "x").unwrap();
        // SAFETY: refused before anything is read.
        let refused = unsafe { broadcast.gather::<u64>() }.unwrap_err();
        assert_eq!(refused.status, MODELSERVE_STATUS_LIMIT_EXCEEDED);
    }

    #[test]
    fn one_text_pointed_to_many_times_counts_many_times() {
        let long = std::ffi::CString::new("x".repeat(1 << 20)).unwrap();
        let pointer = long.as_ptr();
        let of = |count: usize| {
            let dims = [count];
            let one = Strided::new((&raw const pointer).cast(), &dims, &[0], "x").unwrap();
            // SAFETY: every offset is 0, where a pointer to a text lies.
            unsafe { strings(one, &dims) }
        };
        assert_eq!(of(2).unwrap().len(), 2);
        assert_eq!(of(1000).unwrap_err().status, MODELSERVE_STATUS_LIMIT_EXCEEDED);
    }
}

//! DLPack, in and out: the structs of `dlpack.h` 1.1 under names of our own, so that a program may
//! include both headers and cast pointers from one to the other.

use crate::guard::{guard, guard_value};
use crate::handle::{modelserve_outputs, with_outputs};
use crate::options::flag;
use crate::outputs::numbers_of;
use crate::pointer::{Out, buffer, fill, one, slice};
use crate::status::*;
use crate::tensor::{dtype_number, modelserve_tensor};
use modelserve::tensor::Tensor;
use modelserve::tensor::dlpack::{self, Described, Elements};
use std::ffi::{c_char, c_void};
use std::ptr;

/// The major version of DLPack's structs.
pub const MODELSERVE_DL_MAJOR_VERSION: u32 = 1;
/// The minor version.
pub const MODELSERVE_DL_MINOR_VERSION: u32 = 1;
/// The device type of memory of the process (`kDLCPU`).
pub const MODELSERVE_DL_CPU: i32 = 1;
/// The flag of a tensor that nobody may write to (`DLPACK_FLAG_BITMASK_READ_ONLY`).
pub const MODELSERVE_DL_READ_ONLY: u64 = 1;
/// The flag of a tensor that was copied for the one who gets it
/// (`DLPACK_FLAG_BITMASK_IS_COPIED`).
pub const MODELSERVE_DL_COPIED: u64 = 2;
/// The flag of a tensor with one element of fewer than eight bits to a byte
/// (`DLPACK_FLAG_BITMASK_IS_SUBBYTE_TYPE_PADDED`).
pub const MODELSERVE_DL_PADDED: u64 = 4;

/// DLPack's `DLPackVersion`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_dl_version {
    /// With another one than `MODELSERVE_DL_MAJOR_VERSION` only the deleter may be called.
    pub major: u32,
    /// Counts additions.
    pub minor: u32,
}

/// DLPack's `DLDevice`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_dl_device {
    /// `MODELSERVE_DL_CPU`; others are refused.
    pub device_type: i32,
    /// Which of several; 0.
    pub device_id: i32,
}

/// DLPack's `DLDataType`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_dl_dtype {
    /// The kind of number: one of DLPack's `DLDataTypeCode`.
    pub code: u8,
    /// Bits of an element.
    pub bits: u8,
    /// 1; vectors are refused.
    pub lanes: u16,
}

/// DLPack's `DLTensor`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_dl_tensor {
    /// The memory. NULL where there are no elements.
    pub data: *mut c_void,
    /// Where the memory is.
    pub device: modelserve_dl_device,
    /// The number of dimensions.
    pub ndim: i32,
    /// The element type.
    pub dtype: modelserve_dl_dtype,
    /// `ndim` dimensions, outermost first.
    pub shape: *mut i64,
    /// `ndim` strides in elements, or NULL: row-major without gaps.
    pub strides: *mut i64,
    /// Bytes from `data` to the first element.
    pub byte_offset: u64,
}

/// DLPack's `DLManagedTensor`, the older struct, which says nothing of writing.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_dl_managed {
    /// The tensor.
    pub dl_tensor: modelserve_dl_tensor,
    /// The producer's.
    pub manager_ctx: *mut c_void,
    /// Frees the struct and what belongs to it; NULL where there is nothing to free. To be called
    /// once.
    pub deleter: Option<unsafe extern "C" fn(managed: *mut modelserve_dl_managed)>,
}

/// DLPack's `DLManagedTensorVersioned`, the present struct.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_dl_managed_versioned {
    /// The version of the struct.
    pub version: modelserve_dl_version,
    /// The producer's.
    pub manager_ctx: *mut c_void,
    /// Frees the struct and what belongs to it; NULL where there is nothing to free. To be called
    /// once.
    pub deleter: Option<unsafe extern "C" fn(managed: *mut modelserve_dl_managed_versioned)>,
    /// `MODELSERVE_DL_READ_ONLY` and the others.
    pub flags: u64,
    /// The tensor.
    pub dl_tensor: modelserve_dl_tensor,
}

const _: () = assert!(MODELSERVE_DL_MAJOR_VERSION == dlpack::MAJOR_VERSION);
const _: () = assert!(MODELSERVE_DL_MINOR_VERSION == dlpack::MINOR_VERSION);
const _: () = assert!(MODELSERVE_DL_CPU == dlpack::CPU);
const _: () = assert!(MODELSERVE_DL_READ_ONLY == dlpack::FLAG_READ_ONLY);
const _: () = assert!(MODELSERVE_DL_COPIED == dlpack::FLAG_COPIED);
const _: () = assert!(MODELSERVE_DL_PADDED == dlpack::FLAG_PADDED);

/// Describes a DLPack tensor as one that every function with a `modelserve_tensor` takes, under the
/// name `name`. Nothing is copied: `*tensor` points to `name`, to the memory and the shape of
/// `managed`, and to `strides`, which has room for `strides_len` of them, at least `ndim` (32 are
/// always enough). All of that has to stay until the last call with `*tensor` has returned.
///
/// `managed` remains the caller's, who calls its deleter, once, whatever this answers.
///
/// Errors: NULL_ARGUMENT, for a missing `shape` too; UNSUPPORTED for another major version;
/// INVALID_INPUT for another device than the CPU, element types that the library has not, several
/// elements to a byte, vectors, negative dimensions, `data` NULL where there are elements, and
/// offsets that pass the address space; LIMIT_EXCEEDED for more than 32 dimensions or 2^40 elements;
/// BUFFER_TOO_SMALL for `strides`. Then nothing is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_tensor_from_dlpack(
    managed: *const modelserve_dl_managed_versioned,
    name: *const c_char,
    strides: *mut isize,
    strides_len: usize,
    tensor: *mut modelserve_tensor,
) -> modelserve_status {
    guard(|| {
        // Of another version nothing else can be read: its first field comes before the rest.
        // SAFETY: the caller's promise (crate documentation).
        let version = unsafe { one(managed.cast::<modelserve_dl_version>(), "managed") }?;
        dlpack::check_version(version.major)?;
        // SAFETY: the caller's promise (crate documentation).
        unsafe {
            let managed = one(managed, "managed")?;
            view(&managed.dl_tensor, managed.flags, name, strides, strides_len, tensor)
        }
    })
}

/// As `modelserve_tensor_from_dlpack`, for the older struct.
///
/// Errors: as `modelserve_tensor_from_dlpack`, but for the version.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_tensor_from_dlpack_legacy(
    managed: *const modelserve_dl_managed,
    name: *const c_char,
    strides: *mut isize,
    strides_len: usize,
    tensor: *mut modelserve_tensor,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        unsafe {
            let managed = one(managed, "managed")?;
            view(&managed.dl_tensor, 0, name, strides, strides_len, tensor)
        }
    })
}

/// # Safety
/// Every pointer is as `modelserve_tensor_from_dlpack` says.
unsafe fn view(
    dl: &modelserve_dl_tensor,
    flags: u64,
    name: *const c_char,
    strides: *mut isize,
    strides_len: usize,
    tensor: *mut modelserve_tensor,
) -> Outcome {
    if name.is_null() {
        return Err(Failure::null("name"));
    }
    let rank = dlpack::rank(dl.ndim)?;
    // SAFETY: promised by the caller.
    let (shape, given, room, out) = unsafe {
        (
            slice(dl.shape.cast_const(), rank, "managed->dl_tensor.shape")?,
            match dl.strides.is_null() {
                true => None,
                false => Some(slice(dl.strides.cast_const(), rank, "strides")?),
            },
            buffer(strides, strides_len, "strides")?,
            Out::new(tensor, "tensor")?,
        )
    };
    let described = Described {
        device_type: dl.device.device_type,
        code: dl.dtype.code,
        bits: dl.dtype.bits,
        lanes: dl.dtype.lanes,
        flags,
        shape,
        strides: given,
        address: dl.data.addr(),
        byte_offset: dl.byte_offset,
    };
    let layout = described.layout()?;
    if room.len() < rank {
        return Err(Failure::too_small("strides", room.len(), rank));
    }
    fill(room, layout.strides);
    out.write(modelserve_tensor {
        name,
        // Inside the tensor's memory, as was checked; without elements it is not read.
        data: dl.data.cast_const().cast::<u8>().wrapping_add(layout.offset).cast(),
        dims: if rank == 0 { ptr::null() } else { dl.shape.cast_const() },
        strides: if rank == 0 { ptr::null() } else { strides.cast_const() },
        rank,
        dtype: dtype_number(layout.dtype),
        reserved: 0,
    });
    Ok(())
}

/// A tensor that was handed out. `M` is the struct that points into it.
struct Exported<M> {
    managed: M,
    dims: Vec<i64>,
    strides: Vec<i64>,
    elements: Elements,
}

/// The elements of output `index` as a DLPack tensor of its own life: it stays when `outputs` is
/// freed. `**managed` is to be freed by its deleter, once, on any thread.
///
/// With `copy` 0 nothing is copied: the memory is shared with the outputs, and with the response
/// cache where there is one, which is why the tensor has the flag `MODELSERVE_DL_READ_ONLY`: nobody
/// may write to it. (Types of at most eight bits that no machine has are copied, one element a
/// byte, with `MODELSERVE_DL_PADDED`.) With `copy` 1 the tensor is the caller's alone, to write to
/// as well, and has `MODELSERVE_DL_COPIED`. The memory is aligned for the element type.
///
/// Errors: INVALID_HANDLE; NOT_FOUND for the index; INVALID_ARGUMENT where the output is no tensor,
/// or one of strings, and for `copy`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_outputs_dlpack(
    outputs: modelserve_outputs,
    index: usize,
    copy: i32,
    managed: *mut *mut modelserve_dl_managed_versioned,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { Out::new(managed, "managed") }?;
        let copy = flag(copy, "copy")?;
        let exported = with_outputs(outputs, |named| {
            let tensor = numbers_of(named, index)?;
            let elements = Elements::of(tensor, copy)?;
            let shared = matches!(elements, Elements::Whole(_)) && !copy;
            let (_, bits) = dlpack::code_of(tensor.dtype()).unwrap_or_default();
            let mut flags = if shared { MODELSERVE_DL_READ_ONLY } else { MODELSERVE_DL_COPIED };
            if bits < 8 {
                flags |= MODELSERVE_DL_PADDED;
            }
            Ok(exported(tensor, elements, |dl_tensor| modelserve_dl_managed_versioned {
                version: modelserve_dl_version {
                    major: MODELSERVE_DL_MAJOR_VERSION,
                    minor: MODELSERVE_DL_MINOR_VERSION,
                },
                manager_ctx: ptr::null_mut(),
                deleter: Some(delete_versioned),
                flags,
                dl_tensor,
            }))
        })?;
        // SAFETY: just made.
        out.write(unsafe { handed_out(exported) });
        Ok(())
    })
}

/// As `modelserve_outputs_dlpack`, as the older struct. Always a copy, since that struct cannot say
/// that a tensor must not be written to.
///
/// Errors: as `modelserve_outputs_dlpack`; UNSUPPORTED for elements of fewer than eight bits, since
/// it cannot say how they lie either.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_outputs_dlpack_legacy(
    outputs: modelserve_outputs,
    index: usize,
    managed: *mut *mut modelserve_dl_managed,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { Out::new(managed, "managed") }?;
        let exported = with_outputs(outputs, |named| {
            let tensor = numbers_of(named, index)?;
            if dlpack::code_of(tensor.dtype()).is_none_or(|(_, bits)| bits < 8) {
                return Err(Failure::new(
                    MODELSERVE_STATUS_UNSUPPORTED,
                    format!("output {index} is of {}: use DLPack's present struct", tensor.dtype()),
                ));
            }
            let elements = Elements::of(tensor, true)?;
            Ok(exported(tensor, elements, |dl_tensor| modelserve_dl_managed {
                dl_tensor,
                manager_ctx: ptr::null_mut(),
                deleter: Some(delete_legacy),
            }))
        })?;
        // SAFETY: just made.
        out.write(unsafe { handed_out(exported) });
        Ok(())
    })
}

/// What the two structs have in common: the place where each names what it belongs to.
trait Managed {
    fn context(&mut self) -> &mut *mut c_void;
}

impl Managed for modelserve_dl_managed_versioned {
    fn context(&mut self) -> &mut *mut c_void {
        &mut self.manager_ctx
    }
}

impl Managed for modelserve_dl_managed {
    fn context(&mut self) -> &mut *mut c_void {
        &mut self.manager_ctx
    }
}

/// The tensor with the memory that its struct points to.
fn exported<M>(
    tensor: &Tensor,
    elements: Elements,
    managed: impl FnOnce(modelserve_dl_tensor) -> M,
) -> Box<Exported<M>> {
    let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let dims: Vec<i64> = tensor.dims().iter().map(|&dim| number(dim)).collect();
    let mut strides = vec![0; dims.len()];
    let mut step = 1i64;
    for (stride, dim) in strides.iter_mut().zip(&dims).rev() {
        *stride = step;
        step = step.saturating_mul((*dim).max(1));
    }
    let (code, bits) = dlpack::code_of(tensor.dtype()).unwrap_or_default();
    let dl_tensor = modelserve_dl_tensor {
        data: match tensor.len() {
            0 => ptr::null_mut(),
            _ => elements.pointer().cast_mut(),
        },
        device: modelserve_dl_device { device_type: MODELSERVE_DL_CPU, device_id: 0 },
        ndim: i32::try_from(dims.len()).unwrap_or(i32::MAX),
        dtype: modelserve_dl_dtype { code, bits, lanes: 1 },
        // The memory of a vector stays where it is when the vector itself moves into the box.
        shape: dims.as_ptr().cast_mut(),
        strides: strides.as_ptr().cast_mut(),
        byte_offset: 0,
    };
    Box::new(Exported { managed: managed(dl_tensor), dims, strides, elements })
}

/// Gives the box away: its struct names it, for the deleter to take it back.
///
/// # Safety
/// The struct's deleter takes back an `Exported<M>`.
unsafe fn handed_out<M: Managed>(exported: Box<Exported<M>>) -> *mut M {
    let whole = Box::into_raw(exported);
    // SAFETY: a live box, which nobody else knows yet.
    unsafe {
        *M::context(&mut (*whole).managed) = whole.cast();
        &raw mut (*whole).managed
    }
}

unsafe extern "C" fn delete_versioned(managed: *mut modelserve_dl_managed_versioned) {
    // SAFETY: DLPack's promise: a struct with this deleter, for the last time.
    unsafe { delete(managed) }
}

unsafe extern "C" fn delete_legacy(managed: *mut modelserve_dl_managed) {
    // SAFETY: as above.
    unsafe { delete(managed) }
}

/// # Safety
/// `managed` is NULL or was handed out by [`handed_out`] and not deleted yet.
unsafe fn delete<M: Managed>(managed: *mut M) {
    if managed.is_null() {
        return;
    }
    guard_value((), || {
        // SAFETY: promised by the caller: the context is the box that the struct lies in.
        let whole: Box<Exported<M>> = unsafe { Box::from_raw(M::context(&mut *managed).cast()) };
        let Exported { managed: _, dims, strides, elements } = *whole;
        drop((dims, strides, elements));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::{self, Object};
    use modelserve::tensor::{Data, Int4};
    use std::mem::MaybeUninit;

    fn outputs(tensor: Tensor) -> modelserve_outputs {
        let named = vec![("y".to_string(), tensor.into())];
        modelserve_outputs { id: handle::insert(Object::Outputs(named)).unwrap() }
    }

    fn out(outputs: modelserve_outputs, copy: i32) -> *mut modelserve_dl_managed_versioned {
        let mut managed = ptr::null_mut();
        // SAFETY: a place for the pointer.
        let told = unsafe { modelserve_outputs_dlpack(outputs, 0, copy, &raw mut managed) };
        assert_eq!(told, MODELSERVE_STATUS_OK);
        managed
    }

    #[test]
    fn what_goes_out_comes_in_again_and_outlives_its_outputs() {
        let tensor = Tensor::from_vec(&[2, 3], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let at = tensor.as_slice::<f32>().unwrap().as_ptr();
        let handle = outputs(tensor.clone());
        let (shared, copied) = (out(handle, 0), out(handle, 1));
        handle::free_outputs(handle).unwrap();
        // SAFETY: live structs.
        let (a, b) = unsafe { (&*shared, &*copied) };
        assert_eq!((a.flags, b.flags), (MODELSERVE_DL_READ_ONLY, MODELSERVE_DL_COPIED));
        assert_eq!(a.dl_tensor.data.cast_const().cast::<f32>(), at);
        assert_ne!(b.dl_tensor.data.cast_const().cast::<f32>(), at);
        for managed in [shared, copied] {
            let (mut strides, mut view) = ([0isize; 2], MaybeUninit::uninit());
            // SAFETY: live structs and places for the results.
            let view = unsafe {
                let (strides, to) = (strides.as_mut_ptr(), view.as_mut_ptr());
                let told = modelserve_tensor_from_dlpack(managed, c"x".as_ptr(), strides, 2, to);
                assert_eq!(told, MODELSERVE_STATUS_OK);
                view.assume_init()
            };
            assert_eq!((view.rank, view.dtype, strides), (2, 1, [12, 4]));
            // SAFETY: a view of memory that lives still.
            let read = unsafe { crate::tensor::tensors(&raw const view, 1, "inputs") }.unwrap();
            assert_eq!(read, [("x".to_string(), tensor.clone())]);
            // SAFETY: for the last time.
            unsafe { (*managed).deleter.unwrap()(managed) };
        }
    }

    #[test]
    fn small_types_are_padded_and_have_no_older_form() {
        let data = Data::I4([-8, 7].map(Int4::wrapping).to_vec());
        let tensor = Tensor::new(modelserve::tensor::Shape::new(&[2]).unwrap(), data).unwrap();
        let handle = outputs(tensor);
        let managed = out(handle, 0);
        // SAFETY: a live struct and its memory.
        let (flags, dtype, bytes) = unsafe {
            let dl = (*managed).dl_tensor;
            ((*managed).flags, dl.dtype, *dl.data.cast::<[u8; 2]>())
        };
        assert_eq!(flags, MODELSERVE_DL_COPIED | MODELSERVE_DL_PADDED);
        assert_eq!((dtype.code, dtype.bits, bytes), (0, 4, [8, 7]));
        // SAFETY: for the last time.
        unsafe { (*managed).deleter.unwrap()(managed) };
        let mut older = ptr::null_mut();
        // SAFETY: a place for the pointer.
        let told = unsafe { modelserve_outputs_dlpack_legacy(handle, 0, &raw mut older) };
        assert_eq!((told, older), (MODELSERVE_STATUS_UNSUPPORTED, ptr::null_mut()));
        handle::free_outputs(handle).unwrap();
    }
}

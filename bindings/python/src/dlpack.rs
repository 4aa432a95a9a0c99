//! DLPack, in and out (<https://data-apis.org/array-api/latest/design_topics/data_interchange.html>).
//!
//! What another library lends is seen as a NumPy array over its memory: nothing is copied, and the
//! lender's deleter is called once, when the last array over it is gone. What is handed out shares
//! the memory of the answer, and says that nobody may write to it.

#![allow(unsafe_code, reason = "DLPack is structs of pointers, in capsules")]

use crate::array::tensor_out;
use crate::error::{OrRaise, raise};
use crate::narrow;
use modelserve::ErrorKind;
use modelserve::tensor::dlpack::{self, Described, Elements, Layout};
use modelserve::tensor::{ElementType, Tensor};
use numpy::npyffi::{self, PY_ARRAY_API, npy_intp};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray};
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyCapsuleMethods, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};

/// DLPack's `DLTensor`.
#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// DLPack's `DLManagedTensor`.
#[repr(C)]
struct Managed {
    tensor: DlTensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Managed)>,
}

/// DLPack's `DLManagedTensorVersioned`.
#[repr(C)]
struct ManagedVersioned {
    major: u32,
    minor: u32,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut ManagedVersioned)>,
    flags: u64,
    tensor: DlTensor,
}

const LEGACY: &CStr = c"dltensor";
const LEGACY_USED: &CStr = c"used_dltensor";
const VERSIONED: &CStr = c"dltensor_versioned";
const VERSIONED_USED: &CStr = c"used_dltensor_versioned";

/// What was taken out of a capsule: it is ours to delete.
enum Lent {
    Legacy(NonNull<Managed>),
    Versioned(NonNull<ManagedVersioned>),
}

/// The base of an array over lent memory.
#[pyclass(frozen, module = "modelserve")]
struct Loan(Lent);

// SAFETY: the structs are only read, and deleted by the last owner, who is attached to the
// interpreter as every thread is that drops a Python object; a deleter may be called on any thread.
unsafe impl Send for Loan {}
// SAFETY: as above.
unsafe impl Sync for Loan {}

impl Drop for Lent {
    fn drop(&mut self) {
        // SAFETY: the struct was taken out of its capsule, and is deleted here alone.
        unsafe {
            match self {
                Lent::Legacy(managed) => {
                    let managed = managed.as_ptr();
                    if let Some(deleter) = (*managed).deleter {
                        deleter(managed);
                    }
                }
                Lent::Versioned(managed) => {
                    let managed = managed.as_ptr();
                    if let Some(deleter) = (*managed).deleter {
                        deleter(managed);
                    }
                }
            }
        }
    }
}

/// Whether an object lends its memory by DLPack, and is no NumPy array, which needs no detour.
fn is_lender(object: &Bound<'_, PyAny>) -> bool {
    let plain = object.cast::<PyUntypedArray>().is_ok()
        || object.is_instance_of::<PyList>()
        || object.is_instance_of::<PyTuple>()
        || object.is_instance_of::<PyDict>()
        || object.is_instance_of::<PyString>()
        || object.is_instance_of::<PyFloat>()
        || object.is_instance_of::<PyInt>();
    !plain && object.hasattr("__dlpack__").unwrap_or(false)
}

/// The object, or, where it lends its memory by DLPack, an array over that.
pub(crate) fn seen<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let lent = if is_lender(object) { borrowed(object)? } else { None };
    Ok(lent.unwrap_or_else(|| object.clone()))
}

/// The array of a lender; `None` where it does not lend this time and can be asked for an array by
/// another way.
fn borrowed<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = object.py();
    // What an object says here that is no pair of numbers, its tensor says again.
    if let Ok(device) = object.call_method0("__dlpack_device__")
        && let Ok((kind, _)) = device.extract::<(i64, i64)>()
    {
        dlpack::check_device(i32::try_from(kind).unwrap_or(-1)).or_raise(py)?;
    }
    match capsule_of(object) {
        Ok(capsule) => array_of(&take(&capsule)?.into_loan(py)?).map(Some),
        Err(_) if object.hasattr("__array__")? => Ok(None),
        Err(refused) => Err(raise(
            py,
            ErrorKind::InvalidInput,
            format!("the input does not lend its memory: {}", refused.value(py)),
        )),
    }
}

fn capsule_of<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    let known = PyDict::new(py);
    known.set_item("max_version", (dlpack::MAJOR_VERSION, dlpack::MINOR_VERSION))?;
    match object.call_method("__dlpack__", (), Some(&known)) {
        // Lenders of before 2024 know no versions.
        Err(e) if e.is_instance_of::<PyTypeError>(py) => object.call_method0("__dlpack__"),
        given => given,
    }
}

/// Takes the struct out of a capsule, which knows by its new name that it is empty.
fn take(capsule: &Bound<'_, PyAny>) -> PyResult<Lent> {
    let py = capsule.py();
    let no_capsule = || {
        let kind = capsule.get_type().name().map_or_else(|_| "?".into(), |n| n.to_string());
        let message = format!("__dlpack__ gave a {kind}, no unused capsule of a DLPack tensor");
        raise(py, ErrorKind::InvalidInput, message)
    };
    let capsule = capsule.cast::<PyCapsule>().map_err(|_| no_capsule())?;
    let renamed = |name: &'static CStr| {
        // SAFETY: a capsule, and a name that lives for ever.
        match unsafe { ffi::PyCapsule_SetName(capsule.as_ptr(), name.as_ptr()) } {
            0 => Ok(()),
            _ => Err(PyErr::fetch(py)),
        }
    };
    if capsule.is_valid_checked(Some(VERSIONED)) {
        let managed = capsule.pointer_checked(Some(VERSIONED))?.cast::<ManagedVersioned>();
        if managed.is_aligned() {
            renamed(VERSIONED_USED)?;
            return Ok(Lent::Versioned(managed));
        }
    }
    if capsule.is_valid_checked(Some(LEGACY)) {
        let managed = capsule.pointer_checked(Some(LEGACY))?.cast::<Managed>();
        if managed.is_aligned() {
            renamed(LEGACY_USED)?;
            return Ok(Lent::Legacy(managed));
        }
    }
    Err(no_capsule())
}

impl Lent {
    fn into_loan(self, py: Python<'_>) -> PyResult<Bound<'_, Loan>> {
        Bound::new(py, Loan(self))
    }

    /// The tensor and its flags; refused where the struct is of another version.
    fn tensor(&self) -> modelserve::Result<(&DlTensor, u64)> {
        // SAFETY: the capsule's name says what lies there, and it lives until `self` is dropped. Of
        // another version only the fields before the tensor are read.
        unsafe {
            match self {
                Lent::Legacy(managed) => Ok((&(*managed.as_ptr()).tensor, 0)),
                Lent::Versioned(managed) => {
                    let managed = managed.as_ptr();
                    dlpack::check_version((*managed).major)?;
                    Ok((&(*managed).tensor, (*managed).flags))
                }
            }
        }
    }

    fn layout(&self) -> modelserve::Result<(&DlTensor, Layout)> {
        let (tensor, flags) = self.tensor()?;
        let rank = dlpack::rank(tensor.ndim)?;
        // SAFETY: DLPack's promise: NULL, or `ndim` numbers that live as long as the struct.
        let (shape, strides) = unsafe {
            (numbers(tensor.shape, rank, "shape")?, numbers(tensor.strides, rank, "strides")?)
        };
        let shape = match shape {
            Some(shape) => shape,
            None if rank == 0 => &[],
            None => return Err(wrong("a DLPack tensor with dimensions whose shape is NULL")),
        };
        let described = Described {
            device_type: tensor.device_type,
            code: tensor.code,
            bits: tensor.bits,
            lanes: tensor.lanes,
            flags,
            shape,
            strides,
            address: tensor.data.addr(),
            byte_offset: tensor.byte_offset,
        };
        Ok((tensor, described.layout()?))
    }
}

fn wrong(message: impl Into<String>) -> modelserve::Error {
    modelserve::Error::new(ErrorKind::InvalidInput, message)
}

/// So many numbers of a struct; `None` for NULL.
///
/// # Safety
/// `all` is NULL or points to `rank` numbers that live during `'a`.
unsafe fn numbers<'a>(
    all: *const i64,
    rank: usize,
    name: &str,
) -> modelserve::Result<Option<&'a [i64]>> {
    if all.is_null() {
        return Ok(None);
    }
    if !all.is_aligned() {
        return Err(wrong(format!("a DLPack tensor whose {name} is not aligned for its type")));
    }
    // SAFETY: promised by the caller; not NULL and aligned, as was checked.
    Ok(Some(unsafe { std::slice::from_raw_parts(all, rank) }))
}

/// NumPy's array over lent memory, only to be read; element types that NumPy has not are copied
/// into what stands for them.
fn array_of<'py>(loan: &Bound<'py, Loan>) -> PyResult<Bound<'py, PyAny>> {
    let py = loan.py();
    let (tensor, layout) = loan.get().0.layout().or_raise(py)?;
    let name = match (narrow::wide_name(layout.dtype), layout.dtype) {
        (None, plain) => plain.name(),
        (Some(_), ElementType::BF16) => "uint16",
        (Some(_), _) => "uint8",
    };
    let dtype = PyArrayDescr::new(py, name)?;
    let number = |n: usize| npy_intp::try_from(n).unwrap_or(npy_intp::MAX);
    let mut dims: Vec<npy_intp> = layout.shape.dims().iter().map(|&dim| number(dim)).collect();
    let mut strides: Vec<npy_intp> = layout.strides;
    let rank = i32::try_from(dims.len()).unwrap_or(i32::MAX);
    let data = match layout.shape.len() {
        // NumPy makes an empty array of its own.
        0 => ptr::null_mut(),
        _ => tensor.data.cast::<u8>().wrapping_add(layout.offset).cast(),
    };
    // SAFETY: NumPy's own way: the descriptor is given away, dimensions and strides are copied, and
    // the memory, every offset of which was checked, lives as long as the loan, which becomes the
    // array's base (that reference is given away, too, even on a failure).
    let array = unsafe {
        let array = PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            npyffi::get_type_object(py, npyffi::NpyTypes::PyArray_Type),
            dtype.into_dtype_ptr(),
            rank,
            dims.as_mut_ptr(),
            strides.as_mut_ptr(),
            data,
            0,
            ptr::null_mut(),
        );
        let array = Bound::from_owned_ptr_or_err(py, array)?;
        let base = loan.clone().into_ptr();
        match PY_ARRAY_API.PyArray_SetBaseObject(py, array.as_ptr().cast(), base) {
            0 => array,
            _ => return Err(PyErr::fetch(py)),
        }
    };
    match narrow::wide_name(layout.dtype) {
        None => Ok(array),
        Some(_) => {
            let tensor = narrow::array_in(&array, layout.dtype)?;
            Ok(tensor_out(py, tensor)?.into_bound(py))
        }
    }
}

/// An output that is handed to other libraries by DLPack: `torch.from_dlpack(tensor)`.
#[pyclass(frozen, module = "modelserve", name = "Tensor")]
pub(crate) struct PyTensor(pub(crate) Tensor);

#[pymethods]
impl PyTensor {
    /// The dimensions, outermost first.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.dims())
    }

    /// The element type by NumPy's name, or by that of `ml_dtypes` where NumPy has it not.
    #[getter]
    fn dtype(&self) -> &'static str {
        self.0.dtype().name()
    }

    /// A copy as a NumPy array.
    fn numpy(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        tensor_out(py, self.0.clone())
    }

    /// A capsule with the tensor, for a library that asks for one. Nothing is copied, and nobody may
    /// write to it, unless `copy` is true or the library knows no versions: those get their own.
    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<&Bound<'py, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let refused = |message: &str| Err(PyBufferError::new_err(message.to_string()));
        if stream.is_some() {
            return refused("a tensor in CPU memory has no stream");
        }
        if dl_device.is_some_and(|device| device != (dlpack::CPU, 0)) {
            return refused("the tensor lies in CPU memory, and is not copied elsewhere");
        }
        let Some((code, bits)) = dlpack::code_of(self.0.dtype()) else {
            return refused("DLPack has no strings");
        };
        let versioned = max_version.is_some_and(|(major, _)| major >= dlpack::MAJOR_VERSION);
        if !versioned && copy == Some(false) {
            return refused(
                "without a version nobody can be told not to write: only a copy is lent",
            );
        }
        if !versioned && bits < 8 {
            return refused("elements of fewer than eight bits need DLPack 1.1");
        }
        let own = !versioned || copy == Some(true);
        let elements = Elements::of(&self.0, own).or_raise(py)?;
        let copied = own || matches!(elements, Elements::Bytes(_));
        let mut flags = if copied { dlpack::FLAG_COPIED } else { dlpack::FLAG_READ_ONLY };
        if bits < 8 {
            flags |= dlpack::FLAG_PADDED;
        }
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let dims: Vec<i64> = self.0.dims().iter().map(|&dim| number(dim)).collect();
        let mut strides = vec![0; dims.len()];
        let mut step = 1i64;
        for (stride, dim) in strides.iter_mut().zip(&dims).rev() {
            *stride = step;
            step = step.saturating_mul((*dim).max(1));
        }
        let tensor = DlTensor {
            data: if self.0.len() == 0 { ptr::null_mut() } else { elements.pointer().cast_mut() },
            device_type: dlpack::CPU,
            device_id: 0,
            ndim: i32::try_from(dims.len()).unwrap_or(i32::MAX),
            code,
            bits,
            lanes: 1,
            // The memory of a vector stays where it is when the vector itself moves.
            shape: dims.as_ptr().cast_mut(),
            strides: strides.as_ptr().cast_mut(),
            byte_offset: 0,
        };
        let owned = Box::into_raw(Box::new((dims, strides, elements))).cast();
        if versioned {
            let managed = Box::new(ManagedVersioned {
                major: dlpack::MAJOR_VERSION,
                minor: dlpack::MINOR_VERSION,
                context: owned,
                deleter: Some(delete_versioned),
                flags,
                tensor,
            });
            return capsule(py, Box::into_raw(managed).cast(), VERSIONED, delete_unused_versioned);
        }
        let managed = Box::new(Managed { tensor, context: owned, deleter: Some(delete_legacy) });
        capsule(py, Box::into_raw(managed).cast(), LEGACY, delete_unused_legacy)
    }

    /// Where it lies: in CPU memory.
    fn __dlpack_device__(&self) -> (i32, i32) {
        (dlpack::CPU, 0)
    }

    fn __repr__(&self) -> String {
        format!("<modelserve.Tensor {}{}>", self.0.dtype(), self.0.shape())
    }
}

/// What a struct that was handed out points to.
type Owned = (Vec<i64>, Vec<i64>, Elements);

/// A capsule over a struct of ours, which is deleted where nobody has taken it out.
fn capsule<'py>(
    py: Python<'py>,
    managed: *mut c_void,
    name: &'static CStr,
    unused: ffi::PyCapsule_Destructor,
) -> PyResult<Bound<'py, PyCapsule>> {
    let managed = NonNull::new(managed)
        .ok_or_else(|| raise(py, ErrorKind::Internal, "a box has no address"))?;
    // SAFETY: a struct of the kind that the name says, which the destructor deletes.
    unsafe { PyCapsule::new_with_pointer_and_destructor(py, managed, name, Some(unused)) }
}

unsafe extern "C" fn delete_versioned(managed: *mut ManagedVersioned) {
    if managed.is_null() {
        return;
    }
    // SAFETY: DLPack's promise: a struct of ours, for the last time.
    unsafe {
        let managed = Box::from_raw(managed);
        drop(Box::<Owned>::from_raw(managed.context.cast()));
    }
}

unsafe extern "C" fn delete_legacy(managed: *mut Managed) {
    if managed.is_null() {
        return;
    }
    // SAFETY: as above.
    unsafe {
        let managed = Box::from_raw(managed);
        drop(Box::<Owned>::from_raw(managed.context.cast()));
    }
}

unsafe extern "C" fn delete_unused_versioned(capsule: *mut ffi::PyObject) {
    // SAFETY: the capsule that goes, whose name says whether the struct was taken out.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, VERSIONED.as_ptr()) != 0 {
            delete_versioned(ffi::PyCapsule_GetPointer(capsule, VERSIONED.as_ptr()).cast());
        }
    }
}

unsafe extern "C" fn delete_unused_legacy(capsule: *mut ffi::PyObject) {
    // SAFETY: as above.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, LEGACY.as_ptr()) != 0 {
            delete_legacy(ffi::PyCapsule_GetPointer(capsule, LEGACY.as_ptr()).cast());
        }
    }
}

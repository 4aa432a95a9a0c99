//! The general call: named tensors in, named outputs out, read by accessors.

use crate::guard::guard;
use crate::handle::{self, Named, Object, modelserve_model, modelserve_outputs};
use crate::handle::{with_model, with_outputs};
use crate::json;
use crate::pointer::{Out, TextOut, buffer, fill, texts};
use crate::request::{
    complete, context, describe_receipt, modelserve_receipt, modelserve_request_options,
};
use crate::status::*;
use crate::tensor::{MODELSERVE_DTYPE_NONE, dtype_number, modelserve_tensor, tensors};
use modelserve::Request;
use modelserve::tensor::{Data, Tensor, Value};
use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr;

/// Runs the model on named tensors, which are copied, and answers named outputs: those of the
/// `n_outputs` names in `outputs`, in that order, or all in the model's order where `n_outputs`
/// is 0. `*result` is to be freed with `modelserve_outputs_free`.
///
/// Errors: INVALID_HANDLE; INVALID_INPUT for dtypes, shapes, missing inputs, and names the model
/// has not; NOT_FOUND after an unload; INVALID_ARGUMENT for strides and dtypes that make no sense;
/// LIMIT_EXCEEDED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_run(
    model: modelserve_model,
    inputs: *const modelserve_tensor,
    n_inputs: usize,
    outputs: *const *const c_char,
    n_outputs: usize,
    result: *mut modelserve_outputs,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe {
        run(model, inputs, n_inputs, outputs, n_outputs, ptr::null(), result, ptr::null_mut())
    })
}

/// As `modelserve_run`, with options and a receipt; either may be NULL.
///
/// Errors: as `modelserve_predict_with` and `modelserve_run`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_run_with(
    model: modelserve_model,
    inputs: *const modelserve_tensor,
    n_inputs: usize,
    outputs: *const *const c_char,
    n_outputs: usize,
    options: *const modelserve_request_options,
    result: *mut modelserve_outputs,
    receipt: *mut modelserve_receipt,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe { run(model, inputs, n_inputs, outputs, n_outputs, options, result, receipt) })
}

/// # Safety
/// Every pointer is as `modelserve_run_with` says.
#[allow(clippy::too_many_arguments, reason = "those of the exported function")]
unsafe fn run(
    model: modelserve_model,
    inputs: *const modelserve_tensor,
    n_inputs: usize,
    outputs: *const *const c_char,
    n_outputs: usize,
    options: *const modelserve_request_options,
    result: *mut modelserve_outputs,
    receipt: *mut modelserve_receipt,
) -> Outcome {
    // SAFETY: promised by the caller.
    let (mut ctx, out, receipt, request) = unsafe {
        (
            context(options)?,
            Out::new(result, "result")?,
            Out::optional(receipt, "receipt")?,
            run_request(inputs, n_inputs, outputs, n_outputs)?,
        )
    };
    let named = with_model(model, |model| {
        let named = model.call(&request, &mut ctx)?.into_tensors()?;
        complete(&mut ctx.receipt, model);
        Ok(named)
    })?;
    out.write(modelserve_outputs { id: handle::insert(Object::Outputs(named))? });
    if let Some(receipt) = receipt {
        receipt.write(describe_receipt(&ctx.receipt));
    }
    Ok(())
}

/// The request for a run, the tensors copied.
///
/// # Safety
/// Every pointer is as `modelserve_run` says.
pub(crate) unsafe fn run_request(
    inputs: *const modelserve_tensor,
    n_inputs: usize,
    outputs: *const *const c_char,
    n_outputs: usize,
) -> Outcome<Request<'static>> {
    // SAFETY: promised by the caller.
    let (inputs, outputs) =
        unsafe { (tensors(inputs, n_inputs, "inputs")?, texts(outputs, n_outputs, "outputs")?) };
    let inputs = inputs.into_iter().map(|(name, tensor)| (name, tensor.into())).collect();
    Ok(Request::Run { inputs, outputs: outputs.into_iter().map(str::to_string).collect() })
}

/// Frees the outputs of a run. A handle of id 0 is fine.
///
/// Errors: INVALID_HANDLE (a second free, too).
#[unsafe(no_mangle)]
pub extern "C" fn modelserve_outputs_free(outputs: modelserve_outputs) -> modelserve_status {
    guard(|| handle::free_outputs(outputs))
}

/// How many outputs there are.
///
/// Errors: INVALID_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_outputs_count(
    outputs: modelserve_outputs,
    count: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { Out::new(count, "count") }?;
        out.write(with_outputs(outputs, |named| Ok(named.len()))?);
        Ok(())
    })
}

/// The name of output `index`.
///
/// Errors: INVALID_HANDLE; NOT_FOUND for the index; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_outputs_name(
    outputs: modelserve_outputs,
    index: usize,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { TextOut::new(buf, len, needed) }?;
        with_outputs(outputs, |named| out.write(&output(named, index)?.0))
    })
}

/// The element type of output `index`: one of `MODELSERVE_DTYPE_*`, MODELSERVE_DTYPE_NONE for a
/// sequence or a map.
///
/// Errors: INVALID_HANDLE; NOT_FOUND for the index.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_outputs_dtype(
    outputs: modelserve_outputs,
    index: usize,
    dtype: *mut i32,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { Out::new(dtype, "dtype") }?;
        out.write(with_outputs(outputs, |named| {
            Ok(match &output(named, index)?.1 {
                Value::Tensor(tensor) => dtype_number(tensor.dtype()),
                _ => MODELSERVE_DTYPE_NONE,
            })
        })?);
        Ok(())
    })
}

/// The dimensions of output `index`, outermost first, into `dims`, which has room for
/// `dims_len`. `*rank` is their number; with `dims` NULL and `dims_len` 0 only that is asked for.
///
/// Errors: INVALID_HANDLE; NOT_FOUND for the index; BUFFER_TOO_SMALL; INVALID_ARGUMENT where the
/// output is no tensor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_outputs_dims(
    outputs: modelserve_outputs,
    index: usize,
    dims: *mut i64,
    dims_len: usize,
    rank: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (dims, out) = unsafe { (buffer(dims, dims_len, "dims")?, Out::new(rank, "rank")?) };
        with_outputs(outputs, |named| {
            let all = tensor_of(named, index)?.dims();
            if !dims.is_empty() && dims.len() < all.len() {
                return Err(Failure::too_small("dims", dims.len(), all.len()));
            }
            fill(dims, all.iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)));
            out.write(all.len());
            Ok(())
        })
    })
}

/// The elements of output `index`, row-major, into `data`, which has room for `len` bytes and
/// needs no alignment. `*needed` is their size in bytes; with `data` NULL and `len` 0 only that
/// is asked for. Bools are one byte each, 0 or 1.
///
/// Errors: INVALID_HANDLE; NOT_FOUND for the index; BUFFER_TOO_SMALL; INVALID_ARGUMENT where the
/// output is no tensor, or one of strings (see `modelserve_outputs_string`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_outputs_data(
    outputs: modelserve_outputs,
    index: usize,
    data: *mut c_void,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (data, out) =
            unsafe { (buffer(data.cast::<u8>(), len, "data")?, Out::new(needed, "needed")?) };
        with_outputs(outputs, |named| {
            let tensor = numbers_of(named, index)?;
            let size = tensor.len().saturating_mul(tensor.dtype().size());
            if !data.is_empty() {
                if data.len() < size {
                    return Err(Failure::too_small("data", data.len(), size));
                }
                copy_elements(tensor, data);
            }
            out.write(size);
            Ok(())
        })
    })
}

/// Element `element` (row-major) of output `index`, which is a tensor of strings. A NUL inside
/// the text is copied as it is: `*needed` tells the length.
///
/// Errors: INVALID_HANDLE; NOT_FOUND for the index and the element; BUFFER_TOO_SMALL;
/// INVALID_ARGUMENT where the output is no tensor of strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_outputs_string(
    outputs: modelserve_outputs,
    index: usize,
    element: usize,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { TextOut::new(buf, len, needed) }?;
        with_outputs(outputs, |named| {
            let Data::String(all) = tensor_of(named, index)?.data() else {
                return Err(Failure::argument(format!("output {index} is not of strings")));
            };
            let missing = || {
                let message = format!("output {index} has {} elements, no {element}", all.len());
                Failure::new(MODELSERVE_STATUS_NOT_FOUND, message)
            };
            out.write(all.get(element).ok_or_else(missing)?)
        })
    })
}

/// Output `index`, whatever it is, as JSON: tensors as `{"dims": […], "data": […]}`, sequences as
/// arrays, maps as `{"keys": […], "values": […]}`, a missing optional as null. NaN and infinities
/// become null.
///
/// Errors: INVALID_HANDLE; NOT_FOUND for the index; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_outputs_json(
    outputs: modelserve_outputs,
    index: usize,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { TextOut::new(buf, len, needed) }?;
        with_outputs(outputs, |named| out.write(&json::value(&output(named, index)?.1).to_string()))
    })
}

fn output(named: &Named, index: usize) -> Outcome<&(String, Value)> {
    named.get(index).ok_or_else(|| {
        let message = format!("there are {} outputs, no {index}", named.len());
        Failure::new(MODELSERVE_STATUS_NOT_FOUND, message)
    })
}

/// An output whose elements have bytes.
pub(crate) fn numbers_of(named: &Named, index: usize) -> Outcome<&Tensor> {
    let tensor = tensor_of(named, index)?;
    if matches!(tensor.data(), Data::String(_)) {
        return Err(Failure::argument(format!(
            "output {index} is of strings: read them with modelserve_outputs_string"
        )));
    }
    Ok(tensor)
}

fn tensor_of(named: &Named, index: usize) -> Outcome<&Tensor> {
    match output(named, index)? {
        (_, Value::Tensor(tensor)) => Ok(tensor),
        (name, other) => Err(Failure::argument(format!(
            "output '{name}' is a {}, not a tensor: read it with modelserve_outputs_json",
            other.type_name()
        ))),
    }
}

/// The elements' bytes, in the machine's order, to the front of `place`.
pub(crate) fn copy_elements(tensor: &Tensor, place: &mut [MaybeUninit<u8>]) {
    /// # Safety
    /// `T` has no padding.
    unsafe fn raw<T>(all: &[T]) -> &[u8] {
        // SAFETY: the bytes of initialised elements without padding (promised by the caller).
        unsafe { std::slice::from_raw_parts(all.as_ptr().cast(), size_of_val(all)) }
    }
    macro_rules! bytes {
        ($all:expr) => {
            // SAFETY: numbers and pairs of equal numbers have no padding.
            fill(place, unsafe { raw($all) }.iter().copied())
        };
    }
    match tensor.data() {
        Data::F32(all) => bytes!(all),
        Data::F64(all) => bytes!(all),
        Data::F16(all) => bytes!(all),
        Data::BF16(all) => bytes!(all),
        Data::I8(all) => bytes!(all),
        Data::I16(all) => bytes!(all),
        Data::I32(all) => bytes!(all),
        Data::I64(all) => bytes!(all),
        Data::U8(all) => bytes!(all),
        Data::U16(all) => bytes!(all),
        Data::U32(all) => bytes!(all),
        Data::U64(all) => bytes!(all),
        Data::Bool(all) => fill(place, all.iter().map(|&x| u8::from(x))),
        Data::C64(all) => bytes!(all),
        Data::C128(all) => bytes!(all),
        small => fill(place, small.small_bits().unwrap_or_default()),
    }
}

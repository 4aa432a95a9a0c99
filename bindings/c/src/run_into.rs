//! The general call into the caller's memory.

use crate::guard::guard;
use crate::handle::{modelserve_model, with_model};
use crate::outputs::{copy_elements, numbers_of, run_request};
use crate::pointer::{Out, buffer, fill, slice};
use crate::request::{
    complete, context, describe_receipt, modelserve_receipt, modelserve_request_options,
};
use crate::status::*;
use crate::tensor::{dtype_number, modelserve_tensor};
use std::ffi::{c_char, c_void};

/// Memory of the caller for one output of a run.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_buffer {
    /// The name of the model's output.
    pub name: *const c_char,
    /// Where its elements go, row-major. No alignment is asked for. NULL where `len` is 0.
    pub data: *mut c_void,
    /// Bytes of room for the elements.
    pub len: usize,
    /// Where its dimensions go, outermost first. NULL where `dims_len` is 0: they are not wanted.
    pub dims: *mut i64,
    /// Room for dimensions; 0, or as many as the output has.
    pub dims_len: usize,
    /// Written: bytes of all elements.
    pub needed: usize,
    /// Written: the number of dimensions.
    pub rank: usize,
    /// Written: one of `MODELSERVE_DTYPE_*`.
    pub dtype: i32,
    /// Always 0.
    pub reserved: i32,
}

/// As `modelserve_run_with`, with the outputs written into the caller's memory: those of the
/// `n_outputs` names in `outputs`. There is no handle to free. `options` and `receipt` may be NULL.
///
/// Errors: BUFFER_TOO_SMALL where an output has no room: then `needed`, `rank` and `dtype` of every
/// output are written, and nothing else. INVALID_ARGUMENT for outputs of strings, sequences and
/// maps, and without any output; otherwise as `modelserve_run_with`. Then nothing is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_run_into(
    model: modelserve_model,
    inputs: *const modelserve_tensor,
    n_inputs: usize,
    outputs: *mut modelserve_buffer,
    n_outputs: usize,
    options: *const modelserve_request_options,
    receipt: *mut modelserve_receipt,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (mut ctx, receipt, mut places) = unsafe {
            (
                context(options)?,
                Out::optional(receipt, "receipt")?,
                slice(outputs.cast_const(), n_outputs, "outputs")?.to_vec(),
            )
        };
        if places.is_empty() {
            return Err(Failure::argument("'n_outputs' is 0: name the outputs"));
        }
        if places.iter().any(|place| place.reserved != 0) {
            return Err(Failure::argument("modelserve_buffer: reserved is 0"));
        }
        let names: Vec<*const c_char> = places.iter().map(|place| place.name).collect();
        // SAFETY: the caller's promise (crate documentation).
        let request = unsafe { run_request(inputs, n_inputs, names.as_ptr(), names.len()) }?;
        let mut rooms = Vec::with_capacity(places.len());
        for place in &places {
            // SAFETY: the caller's promise (crate documentation).
            rooms.push(unsafe {
                (
                    buffer(place.data.cast::<u8>(), place.len, "data")?,
                    buffer(place.dims, place.dims_len, "dims")?,
                )
            });
        }
        let named = with_model(model, |model| {
            let named = model.call(&request, &mut ctx)?.into_tensors()?;
            complete(&mut ctx.receipt, model);
            Ok(named)
        })?;
        let mut short = None;
        for (i, (place, (data, dims))) in places.iter_mut().zip(&rooms).enumerate() {
            let tensor = numbers_of(&named, i)?;
            place.needed = tensor.len().saturating_mul(tensor.dtype().size());
            place.rank = tensor.dims().len();
            place.dtype = dtype_number(tensor.dtype());
            if data.len() < place.needed {
                short.get_or_insert_with(|| Failure::too_small("data", data.len(), place.needed));
            }
            if !dims.is_empty() && dims.len() < place.rank {
                short.get_or_insert_with(|| Failure::too_small("dims", dims.len(), place.rank));
            }
        }
        for (i, (place, (data, dims))) in places.iter().zip(rooms).enumerate() {
            // SAFETY: one of the caller's `n_outputs` elements (crate documentation).
            let told = unsafe { Out::new(outputs.add(i), "outputs") }?;
            told.write(*place);
            if short.is_none() {
                let tensor = numbers_of(&named, i)?;
                copy_elements(tensor, data);
                fill(dims, tensor.dims().iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)));
            }
        }
        if let Some(short) = short {
            return Err(short);
        }
        if let Some(receipt) = receipt {
            receipt.write(describe_receipt(&ctx.receipt));
        }
        Ok(())
    })
}

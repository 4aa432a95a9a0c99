//! What a model takes and answers, input by input.

use crate::guard::guard;
use crate::handle::{modelserve_model, with_model};
use crate::pointer::{Out, TextOut};
use crate::status::*;
use crate::tensor::{MODELSERVE_DTYPE_NONE, dtype_number};
use modelserve::graph::Dim;
use modelserve::{Signature, TensorSpec};
use std::ffi::c_char;

/// Most dimensions a tensor may have.
pub const MODELSERVE_MAX_RANK: usize = 32;

/// What a model says of one of its inputs or outputs. Holds no pointers: nothing to free.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_spec {
    /// One of `MODELSERVE_DTYPE_*`; MODELSERVE_DTYPE_NONE for a sequence or a map, and where it is
    /// not known.
    pub dtype: i32,
    /// The number of dimensions; -1 where it is not known.
    pub rank: i32,
    /// The dimension that counts rows; -1 where there is none.
    pub batch_axis: i32,
    /// Always 0.
    pub reserved: i32,
    /// `rank` dimensions, outermost first; -1 for one that varies.
    pub dims: [i64; MODELSERVE_MAX_RANK],
}

/// How many inputs the model has.
///
/// Errors: INVALID_HANDLE; NOT_FOUND after an unload.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_model_input_count(
    model: modelserve_model,
    count: *mut usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe { count_of(model, count, |signature| &signature.inputs) }
}

/// What the model says of input `index`: its name into `buf` (a text function), the rest into
/// `spec`, which may be NULL.
///
/// Errors: INVALID_HANDLE; NOT_FOUND for the index, or after an unload; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_model_input(
    model: modelserve_model,
    index: usize,
    spec: *mut modelserve_spec,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe { told(model, index, spec, (buf, len, needed), |signature| &signature.inputs) }
}

/// How many outputs the model has.
///
/// Errors: INVALID_HANDLE; NOT_FOUND after an unload.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_model_output_count(
    model: modelserve_model,
    count: *mut usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe { count_of(model, count, |signature| &signature.outputs) }
}

/// What the model says of output `index`, as `modelserve_model_input`.
///
/// Errors: as `modelserve_model_input`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_model_output(
    model: modelserve_model,
    index: usize,
    spec: *mut modelserve_spec,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe { told(model, index, spec, (buf, len, needed), |signature| &signature.outputs) }
}

/// # Safety
/// `count` as for [`Out::new`].
unsafe fn count_of(
    model: modelserve_model,
    count: *mut usize,
    of: fn(&Signature) -> &Vec<TensorSpec>,
) -> modelserve_status {
    guard(|| {
        // SAFETY: promised by the caller.
        let out = unsafe { Out::new(count, "count") }?;
        let signature = with_model(model, |model| Ok(model.signature()?))?;
        out.write(of(&signature).len());
        Ok(())
    })
}

/// # Safety
/// The pointers are as for a text function, `spec` as for [`Out::optional`].
unsafe fn told(
    model: modelserve_model,
    index: usize,
    spec: *mut modelserve_spec,
    (buf, len, needed): (*mut c_char, usize, *mut usize),
    of: fn(&Signature) -> &Vec<TensorSpec>,
) -> modelserve_status {
    guard(|| {
        // SAFETY: promised by the caller.
        let (out, spec) =
            unsafe { (TextOut::new(buf, len, needed)?, Out::optional(spec, "spec")?) };
        let signature = with_model(model, |model| Ok(model.signature()?))?;
        let all = of(&signature);
        let one = all.get(index).ok_or_else(|| {
            let message = format!("the model has {} of them, no {index}", all.len());
            Failure::new(MODELSERVE_STATUS_NOT_FOUND, message)
        })?;
        out.write(&one.name)?;
        if let Some(spec) = spec {
            spec.write(describe(one));
        }
        Ok(())
    })
}

fn describe(spec: &TensorSpec) -> modelserve_spec {
    let mut dims = [0; MODELSERVE_MAX_RANK];
    let known = spec.dims().filter(|dims| dims.len() <= MODELSERVE_MAX_RANK);
    for (place, dim) in dims.iter_mut().zip(known.unwrap_or_default()) {
        *place = match dim {
            Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
            _ => -1,
        };
    }
    let number = |of: Option<usize>| of.and_then(|n| i32::try_from(n).ok()).unwrap_or(-1);
    modelserve_spec {
        dtype: spec.dtype().map_or(MODELSERVE_DTYPE_NONE, dtype_number),
        rank: number(known.map(<[Dim]>::len)),
        batch_axis: number(spec.batch_axis),
        reserved: 0,
        dims,
    }
}

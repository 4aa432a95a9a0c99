//! HTTP requests as bytes in, responses as bytes out.

use crate::guard::guard;
use crate::handle::{
    self, Object, modelserve_http_response, modelserve_manager, with_http_response, with_manager,
};
use crate::pointer::{Out, TextOut, buffer, fill, slice, text, texts};
use crate::status::*;
use modelserve::HttpResponse;
use std::ffi::c_char;

/// An HTTP request as the functions that take one are given it.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) headers: Vec<(&'a str, &'a str)>,
    pub(crate) body: &'a [u8],
}

impl<'a> Asked<'a> {
    /// # Safety
    /// Every pointer is as `modelserve_manager_http_handle` says, for `'a`.
    pub(crate) unsafe fn new(
        method: *const c_char,
        target: *const c_char,
        header_names: *const *const c_char,
        header_values: *const *const c_char,
        n_headers: usize,
        body: *const u8,
        body_len: usize,
    ) -> Outcome<Asked<'a>> {
        // SAFETY: promised by the caller.
        unsafe {
            let (method, target) = (text(method, "method")?, text(target, "target")?);
            let names = texts(header_names, n_headers, "header_names")?;
            let values = texts(header_values, n_headers, "header_values")?;
            Ok(Asked {
                method,
                target,
                headers: names.into_iter().zip(values).collect(),
                body: slice(body, body_len, "body")?,
            })
        }
    }
}

/// Answers one HTTP request with the manager's models: the reference server, TensorFlow Serving's
/// REST interface, the Open Inference Protocol and metrics, told apart by the path
/// (docs/http.md). No socket is opened; the options are those of the configuration file, else the
/// defaults.
///
/// `method` is in capitals, `target` the path with its query; `header_names` and `header_values`
/// have `n_headers` texts each; `body` has `body_len` bytes. Whatever the request is, the answer
/// is a response, with a status of its own. `*response` is to be freed with
/// `modelserve_http_response_free`.
///
/// Errors: INVALID_ARGUMENT for text that is not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_http_handle(
    manager: modelserve_manager,
    method: *const c_char,
    target: *const c_char,
    header_names: *const *const c_char,
    header_values: *const *const c_char,
    n_headers: usize,
    body: *const u8,
    body_len: usize,
    response: *mut modelserve_http_response,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (asked, out) = unsafe {
            (
                Asked::new(method, target, header_names, header_values, n_headers, body, body_len)?,
                Out::new(response, "response")?,
            )
        };
        let answer = with_manager(manager, |manager| {
            Ok(manager.http_handle(asked.method, asked.target, &asked.headers, asked.body))
        })?;
        let id = handle::insert(Object::HttpResponse(Box::new(answer)))?;
        out.write(modelserve_http_response { id });
        Ok(())
    })
}

/// Frees a response. A handle of id 0 is fine.
///
/// Errors: INVALID_HANDLE (a second free, too).
#[unsafe(no_mangle)]
pub extern "C" fn modelserve_http_response_free(
    response: modelserve_http_response,
) -> modelserve_status {
    guard(|| handle::free_http_response(response))
}

/// The response's HTTP status.
///
/// Errors: INVALID_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_http_response_status(
    response: modelserve_http_response,
    status: *mut i32,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { Out::new(status, "status") }?;
        out.write(with_http_response(response, |answer| Ok(i32::from(answer.status)))?);
        Ok(())
    })
}

/// How many headers the response has; its length is not among them.
///
/// Errors: INVALID_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_http_response_header_count(
    response: modelserve_http_response,
    count: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { Out::new(count, "count") }?;
        out.write(with_http_response(response, |answer| Ok(answer.headers.len()))?);
        Ok(())
    })
}

/// The name of header `index`.
///
/// Errors: INVALID_HANDLE; NOT_FOUND for the index; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_http_response_header_name(
    response: modelserve_http_response,
    index: usize,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { TextOut::new(buf, len, needed) }?;
        with_http_response(response, |answer| out.write(header(answer, index)?.0))
    })
}

/// The value of header `index`.
///
/// Errors: INVALID_HANDLE; NOT_FOUND for the index; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_http_response_header_value(
    response: modelserve_http_response,
    index: usize,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { TextOut::new(buf, len, needed) }?;
        with_http_response(response, |answer| out.write(header(answer, index)?.1))
    })
}

/// The bytes of the response's body into `data`, which has room for `len`. `*needed` is their
/// number; with `data` NULL and `len` 0 only that is asked for.
///
/// Errors: INVALID_HANDLE; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_http_response_body(
    response: modelserve_http_response,
    data: *mut u8,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (data, out) = unsafe { (buffer(data, len, "data")?, Out::new(needed, "needed")?) };
        with_http_response(response, |answer| {
            let body = &answer.body;
            out.write(body.len());
            if !data.is_empty() && data.len() < body.len() {
                return Err(Failure::too_small("data", data.len(), body.len()));
            }
            fill(data, body.iter().copied());
            Ok(())
        })
    })
}

fn header(response: &HttpResponse, index: usize) -> Outcome<(&str, &str)> {
    match response.headers.get(index) {
        Some((name, value)) => Ok((name, value)),
        None => Err(Failure::new(
            MODELSERVE_STATUS_NOT_FOUND,
            format!("header {index}: the response has {}", response.headers.len()),
        )),
    }
}

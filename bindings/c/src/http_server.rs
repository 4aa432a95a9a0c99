//! HTTP with options of one's own, and on the library's threads.

use crate::callback::UserData;
use crate::guard::guard;
use crate::handle::{
    self, Object, modelserve_http, modelserve_http_response, modelserve_manager,
    modelserve_request, with_http, with_manager,
};
use crate::http::Asked;
use crate::options::{Versioned, defaults, flag, init, read};
use crate::pointer::{Out, optional_text, path};
use crate::status::*;
use modelserve::{CancelToken, HttpOptions, HttpRequest, HttpRequestBuf, HttpResponse};
use std::ffi::{c_char, c_void};

/// How the HTTP protocols are spoken. Begin with `modelserve_http_options_init`; what is left 0 or
/// NULL is as the configuration file says, else the default. What it points to has to live during
/// the call only.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_http_options {
    /// `sizeof(modelserve_http_options)`; set by `modelserve_http_options_init`.
    pub struct_size: usize,
    /// The model that `/predict` and `/health` mean, or NULL: the only one there is.
    pub default_model: *const c_char,
    /// What a request that manages models has to show as `Authorization: Bearer …`, or NULL:
    /// nothing.
    pub token: *const c_char,
    /// The folder beneath which such a request may name models, or NULL: the repository that the
    /// manager serves.
    pub root: *const c_char,
    /// Most bytes of a body; 0: 64 MiB.
    pub max_body_bytes: usize,
    /// How deep JSON may nest, at most 256; 0: 64.
    pub max_depth: usize,
    /// Most rows of one request; 0: 65,536.
    pub max_rows: usize,
    /// Most bytes of one string in a request; 0: 1 MiB.
    pub max_string_bytes: usize,
    /// 1: a request may load, reload and unload models; 0: it may not.
    pub management: i32,
    /// 1: browsers on other sites may ask (CORS); 0: they may not.
    pub cors: i32,
}

// SAFETY: integers and nullable pointers; the first field is `struct_size`.
unsafe impl Versioned for modelserve_http_options {
    const NAME: &'static str = "modelserve_http_options";
}

/// Sets `*options` to the defaults; `struct_size` is `sizeof *options`.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a size that no header has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_http_options_init(
    options: *mut modelserve_http_options,
    struct_size: usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe { init(options, "options", struct_size, defaults()) }
}

/// The manager's models as HTTP knows them, for `modelserve_http_handle` and
/// `modelserve_http_submit`. `options` may be NULL. `*http` is to be freed with
/// `modelserve_http_free`; until then it keeps the manager's models.
///
/// Errors: INVALID_HANDLE; INVALID_ARGUMENT for the options; NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_http(
    manager: modelserve_manager,
    options: *const modelserve_http_options,
    http: *mut modelserve_http,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { Out::new(http, "http") }?;
        let made = with_manager(manager, |manager| {
            // SAFETY: the caller's promise (crate documentation).
            let options = unsafe { http_options(options, manager.http_options()) }?;
            Ok(manager.http(options))
        })?;
        out.write(modelserve_http { id: handle::insert(Object::Http(made))? });
        Ok(())
    })
}

/// Frees it. Requests under way end normally. A handle of id 0 is fine.
///
/// Errors: INVALID_HANDLE (a second free, too).
#[unsafe(no_mangle)]
pub extern "C" fn modelserve_http_free(http: modelserve_http) -> modelserve_status {
    guard(|| handle::free_http(http))
}

/// Answers one HTTP request on the calling thread, as `modelserve_manager_http_handle`.
///
/// Errors: INVALID_HANDLE; INVALID_ARGUMENT for text that is not UTF-8; NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_http_handle(
    http: modelserve_http,
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
        let http = with_http(http, |http| Ok(http.clone()))?;
        let Asked { method, target, headers, body } = asked;
        let answer = http.handle(&HttpRequest { method, target, headers: &headers, body });
        let id = handle::insert(Object::HttpResponse(Box::new(answer)))?;
        out.write(modelserve_http_response { id });
        Ok(())
    })
}

/// Given the response to a submitted HTTP request: a new handle, to be freed with
/// `modelserve_http_response_free` in the callback or at any later time. Its id is 0 where no
/// handle could be given out.
///
/// Must neither block for long nor leave by an exception or a jump. It may call any function of
/// this library.
pub type modelserve_http_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, response: modelserve_http_response)>;

/// Asks for the answer to one HTTP request, given as for `modelserve_http_handle` and copied, and
/// returns. Neither reading the request nor running a model is done on the calling thread, unless
/// the system has no thread to give.
///
/// On MODELSERVE_STATUS_OK `callback` is called exactly once with `user_data`, on any thread; on
/// any other status it is never called. `*request` is for cancelling, as with
/// `modelserve_predict_submit`, when nobody waits for the response any more; a cancelled request
/// has a response, too. `request` may be NULL.
///
/// Errors: INVALID_HANDLE; INVALID_ARGUMENT for text that is not UTF-8; NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_http_submit(
    http: modelserve_http,
    method: *const c_char,
    target: *const c_char,
    header_names: *const *const c_char,
    header_values: *const *const c_char,
    n_headers: usize,
    body: *const u8,
    body_len: usize,
    callback: modelserve_http_callback,
    user_data: *mut c_void,
    request: *mut modelserve_request,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (asked, out) = unsafe {
            (
                Asked::new(method, target, header_names, header_values, n_headers, body, body_len)?,
                Out::optional(request, "request")?,
            )
        };
        let callback = callback.ok_or_else(|| Failure::null("callback"))?;
        let http = with_http(http, |http| Ok(http.clone()))?;
        let cancel = CancelToken::default();
        let owned = |(name, value): (&str, &str)| (name.to_string(), value.to_string());
        let asked = HttpRequestBuf {
            method: asked.method.to_string(),
            target: asked.target.to_string(),
            headers: asked.headers.into_iter().map(owned).collect(),
            body: asked.body.to_vec().into(),
            cancel: cancel.clone(),
        };
        if let Some(out) = out {
            out.write(modelserve_request { id: handle::insert(Object::Request(cancel))? });
        }
        let user_data = UserData::new(user_data, None);
        http.submit(asked, move |response| tell(callback, &user_data, response));
        Ok(())
    })
}

fn tell(
    callback: unsafe extern "C" fn(*mut c_void, modelserve_http_response),
    user_data: &UserData,
    response: HttpResponse,
) {
    let id = handle::insert(Object::HttpResponse(Box::new(response))).unwrap_or_default();
    // SAFETY: the caller's function with the caller's data.
    unsafe { callback(user_data.pointer(), modelserve_http_response { id }) }
}

/// # Safety
/// `pointer` is NULL (nothing is set) or points to options as their description says.
unsafe fn http_options(
    pointer: *const modelserve_http_options,
    mut options: HttpOptions,
) -> Outcome<HttpOptions> {
    if pointer.is_null() {
        return Ok(options);
    }
    // SAFETY: promised by the caller.
    let c = unsafe { read(pointer) }?;
    // SAFETY: promised by the caller, for every pointer in the options.
    let (model, token) = unsafe {
        (optional_text(c.default_model, "default_model")?, optional_text(c.token, "token")?)
    };
    if let Some(model) = model {
        options.default_model = Some(model.to_string());
    }
    if let Some(token) = token {
        options.token = Some(token.to_string());
    }
    if !c.root.is_null() {
        // SAFETY: promised by the caller.
        options.root = Some(unsafe { path(c.root, "root") }?.to_path_buf());
    }
    if c.max_depth > 256 {
        let message = format!("'max_depth' is {}, expected at most 256", c.max_depth);
        return Err(Failure::argument(message));
    }
    for (set, to) in [
        (c.max_body_bytes, &mut options.max_body_bytes),
        (c.max_depth, &mut options.max_depth),
        (c.max_rows, &mut options.max_rows),
        (c.max_string_bytes, &mut options.max_string_bytes),
    ] {
        if set != 0 {
            *to = set;
        }
    }
    options.management |= flag(c.management, "management")?;
    options.cors |= flag(c.cors, "cors")?;
    Ok(options)
}

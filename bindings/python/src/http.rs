//! HTTP requests as bytes in, responses as bytes out.

use crate::aio::{Outcome, courier};
use crate::gil::{LONG, enter};
use modelserve::{CancelToken, HttpOptions, HttpRequest, HttpRequestBuf, HttpResponse};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

/// Status, headers and body.
pub(crate) type Response<'py> = (u16, Vec<(&'static str, String)>, Bound<'py, PyBytes>);

pub(crate) fn response_out(py: Python<'_>, response: HttpResponse) -> Response<'_> {
    let headers = response.headers.into_iter();
    let headers = headers.map(|(name, value)| (name, value.into_owned())).collect();
    (response.status, headers, PyBytes::new(py, &response.body))
}

/// A name or a value of a header: text, or bytes as servers have them (ISO 8859-1).
pub(crate) struct Field(String);

impl<'py> FromPyObject<'_, 'py> for Field {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Field(bytes.as_bytes().iter().map(|&byte| char::from(byte)).collect()));
        }
        match object.cast::<PyString>() {
            Ok(text) => Ok(Field(text.to_string_lossy().into_owned())),
            Err(_) => Err(PyTypeError::new_err("a header is a pair of str, or of bytes")),
        }
    }
}

/// Headers as they are given.
pub(crate) type Fields = Vec<(Field, Field)>;

/// A manager's models as HTTP knows them: requests as bytes in, responses as bytes out. Made by
/// `ModelManager.http`; any number of threads may ask at once. What is spoken: docs/http.md.
#[pyclass(frozen, module = "modelserve")]
pub(crate) struct Http {
    http: modelserve::Http,
    max_body_bytes: usize,
}

impl Http {
    pub(crate) fn new(manager: &modelserve::ModelManager, options: HttpOptions) -> Http {
        let max_body_bytes = options.max_body_bytes;
        Http { http: manager.http(options), max_body_bytes }
    }
}

#[pymethods]
impl Http {
    /// Answers one request, given by its method, its path with the query, its headers (pairs of
    /// `str`, or of `bytes`) and its body: the status, the headers and the body. Blocks.
    #[pyo3(signature = (method, target, headers=Vec::new(), body=Cow::Borrowed(b"".as_slice())))]
    pub(crate) fn handle<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        target: &str,
        headers: Fields,
        body: Cow<'_, [u8]>,
    ) -> PyResult<Response<'py>> {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.0.as_str(), value.0.as_str())).collect();
        let request = HttpRequest { method, target, headers: &headers, body: &body };
        Ok(response_out(py, enter(py, LONG, || Ok(self.http.handle(&request)))?))
    }

    /// As `handle`, to be awaited: reading the request and running the model happen on other
    /// threads.
    #[pyo3(signature = (method, target, headers=Vec::new(), body=Cow::Borrowed(b"".as_slice())))]
    pub(crate) fn handle_async<'py>(
        &self,
        py: Python<'py>,
        method: String,
        target: String,
        headers: Fields,
        body: Cow<'_, [u8]>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let headers = headers.into_iter().map(|(name, value)| (name.0, value.0)).collect();
        let cancel = CancelToken::default();
        let request = HttpRequestBuf {
            method,
            target,
            headers,
            body: body.into_owned().into(),
            cancel: cancel.clone(),
        };
        let request = Mutex::new(Some(request));
        let submission = HttpSubmission { http: self.http.clone(), request, cancel };
        py.import("modelserve.aio")?.call_method1("answer", (submission,))
    }

    /// Most bytes of a body: a longer one is refused.
    #[getter]
    fn max_body_bytes(&self) -> usize {
        self.max_body_bytes
    }
}

/// `options`, changed by what keyword arguments give; unknown names are a `TypeError`.
pub(crate) fn http_options(
    mut options: HttpOptions,
    given: Option<&Bound<'_, PyDict>>,
) -> PyResult<HttpOptions> {
    for (name, value) in given.into_iter().flat_map(|g| g.iter()) {
        let name: String = name.extract()?;
        if value.is_none() {
            continue;
        }
        match name.as_str() {
            "default_model" => options.default_model = Some(value.extract()?),
            "management" => options.management = value.extract()?,
            "token" => options.token = Some(value.extract()?),
            "root" => options.root = Some(value.extract()?),
            "cors" => options.cors = value.extract()?,
            "max_body_bytes" => options.max_body_bytes = value.extract()?,
            "max_depth" => options.max_depth = value.extract()?,
            "max_rows" => options.max_rows = value.extract()?,
            "max_string_bytes" => options.max_string_bytes = value.extract()?,
            _ => {
                let message = format!("no option of the HTTP protocols has the name {name:?}");
                return Err(PyTypeError::new_err(message));
            }
        }
    }
    Ok(options)
}

/// One HTTP request to be submitted from within a running event loop.
#[pyclass(frozen, module = "modelserve")]
struct HttpSubmission {
    http: modelserve::Http,
    request: Mutex<Option<HttpRequestBuf>>,
    cancel: CancelToken,
}

#[pymethods]
impl HttpSubmission {
    /// Submits, for the answer to be set on a future of the loop.
    fn submit(
        &self,
        py: Python<'_>,
        event_loop: &Bound<'_, PyAny>,
        future: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let way = courier(py)?;
        let (event_loop, waiting) = (event_loop.clone().unbind(), future.clone().unbind());
        let request = self.request.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.http.submit(request.unwrap_or_default(), move |response| {
            // Without a courier there is no interpreter any more, and nobody who waits.
            let _ = way.send(Outcome::Http(response).answered(event_loop, waiting));
        });
        Ok(true)
    }

    /// There is nothing to prepare: loading happens on the library's threads.
    fn prepare(&self) {}

    /// Cancels the request; of no effect once it is answered.
    fn cancel(&self) {
        self.cancel.cancel();
    }
}

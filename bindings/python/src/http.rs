//! HTTP requests as bytes in, responses as bytes out.

use crate::aio::{Outcome, courier};
use modelserve::{HttpRequestBuf, HttpResponse, ModelManager};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::{Mutex, PoisonError};

/// Status, headers and body.
pub(crate) type Response<'py> = (u16, Vec<(&'static str, String)>, Bound<'py, PyBytes>);

pub(crate) fn response_out(py: Python<'_>, response: HttpResponse) -> Response<'_> {
    let headers = response.headers.into_iter();
    let headers = headers.map(|(name, value)| (name, value.into_owned())).collect();
    (response.status, headers, PyBytes::new(py, &response.body))
}

/// One HTTP request to be submitted from within a running event loop.
#[pyclass(frozen, module = "modelserve")]
struct HttpSubmission {
    manager: ModelManager,
    request: Mutex<Option<HttpRequestBuf>>,
}

/// The coroutine that submits and awaits.
pub(crate) fn http_coroutine<'py>(
    py: Python<'py>,
    manager: &ModelManager,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
) -> PyResult<Bound<'py, PyAny>> {
    let request = HttpRequestBuf { method, target, headers, body: body.into() };
    let request = Mutex::new(Some(request));
    let submission = HttpSubmission { manager: manager.clone(), request };
    py.import("modelserve.aio")?.call_method1("answer", (submission,))
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
        let http = self.manager.http(self.manager.http_options());
        http.submit(request.unwrap_or_default(), move |response| {
            // Without a courier there is no interpreter any more, and nobody who waits.
            let _ = way.send(Outcome::Http(response).answered(event_loop, waiting));
        });
        Ok(true)
    }

    /// There is nothing to prepare: loading happens on the library's threads.
    fn prepare(&self) {}

    /// A request that is under way ends by itself; nobody waits for its answer any more.
    fn cancel(&self) {}
}

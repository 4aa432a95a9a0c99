//! The HTTP protocols without the network: a request as bytes in, a response as bytes out.
//!
//! Whoever owns the sockets calls [`Http::handle`], or [`Http::submit`] from a thread that must
//! not run models. Four things are spoken, told apart by their paths: the reference server
//! (`/predict`, `/predict/batch`, `/health`, `/model/reload`), TensorFlow Serving's REST interface
//! (`/v1`), the Open Inference Protocol with Triton's extensions (`/v2`), and `/metrics`.
//! `docs/http.md` says what of them, and where they differ from the originals.
//!
//! JSON is read straight into typed tensors, binary tensors are read in place, and every limit is
//! checked before memory is taken. What is told to a remote reader holds no path of the host.

mod ask;
mod fault;
mod http;
mod json;
mod management;
mod options;
mod outputs;
mod path;
mod reference;
mod tfs;
mod v2;

pub use http::{HttpRequest, HttpRequestBuf, HttpResponse};
pub use options::HttpOptions;

use crate::error::ErrorKind;
use crate::executor;
use crate::manager::ModelManager;
use crate::metrics::TextFormat;
use crate::model::contain;
use ask::Step;
use fault::{Dialect, Fault};
use json::Limits;
use std::sync::Arc;

/// A manager's models as HTTP knows them. Cheap to clone; any number of threads may ask at once.
#[derive(Clone)]
pub struct Http {
    manager: ModelManager,
    options: Arc<HttpOptions>,
}

impl ModelManager {
    /// This manager's models in the HTTP protocols that the library speaks (`docs/http.md`).
    ///
    /// ```
    /// use modelserve::{HttpOptions, HttpRequest, ModelManager};
    ///
    /// let http = ModelManager::default().http(HttpOptions::default());
    /// let request = HttpRequest { method: "GET", target: "/v2/health/live", ..Default::default() };
    /// assert_eq!(http.handle(&request).status, 200);
    /// ```
    pub fn http(&self, options: HttpOptions) -> Http {
        Http { manager: self.clone(), options: Arc::new(options) }
    }

    /// Answers one HTTP request as [`Http::handle`] with the options that the configuration file
    /// gave, else the default ones.
    pub fn http_handle(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> HttpResponse {
        let http = self.http(self.http_options());
        http.handle(&HttpRequest { method, target, headers, body })
    }
}

impl Http {
    /// Answers a request in the calling thread, and blocks until the answer is there. Never
    /// panics, whatever the request holds.
    pub fn handle(&self, request: &HttpRequest<'_>) -> HttpResponse {
        let dialect = dialect_of(request.path());
        let answer = contain(|| {
            Ok(match self.route(request) {
                Step::Answered(response) => response,
                Step::Ask(ask) => ask.call(),
            })
        });
        self.complete(answer.unwrap_or_else(|e| dialect.fault(&e.into())))
    }

    /// Answers a request on other threads: returns at once, and calls `done` exactly once.
    /// Neither reading the request nor running a model is done on the calling thread, unless the
    /// system has no thread to give. `done` must not block for long. A model that was unloaded to
    /// make room is loaded again first, which keeps a thread of the library's for so long.
    pub fn submit(
        &self,
        request: HttpRequestBuf,
        done: impl FnOnce(HttpResponse) + Send + 'static,
    ) {
        let http = self.clone();
        executor::spawn(move || {
            let dialect = request.with(|request| dialect_of(request.path()));
            let step = contain(|| Ok(request.with(|request| http.route(request))));
            // What it was is known now: the body need not be kept while a model runs.
            let cancel = request.cancel;
            drop(request.body);
            match step {
                Ok(Step::Ask(mut ask)) => {
                    ask.ctx.cancel = Some(cancel);
                    ask.submit(move |response| done(http.complete(response)));
                }
                Ok(Step::Answered(response)) => done(http.complete(response)),
                Err(e) => done(http.complete(dialect.fault(&e.into()))),
            }
        });
    }

    /// Who answers a request: told by its path.
    fn route(&self, request: &HttpRequest<'_>) -> Step {
        let path = request.path();
        let dialect = dialect_of(path);
        if self.options.cors && request.method == "OPTIONS" {
            return Step::Answered(preflight(request));
        }
        if let Err(refused) = self.check_body(request, dialect) {
            return Step::Answered(refused);
        }
        match (dialect, path) {
            (_, "/metrics" | "/monitoring/prometheus/metrics") => {
                Step::Answered(self.metrics(request))
            }
            (Dialect::TensorFlow, _) => tfs::route(self, request),
            (Dialect::V2, _) => v2::route(self, request),
            (Dialect::Reference, _) => reference::route(self, request),
        }
    }

    fn check_body(&self, request: &HttpRequest<'_>, dialect: Dialect) -> Result<(), HttpResponse> {
        let (size, most) = (request.body.len(), self.options.max_body_bytes);
        if size > most {
            let message = format!("a body of {size} bytes (at most {most})");
            return Err(dialect.refuse(413, &message));
        }
        let plain = |coding: &str| coding.is_empty() || coding.eq_ignore_ascii_case("identity");
        if request.headers_of("Content-Encoding").all(plain) {
            return Ok(());
        }
        let message = "Unsupported content-encoding, only 'identity' is supported.";
        Err(dialect.refuse(415, message))
    }

    fn metrics(&self, request: &HttpRequest<'_>) -> HttpResponse {
        if request.method != "GET" {
            return Dialect::Reference.refuse(405, "Method Not Allowed").with("Allow", "GET");
        }
        let accept = request.header("Accept").unwrap_or_default();
        let format = match request.path() {
            // TensorFlow Serving knows one format only.
            "/metrics" => TextFormat::for_accept(accept),
            _ => TextFormat::Prometheus,
        };
        HttpResponse::new(200, format.content_type(), self.manager.metrics().encode_as(format))
    }

    /// What stands in every response.
    fn complete(&self, response: HttpResponse) -> HttpResponse {
        match self.options.cors {
            true => response
                .with("Access-Control-Allow-Origin", "*")
                .with("Access-Control-Allow-Methods", "POST, GET")
                .with("Access-Control-Allow-Headers", "Content-Type"),
            false => response,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            depth: self.options.max_depth,
            string_bytes: self.options.max_string_bytes,
            rows: self.options.max_rows,
        }
    }
}

/// Refuses rows beyond `most`.
fn check_rows(rows: usize, most: usize) -> Result<(), Fault> {
    if rows <= most {
        return Ok(());
    }
    Err(Fault::own(
        ErrorKind::LimitExceeded,
        format!("a request of more than {most} rows: split it"),
    ))
}

/// The protocol that a path belongs to.
fn dialect_of(path: &str) -> Dialect {
    let begins =
        |with: &str| path.get(..with.len()).is_some_and(|front| front.eq_ignore_ascii_case(with));
    if begins("/v1/") {
        Dialect::TensorFlow
    } else if path == "/v2" || path.starts_with("/v2/") {
        Dialect::V2
    } else {
        Dialect::Reference
    }
}

/// A browser's question whether it may ask, answered as TensorFlow Serving does.
fn preflight(request: &HttpRequest<'_>) -> HttpResponse {
    let origin = request.header("Origin").unwrap_or_default();
    let site = origin.contains("http://") || origin.contains("https://");
    HttpResponse::json_text(if site { 200 } else { 400 }, "")
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http")
            .field("manager", &self.manager)
            .field("options", &self.options)
            .finish()
    }
}

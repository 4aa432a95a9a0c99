//! An HTTP request and its response as plain bytes: whoever owns the socket fills the one and
//! sends the other.

use crate::model::CancelToken;
use bytes::Bytes;
use std::borrow::Cow;

/// A request, borrowed from whoever received it.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpRequest<'a> {
    /// The method, in capitals: `GET`, `POST`.
    pub method: &'a str,
    /// The path with its query, as it stands in the request line.
    pub target: &'a str,
    /// The headers; names in any case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The whole body, decompressed.
    pub body: &'a [u8],
}

impl<'a> HttpRequest<'a> {
    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// Every header of that name, in any case.
    pub(super) fn headers_of(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let of =
            move |(n, value): &(&'a str, &'a str)| n.eq_ignore_ascii_case(name).then_some(*value);
        self.headers.iter().filter_map(of)
    }

    /// The target up to its query.
    pub(super) fn path(&self) -> &'a str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// The query; empty without one.
    pub(super) fn query(&self) -> &'a str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }
}

/// A request that owns its parts, for [`super::Http::submit`].
#[derive(Debug, Clone, Default)]
pub struct HttpRequestBuf {
    /// See [`HttpRequest::method`].
    pub method: String,
    /// See [`HttpRequest::target`].
    pub target: String,
    /// See [`HttpRequest::headers`].
    pub headers: Vec<(String, String)>,
    /// See [`HttpRequest::body`].
    pub body: Bytes,
    /// Cancels the request when nobody waits for its answer any more.
    pub cancel: CancelToken,
}

impl HttpRequestBuf {
    /// Calls `f` with the request as a borrowed one.
    pub(super) fn with<R>(&self, f: impl FnOnce(&HttpRequest<'_>) -> R) -> R {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        f(&HttpRequest {
            method: &self.method,
            target: &self.target,
            headers: &headers,
            body: &self.body,
        })
    }
}

/// A response, to be sent as it is; its length is the body's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The headers, without `Content-Length`.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The content type of nearly every answer.
const JSON: &str = "application/json";

impl HttpResponse {
    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    pub(super) fn new(
        status: u16,
        content_type: impl Into<Cow<'static, str>>,
        body: impl Into<Vec<u8>>,
    ) -> HttpResponse {
        HttpResponse {
            status,
            headers: vec![("Content-Type", content_type.into())],
            body: body.into(),
        }
    }

    /// A JSON text that is written already.
    pub(super) fn json_text(status: u16, body: impl Into<Vec<u8>>) -> HttpResponse {
        HttpResponse::new(status, JSON, body)
    }

    /// A JSON value.
    pub(super) fn json(status: u16, value: &serde_json::Value) -> HttpResponse {
        HttpResponse::json_text(status, value.to_string())
    }

    /// The same response with one more header.
    pub(super) fn with(
        mut self,
        name: &'static str,
        value: impl Into<Cow<'static, str>>,
    ) -> HttpResponse {
        self.headers.push((name, value.into()));
        self
    }
}

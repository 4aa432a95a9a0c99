//! Errors on their way to a remote reader: which status, and which words.

use super::HttpResponse;
use crate::error::{Error, ErrorKind};
use crate::tensor::ElementType;
use std::borrow::Cow;

/// Bytes of a message: some quote what a request named, at whatever length.
const MAX_MESSAGE: usize = 4096;

/// The protocols, each with its own way of saying what went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `/predict` and its neighbours.
    Reference,
    /// TensorFlow Serving's `/v1`.
    TensorFlow,
    /// The Open Inference Protocol's `/v2`.
    V2,
}

/// Why a request is not answered as it asked to be.
#[derive(Debug)]
pub(super) struct Fault {
    error: Error,
    /// Whether the words are the protocol's own: they quote the request, and nothing of the host.
    own: bool,
}

pub(super) type Outcome<T> = Result<T, Fault>;

impl Fault {
    pub(super) fn own(kind: ErrorKind, message: impl Into<String>) -> Fault {
        Fault { error: Error::new(kind, message), own: true }
    }

    /// A request that is at fault itself.
    pub(super) fn bad(message: impl Into<String>) -> Fault {
        Fault::own(ErrorKind::InvalidInput, message)
    }

    pub(super) fn kind(&self) -> ErrorKind {
        self.error.kind()
    }

    /// The words for a remote reader.
    pub(super) fn message(&self) -> Cow<'_, str> {
        match self.own {
            true => Cow::Borrowed(self.error.message()),
            false => Cow::Owned(self.error.remote_text()),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault { error, own: false }
    }
}

impl Dialect {
    pub(super) fn status(self, kind: ErrorKind) -> u16 {
        let http = kind.http();
        match self {
            Dialect::Reference => http.reference,
            Dialect::TensorFlow => http.tensorflow,
            Dialect::V2 => http.v2,
        }
    }

    /// An error in this protocol's form.
    pub(super) fn refuse(self, status: u16, message: &str) -> HttpResponse {
        let key = match self {
            Dialect::Reference => "detail",
            Dialect::TensorFlow | Dialect::V2 => "error",
        };
        let message = message.get(..message.floor_char_boundary(MAX_MESSAGE)).unwrap_or_default();
        HttpResponse::json(status, &serde_json::json!({ key: message }))
    }

    pub(super) fn fault(self, fault: &Fault) -> HttpResponse {
        self.refuse(self.status(fault.kind()), &fault.message())
    }

    /// A body that is no JSON: what is wrong with it, in RapidJSON's words, and where.
    pub(super) fn syntax(self, what: &str, offset: usize) -> Fault {
        Fault::bad(match self {
            Dialect::Reference => format!("JSON decode error: {what} at offset: {offset}"),
            Dialect::TensorFlow => format!("JSON Parse error: {what} at offset: {offset}"),
            Dialect::V2 => {
                format!("failed to parse the request JSON buffer: {what} at {offset}")
            }
        })
    }

    /// A JSON value that an element of a tensor cannot be.
    pub(super) fn wrong_type(self, value: &str, json: &str, dtype: ElementType) -> Fault {
        Fault::bad(match self {
            Dialect::TensorFlow => format!(
                "JSON Value: {value} Type: {json} is not of expected type: {}",
                tensorflow_name(dtype)
            ),
            Dialect::Reference | Dialect::V2 => {
                format!("expected a value of type {dtype}, got {} {value}", json.to_lowercase())
            }
        })
    }
}

/// TensorFlow's name of an element type.
pub(super) fn tensorflow_name(dtype: ElementType) -> &'static str {
    match dtype {
        ElementType::F32 => "float",
        ElementType::F64 => "double",
        ElementType::F16 => "half",
        ElementType::BF16 => "bfloat16",
        ElementType::String => "string",
        other => other.name(),
    }
}

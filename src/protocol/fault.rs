//! Errors on their way to a remote reader: which status, and which words.

use super::HttpResponse;
use crate::error::{Error, ErrorKind};
use crate::tensor::ElementType;
use std::borrow::Cow;

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
            false => Cow::Owned(remote_message(&self.error)),
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

/// What a remote reader may know of an error: no path of the host. Messages about a request itself
/// are passed on as they are, as are all that name no path.
pub(super) fn remote_message(error: &Error) -> String {
    let text = error.to_string();
    if error.kind() == ErrorKind::InvalidInput || !names_a_path(&text) {
        return text;
    }
    let of = error.model().map(|model| format!("model '{model}': ")).unwrap_or_default();
    let what = match error.kind() {
        ErrorKind::NotFound => "a file is not there",
        ErrorKind::PermissionDenied => "a file may not be read",
        ErrorKind::Io => "a file cannot be read",
        _ => "a file was refused",
    };
    format!("{of}{what} ({}); the server's log has the details", error.kind())
}

/// Whether a text holds what looks like an absolute path or an address in memory.
fn names_a_path(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().any(|(i, byte)| {
        let before = i.checked_sub(1).and_then(|i| bytes.get(i));
        let starts = before.is_none_or(|b| !b.is_ascii_alphanumeric() && !matches!(b, b'_' | b'.'));
        let after = bytes.get(i + 1);
        let drive = |i: usize| {
            bytes.get(i + 1) == Some(&b':') && matches!(bytes.get(i + 2), Some(b'\\' | b'/'))
        };
        match byte {
            b'/' => starts && after.is_some_and(|b| !b.is_ascii_whitespace()),
            b'\\' => starts && after == Some(&b'\\'),
            b'0' => starts && after == Some(&b'x'),
            letter => letter.is_ascii_alphabetic() && starts && drive(i),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::err;

    #[test]
    fn paths_and_addresses_stay_here() {
        for text in [
            "/srv/models/iris.onnx: No such file or directory (os error 2)",
            "cannot read '/srv/x'",
            "in (/srv/x)",
            "at /srv/my models/x.onnx",
            "C:\\models\\x.onnx is not a regular file",
            "\\\\host\\share\\x",
            "at 0x7ffd1234",
        ] {
            let e = err!(Io, "{text}").with_model("iris");
            let shown = remote_message(&e);
            assert!(!shown.contains("srv") && !shown.contains("models\\"), "{shown}");
            assert!(!shown.contains("0x") && !shown.contains("share"), "{shown}");
            assert!(shown.starts_with("model 'iris': a file cannot be read"), "{shown}");
        }
        for text in ["rows and/or columns", "1 / 2", "m/s", "there is no version 3"] {
            assert_eq!(remote_message(&err!(NotFound, "{text}")), text);
        }
        assert_eq!(remote_message(&err!(InvalidInput, "got '/etc'")), "got '/etc'");
    }
}

//! The one error type, and the one table that maps an error's kind to its C code and to what each
//! HTTP protocol answers.
//!
//! Callers branch on [`Error::kind`]; people read the message. A message names the thing (model,
//! node, operator, tensor), what was expected, what was found and what can be done about it.

use std::fmt;

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the terms a caller branches on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The model file is malformed or contradicts itself.
    InvalidModel,
    /// The model is well-formed but uses something this build does not implement.
    Unsupported,
    /// A named limit (see [`crate::limits`]) would be exceeded.
    LimitExceeded,
    /// A request does not fit the model's signature.
    InvalidInput,
    /// An argument of the call itself (a name, a version, an option) is not acceptable.
    InvalidArgument,
    /// No model, version, input or output of that name.
    NotFound,
    /// A model or version of that name exists already.
    AlreadyExists,
    /// The model exists but cannot answer at present.
    NotReady,
    /// Too many requests wait already.
    Overloaded,
    /// The deadline passed before the answer was there.
    DeadlineExceeded,
    /// The caller cancelled the request.
    Cancelled,
    /// A file may not be read from where it lies.
    PermissionDenied,
    /// The operating system refused a file operation.
    Io,
    /// The model's own arithmetic cannot be carried out on this input.
    Execution,
    /// A defect of this library; always worth a report.
    Internal,
}

impl ErrorKind {
    /// Every kind, in the order of the codes.
    pub const ALL: [ErrorKind; 15] = [
        ErrorKind::InvalidModel,
        ErrorKind::Unsupported,
        ErrorKind::LimitExceeded,
        ErrorKind::InvalidInput,
        ErrorKind::InvalidArgument,
        ErrorKind::NotFound,
        ErrorKind::AlreadyExists,
        ErrorKind::NotReady,
        ErrorKind::Overloaded,
        ErrorKind::DeadlineExceeded,
        ErrorKind::Cancelled,
        ErrorKind::PermissionDenied,
        ErrorKind::Io,
        ErrorKind::Execution,
        ErrorKind::Internal,
    ];

    /// The status code of the C interface. Numbered once, never used again for another meaning.
    /// (0 is success; 100 and above belong to the C line itself.)
    pub fn code(self) -> i32 {
        match self {
            ErrorKind::InvalidModel => 1,
            ErrorKind::Unsupported => 2,
            ErrorKind::LimitExceeded => 3,
            ErrorKind::InvalidInput => 4,
            ErrorKind::InvalidArgument => 5,
            ErrorKind::NotFound => 6,
            ErrorKind::AlreadyExists => 7,
            ErrorKind::NotReady => 8,
            ErrorKind::Overloaded => 9,
            ErrorKind::DeadlineExceeded => 10,
            ErrorKind::Cancelled => 11,
            ErrorKind::PermissionDenied => 12,
            ErrorKind::Io => 13,
            ErrorKind::Execution => 14,
            ErrorKind::Internal => 15,
        }
    }

    /// What each HTTP protocol answers to an error of this kind (`docs/http.md`).
    ///
    /// Two rules: what a proxy should try elsewhere is 503 (429 where a protocol has a code for
    /// exhaustion), and what is the request's own fault is 4xx, which no proxy tries again.
    pub fn http(self) -> HttpStatus {
        let column = |reference, tensorflow_code, tensorflow, v2| HttpStatus {
            reference,
            tensorflow_code,
            tensorflow,
            v2,
        };
        match self {
            ErrorKind::InvalidModel => column(400, "FAILED_PRECONDITION", 400, 400),
            ErrorKind::Unsupported => column(501, "UNIMPLEMENTED", 501, 501),
            // A request that is too large stays too large: never 429, which says "try again".
            ErrorKind::LimitExceeded => column(413, "OUT_OF_RANGE", 400, 413),
            ErrorKind::InvalidInput => column(400, "INVALID_ARGUMENT", 400, 400),
            ErrorKind::InvalidArgument => column(400, "INVALID_ARGUMENT", 400, 400),
            ErrorKind::NotFound => column(404, "NOT_FOUND", 404, 404),
            ErrorKind::AlreadyExists => column(409, "ALREADY_EXISTS", 409, 400),
            ErrorKind::NotReady => column(503, "UNAVAILABLE", 503, 503),
            ErrorKind::Overloaded => column(503, "RESOURCE_EXHAUSTED", 429, 503),
            ErrorKind::DeadlineExceeded => column(504, "DEADLINE_EXCEEDED", 504, 504),
            ErrorKind::Cancelled => column(499, "CANCELLED", 499, 400),
            ErrorKind::PermissionDenied => column(403, "PERMISSION_DENIED", 403, 403),
            ErrorKind::Io => column(500, "UNKNOWN", 500, 500),
            ErrorKind::Execution => column(500, "INTERNAL", 500, 500),
            ErrorKind::Internal => column(500, "INTERNAL", 500, 500),
        }
    }

    /// The kind's name, as the Python classes and the documentation spell it.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::InvalidModel => "InvalidModel",
            ErrorKind::Unsupported => "Unsupported",
            ErrorKind::LimitExceeded => "LimitExceeded",
            ErrorKind::InvalidInput => "InvalidInput",
            ErrorKind::InvalidArgument => "InvalidArgument",
            ErrorKind::NotFound => "NotFound",
            ErrorKind::AlreadyExists => "AlreadyExists",
            ErrorKind::NotReady => "NotReady",
            ErrorKind::Overloaded => "Overloaded",
            ErrorKind::DeadlineExceeded => "DeadlineExceeded",
            ErrorKind::Cancelled => "Cancelled",
            ErrorKind::PermissionDenied => "PermissionDenied",
            ErrorKind::Io => "Io",
            ErrorKind::Execution => "Execution",
            ErrorKind::Internal => "Internal",
        }
    }
}

/// What each HTTP protocol answers to a kind of error: see [`ErrorKind::http`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpStatus {
    /// The status of the reference server's endpoints (`/predict`, `/health`, …).
    pub reference: u16,
    /// The name of the status code in TensorFlow Serving's terms (`google.rpc.Code`).
    pub tensorflow_code: &'static str,
    /// The status of TensorFlow Serving's REST interface (`/v1`).
    pub tensorflow: u16,
    /// The status of the Open Inference Protocol (`/v2`), as Triton maps its codes.
    pub v2: u16,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error of this library: a kind, a message, and the model it concerns where known.
///
/// One box wide, so that `Result<T>` stays small on the predict path.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    /// Bytes at the message's beginning that name files of the host.
    host: usize,
    model: Option<String>,
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.model {
            Some(model) => write!(f, "model '{model}': {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), host: 0, model: None }))
    }

    /// What went wrong, to branch on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message without the model's name.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The name of the model concerned, where one is known.
    pub fn model(&self) -> Option<&str> {
        self.0.model.as_deref()
    }

    /// The same error, said of the model `name` (the innermost name wins).
    #[must_use]
    pub fn with_model(mut self, name: &str) -> Self {
        self.0.model.get_or_insert_with(|| name.to_string());
        self
    }

    /// The same error with `prefix` and a colon before its message.
    #[must_use]
    pub fn context(mut self, prefix: impl fmt::Display) -> Self {
        let before = self.0.message.len();
        self.0.message = format!("{prefix}: {}", self.0.message);
        if self.0.host > 0 {
            self.0.host += self.0.message.len() - before;
        }
        self
    }

    /// As [`Error::context`], with a prefix that only the host's own readers may see: a path.
    #[must_use]
    pub(crate) fn context_of_host(mut self, prefix: impl fmt::Display) -> Self {
        let before = self.0.message.len();
        self.0.message = format!("{prefix}: {}", self.0.message);
        self.0.host += self.0.message.len() - before;
        self
    }

    /// The same error, whose words name files of the host wherever they do not begin with one.
    #[must_use]
    pub(crate) fn of_host(mut self) -> Self {
        if self.0.host == 0 {
            self.0.host = self.0.message.len();
        }
        self
    }

    /// The same error as another kind.
    #[must_use]
    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// What [`fmt::Display`] writes, with [`Error::remote_message`] for the message.
    pub fn remote_text(&self) -> String {
        match &self.0.model {
            Some(model) => format!("model '{model}': {}", self.remote_message()),
            None => self.remote_message().to_string(),
        }
    }

    /// The message for a reader who is not the host's own, without the model's name: paths of the
    /// host that the library knows of are left out.
    pub fn remote_message(&self) -> &str {
        match self.0.message.get(self.0.host..) {
            Some(rest) if !rest.is_empty() || self.0.message.is_empty() => rest,
            _ => match self.0.kind {
                ErrorKind::NotFound => "a file is not there",
                ErrorKind::PermissionDenied => "a file may not be read",
                ErrorKind::Io => "a file cannot be read",
                _ => "a file was refused: the server's log says why",
            },
        }
    }

    /// An I/O error of the operating system, said of `what`.
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            _ => ErrorKind::Io,
        };
        Error::new(kind, error.to_string()).context_of_host(what)
    }
}

/// `err!(Kind, "format", …)`: an [`Error`] of that kind.
macro_rules! err {
    ($kind:ident, $($arg:tt)+) => {
        $crate::error::Error::new($crate::error::ErrorKind::$kind, format!($($arg)+))
    };
}

/// `bail!(Kind, "format", …)`: returns that error.
macro_rules! bail {
    ($kind:ident, $($arg:tt)+) => {
        return Err($crate::error::err!($kind, $($arg)+))
    };
}

/// `ensure!(condition, Kind, "format", …)`: returns that error unless the condition holds.
macro_rules! ensure {
    ($cond:expr, $kind:ident, $($arg:tt)+) => {
        if !$cond {
            return Err($crate::error::err!($kind, $($arg)+));
        }
    };
}

pub(crate) use {bail, ensure, err};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_positive() {
        let mut codes: Vec<i32> = ErrorKind::ALL.iter().map(|k| k.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
        assert!(codes.iter().all(|c| (1..100).contains(c)));
    }

    #[test]
    fn a_proxy_retries_what_is_not_the_requests_fault_and_nothing_else() {
        for kind in ErrorKind::ALL {
            let http = kind.http();
            let elsewhere = matches!(kind, ErrorKind::NotReady | ErrorKind::Overloaded);
            assert_eq!(http.reference == 503, elsewhere, "{kind}");
            assert_eq!(http.v2 == 503, elsewhere, "{kind}");
            assert_eq!(matches!(http.tensorflow, 429 | 503), elsewhere, "{kind}");
            assert!((400..=504).contains(&http.tensorflow) && http.tensorflow != 502, "{kind}");
        }
        assert_eq!(ErrorKind::Overloaded.http().tensorflow, 429);
    }

    #[test]
    fn paths_of_the_host_are_not_for_remote_readers() {
        let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
        let e = Error::io("rel/model.onnx", &gone);
        assert_eq!(e.message(), format!("rel/model.onnx: {gone}"));
        assert_eq!(e.remote_message(), gone.to_string());
        assert_eq!(e.context("node '/c/Const'").remote_message(), gone.to_string());
        let e = err!(InvalidModel, "node '/c/Const' has no input").context_of_host("/srv/x.onnx");
        assert_eq!(e.remote_message(), "node '/c/Const' has no input");
        let e = err!(PermissionDenied, "/srv/x passes a link").of_host();
        assert_eq!(e.remote_message(), "a file may not be read");
        assert_eq!(err!(NotFound, "no version 3").remote_message(), "no version 3");
    }

    #[test]
    fn the_innermost_model_name_wins() {
        let e = err!(InvalidInput, "bad row").with_model("iris").with_model("outer");
        assert_eq!(e.model(), Some("iris"));
        assert_eq!(e.to_string(), "model 'iris': bad row");
        assert_eq!(std::mem::size_of::<Error>(), std::mem::size_of::<usize>());
    }
}

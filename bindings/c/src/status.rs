//! Status codes, and the failure every function body ends with.

use modelserve::Error;
use std::borrow::Cow;

/// What a call came to: 0 is success, everything else one of the constants below. Numbers are
/// given once and never used again for another meaning.
pub type modelserve_status = i32;

/// Success.
pub const MODELSERVE_STATUS_OK: modelserve_status = 0;
/// The model file is malformed or contradicts itself.
pub const MODELSERVE_STATUS_INVALID_MODEL: modelserve_status = 1;
/// The model is well-formed but uses something this build does not implement.
pub const MODELSERVE_STATUS_UNSUPPORTED: modelserve_status = 2;
/// A limit would be exceeded.
pub const MODELSERVE_STATUS_LIMIT_EXCEEDED: modelserve_status = 3;
/// The request does not fit the model's signature.
pub const MODELSERVE_STATUS_INVALID_INPUT: modelserve_status = 4;
/// An argument of the call itself is not acceptable.
pub const MODELSERVE_STATUS_INVALID_ARGUMENT: modelserve_status = 5;
/// No model, version, input, output or file of that name.
pub const MODELSERVE_STATUS_NOT_FOUND: modelserve_status = 6;
/// A model or version of that name exists already.
pub const MODELSERVE_STATUS_ALREADY_EXISTS: modelserve_status = 7;
/// The model exists but cannot answer at present.
pub const MODELSERVE_STATUS_NOT_READY: modelserve_status = 8;
/// Too many requests wait already.
pub const MODELSERVE_STATUS_OVERLOADED: modelserve_status = 9;
/// The deadline passed before the answer was there.
pub const MODELSERVE_STATUS_DEADLINE_EXCEEDED: modelserve_status = 10;
/// The request was cancelled.
pub const MODELSERVE_STATUS_CANCELLED: modelserve_status = 11;
/// A file may not be read from where it lies.
pub const MODELSERVE_STATUS_PERMISSION_DENIED: modelserve_status = 12;
/// The operating system refused a file operation.
pub const MODELSERVE_STATUS_IO: modelserve_status = 13;
/// The model's own arithmetic cannot be carried out on this input.
pub const MODELSERVE_STATUS_EXECUTION: modelserve_status = 14;
/// A defect of this library; always worth a report.
pub const MODELSERVE_STATUS_INTERNAL: modelserve_status = 15;
/// A pointer that must not be NULL is.
pub const MODELSERVE_STATUS_NULL_ARGUMENT: modelserve_status = 100;
/// The handle was never given out, was freed, or is of another type.
pub const MODELSERVE_STATUS_INVALID_HANDLE: modelserve_status = 101;
/// The answer does not fit the caller's buffer.
pub const MODELSERVE_STATUS_BUFFER_TOO_SMALL: modelserve_status = 102;

/// Why a function body did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: modelserve_status,
    pub(crate) message: Cow<'static, str>,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(status: modelserve_status, message: impl Into<Cow<'static, str>>) -> Self {
        Failure { status, message: message.into() }
    }

    pub(crate) fn null(name: &str) -> Self {
        Failure::new(MODELSERVE_STATUS_NULL_ARGUMENT, format!("'{name}' is NULL"))
    }

    pub(crate) fn argument(message: impl Into<Cow<'static, str>>) -> Self {
        Failure::new(MODELSERVE_STATUS_INVALID_ARGUMENT, message)
    }

    pub(crate) fn input(message: impl Into<Cow<'static, str>>) -> Self {
        Failure::new(MODELSERVE_STATUS_INVALID_INPUT, message)
    }

    pub(crate) fn too_small(name: &str, has: usize, needs: usize) -> Self {
        Failure::new(
            MODELSERVE_STATUS_BUFFER_TOO_SMALL,
            format!("'{name}' has room for {has}, the answer needs {needs}"),
        )
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::new(error.kind().code(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelserve::ErrorKind;

    #[test]
    fn every_kind_has_its_constant() {
        let constants = [
            (ErrorKind::InvalidModel, MODELSERVE_STATUS_INVALID_MODEL),
            (ErrorKind::Unsupported, MODELSERVE_STATUS_UNSUPPORTED),
            (ErrorKind::LimitExceeded, MODELSERVE_STATUS_LIMIT_EXCEEDED),
            (ErrorKind::InvalidInput, MODELSERVE_STATUS_INVALID_INPUT),
            (ErrorKind::InvalidArgument, MODELSERVE_STATUS_INVALID_ARGUMENT),
            (ErrorKind::NotFound, MODELSERVE_STATUS_NOT_FOUND),
            (ErrorKind::AlreadyExists, MODELSERVE_STATUS_ALREADY_EXISTS),
            (ErrorKind::NotReady, MODELSERVE_STATUS_NOT_READY),
            (ErrorKind::Overloaded, MODELSERVE_STATUS_OVERLOADED),
            (ErrorKind::DeadlineExceeded, MODELSERVE_STATUS_DEADLINE_EXCEEDED),
            (ErrorKind::Cancelled, MODELSERVE_STATUS_CANCELLED),
            (ErrorKind::PermissionDenied, MODELSERVE_STATUS_PERMISSION_DENIED),
            (ErrorKind::Io, MODELSERVE_STATUS_IO),
            (ErrorKind::Execution, MODELSERVE_STATUS_EXECUTION),
            (ErrorKind::Internal, MODELSERVE_STATUS_INTERNAL),
        ];
        assert_eq!(constants.len(), ErrorKind::ALL.len());
        for (kind, constant) in constants {
            assert_eq!(kind.code(), constant, "{kind}");
        }
    }
}

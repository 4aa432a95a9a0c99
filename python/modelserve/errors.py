"""The exceptions: one hierarchy, each also a subclass of the builtin that fits."""

from __future__ import annotations


class ModelServeError(Exception):
    """Base of all errors of this package."""

    #: What went wrong, as the documentation names it.
    kind: str = "Internal"
    #: The name of the model concerned, where one is known.
    model: str | None = None
    #: The message for a reader who is not the host's own, without paths of the host; None where
    #: the message has none.
    remote_message: str | None = None

    def __str__(self) -> str:
        # KeyError would show the message's repr.
        return str(self.args[0]) if self.args else ""


class InvalidModelError(ModelServeError, ValueError):
    """The model file is malformed or contradicts itself."""

    kind = "InvalidModel"


class UnsupportedError(ModelServeError, NotImplementedError):
    """The model, or the call, needs something that is not implemented."""

    kind = "Unsupported"


class LimitExceededError(ModelServeError, ValueError):
    """A limit on what a model or a request may cost would be exceeded."""

    kind = "LimitExceeded"


class InvalidInputError(ModelServeError, ValueError):
    """A request does not fit the model's signature."""

    kind = "InvalidInput"


class InvalidArgumentError(ModelServeError, ValueError):
    """An argument of the call itself (a name, a version, an option) is not acceptable."""

    kind = "InvalidArgument"


class NotFoundError(ModelServeError, KeyError):
    """No model, version, file, input or output of that name."""

    kind = "NotFound"


class AlreadyExistsError(ModelServeError, ValueError):
    """A model or version of that name exists already."""

    kind = "AlreadyExists"


class NotReadyError(ModelServeError, RuntimeError):
    """The model exists but cannot answer at present."""

    kind = "NotReady"


class OverloadedError(ModelServeError, RuntimeError):
    """Too many requests wait already."""

    kind = "Overloaded"


class DeadlineExceededError(ModelServeError, TimeoutError):
    """The deadline passed before the answer was there."""

    kind = "DeadlineExceeded"


class CancelledError(ModelServeError, RuntimeError):
    """The caller cancelled the request."""

    kind = "Cancelled"


class PermissionDeniedError(ModelServeError, PermissionError):
    """A file may not be read from where it lies."""

    kind = "PermissionDenied"


class IoError(ModelServeError, OSError):
    """The operating system refused a file operation."""

    kind = "Io"


class ExecutionError(ModelServeError, RuntimeError):
    """The model's own arithmetic cannot be carried out on this input."""

    kind = "Execution"


class InternalError(ModelServeError, RuntimeError):
    """A defect of this library; always worth a report."""

    kind = "Internal"


class ConversionError(ModelServeError, ValueError):
    """A converted model does not answer as the estimator does."""

    kind = "Conversion"
    #: The index of the row of the sample that differs most.
    row: int | None = None
    #: What the estimator answers for it.
    expected: object = None
    #: What the converted model answers for it.
    got: object = None


#: The class of each kind of error of the native module.
BY_KIND: dict[str, type[ModelServeError]] = {
    cls.kind: cls
    for cls in (
        InvalidModelError,
        UnsupportedError,
        LimitExceededError,
        InvalidInputError,
        InvalidArgumentError,
        NotFoundError,
        AlreadyExistsError,
        NotReadyError,
        OverloadedError,
        DeadlineExceededError,
        CancelledError,
        PermissionDeniedError,
        IoError,
        ExecutionError,
        InternalError,
    )
}

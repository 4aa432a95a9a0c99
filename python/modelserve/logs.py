"""The library's log records in Python's `logging`."""

from __future__ import annotations

import logging

from . import _native

_LEVELS = {
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": 5,
}


def enable_logging(level: int | str = logging.INFO) -> None:
    """Hands the library's records of `level` and above to the loggers `modelserve.lifecycle` and
    the like, on a thread of the library. A slow handler costs records, never a request.

    Each record has `model` and `version` as attributes. `disable_logging` ends it.
    """
    number = logging.getLevelNamesMapping()[level] if isinstance(level, str) else level
    least = [name for name, value in _LEVELS.items() if value >= number]
    _native.set_log_sink(_emit, least[-1] if least else "error")


def disable_logging() -> None:
    """Ends what `enable_logging` began."""
    _native.set_log_sink(None, "error")


def _emit(
    level: str, target: str, text: str, model: str | None, version: int | None, time: float
) -> None:
    logger = logging.getLogger(target.replace("::", "."))
    number = _LEVELS[level]
    if not logger.isEnabledFor(number):
        return
    extra = {"model": model, "version": version}
    record = logger.makeRecord(logger.name, number, "modelserve", 0, text, (), None, None, extra)
    record.created = time
    record.msecs = time % 1 * 1e3
    logger.handle(record)


def callback_failed(error: BaseException) -> None:
    """Logs what a callback raised: nobody else hears of it."""
    logging.getLogger("modelserve.events").error("an event callback raised", exc_info=error)

"""Where answers are written to: files that appear when they are complete, pipes and devices."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..output import CommandError

#: Names of what is open already: another file in their place would be none of the process's.
_OPEN = ("/dev/fd/", "/dev/std", "/proc/")


@contextmanager
def target_file(path: str, *, seekable: bool) -> Iterator[IO[bytes]]:
    """A file to write `path` through; with `seekable`, one whose position can be asked.

    A regular file is replaced when it is complete, and an error leaves what was there; links are
    followed, and stay. What is no regular file (a pipe, a device) is written to as it is.
    """
    try:
        there = os.stat(path)
    except FileNotFoundError:
        there = None
    through = os.path.abspath(path).startswith(_OPEN)
    if there is None or (stat.S_ISREG(there.st_mode) and not through):
        with _replaced(path, there) as file:
            yield file
    else:
        with open(path, "wb") as file:
            if not seekable:
                yield file
                return
            with tempfile.TemporaryFile() as whole:
                yield whole
                whole.seek(0)
                shutil.copyfileobj(whole, file)


@contextmanager
def _replaced(path: str, there: os.stat_result | None) -> Iterator[IO[bytes]]:
    target = Path(os.path.realpath(path))
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name[:64]}-", suffix=".part", dir=target.parent
        )
    except FileNotFoundError:
        raise CommandError(f"{path}: there is no folder {target.parent}; make it first") from None
    except OSError as error:
        reason = f"cannot write into {target.parent}: {error.strerror}"
        raise CommandError(f"{path}: {reason}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        if there is None:
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, 0o666 & ~umask)
        else:
            os.chmod(name, stat.S_IMODE(there.st_mode))
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

"""Runs the command line as users do: as a program."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import modelserve as ms

HANG = 120


def environment(**more: str) -> dict[str, str]:
    """The process's, with the package that is tested and without wishes about colours."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    folder = str(Path(ms.__file__).parents[1])
    path = os.pathsep.join(filter(None, (folder, kept.get("PYTHONPATH"))))
    return kept | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"} | more


@dataclass
class Ended:
    """A program that has ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """Standard output as one JSON object, and nothing beside it."""
        data = json.loads(self.out)
        assert isinstance(data, dict)
        return data

    def refuses(self, *words: str) -> None:
        """It ended with 2, said these words in one line, and nothing on standard output."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert not self.out and "Traceback" not in self.err, self.err
        for word in words:
            assert word in self.err, (word, self.err)


#: Starts once what every command needs, then forks a child for each: the same code with the same
#: file descriptors as a start of its own, a second sooner.
_FORKS = """
import importlib, json, os, sys, traceback
from modelserve.cli import COMMANDS, main
for line in sys.stdin:
    arguments, files, packages = json.loads(line)
    for name in packages:
        importlib.import_module(name)
    child = os.fork()
    if child == 0:
        code = 70
        try:
            for fd, path in enumerate(files):
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if fd else os.O_RDONLY
                os.dup2(os.open(path, flags, 0o600), fd)
            sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
            sys.argv = ["modelserve", *arguments]
            code = main()
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
_COMMON = ["rich.table", "rich.progress", "numpy"]


class _Forks:
    """The process that forks; started with the first command, ended with the tests."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._folder = tempfile.TemporaryDirectory()

    def run(self, arguments: list[str], given: str, packages: list[str]) -> Ended:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _FORKS],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                env=environment(),
            )
            atexit.register(self._end)
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        files = [Path(self._folder.name, name) for name in ("in", "out", "err")]
        files[0].write_text(given, encoding="utf-8")
        process.stdin.write(json.dumps([arguments, list(map(str, files)), packages]) + "\n")
        process.stdin.flush()
        assert select.select([process.stdout], [], [], HANG)[0], "the command does not end"
        code = int(process.stdout.readline())
        return Ended(code, *(file.read_text(encoding="utf-8") for file in files[1:]))

    def _end(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()


_forks = _Forks()


def run(*arguments: object, given: str = "", packages: tuple[str, ...] = ()) -> Ended:
    """`modelserve` with these arguments; what is in `packages` is imported once for all runs."""
    return _forks.run(list(map(str, arguments)), given, [*_COMMON, *packages])


def start(*arguments: object) -> Ended:
    """Python with these arguments, in a process of its own from the start."""
    ended = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        timeout=HANG,
        check=False,
        env=environment(),
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@dataclass
class Served:
    """`modelserve serve` as it runs."""

    process: subprocess.Popen[str]
    told: dict[str, Any]

    @property
    def url(self) -> str:
        url: str = self.told["url"]
        return url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        return self.process.wait(HANG)


@contextmanager
def serving(source: object, *arguments: object, **env: str) -> Iterator[Served]:
    """Serves on a free port, and has ended afterwards whatever happens."""
    command = [sys.executable, "-m", "modelserve", "serve", str(source), "--port", "0", "--json"]
    process = subprocess.Popen(
        command + list(map(str, arguments)),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=environment(**env),
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, f"the server ended with {process.wait(HANG)}"
        yield Served(process, json.loads(line))
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(HANG)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()

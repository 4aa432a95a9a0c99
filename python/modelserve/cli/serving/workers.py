"""Several processes that accept from one socket."""

from __future__ import annotations

import multiprocessing
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from ...errors import ModelServeError
from ..output import CommandError, ExitCode, printable
from .settings import Settings

#: A worker that dies is started anew, at most once in so many seconds.
_PAUSE = 1.0


def supervise(
    settings: Settings, listener: socket.socket, count: int, ready: Callable[[list[int]], None]
) -> int:
    """Runs `count` workers until SIGTERM or SIGINT and returns the exit code.

    `ready` is called with their process ids when all of them answer. Each worker loads the models
    for itself. One that ends by itself is replaced; one that cannot start ends all.
    """
    stop = False

    def end(_number: int, _frame: object) -> None:
        nonlocal stop
        stop = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    started: list[tuple[BaseProcess, Connection]] = []
    code = ExitCode.OK
    try:
        for _ in range(count):
            started.append(_start(settings, listener))
        for process, reports in started:
            while not stop and not _answers(process, reports):
                if not process.is_alive():
                    return ExitCode.UNUSABLE
        if not stop:
            ready([process.pid or 0 for process, _ in started])
        while not stop:
            wait([process.sentinel for process, _ in started], timeout=0.2)
            for k, (process, _) in enumerate(started):
                if not stop and not process.is_alive():
                    line = f"worker {process.pid} ended with {process.exitcode}; starting another"
                    print(f"modelserve: {line}", file=sys.stderr)
                    time.sleep(_PAUSE)
                    started[k] = _start(settings, listener)
    finally:
        # From here on the workers alone accept, and they leave one request at a time.
        listener.close()
        # One that had died before has nothing to answer any more.
        ending = [process for process, _ in started if process.is_alive()]
        for process in ending:
            process.terminate()
        for process in ending:
            process.join(settings.drain + settings.grace + 5)
            # A worker that had not begun to serve may have ended by the signal itself.
            if process.exitcode not in (0, -signal.SIGTERM):
                process.kill()
                code = ExitCode.NO
    return code


def _start(settings: Settings, listener: socket.socket) -> tuple[BaseProcess, Connection]:
    # Not a fork: the threads of the library, and of the watcher, live in one process.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(settings, listener, there))
    process.start()
    there.close()
    return process, here


def _answers(process: BaseProcess, reports: Connection) -> bool:
    try:
        return reports.poll(0.1) and bool(reports.recv())
    except EOFError:
        process.join(1)
        return False


def _work(settings: Settings, listener: socket.socket, report: Connection) -> None:
    """What a worker does."""
    # Until the server is there, a signal to end means just that; Ctrl-C reaches all processes of
    # the terminal, and the first process passes on what is meant.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from .draining import serve
    from .source import open_source

    try:
        serve(settings, open_source(settings), listener, lambda: report.send(True))
    except (CommandError, ModelServeError) as error:
        print(f"modelserve: {printable(error)}", file=sys.stderr)
        sys.exit(ExitCode.UNUSABLE)

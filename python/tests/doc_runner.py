"""Runs the Python and shell blocks of one page as its reader would, in the current folder.

    python doc_runner.py PAGE

All Python blocks share one namespace; a block with a title is that file. A block marked `server` is
started and left running to the end of the page. Ports 8000, 8501 and 8599 are one that is free. A
block marked `output` is what the block before it printed, `…` standing for anything.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from doc_blocks import Block, blocks

HANG = 60
#: The ports of the pages.
PORT = re.compile(r"\b(8000|8501|8599)\b")
#: Programs that take long, need more than the tests have, or change the machine.
OTHERS = re.compile(
    r"(?:^|[|;&(]) *(?P<program>apt(?:-get)?|cargo|cc|docker|g?make|git|helm|kubectl|npm|nginx"
    r"|pip|sudo|systemctl)\b",
    re.MULTILINE,
)


class Page:
    """The state that the blocks of a page share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.printed = ""
        self.servers: list[subprocess.Popen[bytes]] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]

    def run(self, block: Block) -> None:
        """Runs one block, or writes the file that it is."""
        text = PORT.sub(str(self.port), block.text)
        if "output" in block.marks:
            self.compare(block)
        elif "not run" in block.marks:
            return
        elif block.title:
            Path(block.title).write_text(text)
        elif block.language == "python":
            # The page's own lines in tracebacks.
            code = compile("\n" * (block.line - 1) + text, str(self.path), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(code, self.names)
            self.printed = printed.getvalue()
        elif block.language in ("sh", "bash"):
            self.shell(block, text)

    def shell(self, block: Block, text: str) -> None:
        """Runs a shell block."""
        if other := OTHERS.search(text):
            where = f"{self.path}:{block.line}"
            sys.exit(f"{where}: {other['program']} is not run; say so: <!-- not run: reason -->")
        if "server" in block.marks:
            command = ["bash", "-c", f"exec {text.strip()}"]
            self.servers.append(subprocess.Popen(command))
            self.wait()
            return
        ended = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", text],
            capture_output=True,
            text=True,
            timeout=HANG,
            check=False,
        )
        self.printed = ended.stdout
        if ended.returncode:
            output = ended.stdout + ended.stderr
            sys.exit(f"{self.path}:{block.line}: status {ended.returncode}\n{output}")

    def wait(self) -> None:
        """Until the server that was started last listens."""
        end = time.monotonic() + HANG
        while self.servers[-1].poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.05)
        sys.exit(f"{self.path}: the server does not listen at {self.port}")

    def compare(self, block: Block) -> None:
        """Whether the block before printed this."""
        wanted = re.escape(block.text.strip()).replace("…", ".*?")
        got = "\n".join(line.rstrip() for line in self.printed.strip().splitlines())
        if not re.fullmatch(wanted, got, re.DOTALL):
            sys.exit(f"{self.path}:{block.line}: expected\n{block.text}\ngot\n{self.printed}")

    def stop(self) -> None:
        """Ends the servers."""
        for server in self.servers:
            server.send_signal(signal.SIGINT)
        for server in self.servers:
            try:
                server.wait(HANG)
            except subprocess.TimeoutExpired:
                server.kill()
                raise


def main() -> None:
    path = Path(sys.argv[1])
    # What the page imports or starts is this environment's, and may be a file of the page's.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    sys.path[0] = os.getcwd()
    page = Page(path)
    try:
        for block in blocks(path):
            page.run(block)
    finally:
        page.stop()


if __name__ == "__main__":
    main()

"""Three workers behind nginx, in one folder and without root, until Ctrl-C.

    python examples/nginx/run.py            # http://127.0.0.1:8080
    python examples/nginx/run.py --port 0 --repository /srv/models

Needs nginx (Debian: apt-get install nginx-light) and uvicorn.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

HERE = Path(__file__).resolve().parent
MODELS = HERE.parent / "data" / "models"
#: How long a start or a stop may take, in seconds.
PATIENCE = 60.0


def free_port() -> int:
    """A port that nobody listens on at present."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def answers(url: str) -> bool:
    """Whether a GET of `url` is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


class Fleet:
    """Three workers and an nginx whose files, logs and models lie in `folder`.

    Used as a context manager: everything has started when it is entered, and is gone when it is
    left.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.worker_ports = [free_port() for _ in range(3)]
        self.workers: list[subprocess.Popen[bytes] | None] = [None] * 3
        self.nginx: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where nginx listens."""
        return f"http://127.0.0.1:{self.port}"

    def worker_url(self, index: int) -> str:
        """Where a worker listens itself."""
        return f"http://127.0.0.1:{self.worker_ports[index]}"

    def __enter__(self) -> Fleet:
        try:
            for index in range(3):
                self.start_worker(index)
            for index in range(3):
                self.wait_for_worker(index)
            self._start_nginx()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start_worker(self, index: int, config: Path | None = None) -> None:
        """Starts a worker, of another configuration than the others' where one is given; returns
        before it serves."""
        command = [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(HERE)]
        command += ["--host", "127.0.0.1", "--port", str(self.worker_ports[index])]
        # Longer than nginx keeps its connections: see nginx.conf.template.
        command += ["--timeout-keep-alive", "75", "--lifespan", "on"]
        # As long as nginx waits for an answer: a connection that stays open ends no later.
        command += ["--timeout-graceful-shutdown", "30"]
        # Of an answer that was cut by a kill nothing has been seen: nginx can ask another worker.
        command += ["--http", "modelserve.uvicorn_http:WholeAnswers"]
        command += ["--no-access-log", "--log-level", "warning"]
        config = config or self.folder / "modelserve.toml"
        environment = {**os.environ, "MODELSERVE_CONFIG": str(config)}
        with (self.folder / f"worker{index + 1}.log").open("ab") as log:
            # A session of its own: Ctrl-C reaches this program, which stops all in order.
            self.workers[index] = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait_for_worker(self, index: int) -> None:
        """Returns when a worker serves; `RuntimeError` where it ends or takes too long."""
        worker = self.workers[index]
        self._wait(worker, f"{self.worker_url(index)}/health", f"worker{index + 1}.log")

    def stop_worker(self, index: int, number: signal.Signals = signal.SIGTERM) -> None:
        """Stops a worker by a signal and waits for its end."""
        worker, self.workers[index] = self.workers[index], None
        _end(worker, number)

    def _start_nginx(self) -> None:
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise RuntimeError("nginx is not installed (Debian: apt-get install nginx-light)")
        names = {"FOLDER": str(self.folder), "LISTEN": f"127.0.0.1:{self.port}"}
        for index, port in enumerate(self.worker_ports):
            names[f"WORKER_{index + 1}"] = f"127.0.0.1:{port}"
        template = (HERE / "nginx.conf.template").read_text()
        conf = self.folder / "nginx.conf"
        conf.write_text(re.sub(r"\$\{([A-Z_0-9]+)\}", lambda found: names[found[1]], template))
        command = [program, "-p", str(self.folder), "-c", str(conf)]
        # Until it has read its configuration it would write to the system's log.
        command += ["-e", str(self.folder / "error.log")]
        if os.geteuid() == 0:
            # Else nginx's processes would be those of "nobody", who may not write to the folder.
            command += ["-g", "user root;"]
        with (self.folder / "nginx.log").open("ab") as log:
            self.nginx = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self._wait(self.nginx, f"{self.url}/health", "error.log")

    def _wait(self, process: subprocess.Popen[bytes] | None, url: str, log: str) -> None:
        end = time.monotonic() + PATIENCE
        while not answers(url):
            if process is None or process.poll() is not None or time.monotonic() > end:
                text = (self.folder / log).read_text() if (self.folder / log).exists() else ""
                raise RuntimeError(f"{url} does not answer; {log} says:\n{text[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stops nginx when its requests are answered, then the workers."""
        nginx, self.nginx = self.nginx, None
        _end(nginx, signal.SIGQUIT)
        for worker in self.workers:
            if worker is not None and worker.poll() is None:
                worker.terminate()
        for index in range(3):
            self.stop_worker(index)


def _end(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    if process is None or process.poll() is not None:
        return
    process.send_signal(number)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def prepare(folder: Path, repository: Path | None = None) -> None:
    """Puts the workers' configuration into `folder`, and the example's models as its repository,
    or a link to another one."""
    shutil.copy(HERE / "modelserve.toml", folder)
    if repository is None:
        shutil.copytree(MODELS, folder / "models")
    else:
        (folder / "models").symlink_to(repository.resolve(), target_is_directory=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=8080, help="where nginx listens; 0: any")
    parser.add_argument("--repository", type=Path, help="a folder of models instead of the demo's")
    arguments = parser.parse_args()

    def leave(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)
    with tempfile.TemporaryDirectory(prefix="modelserve-nginx-") as name:
        folder = Path(name)
        prepare(folder, arguments.repository)
        try:
            with Fleet(folder, arguments.port) as fleet:
                print(f"{fleet.url} (files and logs in {folder})")
                for index, worker in enumerate(fleet.workers):
                    pid = worker.pid if worker else None
                    print(f"  worker {index + 1}: {fleet.worker_url(index)} (process {pid})")
                print("Ctrl-C stops all of it.", flush=True)
                supervise(fleet)
        except KeyboardInterrupt:
            print("stopped")


def supervise(fleet: Fleet) -> None:
    """Starts a worker again that has ended, a second later, until the program is stopped."""
    while True:
        time.sleep(1)
        for index, worker in enumerate(fleet.workers):
            if worker is not None and worker.poll() is not None:
                ended: dict[str, Any] = {"worker": index + 1, "status": worker.returncode}
                print(f"started again: {json.dumps(ended)}", flush=True)
                fleet.start_worker(index)


if __name__ == "__main__":
    main()

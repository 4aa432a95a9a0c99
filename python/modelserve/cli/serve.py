"""`modelserve serve`: models over HTTP."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from dataclasses import dataclass
from typing import Any

from .output import CommandError, ExitCode, Output, need

EXAMPLES = (
    "modelserve serve models",
    "modelserve serve models --host 0.0.0.0 --port 8501 --default-model iris",
    "modelserve serve modelserve.toml --workers 4",
    "MODELSERVE_TOKEN=… modelserve serve models --management",
)

_LEVELS = ("error", "warning", "info", "debug")
#: How many of the paths that were passed over are told.
_NOTES = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "source",
        metavar="DIR",
        help="a folder of models, NAME/VERSION/model.onnx (docs/repository.md) or plain files; "
        "or a configuration file (.toml); or one model file",
    )
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
    parser.add_argument(
        "--port", type=int, default=8501, metavar="N", help="default: 8501; 0 takes a free one"
    )
    parser.add_argument(
        "--default-model", metavar="NAME", help="what /predict means; default: the only model"
    )
    parser.add_argument(
        "--management",
        action="store_true",
        help="let requests load, reload and unload models; needs a token, except on this machine "
        "only",
    )
    parser.add_argument(
        "--token",
        metavar="TEXT",
        help="what such requests have to show as a bearer token; default: $MODELSERVE_TOKEN, "
        "which other users of the machine cannot read",
    )
    parser.add_argument("--cors", action="store_true", help="let browsers on other sites ask")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes, each with its own models"
    )
    parser.add_argument(
        "--no-watch", action="store_true", help="do not look for new versions in the folder"
    )
    parser.add_argument(
        "--version-policy",
        default="latest(1)",
        metavar="P",
        help="which versions of the folder serve: latest(n), all, specific(3,5); default latest(1)",
    )
    parser.add_argument(
        "--drain",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds to go on accepting after SIGTERM, while balancers learn of it (default 1)",
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=30.0,
        metavar="S",
        help="most seconds for the requests that are under way then (default 30)",
    )
    parser.add_argument("--log-level", choices=_LEVELS, default="warning", help="default: warning")
    parser.add_argument("--access-log", action="store_true", help="log each request (level info)")


def run(args: argparse.Namespace, out: Output) -> int:
    """Serves until it is told to end."""
    need("uvicorn", "server", "serving over HTTP")
    from .serving import Settings, http_section, open_source, serve, supervise

    token = args.token or os.environ.get("MODELSERVE_TOKEN") or None
    _refuse(args)
    if args.management:
        _refuse_management(args, token, "--management")
    asked = {
        "default_model": args.default_model,
        "management": args.management or None,
        "token": token,
        "cors": args.cors or None,
    }
    settings = Settings(
        source=args.source,
        watch=not args.no_watch,
        version_policy=args.version_policy,
        drain=args.drain,
        grace=args.grace,
        log_level="info" if args.access_log and args.log_level == "warning" else args.log_level,
        access_log=args.access_log,
        http={name: value for name, value in asked.items() if value is not None},
    )
    source = open_source(settings)
    if settings.source_is_configuration:
        # What opens management in the file is bound by the same rules as the option.
        section = http_section(args.source)
        managed = bool(args.management or section.get("management"))
        if managed:
            what = "management = true in [http]"
            _refuse_management(args, token or section.get("token"), f"{args.source}: {what}")
        # Said once more, so that a file that changes meanwhile opens nothing.
        settings.http["management"] = managed
    models = source.models()
    if args.default_model and args.default_model not in source.manager.models():
        known = ", ".join(source.manager.models())
        raise CommandError(f"--default-model: no model '{args.default_model}'; there are {known}")
    for note in source.notes[:_NOTES]:
        out.note(note)
    if len(source.notes) > _NOTES:
        out.note(f"… and {len(source.notes) - _NOTES} more")
    listener = _listen(args.host, args.port)
    url = _url(args.host, listener)
    told = _Told(out, url, models, source.kind)
    if args.workers == 1:
        serve(settings, source, listener, lambda: told.ready([os.getpid()]))
        return ExitCode.OK
    # The workers load for themselves; here it was tried, so that what is wrong is told once.
    del source
    return supervise(settings, listener, args.workers, told.ready)


def _refuse(args: argparse.Namespace) -> None:
    """What must not be served as asked."""
    if args.workers < 1:
        raise CommandError(f"--workers: expected 1 or more, got {args.workers}")
    # Not `<`, which lets NaN pass.
    if not args.drain >= 0 or not args.grace > 0:
        raise CommandError("--drain: expected 0 or more; --grace: expected more than 0")


def _refuse_management(args: argparse.Namespace, token: str | None, asked_by: str) -> None:
    """Where management must not be open; `asked_by` is what opens it."""
    if args.workers > 1:
        raise CommandError(
            f"{asked_by} needs --workers 1: a request to reload would reach one of the workers "
            "only; publish new versions in the folder instead, which every worker watches"
        )
    local = args.host in ("127.0.0.1", "::1", "localhost")
    if token is None and not local:
        raise CommandError(
            f"{asked_by} on {args.host} lets anybody change models: set MODELSERVE_TOKEN"
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CommandError(f"cannot listen on {host} port {port}: {reason}") from error


def _url(host: str, listener: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


@dataclass(frozen=True)
class _Told:
    """What is said when requests are answered."""

    out: Output
    url: str
    models: list[dict[str, Any]]
    kind: str

    def ready(self, pids: list[int]) -> None:
        """Prints it; one line for programs."""
        if self.out.json:
            self.out.emit(
                {"url": self.url, "models": self.models, "source": self.kind, "pids": pids}
            )
        else:
            # Not by rich: a server runs without it, and its first line may be read by a script.
            names = ", ".join(
                f"{model['name']} ({', '.join(map(str, model['versions']))})"
                for model in self.models
            )
            workers = f" with {len(pids)} workers" if len(pids) > 1 else ""
            print(f"serving {names} on {self.url}{workers}")
            first = self.models[0]["name"]
            print(f"  {self.url}/v1/models/{first}:predict   {self.url}/v2   {self.url}/metrics")
        sys.stdout.flush()

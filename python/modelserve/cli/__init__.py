"""The command line: `modelserve COMMAND …`, or `python -m modelserve COMMAND …`.

Each command is a module of its own name here, imported when it is asked for: its `SUMMARY` and
`EXAMPLES`, `configure(parser)` and `run(args, out)`. What a command prints and its exit codes
stand in docs/command-line.md.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence

from ..errors import ModelServeError
from .output import CommandError, ExitCode, Output, printable

#: The commands in the order of the help. The summaries stand here so that the help imports none.
COMMANDS = {
    "inspect": "what a model file holds, and what keeps it from being loaded",
    "predict": "predict the rows of a file: CSV, Parquet, JSON, JSON lines or NumPy",
    "convert": "write a pickled scikit-learn, XGBoost or LightGBM estimator as ONNX",
    "bench": "measure latency and throughput, beside onnxruntime where it is installed",
    "serve": "serve a folder of models over HTTP",
    "check": "put golden requests to a model",
    "replay": "put recorded requests to a model and compare the answers",
    "diff": "compare the answers of two models on the rows of a file",
    "doctor": "look at this machine and this installation",
}

_CODES = """\
exit codes:
  0  done, and the answer is yes
  1  done, and the answer is no: a check failed, answers differ, something is wrong
  2  not done: wrong usage, or something that cannot be read
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; `arguments` are those of the process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not given or given[0].startswith("-"):
            return _top(given)
        return _command(given[0], given[1:])
    except BrokenPipeError:
        # The reader has seen enough (`| head`). Python's own flush at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except (CommandError, ModelServeError) as error:
        return _fail(str(error))
    except OSError as error:
        reason = error.strerror or str(error)
        return _fail(f"{error.filename}: {reason}" if error.filename else reason)


def _top(given: list[str]) -> int:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="modelserve",
        usage="modelserve COMMAND [options]",
        description="Look at model files, predict with them, compare and serve them.",
        epilog=f"commands:\n{lines}\n\n{_CODES}\n"
        "`modelserve COMMAND --help` says more. Each command takes --json.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    if parser.parse_args(given).version:
        from .. import __version__

        print(f"modelserve {__version__}")
        return ExitCode.OK
    parser.print_help(sys.stderr)
    return ExitCode.UNUSABLE


def _command(name: str, given: list[str]) -> int:
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(COMMANDS)}"
        raise CommandError(f"unknown command '{name}'; {hint}")
    module = importlib.import_module(f"{__name__}.{name}")
    summary = COMMANDS[name]
    parser = argparse.ArgumentParser(
        prog=f"modelserve {name}",
        description=summary[0].upper() + summary[1:] + ".",
        epilog="examples:\n" + "\n".join(f"  {line}" for line in module.EXAMPLES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.configure(parser)
    parser.add_argument("--json", action="store_true", help="print JSON for programs, only that")
    args = parser.parse_args(given)
    out = Output(json_wanted=args.json)
    code: int = module.run(args, out)
    sys.stdout.flush()
    return code


def _fail(message: str) -> int:
    print(f"modelserve: {printable(message)}", file=sys.stderr)
    return ExitCode.UNUSABLE

"""`modelserve doctor`: this machine and this installation."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

from .output import ExitCode, Output

EXAMPLES = ("modelserve doctor", "modelserve doctor --json | jq .problems")

#: Optional packages and the extra that brings each.
_OPTIONAL = {
    "rich": "cli",
    "pyarrow": "cli",
    "matplotlib": "cli",
    "uvicorn": "server",
    "httptools": "server",
    "uvloop": "server",
    "pandas": "pandas",
    "onnx": "convert",
    "skl2onnx": "convert",
    "onnxmltools": "convert",
    "scikit-learn": "convert",
    "onnxruntime": None,
}

#: What the kernels are compiled for beside the baseline, by machine.
_WANTED = {"x86_64": ("avx2", "fma"), "aarch64": ("asimd",)}
_SHOWN = {"x86_64": ("sse4_2", "avx", "avx2", "fma", "avx512f"), "aarch64": ("asimd", "sve")}
_NUMPY = (1, 26)
_FILES = 1024


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares no arguments of its own."""


def run(args: argparse.Namespace, out: Output) -> int:
    """Looks; the answer is no when something is off, and says what to do."""
    facts = _facts()
    problems = _problems(facts)
    if out.json:
        out.emit(facts | {"problems": problems})
    else:
        _show(out, facts, problems)
    return ExitCode.NO if problems else ExitCode.OK


def _facts() -> dict[str, Any]:
    import numpy

    from .. import __version__, _native

    return {
        "modelserve": __version__,
        "module": _native.__file__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "cpu": {
            "machine": platform.machine(),
            "model": _cpu_model(),
            "features": _cpu_features(),
            "cores": os.cpu_count(),
            "usable_cores": _usable(),
            "quota": _quota(),
        },
        "threads": _threads(),
        "limits": _limits(),
        "packages": {name: _version(name) for name in _OPTIONAL},
        "self_test": _self_test(),
    }


def _cpuinfo(key: str) -> str | None:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else None


def _cpu_model() -> str | None:
    return _cpuinfo("model name") or platform.processor() or None


def _cpu_features() -> list[str] | None:
    """Those that matter here; None where the system does not tell."""
    flags = _cpuinfo("flags") or _cpuinfo("Features")
    if flags is None:
        return None
    known = flags.split()
    return [name for name in _SHOWN.get(platform.machine(), ()) if name in known]


def _usable() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _quota() -> float | None:
    """The cores that the container may use; None without a quota."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) / int(period)


def _threads() -> int:
    """What the library takes by default: the quota, or the usable cores."""
    usable, quota = _usable() or 1, _quota()
    return max(1, min(usable, round(quota + 0.499))) if quota else usable


def _limits() -> dict[str, int | None]:
    """Soft limits of this process; None is no limit."""
    try:
        import resource
    except ImportError:
        return {}
    names = {
        "open_files": "RLIMIT_NOFILE",
        "processes": "RLIMIT_NPROC",
        "address_space_bytes": "RLIMIT_AS",
        "stack_bytes": "RLIMIT_STACK",
        "core_bytes": "RLIMIT_CORE",
    }
    found = {}
    for name, limit in names.items():
        if hasattr(resource, limit):
            soft = resource.getrlimit(getattr(resource, limit))[0]
            found[name] = None if soft == resource.RLIM_INFINITY else soft
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _self_test() -> str | None:
    """Loads a model of one operator and predicts with it; what went wrong, or None."""
    from .._native import load
    from ..errors import ModelServeError

    try:
        answer = load(_identity(), format="onnx").run({"x": [[1.5, -2.0]]})["y"]
    except ModelServeError as error:
        return str(error)
    values = answer.tolist()
    return None if values == [[1.5, -2.0]] else f"expected [[1.5, -2.0]], got {values}"


def _identity() -> bytes:
    """An ONNX file, y = Identity(x), as protobuf has it."""

    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    def value_info(name: bytes) -> bytes:
        dims = field(1, b"\x08\x01") + field(1, b"\x08\x02")
        tensor = b"\x08\x01" + field(2, dims)
        return field(1, name) + field(2, field(1, tensor))

    node = field(1, b"x") + field(2, b"y") + field(4, b"Identity")
    graph = field(1, node) + field(2, b"g") + field(11, value_info(b"x"))
    graph += field(12, value_info(b"y"))
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x12")


def _problems(facts: dict[str, Any]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []

    def off(what: str, advice: str) -> None:
        found.append({"problem": what, "advice": advice})

    if facts["self_test"] is not None:
        off(
            f"the module does not answer right: {facts['self_test']}",
            "install it anew; if that changes nothing, report it with the output of --json",
        )
    cpu = facts["cpu"]
    if cpu["features"] is not None:
        missing = [f for f in _WANTED.get(cpu["machine"], ()) if f not in cpu["features"]]
        if missing:
            off(
                f"the processor has no {' and '.join(missing)}",
                "answers are the same and slower; a virtual machine may have to pass the host's "
                "processor through",
            )
    installed = _version("modelserve")
    if installed is not None and installed != facts["modelserve"]:
        off(
            f"version {installed} is installed, and {facts['modelserve']} is imported",
            f"look at sys.path: the module is {facts['module']}",
        )
    if tuple(int(part) for part in facts["numpy"].split(".")[:2]) < _NUMPY:
        off(f"numpy {facts['numpy']} is too old", "pip install 'numpy>=1.26'")
    files = facts["limits"].get("open_files")
    if files is not None and files < _FILES:
        off(
            f"at most {files} files may be open, and each connection of a server is one",
            "ulimit -n 4096, or LimitNOFILE= in the unit of systemd",
        )
    quota = cpu["quota"]
    if quota is not None and quota < 1:
        off(
            f"the container may use {quota:g} of a core: requests wait while it is throttled",
            "give it one core or more",
        )
    return found


def _show(out: Output, facts: dict[str, Any], problems: list[dict[str, str]]) -> None:
    cpu = facts["cpu"]
    quota = f", quota {cpu['quota']:g}" if cpu["quota"] is not None else ""
    files = facts["limits"].get("open_files")
    features = cpu["features"]
    out.title(f"modelserve {facts['modelserve']}")
    out.facts(
        [
            ("module", facts["module"]),
            ("python", f"{facts['python']} ({sys.executable})"),
            ("numpy", facts["numpy"]),
            ("system", facts["platform"]),
            ("processor", f"{cpu['model'] or 'unknown'} ({cpu['machine']})"),
            ("features", "unknown" if features is None else " ".join(features) or "none"),
            ("cores", f"{cpu['cores']}, usable {cpu['usable_cores']}{quota}"),
            ("threads", f"{facts['threads']} by default"),
            ("open files", "without limit" if files is None else f"{files:,} at most"),
            ("self test", "an operator answers right" if facts["self_test"] is None else "failed"),
        ]
    )
    rows = []
    for name, extra in _OPTIONAL.items():
        version = facts["packages"][name]
        how = f"pip install 'modelserve[{extra}]'" if extra else f"pip install {name}"
        rows.append((name, version or out.text("absent", "dim"), "" if version else how))
    out.table(("optional package", "version", "to install"), rows)
    for one in problems:
        out.verdict(False, one["problem"])
        out.console.print(f"  {one['advice']}")
    if not problems:
        out.verdict(True, "nothing is wrong")

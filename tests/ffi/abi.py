"""Keeps the C interface compatible with the last release.

    python3 tests/ffi/abi.py check      symbols.txt is what the header declares, and nothing that
                                        the last release had is gone or changed, unless
                                        MODELSERVE_ABI_VERSION and with it the SONAME are others
    python3 tests/ffi/abi.py update     write symbols.txt anew from the header
    python3 tests/ffi/abi.py release    keep the header as the last release's, as each release does

`abi/` holds the header of one version, the last release; before the first release it is that of
the day on which it was kept. Only declarations are compared: comments, the order and the names of
parameters may change.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

#: A declaration's kind and name.
Key = tuple[str, str]

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
FOR_CPP = re.compile(r"^#ifdef __cplusplus\n.*?^#endif[^\n]*\n", re.DOTALL | re.MULTILINE)
GUARD = re.compile(
    r"""^#(?:ifndef MODELSERVE_H|define MODELSERVE_H|include [<"][\w./]+[>"]|endif)\s*$"""
)
DEFINE = re.compile(r"^#define (\w+) (.+)$")
AGGREGATE = re.compile(r"^(?:typedef )?(?:struct|union|enum) (\w+)(?: \{.*\}(?: \w+)?)?$")
CALLBACK = re.compile(r"^typedef (.*)\( ?\* ?(\w+) ?\) ?\((.*)\)$")
TYPEDEF = re.compile(r"^typedef ([^(){}]*?)(\w+)$")
FUNCTION = re.compile(r"^([^(){}=]*?)(\w+) ?\(([^()]*)\)$")
NAMED = re.compile(r"^(.*[\s*])\w+$")


class NotUnderstood(Exception):
    """A line of the header that this script has no rule for."""


def declarations(header: str) -> dict[Key, str]:
    """What a header declares: constants, types and functions, in one way of writing."""
    code = FOR_CPP.sub("", COMMENT.sub("", header))
    found: dict[Key, str] = {}
    lines = []
    for line in code.splitlines():
        if not line.startswith("#"):
            lines.append(line)
        elif define := DEFINE.match(line.rstrip()):
            _add(found, ("constant", define[1]), define[2].strip())
        elif not GUARD.match(line):
            raise NotUnderstood(line)
    for statement in _statements("\n".join(lines)):
        _add(found, *_declaration(statement))
    return found


def _add(found: dict[Key, str], key: Key, text: str) -> None:
    # A type may be declared first and defined later; its definition is what counts.
    if len(text) >= len(found.get(key, "")):
        found[key] = text


def _statements(code: str) -> list[str]:
    """The parts that end with a semicolon outside of braces, with single spaces."""
    statements, depth, start = [], 0, 0
    for at, character in enumerate(code):
        if character in "{}":
            depth += 1 if character == "{" else -1
        elif character == ";" and depth == 0:
            statements.append(" ".join(code[start:at].split()))
            start = at + 1
    if rest := code[start:].strip():
        raise NotUnderstood(rest)
    return statements


def _declaration(statement: str) -> tuple[Key, str]:
    if found := CALLBACK.match(statement):
        return ("type", found[2]), f"{found[1].strip()} (*)({_parameters(found[3])})"
    if found := AGGREGATE.match(statement):
        return ("type", found[1]), statement
    if found := TYPEDEF.match(statement):
        return ("type", found[2]), found[1].strip()
    if found := FUNCTION.match(statement):
        return ("function", found[2]), f"{found[1].strip()} ({_parameters(found[3])})"
    raise NotUnderstood(statement)


def _parameters(text: str) -> str:
    """The types alone."""
    types = []
    for parameter in text.split(","):
        named = NAMED.match(parameter.strip())
        types.append(named[1].strip() if named else parameter.strip())
    return ", ".join(types)


def symbols(header: str) -> list[str]:
    """The functions of a header, sorted by their bytes."""
    return sorted(name for kind, name in declarations(header) if kind == "function")


def broken(old: str, new: str) -> list[str]:
    """What programs compiled with `old` may rely on and `new` has not, or has otherwise.

    A struct that begins with `struct_size` may grow at its end: who fills it says its size.
    """
    before, now = declarations(old), declarations(new)
    problems = []
    for key, text in before.items():
        if key == ("constant", "MODELSERVE_ABI_VERSION"):
            continue
        kind, name = key
        if key not in now:
            problems.append(f"the {kind} {name} is gone")
        elif now[key] != text and not _grown(text, now[key]):
            problems.append(f"the {kind} {name} was `{text}` and is `{now[key]}`")
    return problems


def _grown(old: str, new: str) -> bool:
    """Whether a struct is one that may grow, and only did that."""
    fields, _, _ = old.rpartition("}")
    return "{ size_t struct_size;" in fields and new.startswith(fields)


def interface(header: str) -> int:
    """The header's MODELSERVE_ABI_VERSION."""
    return int(declarations(header)["constant", "MODELSERVE_ABI_VERSION"])


def line_of(version: str) -> str:
    """What the SONAME has of a version, as `bindings/c/build.rs` makes it."""
    major, minor, *_ = version.split(".")
    return f"0.{minor}" if major == "0" else major


def compare(old: str, old_version: str, new: str, version: str) -> list[str]:
    """Why `version` with the header `new` must not follow `old_version` with the header `old`."""
    was, now = interface(old), interface(new)
    if now < was:
        return [f"MODELSERVE_ABI_VERSION was {was} and is {now}: it only grows"]
    if now == was:
        problems = broken(old, new)
        if problems:
            problems.append(f"MODELSERVE_ABI_VERSION is still {now}: undo this, or raise it")
        return problems
    if line_of(version) == line_of(old_version):
        return [
            f"MODELSERVE_ABI_VERSION is {now} and was {was} in {old_version}, but {version} has "
            "the same SONAME: raise the version, too"
        ]
    return []


def workspace_version() -> str:
    """The version that is being made."""
    manifest = (ROOT / "Cargo.toml").read_text()
    found = re.search(r'^\[workspace\.package\]\n(?:[^\[].*\n)*?version = "(.+)"$', manifest, re.M)
    if found is None:
        raise SystemExit("Cargo.toml has no version in [workspace.package]")
    return found[1]


def check() -> list[str]:
    """What is wrong with the header and the list of this working tree."""
    header = (ROOT / "include" / "modelserve.h").read_text()
    listed, declared = (HERE / "symbols.txt").read_text().splitlines(), symbols(header)
    problems = [f"symbols.txt lacks {name}" for name in declared if name not in listed]
    problems += [f"symbols.txt has {name}" for name in listed if name not in declared]
    if not problems and listed != declared:
        problems.append("symbols.txt is not sorted, or has a name twice")
    kept = list((HERE / "abi").glob("*/modelserve.h"))
    if len(kept) != 1:
        return [*problems, f"abi/ holds {len(kept)} headers instead of the last release's"]
    last, version = kept[0], workspace_version()
    return problems + compare(last.read_text(), last.parent.name, header, version)


def update() -> None:
    """Writes symbols.txt."""
    header = (ROOT / "include" / "modelserve.h").read_text()
    (HERE / "symbols.txt").write_text("".join(f"{name}\n" for name in symbols(header)))


def release() -> None:
    """Keeps the header under the version that is being made, instead of the one before."""
    shutil.rmtree(HERE / "abi")
    kept = HERE / "abi" / workspace_version()
    kept.mkdir(parents=True)
    shutil.copyfile(ROOT / "include" / "modelserve.h", kept / "modelserve.h")


def main(arguments: Sequence[str]) -> int:
    """Does what the first argument says."""
    match arguments:
        case ["check"]:
            problems = check()
            for problem in problems:
                print(problem, file=sys.stderr)
            return 1 if problems else 0
        case ["update"]:
            update()
            return 0
        case ["release"]:
            release()
            return 0
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

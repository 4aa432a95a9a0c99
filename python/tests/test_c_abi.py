"""The C interface and the one of the last release: `tests/ffi/abi.py`."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("abi", REPOSITORY / "tests" / "ffi" / "abi.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


abi = script()

OLD = """
/* A header. */
#ifndef MODELSERVE_H
#define MODELSERVE_H

#include <stdint.h>

#define MODELSERVE_ABI_VERSION 3
/** Bytes; `of(a) text`. */
#define MODELSERVE_SIZE 65

typedef int32_t modelserve_status;

typedef struct modelserve_model {
    uint64_t id;
} modelserve_model;

typedef struct modelserve_options {
    size_t struct_size;
    char name[MODELSERVE_SIZE];
} modelserve_options;

typedef void (*modelserve_callback)(void *user_data, const char *error);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/** Loads; see `modelserve_free(model)`. */
modelserve_status modelserve_load(const char *path,
                                  const struct modelserve_options *options,
                                  struct modelserve_model *model);

uint32_t modelserve_abi_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MODELSERVE_H */
"""


def test_the_interface_is_that_of_the_last_release() -> None:
    assert abi.check() == []


def test_the_header_is_read_whole() -> None:
    header = (REPOSITORY / "include" / "modelserve.h").read_text()
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.DOTALL)
    found = abi.declarations(header)
    assert abi.symbols(header) == sorted(set(re.findall(r"\b(modelserve_\w+)\s*\(", code)))
    constants = {name for kind, name in found if kind == "constant"}
    assert constants == set(re.findall(r"^#define (\w+) ", code, re.MULTILINE))
    types = {name for kind, name in found if kind == "type"}
    assert types >= set(re.findall(r"\}\s*(\w+);", code))
    assert types >= set(re.findall(r"^typedef .*\(\*(\w+)\)", code, re.MULTILINE))


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("/** Loads; see", "/** Reads a file; see"),
        ("const char *path", "const char *file"),
        ("uint32_t modelserve_abi_version(void);", "uint32_t\nmodelserve_abi_version( void );"),
        ("uint32_t modelserve_abi", "void modelserve_more(int32_t);\nuint32_t modelserve_abi"),
        ("typedef int32_t", "#define MODELSERVE_MORE 1\ntypedef int32_t"),
        (
            "typedef int32_t",
            "typedef struct modelserve_new { int x; } new;\ntypedef int32_t",
        ),
        # Who fills a struct that begins with its size says how large it is.
        ("SIZE];", "SIZE];\n    int32_t more;"),
    ],
)
def test_what_may_change(was: str, becomes: str) -> None:
    new = OLD.replace(was, becomes)
    assert new != OLD
    assert abi.compare(OLD, "0.1.0", new, "0.1.1") == []


@pytest.mark.parametrize(
    ("was", "becomes", "named"),
    [
        ("uint32_t modelserve_abi_version(void);", "", "function modelserve_abi_version is gone"),
        ("uint32_t modelserve_abi", "uint64_t modelserve_abi", "function modelserve_abi_version"),
        ("const char *path", "char *path", "function modelserve_load"),
        ("(void)", "(int32_t which)", "function modelserve_abi_version"),
        ("SIZE 65", "SIZE 66", "constant MODELSERVE_SIZE"),
        ("uint64_t id;", "uint64_t id;\n    uint64_t more;", "type modelserve_model"),
        ("SIZE];", "SIZE + 1];", "type modelserve_options"),
        ("size_t struct_size;", "size_t struct_size;\n    int more;", "type modelserve_options"),
        ("int32_t modelserve_status", "int64_t modelserve_status", "type modelserve_status"),
        ("void *user_data, ", "", "type modelserve_callback"),
    ],
)
def test_what_needs_another_interface_version(was: str, becomes: str, named: str) -> None:
    new = OLD.replace(was, becomes)
    assert new != OLD
    problems = abi.compare(OLD, "0.1.0", new, "0.1.1")
    assert len(problems) == 2 and named in problems[0], problems
    assert "raise it" in problems[1]

    raised = new.replace("ABI_VERSION 3", "ABI_VERSION 4")
    assert abi.compare(OLD, "0.1.0", raised, "0.2.0") == []
    assert abi.compare(OLD, "1.1.0", raised, "2.0.0") == []
    # The SONAME would be the same.
    assert "same SONAME" in abi.compare(OLD, "0.1.0", raised, "0.1.1")[0]
    assert "same SONAME" in abi.compare(OLD, "1.1.0", raised, "1.2.0")[0]


def test_the_interface_version_only_grows() -> None:
    lower = OLD.replace("ABI_VERSION 3", "ABI_VERSION 2")
    assert "only grows" in abi.compare(OLD, "0.1.0", lower, "0.2.0")[0]


@pytest.mark.parametrize("line", ["#if X\n#endif", "int x = 3;", "static inline int f(void) { }"])
def test_what_is_not_understood_is_not_passed_over(line: str) -> None:
    with pytest.raises(abi.NotUnderstood):
        abi.declarations(f"{OLD}\n{line}\n")


def test_as_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert abi.main(["check"]) == 0
    assert abi.main(["publish"]) == 2
    assert "tests/ffi/abi.py check" in capsys.readouterr().err


def test_list_and_kept_header_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "tests" / "ffi"
    here.mkdir(parents=True)
    (tmp_path / "include").mkdir()
    header = tmp_path / "include" / "modelserve.h"
    header.write_text(OLD)
    (tmp_path / "Cargo.toml").write_text('[workspace.package]\nversion = "0.3.1"\n')
    (here / "abi" / "0.2.9").mkdir(parents=True)
    monkeypatch.setattr(abi, "ROOT", tmp_path)
    monkeypatch.setattr(abi, "HERE", here)

    assert abi.main(["update"]) == 0
    assert (here / "symbols.txt").read_text() == "modelserve_abi_version\nmodelserve_load\n"
    assert abi.main(["release"]) == 0
    assert [kept.name for kept in (here / "abi").iterdir()] == ["0.3.1"]
    assert abi.main(["check"]) == 0

    header.write_text(OLD.replace("modelserve_load(", "modelserve_read("))
    assert abi.main(["check"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert "symbols.txt lacks modelserve_read" in lines
    assert "symbols.txt has modelserve_load" in lines
    assert "the function modelserve_load is gone" in lines

"""The stubs say what the compiled module has."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import modelserve
from modelserve import _native

STUB = Path(modelserve.__file__).with_name("_native.pyi")
#: What Python itself gives every class, or the class system adds.
IMPLIED = set(dir(object)) | {"__module__", "__iter__"}


def declared() -> tuple[set[str], dict[str, set[str]]]:
    functions: set[str] = set()
    classes: dict[str, set[str]] = {}
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            functions.add(node.name)
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            members = (n.name for n in node.body if isinstance(n, ast.FunctionDef))
            classes[node.name] = set(members) - IMPLIED
    return functions, classes


def test_stubs_match_the_module() -> None:
    functions, classes = declared()
    public = {k: v for k, v in vars(_native).items() if not k.startswith("_")}
    assert {k for k, v in public.items() if inspect.isclass(v)} == set(classes)
    assert {k for k, v in public.items() if not inspect.isclass(v)} == functions
    for name, members in classes.items():
        present = {m for m in vars(public[name]) if m not in IMPLIED}
        assert present == members, name


def test_everything_public_is_documented_and_exported() -> None:
    assert (STUB.parent / "py.typed").exists()
    for name in modelserve.__all__:
        assert getattr(modelserve, name).__doc__, name
    for name, cls in vars(_native).items():
        if inspect.isclass(cls):
            for member, value in vars(cls).items():
                assert member.startswith("__") or value.__doc__, f"{name}.{member}"

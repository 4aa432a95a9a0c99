"""The Python reference: signatures from the stubs and sources, words from the docstrings."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import modelserve
from modelserve import errors

Function = ast.FunctionDef | ast.AsyncFunctionDef
PACKAGE = Path("python") / "modelserve"
COMMENT = re.compile(r"^\s*#: ?(.*)$")
#: The documents, as the sources name them.
DOCUMENT = re.compile(r"\bdocs/([a-z-]+\.md)")
ROLE = re.compile(r":\w+:`([^`]+)`")


class Source:
    """One parsed file of the package."""

    def __init__(self, path: Path) -> None:
        text = path.read_text()
        self.lines = text.splitlines()
        self.nodes = {
            node.name: node
            for node in ast.parse(text).body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        }

    def said_above(self, node: ast.stmt) -> str:
        """The `#:` comment above a field."""
        said: list[str] = []
        line = node.lineno - 2
        while line >= 0 and (found := COMMENT.match(self.lines[line])):
            said.insert(0, found[1])
            line -= 1
        return " ".join(said)

    def fields(self, cls: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
        """Name, type and comment of each public field."""
        for node in cls.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name = node.target.id
                if not name.startswith("_"):
                    yield name, ast.unparse(node.annotation), self.said_above(node)


def _sources(root: Path) -> dict[str, Source]:
    """The file of each public name."""
    found: dict[str, Source] = {}
    modules = [*(root / PACKAGE).glob("*.py"), root / PACKAGE / "convert" / "__init__.py"]
    files = [root / PACKAGE / "_native.pyi", *sorted(modules)]
    for path in files:
        source = Source(path)
        for name in source.nodes:
            found.setdefault(name, source)
    return found


def functions(root: Path) -> str:
    """The functions of the package, one section each."""
    sources = _sources(root)
    parts = []
    for name in modelserve.__all__:
        node = sources[name].nodes[name] if name in sources else None
        if isinstance(node, Function):
            parts += [
                f"### {name} {{#{name}}}",
                _code(name, node),
                _said(getattr(modelserve, name)),
            ]
    return "\n\n".join(parts)


def classes(root: Path) -> str:
    """The classes of the package, but for the errors."""
    sources = _sources(root)
    parts = []
    for name in modelserve.__all__:
        value = getattr(modelserve, name)
        if inspect.isclass(value) and not issubclass(value, errors.ModelServeError):
            parts += _class(sources[name], name, value)
    return "\n\n".join(parts)


def options(root: Path) -> str:
    """The keyword arguments that many functions have in common."""
    source = Source(root / PACKAGE / "_native.pyi")
    titles = {
        "_Asked": "Of a request (`_Asked`)",
        "_LoadOptions": "Of loading (`_LoadOptions`)",
        "_HttpOptions": "Of HTTP (`_HttpOptions`)",
    }
    parts = []
    for name, title in titles.items():
        parts += [f"### {title} {{#{name}}}", _fields(source, _class_node(source, name))]
    return "\n\n".join(parts)


def policies(root: Path) -> str:
    """The dicts of `ModelManager.configure`."""
    source = Source(root / PACKAGE / "policies.py")
    parts = []
    for name, node in source.nodes.items():
        if isinstance(node, ast.ClassDef):
            said = ast.get_docstring(node) or ""
            parts += [f"### policies.{name} {{#policies.{name}}}", said, _fields(source, node)]
    return "\n\n".join(parts)


def _class_node(source: Source, name: str) -> ast.ClassDef:
    node = source.nodes[name]
    assert isinstance(node, ast.ClassDef), name
    return node


def _class(source: Source, name: str, value: type) -> list[str]:
    node = _class_node(source, name)
    parts = [f"### {name} {{#{name}}}", _said(value)]
    attributes: list[tuple[str, str, str]] = list(source.fields(node))
    methods = []
    for member in node.body:
        if not isinstance(member, Function):
            continue
        if member.name in ("__new__", "__init__"):
            parts.insert(1, _code(name, member))
        elif not member.name.startswith("_"):
            documented = inspect.getattr_static(value, member.name)
            if _is_property(member):
                returned = ast.unparse(member.returns) if member.returns else ""
                attributes.append((member.name, returned, _said(documented)))
            else:
                full = f"{name}.{member.name}"
                methods += [f"#### {full} {{#{full}}}", _code(full, member), _said(documented)]
    if attributes:
        parts.append(_table(attributes))
    return parts + methods


def _is_property(node: Function) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)


def _code(name: str, node: Function) -> str:
    arguments = node.args
    first = arguments.posonlyargs + arguments.args
    if first and first[0].arg in ("self", "cls"):
        (arguments.posonlyargs or arguments.args).pop(0)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    if node.name in ("__new__", "__init__"):
        returns = ""
    line = f"{name}({ast.unparse(arguments)}){returns}"
    if len(line) > 88:
        # One argument a line: the commas of the outer level only.
        inner = re.sub(r", (?![^\[({]*[\])}])", ",\n    ", ast.unparse(arguments))
        line = f"{name}(\n    {inner},\n){returns}"
    return f"```python\n{line}\n```"


def _fields(source: Source, node: ast.ClassDef) -> str:
    return _table(list(source.fields(node)))


def _table(rows: list[tuple[str, str, str]]) -> str:
    lines = ["| name | type | meaning |", "|---|---|---|"]
    for name, kind, said in rows:
        # A bar within backticks is none of the table's.
        cells = (f"`{name}`", f"`{kind}`" if kind else "", said.replace("\n", " "))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _said(value: Any) -> str:
    """A docstring as Markdown."""
    text = inspect.cleandoc(value.__doc__ or "") if value.__doc__ else ""
    text = ROLE.sub(r"`\1`", text).replace("``", "`")
    text = DOCUMENT.sub(r"[\1](../\1)", text)
    parts = []
    for paragraph in text.split("\n\n"):
        parts.append(f"```pycon\n{paragraph}\n```" if paragraph.startswith(">>>") else paragraph)
    return "\n\n".join(parts)

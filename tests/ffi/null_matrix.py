"""Writes a C program that puts NULL in each pointer and a wrong number in each handle of every
function that modelserve.h declares, one at a time, all else being good.

    null_matrix.py modelserve.h >null_matrix.c

Beside that: lengths that pass the address space, results that are not aligned, text that is not
UTF-8. A function that is added to the header is in the next matrix. What it cannot give a value
(a handle of a new kind, a new sort of parameter) ends it with what to add to c/matrix.h or here.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

#: Pointers that may be NULL in any function that has them.
OPTIONAL = {"receipt", "request", "release", "user_data"}
#: Pointers that may be NULL in one function.
OPTIONAL_IN = {
    ("modelserve_manager_reload", "path"),
    ("modelserve_manager_stop_recording", "recording"),
    ("modelserve_log_set", "callback"),
    ("modelserve_manager_lease", "label"),
    ("modelserve_model_input", "spec"),
    ("modelserve_model_output", "spec"),
    ("modelserve_manager_can_answer", "label"),
}
#: Functions without a status, or whose good call takes more than the matrix has to give: c/api.c,
#: c/memory.c and c/dlpack.c look at their pointers.
BY_HAND = {
    "modelserve_last_error",
    "modelserve_run_into",
    "modelserve_tensor_from_dlpack",
    "modelserve_tensor_from_dlpack_legacy",
}
#: Texts that have to be UTF-8; paths are bytes.
UTF8 = {"name", "label", "toml", "method", "target"}
#: Lengths that stand for more pointers than the last one before them.
LENGTHS = {("modelserve_manager_pin", "models"): ["n"]}

NUMBERS = {"int32_t": "1", "uint64_t": "1", "double": "1.0", "ptrdiff_t": "0"}
#: What an address needs no alignment for.
BYTES = {"char", "void", "uint8_t"}


@dataclass
class Parameter:
    type: str
    name: str
    #: Of a pointer: the lengths that are given for it.
    lengths: list[str] = field(default_factory=list)

    @property
    def pointer(self) -> bool:
        return self.type.endswith("*")

    @property
    def constant(self) -> bool:
        return self.type.startswith("const ")

    @property
    def callback(self) -> bool:
        return self.type.endswith("_callback")

    @property
    def target(self) -> str:
        """What a pointer points to, without `const` and `struct`."""
        plain = re.sub(r"\b(const|struct)\b", "", self.type.removesuffix("*"))
        return " ".join(plain.split())


@dataclass
class Function:
    result: str
    name: str
    parameters: list[Parameter]

    def optional(self, p: Parameter) -> bool:
        if (self.name, p.name) in OPTIONAL_IN or p.name in OPTIONAL:
            return True
        return p.constant and p.name == "options"


class Header:
    """The declarations of the header."""

    def __init__(self, text: str) -> None:
        text = re.sub(r"/\*.*?\*/|//[^\n]*|^#[^\n]*", " ", text, flags=re.DOTALL | re.MULTILINE)
        handles = r"typedef struct (\w+) \{\s*uint64_t id;\s*\} \1;"
        self.handles = set(re.findall(handles, text))
        callbacks = re.findall(r"typedef void \(\*(\w+_callback)\)\(([^)]*)\);", text)
        self.callbacks = {name: self._parameters(given) for name, given in callbacks}
        declared = re.findall(r"([\w ]+?[ *]+)(modelserve_\w+)\(([^()]*)\);", text)
        self.functions = [
            Function(" ".join(result.split()), name, self._parameters(given))
            for result, name, given in declared
        ]
        for function in self.functions:
            self._lengths(function)

    @staticmethod
    def _parameters(text: str) -> list[Parameter]:
        found = []
        for part in text.split(","):
            if part.strip() not in ("", "void"):
                type_, name = re.fullmatch(r"\s*(.*?[\s*])(\w+)\s*", part, re.DOTALL).groups()
                found.append(Parameter(re.sub(r"\s+(?=\*)", " ", " ".join(type_.split())), name))
        return found

    @staticmethod
    def _lengths(function: Function) -> None:
        """A length stands behind its pointer, or behind several of one type; rows have two."""
        waiting: list[Parameter] = []
        for p in function.parameters:
            if p.pointer:
                if waiting and waiting[-1].type != p.type:
                    waiting = []
                waiting.append(p)
            elif p.name == "struct_size":
                # That of a struct, which is never left out.
                waiting = []
            elif p.type == "size_t":
                for pointer in waiting:
                    if pointer.type != "const char *":
                        pointer.lengths.append(p.name)
            else:
                waiting = []
            if p.pointer and (function.name, p.name) in LENGTHS:
                p.lengths = list(LENGTHS[function.name, p.name])

    def kind(self, p: Parameter) -> str | None:
        """The kind of a handle that is given by value."""
        name = p.type.removeprefix("struct ")
        return name.removeprefix("modelserve_") if name in self.handles else None


class Matrix:
    """The program."""

    def __init__(self, header: Header, known: str) -> None:
        self.header = header
        self.known = known
        self.lines: list[str] = []
        self.targets: set[str] = set()
        self.pointers = self.handles = 0

    def value(self, f: Function, i: int) -> str:
        """A good value for a parameter."""
        p = f.parameters[i]
        kind = self.header.kind(p)
        if kind is not None:
            if f"live_{kind}," not in self.known:
                sys.exit(f"{f.name}: c/matrix.h makes no handle of the kind {p.type}")
            return f"live_{kind}"
        if p.callback:
            return "NULL" if f.optional(p) else f"stub_{p.type}"
        if p.pointer:
            return self.address(f, i)
        if p.type == "size_t":
            return self.size(f, p)
        if p.type not in NUMBERS:
            sys.exit(f"{f.name}: a value for '{p.type} {p.name}'")
        return NUMBERS[p.type]

    def address(self, f: Function, i: int) -> str:
        p = f.parameters[i]
        if f.optional(p) and (p.constant or p.target == "void"):
            return "NULL"
        if p.type == "const char *":
            return '"iris"'
        if p.target == "char *":
            return "texts"
        if p.target == "modelserve_tensor" and p.constant:
            return "tensor"
        if p.target == "modelserve_layout" and p.constant:
            return "&layout"
        if p.constant:
            return f"(const {p.target} *)(const void *)zeros.bytes"
        self.targets.add(p.target)
        return f"({p.target} *)(void *)places[{i}].bytes"

    def size(self, f: Function, p: Parameter) -> str:
        """Enough for what a good call writes, and no more than there is to read."""
        if p.name == "struct_size":
            return f"sizeof({next(o for o in f.parameters if o.pointer).target})"
        owners = [o for o in f.parameters if p.name in o.lengths]
        if p.name == "width":
            return "WIDTH"
        if not owners:
            return "0"
        if any(o.constant for o in owners) or p.name == "n" or p.name.startswith("n_"):
            return "1"
        return "PLACE_SIZE" if owners[0].target in BYTES else "16"

    def call(self, f: Function, changed: dict[str, str]) -> str:
        """The call with these parameters other than good."""
        given = [changed.get(p.name, self.value(f, i)) for i, p in enumerate(f.parameters)]
        return f"{f.name}({', '.join(given)})"

    def emit(self, f: Function, what: str, changed: dict[str, str], check: str) -> None:
        call = self.call(f, changed)
        check = check.replace("CALL", call).replace("WHAT", f'"{f.name}", "{what}"')
        self.lines += ["    reset();", f"    {check};"]

    def freed(self, f: Function) -> dict[str, str]:
        """Every handle of the function as one that is freed."""
        kinds = ((p.name, self.header.kind(p)) for p in f.parameters)
        return {name: f"freed_{kind}" for name, kind in kinds if kind is not None}

    def accepted(self, f: Function, what: str, changed: dict[str, str]) -> None:
        """It gets as far as a freed handle; without any, something but NULL is the reason."""
        freed = self.freed(f)
        if freed:
            check = "refused(WHAT, CALL, MODELSERVE_STATUS_INVALID_HANDLE)"
            self.emit(f, what, {**freed, **changed}, check)
            return
        self.emit(f, what, changed, "status = CALL;\n    not_for_null(WHAT, status)")
        for i, p in enumerate(f.parameters):
            if p.pointer and not p.constant and p.target in self.header.handles:
                kind = p.target.removeprefix("modelserve_")
                self.lines.append("    if (status == MODELSERVE_STATUS_OK) {")
                self.lines.append(
                    f"        OK(modelserve_{kind}_free(*({p.target} *)(void *)places[{i}].bytes));"
                )
                self.lines.append("    }")

    def pointer(self, f: Function, i: int) -> None:
        p = f.parameters[i]
        self.pointers += 1
        if f.optional(p):
            self.accepted(f, f"{p.name} is NULL", {p.name: "NULL"})
        else:
            check = "refused(WHAT, CALL, MODELSERVE_STATUS_NULL_ARGUMENT)"
            self.emit(f, f"{p.name} is NULL", {p.name: "NULL"}, check)
        for length in p.lengths:
            if f.name != "modelserve_manager_pin" or p.name == "names":
                self.accepted(f, f"{p.name} is NULL and {length} 0", {p.name: "NULL", length: "0"})
            self.emit(
                f, f"{length} is SIZE_MAX", {length: "SIZE_MAX"}, "refused_somehow(WHAT, CALL)"
            )
        if p.pointer and not p.constant and p.target not in BYTES:
            off = f"({p.target} *)(void *)(places[{i}].bytes + 1)"
            check = "refused(WHAT, CALL, MODELSERVE_STATUS_INVALID_ARGUMENT)"
            self.emit(f, f"{p.name} is not aligned", {p.name: off}, check)
        if p.type == "const char *" and p.name in UTF8:
            check = "refused(WHAT, CALL, MODELSERVE_STATUS_INVALID_ARGUMENT)"
            self.emit(f, f"{p.name} is not UTF-8", {p.name: r'"\xff"'}, check)

    def handle(self, f: Function, p: Parameter, kind: str) -> None:
        self.handles += 1
        check = "refused(WHAT, CALL, MODELSERVE_STATUS_INVALID_HANDLE)"
        self.lines += [
            f"    others_than(live_{kind}.id, freed_{kind}.id);",
            "    for (i = 0; i < OTHERS; i++) {",
            f"    const {p.type} other = {{others[i]}};",
        ]
        self.emit(f, f"{p.name} is no live handle", {p.name: "other"}, check)
        self.lines.append("    }")
        if not f.name.endswith("_free"):
            self.lines.append(f"    {{ const {p.type} none = {{0}};")
            self.emit(f, f"{p.name} is none", {p.name: "none"}, check)
            self.lines.append("    }")

    def function(self, f: Function) -> str:
        """A C function with all calls of one of the header's; its name."""
        name = f.name.replace("modelserve_", "of_", 1)
        self.lines += [f"static void {name}(void)", "{", "    modelserve_status status;"]
        self.lines += ["    int i;", "    (void)status;", "    (void)i;"]
        for i, p in enumerate(f.parameters):
            kind = self.header.kind(p)
            if kind is not None:
                self.handle(f, p, kind)
            elif p.pointer or p.callback:
                self.pointer(f, i)
        self.lines += ["}", ""]
        return name

    def program(self) -> str:
        self.lines = [
            "/* Written by null_matrix.py. Arguments: the iris model, a LightGBM file. */",
            '#include "matrix.h"',
            "",
        ]
        for name, parameters in self.header.callbacks.items():
            given = ", ".join(f"{p.type} {p.name}" for p in parameters)
            self.lines += [f"static void stub_{name}({given})", "{"]
            self.lines += [f"    (void){p.name};" for p in parameters]
            self.lines += ["}", f"static const {name} used_{name} = stub_{name};", ""]
        names = [
            self.function(f)
            for f in self.header.functions
            if f.name not in BY_HAND and self.asks(f)
        ]
        for target in sorted(self.targets - {"void"}):
            fits = "fits_" + re.sub(r"\W+", "_", target)
            self.lines.append(f"typedef char {fits}[sizeof({target}) <= PLACE_SIZE ? 1 : -1];")
        self.lines += ["", "int main(int argc, char **argv)", "{", "    if (argc != 3) {"]
        self.lines += ["        return 2;", "    }", "    make_handles(argv[1], argv[2]);"]
        self.lines += [f"    (void)used_{name};" for name in self.header.callbacks]
        self.lines += [f"    {name}();" for name in names]
        self.lines += [
            "    free_handles();",
            f'    printf("%ld calls of {len(names)} functions: {self.pointers} pointers, '
            f'{self.handles} handles\\n", calls);',
            "    return 0;",
            "}",
        ]
        return "\n".join(self.lines) + "\n"

    def asks(self, f: Function) -> bool:
        """Whether the function has something to put NULL or a wrong number in."""
        if not any(p.pointer or p.callback or self.header.kind(p) for p in f.parameters):
            return False
        if f.result != "modelserve_status":
            sys.exit(f"{f.name} answers {f.result}: say in BY_HAND where its pointers are tested")
        return True


def main() -> None:
    known = (Path(__file__).parent / "c" / "matrix.h").read_text()
    header = Header(Path(sys.argv[1]).read_text())
    sys.stdout.write(Matrix(header, known).program())


if __name__ == "__main__":
    main()

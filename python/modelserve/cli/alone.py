"""A model without the requests that lie beside it."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

#: What loading a model from a file asks it by itself.
_REQUESTS = ("golden.jsonl", "warmup.jsonl")
#: How an ONNX file names external data: a protobuf entry of the key `location`.
_LOCATION = re.compile(rb"\x0a\x08location\x12")


@contextmanager
def without_requests(model: Path) -> Iterator[Path]:
    """The path of `model` in a folder without `golden.jsonl` and `warmup.jsonl`.

    That is its own folder where it has none. Otherwise it is a temporary one with a link to the
    model and copies of the files it refers to: such files are read through no link.
    """
    if not any(model.with_name(name).exists() for name in _REQUESTS):
        yield model
        return
    with tempfile.TemporaryDirectory(prefix="modelserve-") as folder:
        alone = Path(folder, model.name)
        alone.symlink_to(model.absolute())
        for companion in _companions(model):
            source = model.parent / companion
            # What may not be read beside the model must not be readable as a copy.
            linked = source.resolve() != model.parent.resolve() / companion
            if source.is_file() and not linked and source.stat().st_nlink == 1:
                target = alone.parent / companion
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        yield alone


def _companions(model: Path) -> set[PurePosixPath]:
    """The relative paths of what the model refers to, and perhaps of more."""
    found = {PurePosixPath("config.json")}
    data = model.read_bytes() if model.suffix != ".safetensors" else b""
    for entry in _LOCATION.finditer(data):
        size, at, shift = 0, entry.end(), 0
        # A length as protobuf writes it, seven bits a byte.
        while at < len(data) and shift < 21:
            size |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 0x80:
                break
        path = PurePosixPath(data[at : at + size].decode("utf-8", "replace"))
        # What lies elsewhere is refused when the model is loaded.
        if not path.is_absolute() and ".." not in path.parts and "\0" not in str(path):
            found.add(path)
    return found - {PurePosixPath(model.name), PurePosixPath(".")}

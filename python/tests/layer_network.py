"""A network of two hidden layers, written as safetensors and computed by numpy."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

IN, OUT = 16, 3
#: Widths of the hidden layers: a network of 51 MiB, and a small one.
LARGE, SMALL = 3650, 64


@dataclass
class Network:
    """The weights."""

    first: np.ndarray
    second: np.ndarray
    third: np.ndarray

    @classmethod
    def random(cls, seed: int, width: int) -> Network:
        def matrix(rows: int, columns: int) -> np.ndarray:
            noise = np.random.default_rng(seed).standard_normal((rows, columns), np.float32)
            return noise / np.float32(np.sqrt(columns))

        return cls(matrix(width, IN), matrix(width, width), matrix(OUT, width))

    @property
    def bytes(self) -> int:
        return self.first.nbytes + self.second.nbytes + self.third.nbytes

    def save(self, folder: Path) -> None:
        folder.mkdir()
        tensors = {"a.weight": self.first, "b.weight": self.second, "c.weight": self.third}
        header: dict[str, Any] = {}
        end = 0
        for name, tensor in tensors.items():
            offsets = [end, end + tensor.nbytes]
            header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": offsets}
            end = offsets[1]
        text = json.dumps(header).encode()
        with (folder / "model.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for tensor in tensors.values():
                file.write(tensor.tobytes())
        width = len(self.first)
        sizes = {"a": (IN, width), "b": (width, width), "c": (width, OUT)}
        layers: list[dict[str, Any]] = []
        for name, (into, out) in sizes.items():
            layers.append({"type": "linear", "name": name, "in": into, "out": out, "bias": False})
            layers.append({"type": "relu"})
        config = {
            "format": "modelserve-layers",
            "version": 1,
            "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", IN]}],
            "layers": layers[:-1],
        }
        (folder / "config.json").write_text(json.dumps(config))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        hidden = np.maximum(np.maximum(rows @ self.first.T, 0) @ self.second.T, 0)
        answer: np.ndarray = hidden @ self.third.T
        return answer

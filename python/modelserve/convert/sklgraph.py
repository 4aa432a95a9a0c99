"""Graphs of skl2onnx, to put nodes into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .container import OPSET
from .native import DOMAIN


class SklGraph:
    """A graph of skl2onnx."""

    def __init__(self, scope: Any, container: Any) -> None:
        self._scope = scope
        self._container = container

    def name(self, hint: str) -> str:
        """A name that is not taken."""
        return str(self._scope.get_unique_variable_name(hint))

    def constant(self, value: NDArray[Any]) -> str:
        """Adds a constant; answers its name."""
        import onnx

        name = self.name("constant")
        self._container.initializers.append(onnx.numpy_helper.from_array(value, name))
        return name

    def node(
        self, op: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: Any
    ) -> None:
        """Adds a node."""
        self._container.add_node(
            op,
            inputs,
            outputs,
            op_domain=domain,
            op_version=1 if domain == DOMAIN else OPSET[domain],
            name=self._scope.get_unique_operator_name(op),
            **attributes,
        )


class Flags:
    """A container of skl2onnx that takes the flags which skl2onnx gives as bools.

    onnx wants them as whole numbers.
    """

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *args: Any, **attributes: Any) -> Any:
        """Adds a node."""
        for key, value in attributes.items():
            if isinstance(value, list) and any(isinstance(v, (bool, np.bool_)) for v in value):
                attributes[key] = [int(v) for v in value]
        add: Callable[..., Any] = self._container.add_node
        return add(*args, **attributes)

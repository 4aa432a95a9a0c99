"""What a remote model answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedError


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The outputs of a remote model, by name."""

    #: The model.
    model: str
    #: The version that answered; None where the server does not say.
    model_version: int | None
    #: `stable`, `canary` or `fallback`; None where the server does not say.
    route: str | None
    #: The outputs.
    outputs: dict[str, NDArray[Any]]
    #: From the call to the answer, waits and tries included, in milliseconds.
    latency_ms: float
    #: Tries that were needed.
    attempts: int

    @property
    def predictions(self) -> NDArray[Any]:
        """A label or value for each row: the first output of integers or strings with one value a
        row, else the first output.

        Raises `UnsupportedError` for a model without outputs.
        """
        for output in self.outputs.values():
            if output.dtype.kind in "iuObSU" and output.size == len(np.atleast_1d(output)):
                return output.reshape(-1)
        for output in self.outputs.values():
            one = output.ndim == 2 and output.shape[1] == 1
            return output.reshape(-1) if one else output
        raise UnsupportedError(f"model '{self.model}' answered no outputs")

    @property
    def probabilities(self) -> NDArray[Any] | None:
        """The first output of floating-point numbers `[rows, classes]` beside labels; None without
        one. Whether these are probabilities only the model knows.
        """
        labelled = any(output.dtype.kind in "iuObSU" for output in self.outputs.values())
        for output in self.outputs.values():
            if labelled and output.dtype.kind == "f" and output.ndim == 2:
                return output
        return None

    @property
    def prediction(self) -> Any:
        """The label or value of the first row."""
        first = self.predictions[0]
        return first.item() if isinstance(first, np.generic) else first

    @property
    def probability(self) -> float | None:
        """The largest class probability of the first row."""
        scores = self.probabilities
        return None if scores is None else float(scores[0].max())

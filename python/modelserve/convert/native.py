"""What an operator of the library's own domain says, before it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedError

#: The domain of the operators.
DOMAIN = "ai.modelserve"

Outcome = Literal["values", "binary", "classes", "outlier"]


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What the splits of trees compare with: feature by feature number, one value each."""

    features: NDArray[np.int64]
    values: NDArray[np.float64]

    @staticmethod
    def none() -> Thresholds:
        """Of a model without splits."""
        return Thresholds(features=np.empty(0, np.int64), values=np.empty(0))


@dataclass(frozen=True, kw_only=True)
class Native:
    """A model as one operator: ``Booster`` (a library's own file) or ``TreeEnsemble``."""

    operator: Literal["Booster", "TreeEnsemble"]
    #: The operator's attributes; arrays become tensors.
    attributes: dict[str, Any]
    #: Features of a row.
    features: int
    #: float32 or float64: of the rows and of the answers.
    dtype: np.dtype[Any]
    outcome: Outcome
    #: Values or classes of a row's answer.
    targets: int
    #: Class labels, whole numbers or texts, in the order of the probabilities.
    labels: NDArray[Any] | None = None
    #: Values that mean a missing one, beside NaN.
    missing: Sequence[float] = ()
    #: Feature names, where the model has them.
    names: list[str] | None = None
    #: Features that rows hold as labels, which become their place in the list.
    categories: dict[int, NDArray[Any]] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds.none)

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return {
            "values": ["variable"],
            "binary": ["label", "probabilities"],
            "classes": ["label", "probabilities"],
            "outlier": ["label", "scores"],
        }[self.outcome]


def labels_of(classes: Any, name: str) -> NDArray[Any]:
    """Class labels as whole numbers or texts.

    Raises :class:`UnsupportedError` naming the estimator for labels that are neither.
    """
    array = np.asarray(classes)
    if array.ndim != 1:
        raise UnsupportedError(f"{name} has several outputs with classes each")
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.dtype.kind == "f" and (array == np.trunc(array)).all():
        return array.astype(np.int64)
    if array.dtype.kind in "UT" or all(isinstance(c, str) for c in array.tolist()):
        return array.astype(object)
    if all(isinstance(c, (int, np.integer)) for c in array.tolist()):
        return array.astype(np.int64)
    raise UnsupportedError(
        f"{name} has class labels that are neither whole numbers nor texts: {array}"
    )

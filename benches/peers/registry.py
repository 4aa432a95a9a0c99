"""All engines by name, in the order of the table."""

from __future__ import annotations

from engine import Engine
from engines import (
    LightGBM,
    OnnxRuntime,
    OnnxRuntimeBound,
    Ours,
    OursManaged,
    ScikitLearn,
    XGBoost,
)
from tree_engines import Gtil, LightGBMFast, Lleaves, Tl2cgen

#: The trainer's own library comes first: the others' answers are compared with its.
ENGINES: dict[str, type[Engine]] = {
    engine.name: engine
    for engine in (
        ScikitLearn,
        XGBoost,
        LightGBM,
        LightGBMFast,
        OnnxRuntime,
        OnnxRuntimeBound,
        Gtil,
        Tl2cgen,
        Lleaves,
        Ours,
        OursManaged,
    )
}
OURS = Ours.name
MANAGED = OursManaged.name
#: Another call of a model that is measured anyhow.
FAST = LightGBMFast.name
#: A line's ratio to onnxruntime is that to the faster of its two ways.
ONNXRUNTIME = (OnnxRuntime.name, OnnxRuntimeBound.name)


def peers(names: list[str]) -> list[str]:
    """Those of `names` that are not ours."""
    return [name for name in names if name not in (OURS, MANAGED)]

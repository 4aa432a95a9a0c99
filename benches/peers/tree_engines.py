"""Engines for trees alone: treelite's interpreter, tl2cgen, lleaves, LightGBM's fast call."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from cases import Case
from compile_trees import compiled, treelite_model
from engine import Answers, Engine, Refused, probabilities
from engines import LightGBM, column


def _answers(case: Case, raw: Any, count: int) -> Answers:
    if case.kind.family != "isolation":
        return probabilities(raw, count)
    # treelite gives the score of the paper; scikit-learn's decision is its negative, moved.
    return -column(raw, count) - float(case.estimator().offset_)


class Gtil(Engine):
    """treelite's own interpreter."""

    name = "treelite gtil"
    libraries = (
        "treelite",
        "sklearn.ensemble",
    )
    settings = "nthread={threads}"

    def load(self) -> None:
        self.model = treelite_model(self.case)

    def shape(self, rows: Any) -> Any:
        # An estimator of scikit-learn compares in float64 there, and the rows have to be of it.
        wide = self.case.kind.library != "xgboost"
        return rows.astype(np.float64) if wide else rows

    def ask(self, rows: Any) -> Any:
        import treelite

        return treelite.gtil.predict(self.model, rows, nthread=self.threads)

    def answers(self, raw: Any, count: int) -> Answers:
        return _answers(self.case, raw, count)


class Tl2cgen(Engine):
    """Trees as C code, compiled by gcc at -O3 with branches annotated by rows of the kind."""

    name = "tl2cgen"
    libraries = (
        "tl2cgen",
        "treelite",
    )
    settings = "gcc -O3, annotated branches, nthread={threads}; the DMatrix is made before"

    #: Seconds that a compiler may take.
    patience: ClassVar[int] = 600

    def load(self) -> None:
        import tl2cgen

        path = compiled(self.case, "tl2cgen", self.patience)
        self.dtype = "float32" if self.case.kind.library == "xgboost" else "float64"
        self.predictor = tl2cgen.Predictor(path, nthread=self.threads)

    def shape(self, rows: Any) -> Any:
        import tl2cgen

        # It takes over what needs no copy, and fails at the rest under NumPy 2.
        return tl2cgen.DMatrix(np.ascontiguousarray(rows, self.dtype), dtype=self.dtype)

    def ask(self, rows: Any) -> Any:
        return self.predictor.predict(rows)

    def answers(self, raw: Any, count: int) -> Answers:
        return _answers(self.case, raw, count)


class Lleaves(Engine):
    """LightGBM's trees compiled by LLVM for this CPU."""

    name = "lleaves"
    libraries = ("lleaves",)
    settings = "defaults (float64, blocks of 34 trees, this CPU), n_jobs={threads}; float64 rows"

    def load(self) -> None:
        if self.case.kind.library != "lightgbm":
            raise Refused("for LightGBM only")
        import lleaves

        cache: Path = compiled(self.case, "lleaves", Tl2cgen.patience)
        self.model = lleaves.Model(model_file=str(self.case.native))
        self.model.compile(cache=str(cache))

    def shape(self, rows: Any) -> Any:
        return np.ascontiguousarray(rows, dtype=np.float64)

    def ask(self, rows: Any) -> Any:
        return self.model.predict(rows, n_jobs=self.threads)

    def answers(self, raw: Any, count: int) -> Answers:
        return probabilities(raw, count)


class LightGBMFast(LightGBM):
    """LightGBM's fast call for single rows; it is of the C interface, and called by ctypes."""

    name = "LightGBM, single-row fast"
    libraries = ("lightgbm",)
    settings = "num_threads={threads}; LGBM_BoosterPredictForMatSingleRowFast by ctypes"

    def load(self) -> None:
        super().load()
        from lightgbm.basic import _LIB

        width = self.case.rows.shape[1]
        self.config = ctypes.c_void_p()
        normal, all_trees, float32 = 0, -1, 0
        failed = _LIB.LGBM_BoosterPredictForMatSingleRowFastInit(
            self.booster._handle,
            ctypes.c_int(normal),
            ctypes.c_int(0),
            ctypes.c_int(all_trees),
            ctypes.c_int(float32),
            ctypes.c_int32(width),
            f"num_threads={self.threads}".encode(),
            ctypes.byref(self.config),
        )
        if failed:
            raise Refused("LightGBM's fast call cannot be set up")
        self.function = _LIB.LGBM_BoosterPredictForMatSingleRowFast
        self.length = ctypes.c_int64()
        self.result = np.zeros(1)
        self.where = (
            ctypes.byref(self.length),
            self.result.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
        )

    def prepare(self, form: str, count: int) -> Any:
        if form == "batch":
            raise Refused("for single rows only")
        return super().prepare(form, count)

    def ask_one(self, row: Any) -> Any:
        if self.function(self.config, ctypes.c_void_p(row.ctypes.data), *self.where):
            raise RuntimeError("LightGBM's fast call failed")
        return self.result

    def ask_list(self, row: list[float]) -> Any:
        return self.ask_one(np.array(row, dtype=np.float32))

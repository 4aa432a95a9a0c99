"""Compiles trees to machine code, in a process of its own with an end to its time.

python compile_trees.py tl2cgen|lleaves FOLDER_OF_THE_CASE KEY
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from cases import KINDS, Case
from engine import Refused

SUFFIXES = {"tl2cgen": "trees.so", "lleaves": "lleaves.o"}
#: Rows by which branches are annotated.
ANNOTATE = 1000


def treelite_model(case: Case) -> Any:
    """The case's trees in treelite's form."""
    import treelite

    if case.kind.family not in ("trees", "isolation"):
        raise Refused("for trees only")
    if case.kind.library == "xgboost":
        return treelite.frontend.load_xgboost_model(str(case.native))
    if case.kind.library == "lightgbm":
        return treelite.frontend.load_lightgbm_model(str(case.native))
    return treelite.sklearn.import_model(case.estimator())


def compiled(case: Case, compiler: str, patience: int) -> Path:
    """The compiled trees, from disk where they lie; `Refused` where that took too long."""
    if case.kind.family not in ("trees", "isolation"):
        raise Refused("for trees only")
    target = case.folder / SUFFIXES[compiler]
    if target.exists():
        return target
    if patience == 0:
        raise Refused("a quick run does not wait for its compiler")
    gave_up = case.folder / f"{compiler}.gave-up"
    reason = f"its compiler is not done with {case.nodes():,} nodes in {patience} s"
    if gave_up.exists() and int(gave_up.read_text()) >= patience:
        raise Refused(reason)
    command = [sys.executable, __file__, compiler, str(case.folder), case.kind.key]
    # A session of its own: gcc's children have to go with it.
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _, said = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        gave_up.write_text(str(patience))
        raise Refused(reason) from None
    if process.returncode != 0:
        raise Refused(f"its compiler failed: {said.decode(errors='replace')[-300:]}")
    return target


def _tl2cgen(case: Case, target: Path) -> None:
    import tl2cgen

    model = treelite_model(case)
    dtype = "float32" if case.kind.library == "xgboost" else "float64"
    with tempfile.TemporaryDirectory() as folder:
        annotation = Path(folder) / "annotation.json"
        rows = tl2cgen.DMatrix(np.ascontiguousarray(case.first(ANNOTATE), dtype), dtype=dtype)
        tl2cgen.annotate_branch(model, dmat=rows, path=annotation, verbose=False)
        parts = os.cpu_count() or 1
        # Files of some 2,000 nodes: gcc's time grows faster than a file does.
        parameters = {
            "annotate_in": str(annotation),
            "parallel_comp": max(parts, case.nodes() // 2000),
        }
        made = Path(folder) / "trees.so"
        tl2cgen.export_lib(model, "gcc", made, params=parameters, nthread=parts)
        # In two steps: /tmp may be another disk, and a half written library must not be found.
        partial = target.with_suffix(".partial")
        partial.write_bytes(made.read_bytes())
        partial.replace(target)


def _lleaves(case: Case, target: Path) -> None:
    import lleaves

    partial = target.with_suffix(".partial")
    lleaves.Model(model_file=str(case.native)).compile(cache=str(partial))
    partial.replace(target)


def main() -> None:
    """Compiles what the arguments name."""
    compiler, folder, key = sys.argv[1:]
    kind = next(kind for kind in KINDS if kind.key == key)
    case = Case.open(kind, Path(folder))
    {"tl2cgen": _tl2cgen, "lleaves": _lleaves}[compiler](case, case.folder / SUFFIXES[compiler])


if __name__ == "__main__":
    main()

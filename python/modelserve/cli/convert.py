"""`modelserve convert`: a trained estimator as an ONNX file, proved on a sample."""

from __future__ import annotations

import argparse
import contextlib
import json
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .._native import Model
from ..convert import convert
from ..errors import ConversionError, ModelServeError
from .arguments import tolerance
from .data import FORMATS, Batch, open_rows, places
from .output import CommandError, ExitCode, Output, need, size

EXAMPLES = (
    "modelserve convert pipeline.joblib -o pipeline.onnx --sample rows.csv --trust-pickle",
    "modelserve convert booster.json -o booster.onnx --sample rows.csv   # XGBoost's own file",
)

_XGBOOST = (".json", ".ubj")
_LIGHTGBM = (".txt", ".lgb")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "source",
        metavar="ESTIMATOR",
        help="a pickle or joblib file of a scikit-learn, XGBoost or LightGBM estimator, or "
        "XGBoost's own .json or .ubj",
    )
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the ONNX file")
    parser.add_argument(
        "--sample",
        metavar="FILE",
        required=True,
        help="rows on which both must answer alike, as `modelserve predict` reads them",
    )
    parser.add_argument("--format", choices=FORMATS, help="the sample's format")
    parser.add_argument(
        "--columns", metavar="LIST", help="the features: names, or numbers from 1 as 1-4,7"
    )
    parser.add_argument(
        "--tolerance",
        type=tolerance,
        default=None,
        metavar="X",
        help="relative above 1; default: 1e-6 for float32 answers, 1e-12 for doubles",
    )
    parser.add_argument(
        "--trust-pickle",
        action="store_true",
        help="unpickle the file: this runs whatever code its author put into it, as you",
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Converts; the answer is no when the written model answers otherwise than the estimator."""
    estimator = _estimator(args.source, args.trust_pickle)
    sample, rows = _sample(args, estimator)
    try:
        model = _convert(args, estimator, sample)
    except ConversionError as error:
        if out.json:
            outcome = {"converted": False, "message": str(error), "row": error.row}
            out.emit(outcome | {"expected": error.expected, "got": error.got})
        else:
            out.verdict(False, str(error))
        return ExitCode.NO
    info = model.info()
    written = Path(args.output).stat().st_size
    if out.json:
        facts = {"converted": True, "output": args.output, "bytes": written, "rows_compared": rows}
        out.emit(facts | {"task": info.signature.task, "digest": info.digest})
    else:
        out.verdict(
            True,
            f"{type(estimator).__name__} to {args.output} ({info.signature.task}, "
            f"{size(written)}); alike on {rows:,} rows",
        )
    return ExitCode.OK


def _estimator(source: str, trusted: bool) -> Any:
    path = Path(source)
    # Before anything is asked for: a file that is not there needs no trust.
    path.open("rb").close()
    if path.suffix in _XGBOOST:
        return _xgboost(path)
    if path.suffix in _LIGHTGBM:
        raise CommandError(
            f"{path}: LightGBM's text file holds trees without the estimator around them; pickle "
            "the estimator (joblib.dump) and convert that"
        )
    if not trusted:
        raise CommandError(
            f"{path} is not unpickled: a pickle is a program, and loading it runs whatever its "
            "author put into it, with your rights; if you made the file yourself, or trust who "
            "did, add --trust-pickle"
        )
    return _unpickled(path)


def _unpickled(path: Path) -> Any:
    try:
        import joblib

        load = joblib.load
    except ImportError:

        def load(path: Path) -> Any:
            with path.open("rb") as file:
                return pickle.load(file)

    try:
        return load(path)
    except ModuleNotFoundError as error:
        raise CommandError(
            f"{path} needs the package {error.name}, which is not installed: pip install it in "
            "the version the estimator was trained with"
        ) from error
    except Exception as error:
        # Bytes that are no pickle may raise anything.
        message = f"{path} cannot be unpickled: {type(error).__name__}: {error}"
        raise CommandError(message) from error


def _xgboost(path: Path) -> Any:
    xgboost = need("xgboost", "convert", "reading XGBoost's files")
    try:
        booster = xgboost.Booster(model_file=path)
        objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
        classifies = objective.startswith("multi:") or objective == "binary:logistic"
        estimator = xgboost.XGBClassifier() if classifies else xgboost.XGBRegressor()
        estimator.load_model(path)
    except xgboost.core.XGBoostError as error:
        # "[time] source.cc:line: reason", then a trace of its own.
        reason = str(error).strip().splitlines()[0].rpartition(": ")[2]
        raise CommandError(f"{path} is no model of XGBoost: {reason}") from error
    return estimator


def _sample(args: argparse.Namespace, estimator: Any) -> tuple[Any, int]:
    """The sample as the estimator takes it: by its own column names where it has them."""
    rows = open_rows(args.sample, args.format)
    features = _feature_names(estimator)
    if args.columns is not None:
        taken = places(rows, args.columns)
    elif features is not None and rows.names is not None:
        missing = [name for name in features if name not in rows.names]
        if missing:
            shown = ", ".join(f"'{name}'" for name in missing[:5])
            got = ", ".join(rows.names[:12])
            raise CommandError(f"{args.sample}: missing {shown}; the file has {got}")
        taken = [rows.names.index(name) for name in features]
    else:
        taken = list(range(rows.width))
    expected = getattr(estimator, "n_features_in_", None)
    if isinstance(expected, int | np.integer) and expected != len(taken):
        raise CommandError(
            f"{args.sample}: expected {expected} columns, got {len(taken)}; --columns chooses"
        )
    # A sample is small: it is compared row by row.
    batches = list(rows.batches(65536))
    columns = [_column(batches, place) for place in taken]
    count = sum(batch.rows for batch in batches)
    if not count:
        raise CommandError(f"{args.sample} has no rows")
    if features is not None:
        pandas = need("pandas", "pandas", "an estimator with feature names")
        return pandas.DataFrame(dict(zip(features, columns, strict=True))), count
    return np.column_stack(columns), count


def _feature_names(estimator: Any) -> list[str] | None:
    # XGBoost answers with an error, not an absent attribute, where there are none.
    try:
        names = getattr(estimator, "feature_names_in_", None)
    except (AttributeError, ValueError):
        return None
    return None if names is None else [str(name) for name in names]


def _column(batches: list[Batch], place: int) -> Any:
    """Numbers where all cells are numbers or empty, else text."""
    cells = [cell for batch in batches for cell in batch.columns[place]]
    try:
        return np.array([np.nan if cell in ("", None) else float(cell) for cell in cells])
    except (ValueError, TypeError):
        return np.array([str(cell) for cell in cells], dtype=object)


def _convert(args: argparse.Namespace, estimator: Any, sample: Any) -> Model:
    # Converters print and warn as they like; standard output is for the answer.
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return convert(estimator, args.output, sample=sample, tolerance=args.tolerance)
        except (ModelServeError, OSError):
            raise
        except ImportError as error:
            raise CommandError(str(error)) from error
        except Exception as error:
            # Three converter packages, each with exceptions of its own for what it cannot do.
            lines = str(error).strip().splitlines() or [""]
            what = f"{type(error).__name__}: {lines[0]}"
            message = f"{type(estimator).__name__} cannot be converted: {what}"
            raise CommandError(message) from error

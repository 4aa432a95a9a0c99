"""Estimators and boosters of XGBoost, LightGBM and CatBoost as their own files."""

from __future__ import annotations

import json
import os
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._native import load
from ..errors import InvalidArgumentError, UnsupportedError
from . import splits
from .native import Native, Outcome, Thresholds, labels_of
from .samples import is_frame, library

#: Endings of the libraries' own files that are read.
ENDINGS = {"xgboost": (".ubj", ".json"), "lightgbm": (".txt",), "catboost": (".json",)}


def booster(estimator: Any, sample: Any) -> Native | None:
    """The operator of an estimator or booster of these libraries; None for others.

    Raises ``InvalidArgumentError`` or ``UnsupportedError`` where the library's file does not say
    all that the estimator answers.
    """
    read = {"xgboost": _xgboost, "lightgbm": _lightgbm, "catboost": _catboost}
    reader = read.get(library(estimator))
    return None if reader is None else reader(estimator, sample)


def native_file(native: Native, ending: str) -> bytes:
    """The library's own file of this model.

    Raises ``InvalidArgumentError`` where it would lose what the estimator knows.
    """
    lost = None
    named = native.attributes["format"] == "catboost"
    if native.labels is not None and not named:
        numbers = np.arange(len(native.labels))
        if not np.array_equal(native.labels, numbers):
            lost = f"class labels ({', '.join(map(str, native.labels[:5]))})"
    if native.missing:
        lost = f"that {native.missing[0]} means a missing value"
    if native.categories:
        lost = "how categories become numbers"
    if lost is not None:
        raise InvalidArgumentError(
            f"a {native.attributes['format']} file does not say {lost}: "
            "convert to a path that ends in .onnx"
        )
    content: bytes = native.attributes["model"]
    if ending == ".json" and native.attributes["format"] == "xgboost":
        import xgboost

        content = bytes(xgboost.Booster(model_file=bytearray(content)).save_raw("json"))
    return content


def _native(
    name: str,
    content: bytes,
    *,
    classes: Any,
    thresholds: Thresholds,
    who: str,
    missing: float | None = None,
    categories: dict[int, NDArray[Any]] | None = None,
) -> Native:
    model = load(content, format=name)
    signature = model.signature
    outcome: Outcome = "values"
    labels, targets = None, signature.targets
    if signature.task == "classifier":
        known = signature.classes or []
        targets = len(known)
        outcome = "classes"
        labels = labels_of(known if classes is None else classes, who)
        if len(labels) != targets:
            raise UnsupportedError(
                f"{who} has {len(labels)} classes, and its file answers with {targets}"
            )
    elif classes is not None:
        raise UnsupportedError(
            f"{who} answers with something else than a probability for each class (an objective "
            "of your own, or several labels a row): convert its booster, which answers with values"
        )
    shape, dtype = signature.inputs[0].shape, signature.inputs[0].dtype
    assert shape is not None and dtype is not None
    return Native(
        operator="Booster",
        attributes={"format": name, "model": content},
        features=int(shape[1] or 0),
        dtype=np.dtype(dtype),
        outcome=outcome,
        targets=targets,
        labels=labels,
        missing=() if missing is None or np.isnan(missing) else (float(missing),),
        names=signature.feature_names,
        categories=categories or {},
        thresholds=thresholds,
    )


def _xgboost(estimator: Any, sample: Any) -> Native:
    own = hasattr(estimator, "get_booster")
    model = estimator.get_booster() if own else estimator
    # With the attributes: the best iteration is one of them.
    content = bytes(model.save_raw("ubj"))
    document = json.loads(bytes(model.save_raw("json")))
    return _native(
        "xgboost",
        content,
        classes=getattr(estimator, "classes_", None) if own else None,
        thresholds=splits.xgboost(document),
        who=type(estimator).__name__,
        missing=estimator.missing if own else None,
        categories=_xgboost_categories(document, sample),
    )


def _xgboost_categories(document: Any, sample: Any) -> dict[int, NDArray[Any]]:
    """Labels of the categories that a data frame had, by feature."""
    learner = document["learner"]["gradient_booster"]
    model = learner.get("gbtree", learner).get("model", {})
    found: dict[int, NDArray[Any]] = {}
    for feature, encoding in enumerate((model.get("cats") or {}).get("enc", [])):
        values = encoding.get("values", [])
        if not values:
            continue
        offsets = encoding.get("offsets")
        if offsets is None:
            found[feature] = np.asarray(values)
            continue
        text = bytes(v & 0xFF for v in values)
        if text.isascii():
            found[feature] = np.array([text[a:b].decode() for a, b in pairwise(offsets)], object)
        else:
            found[feature] = _cut_labels(feature, text, offsets, sample)
    return found


def _cut_labels(feature: int, text: bytes, offsets: list[int], sample: Any) -> NDArray[Any]:
    """Labels with letters beyond ASCII, which XGBoost cuts: it takes letters for bytes.

    They are those of the sample where XGBoost would cut them the same way.
    """
    column = sample.iloc[:, feature] if is_frame(sample) else None
    if column is not None and str(column.dtype) == "category":
        labels = [str(label) for label in column.cat.categories]
        lengths = np.cumsum([0, *map(len, labels)]).tolist()
        if lengths == offsets and "".join(labels).encode()[: offsets[-1]] == text:
            return np.array(labels, object)
    raise UnsupportedError(
        f"feature {feature} has categories with letters beyond ASCII, whose labels XGBoost cuts: "
        "give a sample with the same categories as the training data, or train with ASCII labels"
    )


def _lightgbm(estimator: Any, sample: Any) -> Native:
    own = hasattr(estimator, "booster_")
    model = estimator.booster_ if own else estimator
    content = model.model_to_string().encode()
    categories: dict[int, NDArray[Any]] = {}
    if model.pandas_categorical:
        if not is_frame(sample):
            raise InvalidArgumentError(
                f"{type(estimator).__name__} was trained on a data frame with categories: give "
                "the sample as such a data frame"
            )
        kinds = [str(dtype) == "category" for dtype in sample.dtypes]
        places = np.flatnonzero(kinds)
        if len(places) != len(model.pandas_categorical):
            raise InvalidArgumentError(
                f"the sample has {len(places)} columns of categories, the training data had "
                f"{len(model.pandas_categorical)}"
            )
        for place, labels in zip(places, model.pandas_categorical, strict=True):
            categories[int(place)] = np.array(labels, _dtype(labels))
    return _native(
        "lightgbm",
        content,
        classes=getattr(estimator, "classes_", None) if own else None,
        thresholds=splits.lightgbm(content.decode()),
        who=type(estimator).__name__,
        categories=categories,
    )


def _dtype(labels: list[Any]) -> Any:
    return object if any(isinstance(c, str) for c in labels) else None


def _catboost(estimator: Any, sample: Any) -> Native:
    who = type(estimator).__name__
    places = list(estimator.get_cat_feature_indices())
    pool = None
    if places:
        import catboost

        if not is_frame(sample):
            raise InvalidArgumentError(
                f"{who} has categorical features: give the sample as a data frame, in which all "
                "categories of the training data come"
            )
        pool = catboost.Pool(sample, cat_features=places)
    handle, name = tempfile.mkstemp(suffix=".json")
    os.close(handle)
    try:
        estimator.save_model(name, format="json", pool=pool)
        content = Path(name).read_bytes()
    finally:
        Path(name).unlink()
    document = json.loads(content)
    classes = getattr(estimator, "classes_", None)
    return _native(
        "catboost",
        content,
        classes=classes if classes is not None and len(classes) else None,
        thresholds=splits.catboost(document),
        who=who,
        categories=_catboost_categories(document, sample),
    )


def _catboost_categories(document: Any, sample: Any) -> dict[int, NDArray[Any]]:
    info = document["features_info"]
    labels = {c["hash"]: c["value"] for c in info.get("cat_features_hash", [])}
    found: dict[int, NDArray[Any]] = {}
    for feature in info.get("categorical_features") or []:
        # Hashes have 32 bits; this list has them signed.
        hashes = [v % (1 << 32) for v in feature.get("values") or []]
        place = feature["flat_feature_index"]
        names = [labels.get(h, "") for h in hashes]
        column = sample.iloc[:, place]
        kind = np.asarray(column).dtype.kind
        if kind in "iu":
            # CatBoost takes whole numbers for the texts that they print as.
            found[place] = np.array([int(n) for n in names], np.int64)
        else:
            found[place] = np.array(names, object)
    return found

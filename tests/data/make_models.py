"""Trains the small test models on scikit-learn's bundled data sets and writes, beside each, the
test set and the trainer's own answers.

    python tests/data/make_models.py [name ...]

Needs numpy, scikit-learn, skl2onnx, onnxmltools, onnxruntime, xgboost, lightgbm and safetensors.
The answers are always the trainer's; onnxruntime only checks that the converter kept them.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
from lightgbm import LGBMClassifier, LGBMRegressor
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
from safetensors.numpy import save_file
from skl2onnx import to_onnx, update_registered_converter
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)
from sklearn import datasets
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC
from xgboost import XGBClassifier, XGBRegressor

warnings.filterwarnings("ignore")
HERE = pathlib.Path(__file__).parent
SEED = 7
# What every modern runtime reads; newer converters would follow their own default.
OPSETS = {"": 18, "ai.onnx.ml": 3}
# Rows of a test set that are kept: enough to see every branch, few enough to read.
ROWS = 60

for model, alias, shapes, convert, options in [
    (
        XGBClassifier,
        "XgbClassifier",
        calculate_linear_classifier_output_shapes,
        convert_xgboost,
        {"nocl": [True, False], "zipmap": [True, False, "columns"]},
    ),
    (XGBRegressor, "XgbRegressor", calculate_linear_regressor_output_shapes, convert_xgboost, None),
    (
        LGBMClassifier,
        "LgbmClassifier",
        calculate_linear_classifier_output_shapes,
        convert_lightgbm,
        {"nocl": [True, False], "zipmap": [True, False, "columns"]},
    ),
    (
        LGBMRegressor,
        "LgbmRegressor",
        calculate_linear_regressor_output_shapes,
        convert_lightgbm,
        {"split": None},
    ),
]:
    update_registered_converter(model, alias, shapes, convert, options=options)


make_attribute = onnx.helper.make_attribute


def make_attribute_without_bools(key, value, *args, **kwargs):
    """skl2onnx gives missing-value flags as bools, which newer versions of onnx refuse."""
    if isinstance(value, list) and any(isinstance(v, bool | np.bool_) for v in value):
        value = [int(v) for v in value]
    return make_attribute(key, value, *args, **kwargs)


onnx.helper.make_attribute = make_attribute_without_bools


def split(loader, features=None, missing=0.0):
    """Float32 features, so that the trainer sees what the model is given later."""
    x, y = loader(return_X_y=True)
    x = x.astype(np.float32)
    if features is not None:
        x = x[:, features]
    x[np.random.default_rng(SEED).random(x.shape) < missing] = np.nan
    x, xt, y, yt = train_test_split(x, y, test_size=0.3, random_state=SEED)
    return x, xt[:ROWS], y, yt[:ROWS]


def exact(array):
    """Nested lists of the shortest decimals that read back to the same float32; NaN as null."""
    array = np.asarray(array, dtype=np.float32)
    if array.ndim > 1:
        return [exact(row) for row in array]
    return [None if np.isnan(v) else float(str(v)) for v in array]


def write(name, model, x, expected, answers=None):
    """Writes `model` and `expected`; `answers` are pairs (output index, expected, tolerance)."""
    folder = HERE / name
    folder.mkdir(parents=True, exist_ok=True)
    # The converter's order depends on the process's hash seed.
    model.opset_import.sort(key=lambda opset: opset.domain)
    data = model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    input_name = model.graph.input[0].name
    document = {"input_name": input_name, "rows": exact(x), **expected}
    (folder / "expected.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {input_name: x})
    differ = []
    for index, want, tolerance in answers or []:
        got = outputs[index]
        if isinstance(got, list):
            got = np.array([[row[k] for k in sorted(row)] for row in got])
        want = np.asarray(want)
        got = np.asarray(got).reshape(want.shape)
        if want.dtype.kind in "iuUO":
            differ.append(f"{np.count_nonzero(got != want)} of {want.size} labels differ")
        else:
            differ.append(f"max difference {np.max(np.abs(got - want)):.2g}")
            assert np.allclose(got, want, rtol=tolerance, atol=tolerance), (name, differ)
    print(f"{name}: {len(data)} bytes, {len(x)} rows; onnxruntime: {'; '.join(differ)}")


def convert(model, x, **options):
    final = model.steps[-1][1] if hasattr(model, "steps") else model
    named = {id(final): options} if options else None
    return to_onnx(model, x[:1], options=named, target_opset=OPSETS)


def classifier(name, model, data, zipmap=False, names=None, tolerance=1e-4):
    x, xt, y, _ = data
    if names is not None:
        y = np.array(names)[y]
    model.fit(x, y)
    options = {} if isinstance(model, RidgeClassifier | LinearSVC) else {"zipmap": zipmap}
    labels = model.predict(xt)
    expected = {"labels": labels.tolist()}
    answers = [(0, labels, 0)]
    if hasattr(model, "predict_proba"):
        probabilities = model.predict_proba(xt)
        expected["probabilities"] = exact(probabilities)
        answers.append((1, probabilities, tolerance))
    else:
        decision = np.atleast_1d(model.decision_function(xt))
        expected["decision"] = exact(decision)
    expected["classes"] = model.classes_.tolist()
    write(name, convert(model, xt, **options), xt, expected, answers)
    return labels


def regressor(name, model, data, tolerance=1e-4):
    x, xt, y, _ = data
    model.fit(x, y)
    values = np.asarray(model.predict(xt), dtype=np.float64).reshape(-1, 1)
    write(name, convert(model, xt), xt, {"values": exact(values)}, [(0, values, tolerance)])


def iris():
    return split(datasets.load_iris)


def wine():
    return split(datasets.load_wine)


def cancer():
    return split(datasets.load_breast_cancer, list(range(10)))


def diabetes():
    return split(datasets.load_diabetes)


IRIS_NAMES = datasets.load_iris().target_names


def iris_versions():
    """Two versions of one model whose answers differ in every row."""
    x, xt, y, yt = iris()
    v1 = classifier(
        "iris_v1", make_pipeline(StandardScaler(), LogisticRegression()), (x, xt, y, yt)
    )
    v2 = classifier(
        "iris_v2", make_pipeline(StandardScaler(), LogisticRegression()), (x, xt, (y + 1) % 3, yt)
    )
    assert not np.any(v1 == v2)


def kmeans():
    x, xt, _, _ = iris()
    model = KMeans(n_clusters=3, n_init=10, random_state=SEED).fit(x)
    labels, distances = model.predict(xt), model.transform(xt).astype(np.float64)
    expected = {"labels": labels.tolist(), "values": exact(distances)}
    write("kmeans", convert(model, xt), xt, expected, [(0, labels, 0), (1, distances, 1e-3)])


def isolation_forest():
    x, xt, _, _ = cancer()
    model = IsolationForest(n_estimators=10, max_samples=32, random_state=SEED).fit(x)
    options = {"target_opset": OPSETS}
    labels, values = model.predict(xt), model.decision_function(xt).reshape(-1, 1)
    expected = {"labels": labels.tolist(), "values": exact(values)}
    write(
        "isolation_forest",
        to_onnx(model, xt[:1], **options),
        xt,
        expected,
        [(0, labels, 0), (1, values, 1e-4)],
    )


def scaler_pca():
    x, xt, _, _ = wine()
    model = make_pipeline(StandardScaler(), PCA(n_components=4)).fit(x)
    values = model.transform(xt).astype(np.float64)
    write("scaler_pca", convert(model, xt), xt, {"values": exact(values)}, [(0, values, 1e-3)])


def digits_mlp_safetensors():
    """A multi-layer perceptron as tensors and layers, in PyTorch's layout ([out, in])."""
    x, xt, y, _ = split(datasets.load_digits)
    scaler = StandardScaler().fit(x)
    model = MLPClassifier((32, 16), max_iter=300, random_state=SEED).fit(scaler.transform(x), y)
    # Constant pixels have variance 0; scikit-learn divides them by 1.
    mean = scaler.mean_
    scale = 1.0 / scaler.scale_
    tensors, layers, sizes = {}, [], []
    for i, (weight, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True), start=1):
        tensors[f"fc{i}.weight"] = np.ascontiguousarray(weight.T.astype(np.float32))
        tensors[f"fc{i}.bias"] = bias.astype(np.float32)
        sizes.append(weight.shape)
        layers.append(
            {"type": "linear", "name": f"fc{i}", "in": weight.shape[0], "out": weight.shape[1]}
        )
        if i < len(model.coefs_):
            layers.append({"type": "relu"})
    config = {
        "format": "modelserve-layers",
        "version": 1,
        "inputs": [{"name": "pixels", "dtype": "float32", "shape": ["batch", x.shape[1]]}],
        "preprocess": {"mean": exact(mean), "scale": exact(scale)},
        "layers": layers,
        "output": "logits",
        "task": "classifier",
        "classes": model.classes_.tolist(),
        "output_kind": "logits",
        "feature_names": list(datasets.load_digits().feature_names),
    }
    scaled = scaler.transform(xt)
    probabilities = model.predict_proba(scaled)
    hidden = scaled.astype(np.float64)
    for i, (weight, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True), start=1):
        hidden = hidden @ weight + bias
        hidden = np.maximum(hidden, 0) if i < len(model.coefs_) else hidden
    expected = {
        "input_name": "pixels",
        "rows": exact(xt),
        "labels": model.predict(scaled).tolist(),
        "logits": exact(hidden),
        "probabilities": exact(probabilities),
        "classes": model.classes_.tolist(),
    }
    folder = HERE / "digits_mlp_safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")
    total = sum(t.nbytes for t in tensors.values())
    print(f"digits_mlp_safetensors: {total} bytes of weights, {len(xt)} rows")


MODELS = {
    "logistic": lambda: classifier(
        "logistic", make_pipeline(StandardScaler(), LogisticRegression()), cancer()
    ),
    "logistic_strings": lambda: classifier(
        "logistic_strings", LogisticRegression(max_iter=500), iris(), names=IRIS_NAMES
    ),
    "logistic_zipmap": lambda: classifier(
        "logistic_zipmap", LogisticRegression(max_iter=500), iris(), zipmap=True
    ),
    "logistic_strings_zipmap": lambda: classifier(
        "logistic_strings_zipmap",
        LogisticRegression(max_iter=500),
        iris(),
        zipmap=True,
        names=IRIS_NAMES,
    ),
    "random_forest": lambda: classifier(
        "random_forest", RandomForestClassifier(10, max_depth=4, random_state=SEED), wine()
    ),
    "gradient_boosting": lambda: classifier(
        "gradient_boosting",
        GradientBoostingClassifier(n_estimators=10, max_depth=3, random_state=SEED),
        cancer(),
    ),
    "hist_gradient_boosting": lambda: classifier(
        "hist_gradient_boosting",
        HistGradientBoostingClassifier(max_iter=10, max_leaf_nodes=8, random_state=SEED),
        wine(),
    ),
    "hist_gradient_boosting_missing": lambda: classifier(
        "hist_gradient_boosting_missing",
        HistGradientBoostingClassifier(max_iter=10, max_leaf_nodes=8, random_state=SEED),
        split(datasets.load_breast_cancer, list(range(10)), missing=0.2),
    ),
    "xgb_missing": lambda: classifier(
        "xgb_missing",
        XGBClassifier(n_estimators=8, max_depth=3, random_state=SEED),
        split(datasets.load_wine, missing=0.2),
    ),
    "mlp": lambda: classifier(
        "mlp",
        make_pipeline(StandardScaler(), MLPClassifier((16,), max_iter=500, random_state=SEED)),
        wine(),
    ),
    "svc": lambda: classifier(
        "svc",
        make_pipeline(StandardScaler(), SVC(probability=True, random_state=SEED)),
        iris(),
        tolerance=1e-3,
    ),
    "svc_calibrated": lambda: classifier(
        "svc_calibrated",
        CalibratedClassifierCV(LinearSVC(random_state=SEED), ensemble=False),
        wine(),
    ),
    "linear_svc": lambda: classifier("linear_svc", LinearSVC(random_state=SEED), iris()),
    "knn": lambda: classifier("knn", KNeighborsClassifier(5), iris()),
    "gaussian_nb": lambda: classifier("gaussian_nb", GaussianNB(), wine(), tolerance=1e-2),
    "ridge": lambda: classifier("ridge", RidgeClassifier(), wine()),
    "linear_regression": lambda: regressor("linear_regression", LinearRegression(), diabetes()),
    "random_forest_regressor": lambda: regressor(
        "random_forest_regressor",
        RandomForestRegressor(10, max_depth=4, random_state=SEED),
        diabetes(),
    ),
    "svr": lambda: regressor(
        "svr", make_pipeline(StandardScaler(), SVR(C=10.0)), diabetes(), tolerance=1e-3
    ),
    "kmeans": kmeans,
    "isolation_forest": isolation_forest,
    "scaler_pca": scaler_pca,
    "xgb_classifier": lambda: classifier(
        "xgb_classifier", XGBClassifier(n_estimators=8, max_depth=3, random_state=SEED), wine()
    ),
    "xgb_binary": lambda: classifier(
        "xgb_binary", XGBClassifier(n_estimators=10, max_depth=3, random_state=SEED), cancer()
    ),
    "xgb_regressor": lambda: regressor(
        "xgb_regressor", XGBRegressor(n_estimators=10, max_depth=3, random_state=SEED), diabetes()
    ),
    "lgbm_classifier": lambda: classifier(
        "lgbm_classifier",
        LGBMClassifier(n_estimators=8, num_leaves=8, random_state=SEED, verbose=-1),
        wine(),
    ),
    "lgbm_binary": lambda: classifier(
        "lgbm_binary",
        LGBMClassifier(n_estimators=10, num_leaves=8, random_state=SEED, verbose=-1),
        # These columns, for no threshold among them rounds onto a value in the test set: LightGBM
        # compares in double precision, ONNX's tree ensembles of this version in single.
        split(datasets.load_breast_cancer, list(range(20, 30))),
    ),
    "lgbm_regressor": lambda: regressor(
        "lgbm_regressor",
        LGBMRegressor(n_estimators=10, num_leaves=8, random_state=SEED, verbose=-1),
        diabetes(),
    ),
    "iris_versions": iris_versions,
    "digits_mlp_safetensors": digits_mlp_safetensors,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or MODELS:
        MODELS[name]()

"""Makes the models of `pipelines/`, whose rows are columns of several types, and texts.

    python tests/data/make_pipelines.py

Needs numpy, onnx, pandas, scikit-learn and skl2onnx, and modelserve, whose `convert` writes them.
"""

import pathlib

import numpy as np
import onnx
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import modelserve as ms

HERE = pathlib.Path(__file__).parent / "pipelines"

rng = np.random.default_rng(7)
rows = pd.DataFrame(
    {
        "age": rng.normal(40, 12, 200).astype(np.float32),
        "visits": rng.integers(0, 9, 200),
        "town": rng.choice(["Ulm", "Bonn", "Kiel"], 200).astype(object),
        "plan": rng.choice(["free", "paid"], 200).astype(object),
    }
)
columns = make_column_transformer(
    (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["age"]),
    (OneHotEncoder(handle_unknown="ignore"), ["town", "plan"]),
    ("passthrough", ["visits"]),
)
target = (rows.age / 12 + rows.visits + (rows.town == "Ulm") > 7).astype(int)
model = make_pipeline(columns, LogisticRegression()).fit(rows, target)
ms.convert(model, HERE / "columns.onnx", sample=rows)

texts = ["the quick brown fox", "to be or not to be", "nothing but the fox", "that is the question"]
words = TfidfVectorizer(token_pattern=r"[a-zA-Z]+")
model = make_pipeline(words, LogisticRegression()).fit(texts, [1, 0, 1, 0])
ms.convert(model, HERE / "words.onnx", sample=np.array(texts))

# An unknown category is an error here, which no converter of today asks for.
helper = onnx.helper
codes = helper.make_node(
    "OneHotEncoder", ["x"], ["codes"], domain="ai.onnx.ml", cats_strings=["a", "b"], zeros=0
)
flat = helper.make_node("Reshape", ["codes", "shape"], ["flat"])
linear = helper.make_node(
    "LinearRegressor", ["flat"], ["y"], domain="ai.onnx.ml", coefficients=[2.0, 5.0]
)
graph = helper.make_graph(
    [codes, flat, linear],
    "strict",
    [helper.make_tensor_value_info("x", onnx.TensorProto.STRING, [None, 1])],
    [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, 1])],
    [onnx.numpy_helper.from_array(np.array([-1, 2]), "shape")],
)
opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), HERE / "strict.onnx")

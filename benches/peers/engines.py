"""The library itself, onnxruntime, and the libraries that trained the models."""

from __future__ import annotations

from typing import Any

import numpy as np
from cases import Case
from engine import CHECKED_ROWS, Answers, Engine, Prepared, Refused, probabilities

import modelserve as ms


class Ours(Engine):
    """The library, with the trainer's own file where it reads that, else with the ONNX file."""

    name = "modelserve"
    settings = "threads={threads}; `predict`, `predict_batch`; label and probability are read"

    def load(self) -> None:
        self.model, self.source = open_ours(self.case, self.threads)

    def shape(self, rows: Any) -> Any:
        return self.case.columns(rows) if self.case.kind.family == "frame" else rows

    def ask(self, rows: Any) -> Any:
        answers = self.model.predict_batch(rows)
        return answers.predictions, answers.probabilities

    def ask_one(self, row: Any) -> Any:
        answer = self.model.predict(row)
        return answer.prediction, answer.probability

    def ask_list(self, row: list[float]) -> Any:
        return self.ask_one(row)

    def prepare(self, form: str, count: int) -> Prepared:
        prepared = super().prepare(form, count)
        if form != "row":
            return prepared
        if self.case.kind.family == "frame":
            items = [{k: v[0, 0] for k, v in item.items()} for item in prepared.items]
        else:
            items = [item[0] for item in prepared.items]
        return Prepared(prepared.call, items)

    def answers(self, raw: Any, count: int) -> Answers:
        raise NotImplementedError

    def checked(self, form: str, count: int) -> Answers:
        # The timed calls read one probability; here all are read, or the outlier's score.
        prepared = self.prepare(form, count)
        outlier = self.case.kind.family == "isolation"
        if form == "batch":
            answers = self.model.predict_batch(prepared.items[0])
            return probabilities_or_score(answers, outlier, count)
        given = [self.model.predict(item) for item in prepared.items[:CHECKED_ROWS]]
        return np.concatenate([probabilities_or_score(answer, outlier, 1) for answer in given])


def probabilities_or_score(answer: Any, outlier: bool, count: int) -> Answers:
    """All that an answer of ours says of its rows."""
    if outlier:
        return np.asarray(answer.scores, dtype=np.float64).reshape(count, -1)
    # A trainer's own file may answer with the value alone.
    given = answer.probabilities
    return probabilities(answer.prediction if given is None else given, count)


def open_ours(case: Case, threads: int) -> tuple[ms.Model, str]:
    """Our model, and of which file it was made."""
    if case.native is not None:
        try:
            return ms.load(case.native, threads=threads), case.native.name
        except ms.ModelServeError:
            pass  # that format is not read by this version
    return ms.load(case.converted, threads=threads), case.converted.name


class OursManaged(Ours):
    """As `Ours`, through the handle that follows a name of a manager."""

    name = "modelserve, managed"
    settings = "as modelserve, through a manager's handle"

    def load(self) -> None:
        super().load()
        self.manager = ms.ModelManager(threads=self.threads)
        path = self.case.folder / self.source
        self.model = self.manager.load("model", path, threads=self.threads)


class OnnxRuntime(Engine):
    """A session with all graph optimisations, which are the default."""

    name = "onnxruntime"
    libraries = ("onnxruntime",)
    settings = (
        "intra_op_num_threads={threads}, inter_op_num_threads=1, all graph optimisations; "
        "`run` with a feed that is made before"
    )

    def load(self) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = ort.InferenceSession(
            str(self.case.onnx), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [value.name for value in self.session.get_inputs()]

    def shape(self, rows: Any) -> Any:
        if self.case.kind.family == "frame":
            return self.case.columns(rows)
        return {self.inputs[0]: rows}

    def ask(self, rows: Any) -> Any:
        return self.session.run(None, rows)

    def answers(self, raw: Any, count: int) -> Answers:
        return probabilities(raw[-1], count) if self.is_classifier else column(raw[-1], count)

    @property
    def is_classifier(self) -> bool:
        """Whether the last output holds probabilities."""
        return self.case.kind.family != "isolation"


def column(raw: Any, count: int) -> Answers:
    """One number a row."""
    return np.asarray(raw, dtype=np.float64).reshape(count, 1)


class OnnxRuntimeBound(OnnxRuntime):
    """As `OnnxRuntime`, with inputs and outputs bound to memory that stays."""

    name = "onnxruntime, bound"
    settings = "as onnxruntime, with `run_with_iobinding` into outputs that are kept"

    def load(self) -> None:
        if not self.case.is_matrix:
            raise Refused("its input is text, which cannot be bound")
        super().load()

    def shape(self, rows: Any) -> Any:
        import onnxruntime as ort

        binding = self.session.io_binding()
        value = ort.OrtValue.ortvalue_from_numpy(rows)
        binding.bind_ortvalue_input(self.inputs[0], value)
        given = self.session.run(None, {self.inputs[0]: rows})
        declared = self.session.get_outputs()
        # A file may say that it answers one row, and answer all: those outputs are not kept.
        if any(o.shape and o.shape[0] == 1 and len(rows) > 1 for o in declared):
            return value, rows, binding, None
        outputs = []
        for output, array in zip(declared, given, strict=True):
            kept = ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, "cpu")
            binding.bind_ortvalue_output(output.name, kept)
            outputs.append(kept)
        return value, rows, binding, outputs

    def ask(self, rows: Any) -> Any:
        value, array, binding, outputs = rows
        # The rows go in with each call, or the call would answer the same rows for ever.
        value.update_inplace(array)
        if outputs is None:
            binding.clear_binding_outputs()
            for output in self.session.get_outputs():
                binding.bind_output(output.name, "cpu")
        self.session.run_with_iobinding(binding)
        return [output.numpy() for output in outputs or binding.get_outputs()]

    def ask_list(self, row: list[float]) -> Any:
        array = np.array([row], dtype=np.float32)
        if not hasattr(self, "bound"):
            self.bound = self.shape(array)
        value, _, binding, outputs = self.bound
        return self.ask((value, array, binding, outputs))


class ScikitLearn(Engine):
    """`predict_proba` or `decision_function`, with the checks of input off as documented."""

    name = "scikit-learn"
    libraries = (
        "sklearn.ensemble",
        "sklearn.linear_model",
        "sklearn.neural_network",
        "sklearn.compose",
        "sklearn.feature_extraction.text",
    )
    settings = "n_jobs={threads}, assume_finite and skip_parameter_validation on, BLAS {threads}"

    def load(self) -> None:
        import sklearn

        if self.case.kind.library != "sklearn":
            raise Refused("trained by another library")
        sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
        model = self.case.estimator()
        last = model.steps[-1][1] if hasattr(model, "steps") else model
        if hasattr(last, "n_jobs") and hasattr(last, "estimators_"):
            last.n_jobs = self.threads
        outlier = self.case.kind.family == "isolation"
        self.function = model.decision_function if outlier else model.predict_proba

    def ask(self, rows: Any) -> Any:
        return self.function(rows)

    def answers(self, raw: Any, count: int) -> Answers:
        outlier = self.case.kind.family == "isolation"
        return column(raw, count) if outlier else probabilities(raw, count)


class XGBoost(Engine):
    """The booster's `inplace_predict`, which copies no rows."""

    name = "XGBoost"
    libraries = ("xgboost",)
    settings = "nthread={threads}; `inplace_predict`, validate_features=False"

    def load(self) -> None:
        if self.case.kind.library != "xgboost":
            raise Refused("trained by another library")
        import xgboost

        self.booster = xgboost.Booster({"nthread": self.threads}, model_file=self.case.native)
        self.booster.set_param({"nthread": self.threads})

    def ask(self, rows: Any) -> Any:
        return self.booster.inplace_predict(rows, validate_features=False)

    def answers(self, raw: Any, count: int) -> Answers:
        return probabilities(raw, count)


class LightGBM(Engine):
    """The booster's `predict`."""

    name = "LightGBM"
    libraries = ("lightgbm",)
    settings = "num_threads={threads}; `predict` of float32 rows"

    def load(self) -> None:
        if self.case.kind.library != "lightgbm":
            raise Refused("trained by another library")
        import lightgbm

        self.booster = lightgbm.Booster(
            params={"num_threads": self.threads}, model_file=str(self.case.native)
        )

    def ask(self, rows: Any) -> Any:
        return self.booster.predict(rows, num_threads=self.threads)

    def answers(self, raw: Any, count: int) -> Answers:
        return probabilities(raw, count)

"""Ray: a Serve deployment of a model file or a configuration file, and a class for Ray Data.

What travels is a path; every machine needs the file under it. Needs `ray[serve]` or `ray[data]`:
`pip install 'modelserve[ray]'`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from ._native import ModelManager
from .columns import ColumnScorer
from .errors import InvalidArgumentError, NotReadyError
from .hosts import AsgiApplication
from .process import DigestMismatchError, process_model

if TYPE_CHECKING:
    from ray.serve import Application
    from starlette.requests import Request
    from starlette.responses import Response

    from ._native import _Asked, _HttpOptions, _LoadOptions
    from .policies import Policies


_LOG = logging.getLogger("ray.serve")

#: How the name of a configuration file ends.
_CONFIGURATION = ".toml"


class UserConfig(TypedDict, total=False):
    """What a deployment serves: its `user_config`, which changes without a restart."""

    #: The model file, or the configuration file (`.toml`).
    path: str
    #: The SHA-256 that the model file must have; not for a configuration file, nor are the others.
    digest: str | None
    #: The keyword arguments of `load`.
    options: _LoadOptions
    #: The policies of the model, as `ModelManager.configure` takes them.
    policies: Policies


class ModelDeployment:
    """A replica: a manager, asked by HTTP (docs/http.md) or through a deployment's handle.

    Made by `deployment`; its methods are called by Serve.
    """

    def __init__(self, name: str, http: _HttpOptions) -> None:
        self._name = name
        self._http_options: _HttpOptions = {"default_model": name, **http}
        self._config: UserConfig = {}
        self._error: str | None = None
        self._manager: ModelManager | None = None
        self._app: AsgiApplication | None = None
        self._changes = asyncio.Lock()

    async def reconfigure(self, user_config: UserConfig) -> None:
        """Serves what `user_config` says from now on; requests go on meanwhile.

        A new model file is loaded beside the serving one, checked, and put in its place in one
        step. When that fails, what serves goes on serving: the error is logged, and told by
        `status` (Serve would stop a replica that raised it). A replica that has nothing to serve
        yet raises it, and does not start.
        """
        async with self._changes:
            try:
                # Loading takes as long as it takes: not on the loop that serves.
                await asyncio.to_thread(self._change, user_config)
            except Exception as e:
                if self._manager is None:
                    raise
                self._error = f"{type(e).__name__}: {e}"
                _LOG.exception("%s goes on serving as before", self._name)
                return
            self._config, self._error = user_config, None

    def _change(self, new: UserConfig) -> None:
        if unknown := set(new) - set(UserConfig.__annotations__):
            raise InvalidArgumentError(
                f"user_config has unknown keys: {', '.join(sorted(unknown))} "
                f"(known are {', '.join(UserConfig.__annotations__)})"
            )
        if "path" not in new:
            raise InvalidArgumentError("user_config needs 'path': a model or configuration file")
        old, manager = self._config, self._manager
        if new["path"].endswith(_CONFIGURATION):
            _refuse_beside_configuration(new)
            if manager is None or new != old:
                self._serve(ModelManager.from_config(new["path"]))
            return
        policies = new.get("policies", {})
        if manager is None or old["path"].endswith(_CONFIGURATION):
            # Made whole before anybody is sent to it.
            manager = ModelManager()
            model = manager.load(self._name, new["path"], **new.get("options", {}))
            _check(new, model.info().digest)
            manager.configure(self._name, **policies)
            self._serve(manager)
        elif any(new.get(key) != old.get(key) for key in ("path", "digest", "options")):
            info = manager.load_version(self._name, new["path"], **new.get("options", {}))
            try:
                _check(new, info.digest)
                manager.configure(self._name, **policies)
            except Exception:
                manager.unload_version(self._name, info.version)
                raise
            manager.serve(self._name, info.version)
        elif policies != old.get("policies", {}):
            manager.configure(self._name, **policies)

    def _serve(self, manager: ModelManager) -> None:
        options = dict(self._http_options)
        if self._name not in manager.models():
            # A configuration file names its models, and its default model, itself.
            del options["default_model"]
        self._app = AsgiApplication(manager, **options)  # type: ignore[arg-type]
        self._manager = manager

    async def __call__(self, request: Request) -> Response:
        """Answers an HTTP request."""
        from starlette.responses import Response

        if self._app is None:
            return Response('{"error": "not started"}', 503, media_type="application/json")
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(request.scope, request.receive, send)
        if not sent:
            # The client has left.
            return Response(status_code=499)
        start, body = sent
        response = Response(body["body"], start["status"])
        response.raw_headers = list(start["headers"])
        return response

    async def predict(self, row: Any, **asked: Unpack[_Asked]) -> dict[str, Any]:
        """`handle.predict.remote(row)`: the answer for one row, as a dict.

        Its keys are `prediction`, `probability`, `probabilities`, `model_version` and
        `latency_ms`; `asked` as for `Model.predict`.
        """
        answer = await self._ready().predict_async(self._name, row, **asked)
        return {
            "prediction": answer.prediction,
            "probability": answer.probability,
            "probabilities": answer.probabilities,
            "model_version": answer.model_version,
            "latency_ms": answer.latency_ms,
        }

    async def predict_batch(self, rows: Any, **asked: Unpack[_Asked]) -> dict[str, Any]:
        """`handle.predict_batch.remote(rows)`: the answers for many rows, as a dict of arrays.

        Its keys are `predictions`, `probabilities`, `model_version` and `latency_ms`.
        """
        answers = await self._ready().predict_batch_async(self._name, rows, **asked)
        return {
            "predictions": answers.predictions,
            "probabilities": answers.probabilities,
            "model_version": answers.model_version,
            "latency_ms": answers.latency_ms,
        }

    def status(self) -> dict[str, Any]:
        """`handle.status.remote()`: what a replica serves.

        `path` is the file, `versions` are the serving versions by model, and `error` is what the
        last change failed with, or None.
        """
        manager = self._ready()
        versions = {name: manager.info(name).version for name in manager.models()}
        return {"path": self._config["path"], "versions": versions, "error": self._error}

    def check_health(self) -> None:
        """Raises where no model can answer: Serve replaces the replica then."""
        manager = self._ready()
        if not manager.models():
            raise NotReadyError("no model is loaded")
        for name in manager.models():
            manager.info(name)

    def _ready(self) -> ModelManager:
        if self._manager is None:
            raise NotReadyError("the deployment has no user_config yet: it needs a 'path'")
        return self._manager


def _refuse_beside_configuration(config: Mapping[str, Any]) -> None:
    given = [key for key in ("digest", "options", "policies") if config.get(key)]
    if given:
        raise InvalidArgumentError(
            f"'{config['path']}' is a configuration file: it says itself how its models are loaded "
            f"and what their policies are. Leave out {', '.join(given)}, and write load options "
            "and policies into the file"
        )


def _check(config: UserConfig, digest: str) -> None:
    expected = config.get("digest")
    if expected is not None and expected.lower() != digest:
        raise DigestMismatchError(config["path"], expected, digest)


def deployment(
    path: str | os.PathLike[str],
    *,
    name: str = "model",
    digest: str | None = None,
    load: Mapping[str, Any] | None = None,
    policies: Mapping[str, Any] | None = None,
    http: Mapping[str, Any] | None = None,
    **serve_options: Any,
) -> Application:
    """A Ray Serve application of a model file, or of a configuration file (`.toml`).

    A configuration file stands alone: `digest`, `load` and `policies` beside it are
    `InvalidArgumentError`, here and in a changed `user_config`. `name` is the model's name in HTTP
    paths and for `handle.predict`. `digest` is the SHA-256 that the model file must have on every
    machine. `load` holds keyword arguments of `load`, `policies` those of `ModelManager.configure`,
    `http` those of `ModelManager.http`. `serve_options` are those of `serve.deployment`
    (`num_replicas`, `ray_actor_options`, `autoscaling_config`, ...).

    `path`, `digest`, `load` and `policies` become the deployment's `user_config` (`UserConfig`):
    Serve changes that without a restart of replicas, and each swaps the model in one step.

    >>> app = deployment("iris.onnx", name="iris")  # doctest: +SKIP
    >>> handle = ray.serve.run(app)  # doctest: +SKIP
    """
    config: dict[str, Any] = {"path": os.path.abspath(path)}
    for key, value in (("digest", digest), ("options", load), ("policies", policies)):
        if value is not None:
            config[key] = value
    if config["path"].endswith(_CONFIGURATION):
        _refuse_beside_configuration(config)
    try:
        from ray import serve
    except ImportError as e:
        raise ImportError(
            "modelserve.ray.deployment needs Ray Serve: pip install 'modelserve[ray]'"
        ) from e
    # A replica waits for nothing on its loop: Serve's default of 5 would leave it idle.
    settings: dict[str, Any] = {"name": name, "max_ongoing_requests": 100, **serve_options}
    made = serve.deployment(**settings, user_config=config)(ModelDeployment)
    return made.bind(name, dict(http or {}))


def app(args: Mapping[str, Any]) -> Application:
    """`import_path: modelserve.ray:app` in a configuration of `serve deploy`, with the arguments of
    `deployment` as `args`.
    """
    return deployment(**args)


class Predictor:
    """Scores batches of Ray Data: `ds.map_batches(Predictor, fn_constructor_kwargs={...})`.

    Batches of any format (NumPy, pandas, Arrow) come back with columns of answers beside their own.

    >>> ds.map_batches(  # doctest: +SKIP
    ...     Predictor, fn_constructor_kwargs={"path": "iris.onnx"}, concurrency=2
    ... )
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        digest: str | None = None,
        *,
        columns: Iterable[str] | None = None,
        prediction: str = "prediction",
        probability: str | None = "probability",
        class_probability: str | None = None,
        **options: Unpack[_LoadOptions],
    ) -> None:
        """`path`, `digest` and `options` are those of `process_model`; the others name columns of
        features and answers (see `ColumnScorer`).
        """
        self._scorer = ColumnScorer(
            process_model(path, digest, **options),
            columns=columns,
            prediction=prediction,
            probability=probability,
            class_probability=class_probability,
        )

    def __call__(self, batch: Any) -> Any:
        """The batch with the answers for its rows."""
        if isinstance(batch, Mapping):
            return {**batch, **self._scorer.score(batch)}
        if hasattr(batch, "assign"):
            return batch.assign(**self._scorer.score(batch))
        answers = self._scorer.score({name: batch[name] for name in batch.column_names})
        for name, column in answers.items():
            batch = batch.append_column(name, [column])
        return batch

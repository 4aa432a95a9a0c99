"""Versions, labels, gates, policies, events, repositories: what surrounds a model."""

from __future__ import annotations

import logging
import queue
import shutil
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Case, case

import modelserve as ms

HANG = 60


def until(holds: Callable[[], bool]) -> None:
    """Waits for what other threads do."""
    end = time.monotonic() + HANG
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture
def both(iris: Case, iris_v2: Case) -> ms.ModelManager:
    """Version 1 of iris serves, version 2 stands beside it."""
    manager = ms.ModelManager(keep_versions=2)
    manager.load("iris", iris.path)
    manager.load_version("iris", iris_v2.path)
    return manager


def test_versions_are_asked_by_number_and_label(
    both: ms.ModelManager, iris: Case, iris_v2: Case
) -> None:
    row = iris.rows[0]
    one, two = iris.expected["labels"][0], iris_v2.expected["labels"][0]
    assert both.predict("iris", row).prediction == one
    asked = both.predict("iris", row, version=2)
    assert (asked.prediction, asked.model_version) == (two, 2)
    both.set_label("iris", "canary", 2)
    assert both.labels("iris") == {"canary": 2}
    model = both.model("iris")
    assert model.predict(row, label="canary").model_version == 2
    assert model.predict_batch(iris.rows, version=2).receipt.version == 2
    proba = both.predict_proba("iris", iris.rows, label="canary")
    np.testing.assert_array_equal(proba, ms.load(iris_v2.path).predict_proba(iris.rows))
    outputs = both.run("iris", {"X": iris.rows}, version=2)
    np.testing.assert_array_equal(next(iter(outputs.values())), iris_v2.expected["labels"])
    first, second = both.versions("iris")
    assert (first.version, first.state, first.serving) == (1, "AVAILABLE", True)
    assert (second.labels, second.serving, second.error, second.message) == (
        ["canary"],
        False,
        None,
        "",
    )
    assert abs((datetime.now(UTC) - second.since).total_seconds()) < HANG
    both.remove_label("iris", "canary")
    with pytest.raises(ms.NotFoundError, match="canary"):
        model.predict(row, label="canary")
    with pytest.raises(ms.NotFoundError, match="version 9") as raised:
        both.predict("iris", row, version=9)
    assert raised.value.model == "iris"
    for pinned in (model.pin(), ms.load(iris.path)):
        with pytest.raises(ms.InvalidArgumentError, match="one version"):
            pinned.predict(row, version=2)


def test_serve_rollback_and_unload(both: ms.ModelManager, iris: Case) -> None:
    model = both.model("iris")
    both.serve("iris", 2)
    assert model.version == 2
    assert both.rollback("iris").version == 1 == model.version
    with pytest.raises(ms.InvalidArgumentError, match="serves"):
        both.unload_version("iris", 1)
    both.unload_version("iris", 2)
    with pytest.raises(ms.NotFoundError):
        model.predict(iris.rows[0], version=2)
    with pytest.raises(ms.ModelServeError):
        both.load_version("iris", b"no model")
    assert [(v.version, v.state) for v in both.versions("iris")][-1] == (3, "END")
    assert both.versions("iris")[-1].error and both.versions("iris")[-1].message


def test_options_of_a_request_are_checked(both: ms.ModelManager, iris: Case) -> None:
    model, row = both.model("iris"), iris.rows[0]
    options: dict[str, Any] = {"version": None, "label": None, "key": None, "timeout": None}
    assert model.predict(row, **options, priority=5, no_cache=True).model_version == 1
    assert model.predict(row, key="ann", timeout=60).model_version == 1
    for wrong in (
        {"version": 1, "label": "x"},
        {"priority": 500},
        {"timeout": -1},
        {"timeout": float("nan")},
    ):
        with pytest.raises(ms.InvalidArgumentError):
            model.predict(row, **wrong)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        model.predict(row, colour="red")  # type: ignore[call-arg]
    with pytest.raises(ms.DeadlineExceededError) as raised:
        model.predict(row, timeout=0)
    assert isinstance(raised.value, TimeoutError) and raised.value.model == "iris"


def test_a_receipt_says_how_the_answer_came_about(both: ms.ModelManager, iris: Case) -> None:
    both.configure("iris", cache=True)
    first = both.predict("iris", iris.rows[0]).receipt
    assert (first.model, first.version, first.route, first.cache) == ("iris", 1, "stable", "miss")
    assert first.digest == both.info("iris").digest
    assert first.batch_rows == 1 and first.run_ms > 0 and first.queue_ms >= 0
    assert first.fallback is None
    assert both.predict("iris", iris.rows[0]).receipt.cache == "hit"
    assert both.predict("iris", iris.rows[0], no_cache=True).receipt.cache == "off"
    text = repr(first)
    assert "version=1" in text and "route='stable'" in text and "fallback" not in text
    assert first == first and first != both.predict("iris", iris.rows[0]).receipt


def test_a_gate_keeps_out_what_answers_otherwise(iris: Case, iris_v2: Case, tmp_path: Path) -> None:
    manager = ms.ModelManager()
    manager.load("iris", iris.path)
    assert manager.gate_report("iris") is None
    manager.configure("iris", recent_inputs=len(iris.rows))
    for row in iris.rows:
        manager.predict("iris", row)
    same = manager.reload("iris", gate=ms.Gate(max_drift=0.0, max_disagreement=0.0))
    report = manager.gate_report("iris")
    assert same.version == 2 and report is not None and report.accepted
    assert (report.replayed, report.rows, report.disagreed) == (len(iris.rows), len(iris.rows), 0)
    assert report.worst is None and report.latency_ratio is not None
    events = manager.events()
    with pytest.raises(ms.InvalidModelError, match="differently") as raised:
        manager.reload("iris", iris_v2.path, gate=ms.Gate(max_disagreement=0.0))
    assert raised.value.model == "iris"
    assert manager.info("iris").version == 2
    report = manager.gate_report("iris")
    assert report is not None and not report.accepted and report.disagreed > 0
    assert report.worst is not None and report.worst.request.shape == (1, 4)
    assert report.worst.serving.prediction != report.worst.candidate.prediction
    assert "rejected" in str(report) and report.reasons[0] in str(report)
    assert "rejected" in [e.kind for e in iter(events.try_next, None)]

    label = iris.expected["labels"][0]
    golden = [{"row": iris.rows[0], "prediction": np.int64(label)}]
    manager.reload("iris", gate=ms.Gate(golden=golden))
    report = manager.gate_report("iris")
    assert report is not None and (report.golden, report.golden_failed) == (1, 0)
    # A gate may be used again, whatever its requests came from.
    gate = ms.Gate(golden=(request for request in golden))
    for _ in range(2):
        manager.reload("iris", gate=gate)
        report = manager.gate_report("iris")
        assert report is not None and report.golden == 1
    lines = tmp_path / "golden.jsonl"
    lines.write_text(f'{{"row": {iris.rows[0].tolist()}, "prediction": {label + 1}}}\n')
    with pytest.raises(ms.InvalidModelError, match="golden request of line 1"):
        manager.reload("iris", gate=ms.Gate(golden=lines))
    with pytest.raises(ms.InvalidInputError, match="golden: line 1"):
        manager.reload("iris", gate=ms.Gate(golden=[{"rwo": [1]}]))


def test_a_pinned_set_stays_the_same(both: ms.ModelManager, iris: Case) -> None:
    other = case("random_forest")
    both.load("forest", other.path)
    with both.pin("iris", "forest") as snap:
        both.serve("iris", 2)
        both.unload("forest")
        assert snap.predict("iris", iris.rows[0]).model_version == 1
        assert snap.predict("iris", iris.rows[0], timeout=HANG).model_version == 1
        assert len(snap.predict_batch("forest", other.rows)) == len(other.rows)
        assert snap.versions == {"iris": 1, "forest": 1} and "iris version 1" in repr(snap)
        assert snap.model("iris").pinned
        with pytest.raises(ms.NotFoundError):
            snap.predict("third", iris.rows[0])
    with pytest.raises(ms.NotReadyError, match="closed"):
        snap.predict("iris", iris.rows[0])
    assert both.predict("iris", iris.rows[0]).model_version == 2
    with pytest.raises(ms.NotFoundError):
        both.pin("iris", "forest")


def test_policies_deadline_and_fallback(both: ms.ModelManager, iris: Case) -> None:
    row = iris.rows[0]
    both.configure("iris", deadline={"default": "1ns"})
    with pytest.raises(ms.DeadlineExceededError):
        both.predict("iris", row)
    both.configure("iris", deadline={"default": timedelta(minutes=1)}, fallback=[{"version": 2}])
    assert both.predict("iris", row).receipt.route == "stable"
    both.configure("iris", fallback=[{"constant": {"label": 2, "probabilities": [0.0, 0.0, 1.0]}}])
    answer = both.predict("iris", row, timeout=0)
    assert (answer.prediction, answer.probability, answer.receipt.route) == (2, 1.0, "fallback")
    reason = answer.receipt.fallback
    assert reason is not None and (reason.kind, reason.by) == ("DeadlineExceeded", "constant")
    assert reason.message and "constant" in repr(answer.receipt)
    both.configure("iris")
    with pytest.raises(ms.DeadlineExceededError):
        both.predict("iris", row, timeout=0)


def test_policies_canary_and_promotion(both: ms.ModelManager, iris: Case) -> None:
    row = iris.rows[0]
    assert both.traffic("iris") is None and both.promotion("iris") is None
    both.configure("iris", canary={"version": 2, "percent": 100})
    answer = both.predict("iris", row)
    assert (answer.model_version, answer.receipt.route) == (2, "canary")
    both.set_canary_percent("iris", 0)
    assert both.predict("iris", row).model_version == 1
    traffic = both.traffic("iris")
    assert traffic is not None
    assert {arm["name"]: arm["requests"] for arm in traffic["arms"]} == {
        "stable": 1,
        "version 2": 1,
    }
    assert "version 2" in str(traffic)
    steps = [50.0, 100.0]
    both.configure("iris", canary={"version": 2, "promote": {"steps": steps}})
    assert {both.predict("iris", row, key=str(n)).model_version for n in range(50)} == {1, 2}
    promotion = both.promotion("iris")
    assert promotion is not None and promotion["steps"] == steps
    assert promotion["state"] == "running" and "step 1 of 2" in str(promotion)
    with pytest.raises(ms.NotFoundError):
        both.configure("iris", canary={"version": 7, "percent": 5})
    with pytest.raises(ms.InvalidArgumentError, match="canary"):
        both.configure("iris", canary={"percent": 5})


def test_policies_shadow(both: ms.ModelManager, iris: Case) -> None:
    assert both.shadow("iris") is None
    both.configure("iris", shadow={"version": 2, "percent": 100.0})
    for row in iris.rows:
        assert both.predict("iris", row).model_version == 1

    def done() -> bool:
        found = both.shadow("iris")
        assert found is not None
        return bool(found["compared"] + found["dropped"] == len(iris.rows))

    until(done)
    report = both.shadow("iris")
    assert report is not None and report["fraction"] == 1.0 and "mirrored" in str(report)


def test_policies_cache_admission_breaker_batching(both: ms.ModelManager, iris: Case) -> None:
    row = iris.rows[0]
    assert both.cache("iris") is None and both.circuit("iris") is None
    both.configure(
        "iris",
        cache={"capacity": "1MiB", "ttl": 60},
        admission={"max_in_flight": 4},
        breaker={"min_requests": 5, "failure_ratio": 0.5},
        batching={"max_batch_size": 16, "max_queue_delay": "1ms", "batch_invariant": False},
    )
    for _ in range(3):
        assert both.predict("iris", row).prediction == iris.expected["labels"][0]
    cache = both.cache("iris")
    assert cache is not None and (cache["hits"], cache["misses"], cache["entries"]) == (2, 1, 1)
    assert "hits" in str(cache)
    circuit = both.circuit("iris")
    assert circuit is not None and (circuit["state"], circuit["calls"]) == ("closed", 1)
    assert both.circuit("iris", 2) is not None
    with pytest.raises(ms.NotFoundError):
        both.circuit("iris", 9)
    both.configure("iris", cache=False, admission=True, breaker=True, batching=True)
    assert both.cache("iris") is None
    assert both.predict("iris", row).receipt.batch_rows == 1


def test_admission_refuses_what_is_too_much(manager: ms.ModelManager) -> None:
    slow = case("mlp")
    rows = np.repeat(slow.rows, 40_000 // len(slow.rows), axis=0)
    model = manager.load("slow", slow.path, threads=1)
    manager.configure(
        "slow", admission={"max_in_flight": 1}, batching={"concurrency": 1, "max_queue_size": 1}
    )
    outcomes: queue.Queue[str] = queue.Queue()

    def ask() -> None:
        try:
            model.predict_batch(rows)
            outcomes.put("answered")
        except ms.OverloadedError as e:
            assert e.model == "slow"
            outcomes.put("refused")

    def crowd() -> set[str]:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {outcomes.get() for _ in threads}

    seen: set[str] = set()

    def both_outcomes() -> bool:
        seen.update(crowd())
        return seen == {"answered", "refused"}

    until(both_outcomes)
    assert model.predict(slow.rows[0]).prediction == slow.expected["labels"][0]
    assert 'modelserve_shed_total{model="slow",version="1"} 0' not in manager.metrics_text()


def test_a_breaker_opens_and_a_fallback_answers(both: ms.ModelManager, iris: Case) -> None:
    row = iris.rows[0]
    both.configure(
        "iris",
        breaker={"min_requests": 4, "slow_call": 1e-9, "slow_ratio": 0.5, "open_for": "1h"},
        fallback=[{"version": 2}],
    )
    events = both.events()
    # Four open the circuit of version 1; four more would open that of version 2.
    receipts = [both.predict("iris", row).receipt for _ in range(6)]
    told = next(event for event in events if event.kind == "circuit")
    assert (told.state, told.sequence) == ("open", 1)
    circuit = both.circuit("iris")
    assert circuit is not None and circuit["state"] == "open" and circuit["retry_in"] > 0
    assert receipts[0].route == "stable" and receipts[0].version == 1
    last = receipts[-1]
    assert (last.route, last.version) == ("fallback", 2) and last.fallback is not None


def test_policies_that_are_wrong_name_the_key_and_change_nothing(
    both: ms.ModelManager, iris: Case
) -> None:
    both.configure("iris", cache=True)
    with pytest.raises(ms.InvalidArgumentError, match="did you mean 'max_batch_size'") as raised:
        both.configure("iris", batching={"max_batchsize": 3})  # type: ignore[arg-type]
    assert raised.value.model == "iris" and "line" not in str(raised.value)
    for policies in (
        {"batching": {"max_batch_size": "many"}},
        {"admission": {"max_in_flight": 0}},
        {"cache": {"ttl": "soon"}},
        {"fallback": [{"version": 1, "label": "x"}]},
        {"fallback": [{"model": "iris"}]},
        {"canary": {"version": 2, "percent": 500}},
    ):
        with pytest.raises(ms.InvalidArgumentError, match=next(iter(policies))):
            both.configure("iris", **policies)
    with pytest.raises(TypeError, match="unexpected keyword argument 'caching'"):
        both.configure("iris", caching=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"cache.ttl: expected .* got object"):
        both.configure("iris", cache={"ttl": object()})  # type: ignore[arg-type]
    with pytest.raises(ms.NotFoundError):
        both.configure("nothing", cache=True)
    both.predict("iris", iris.rows[0])
    assert both.cache("iris")


def test_events_come_in_order_and_end_with_the_manager(iris: Case) -> None:
    manager = ms.ModelManager()
    events = manager.events()
    told: queue.Queue[ms.Event] = queue.Queue()
    manager.on_event(told.put)
    manager.load("iris", iris.path)
    manager.set_label("iris", "stable", 1)
    assert events.next_within(HANG) == told.get(timeout=HANG)
    manager.unload("iris")
    del manager
    rest = list(events)
    kinds = [(e.kind, e.state or e.label) for e in rest]
    assert kinds == [
        ("state", "LOADING"),
        ("state", "AVAILABLE"),
        ("serving", None),
        ("label", "stable"),
        ("state", "UNLOADING"),
        ("state", "END"),
    ]
    assert [told.get(timeout=HANG) for _ in rest] == rest
    assert all(e.model == "iris" and e.version == 1 and e.at.tzinfo for e in rest)
    assert str(rest[0]) == "model 'iris' version 1: state LOADING"
    assert events.try_next() is None and events.next_within(0) is None


def test_waiting_for_events_lets_other_threads_run(manager: ms.ModelManager, iris: Case) -> None:
    events = manager.events()
    seen: list[ms.Event | None] = []
    thread = threading.Thread(target=lambda: seen.append(events.next_within(HANG)))
    thread.start()
    manager.load("iris", iris.path)
    thread.join(HANG)
    assert seen and seen[0] is not None and seen[0].state == "START"


def test_a_callback_that_raises_is_logged(
    manager: ms.ModelManager, iris: Case, caplog: pytest.LogCaptureFixture
) -> None:
    calls: queue.Queue[str | None] = queue.Queue()

    def callback(event: ms.Event) -> None:
        calls.put(event.state)
        raise RuntimeError("the callback is out of order")

    manager.on_event(callback)
    with caplog.at_level(logging.ERROR, logger="modelserve.events"):
        manager.load("iris", iris.path)
        assert [calls.get(timeout=HANG) for _ in range(3)] == ["START", "LOADING", "AVAILABLE"]
        until(lambda: len(caplog.records) >= 3)
    record = caplog.records[0]
    assert record.name == "modelserve.events" and record.exc_info
    assert "out of order" in str(record.exc_info[1])


def test_records_reach_logging(
    manager: ms.ModelManager, iris: Case, caplog: pytest.LogCaptureFixture
) -> None:
    ms.enable_logging(logging.DEBUG)
    try:
        with caplog.at_level(logging.DEBUG, logger="modelserve"):
            manager.load("iris", iris.path)
            with pytest.raises(ms.ModelServeError):
                manager.reload("iris", b"no model")
            assert ms._native.flush_logs(HANG)
            records = [r for r in caplog.records if r.name == "modelserve.lifecycle"]
            levels = {r.levelno for r in records}
            assert {logging.INFO, logging.ERROR} <= levels
            failed = next(r for r in records if r.levelno == logging.ERROR)
            assert (failed.model, failed.version) == ("iris", 2)  # type: ignore[attr-defined]
            assert "model 'iris' version 2: could not be loaded" in failed.getMessage()
            assert abs(failed.created - time.time()) < HANG
            ms.enable_logging("ERROR")
            caplog.clear()
            manager.reload("iris")
            assert ms._native.flush_logs(HANG) and not caplog.records
    finally:
        ms.disable_logging()


def test_a_manager_from_a_file(iris: Case, tmp_path: Path) -> None:
    shutil.copy(iris.path, tmp_path / "iris.onnx")
    file = tmp_path / "serving.toml"
    file.write_text(
        """
        [models.iris]
        path = "iris.onnx"
        [models.iris.cache]
        capacity = "1MiB"
        """
    )
    manager = ms.ModelManager.from_config(file)
    assert manager.predict("iris", iris.rows[0]).receipt.cache == "miss"
    file.write_text("[models.iris]\npth = 'iris.onnx'\n")
    with pytest.raises(ms.InvalidArgumentError, match=r"pth.*line 2.*did you mean 'path'"):
        ms.ModelManager.from_config(str(file))
    with pytest.raises(ms.NotFoundError):
        ms.ModelManager.from_config(tmp_path / "none.toml")


def test_a_repository_is_served_and_followed(iris: Case, iris_v2: Case, tmp_path: Path) -> None:
    root = tmp_path / "models"
    (root / "iris" / "1").mkdir(parents=True)
    shutil.copy(iris.path, root / "iris" / "1" / "model.onnx")
    manager = ms.ModelManager()
    with pytest.raises(ms.NotFoundError):
        manager.refresh()
    report = manager.serve_repository(root, watch=False, settle=0.001)
    assert report["loaded"] == [("iris", 1)] and report["error"] is None
    assert "loaded" in str(report)
    (root / "iris" / "2").mkdir()
    shutil.copy(iris_v2.path, root / "iris" / "2" / "model.onnx")
    until(lambda: bool(manager.refresh()["loaded"]))
    assert manager.predict("iris", iris.rows[0]).model_version == 2
    with pytest.raises(ms.AlreadyExistsError):
        manager.serve_repository(root)
    with pytest.raises(ms.InvalidArgumentError, match="version policy"):
        ms.ModelManager().serve_repository(root, version_policy="newest")

    followed = ms.ModelManager()
    followed.serve_repository(root, version_policy="all", poll_interval=0.05, settle=0.001)
    assert followed.predict("iris", iris.rows[0], version=1).model_version == 1
    (root / "iris" / "3").mkdir()
    shutil.copy(iris.path, root / "iris" / "3" / "model.onnx")
    until(lambda: followed.info("iris").version == 3)


def test_memory_is_counted_and_bounded(iris: Case) -> None:
    manager = ms.ModelManager(memory_budget=1 << 30, memory_policy="evict")
    manager.load("iris", iris.path)
    (held,) = manager.memory()
    assert (held.model, held.version) == ("iris", 1)
    assert held.weights + held.packed > 0 and held.scratch >= 0
    with pytest.raises(ms.LimitExceededError, match="budget"):
        ms.ModelManager(memory_budget=10).load("iris", iris.path)
    with pytest.raises(ms.InvalidArgumentError, match="memory_policy"):
        ms.ModelManager(memory_policy="forget")  # type: ignore[arg-type]


def test_requests_are_recorded_and_replayed(
    both: ms.ModelManager, iris: Case, iris_v2: Case, tmp_path: Path
) -> None:
    file = tmp_path / "requests.jsonl"
    assert both.recording("iris") is None and both.stop_recording("iris") is None
    both.record("iris", file, sample=1.0, max_bytes=1 << 20)
    with pytest.raises(ms.AlreadyExistsError):
        both.record("iris", tmp_path / "another.jsonl")
    for row in iris.rows:
        both.predict("iris", row)
    assert both.recording("iris") is not None
    status = both.stop_recording("iris")
    assert status is not None and status["written"] + status["dropped"] == len(iris.rows)
    assert status["ended"] is None and status["bytes"] == file.stat().st_size
    same = ms.replay(file, both.model("iris"), recorded_as="iris")
    assert (same["requests"], same["disagreements"]) == (status["written"], 0)
    assert same["worst"] is None and same["new"]["p50_ms"] > 0
    other = ms.replay(file, ms.load(iris_v2.path))
    assert other["disagreements"] > 0 and other["worst"]["line"] > 1
    assert "answered otherwise" in str(other)
    assert ms.replay(file, both.model("iris"), recorded_as="x")["requests"] == 0
    with pytest.raises(ms.NotFoundError):
        ms.replay(tmp_path / "none", both.model("iris"))


def test_metrics_tell_requests_by_outcome(both: ms.ModelManager, iris: Case) -> None:
    both.predict("iris", iris.rows[0])
    with pytest.raises(ms.InvalidInputError):
        both.predict("iris", [1.0])
    text = both.metrics_text()
    for outcome in ("ok", "invalid_input"):
        line = f'modelserve_requests_total{{model="iris",version="1",outcome="{outcome}"}} 1'
        assert line in text, text

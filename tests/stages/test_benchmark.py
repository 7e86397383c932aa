"""benchmark.py measures what it says, with a network that takes a known time."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_runtime import DETECTOR, FakeRuntime, detections, write_photo

import benchmark
from console import run
from detection import runtimes
from detection.detections import Detections
from detection.runtimes import RawHeads

SLOW = 0.01


def slow_detector(calls: list[float], takes: float) -> RawHeads:
    def network(_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        calls.append(takes)
        time.sleep(takes)
        return np.zeros((1, 3), np.float32), np.zeros((1, 4), np.float32)

    return RawHeads(TIMED.detector, network)


def network(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    time.sleep(SLOW)
    return np.zeros((1, 3), np.float32), np.zeros((1, 4), np.float32)


TIMED = RawHeads(
    DETECTOR.__class__(
        **{
            **DETECTOR.__dict__,
            "anchors": np.array([[0, 0, 8, 8]], np.float32),
            "box_coder_scale": (1,) * 4,
        }
    ),
    network,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number in range(3):
        write_photo(tmp_path / "data" / "test" / f"{number}.jpg", [])
    return tmp_path / "data"


def measured(monkeypatch: pytest.MonkeyPatch, detector: object, data: Path, output: Path) -> int:
    monkeypatch.setattr(runtimes, "load", lambda *_: detector)
    given = {"artifact": output, "runtime": "any", "data": data, "seconds": 0.3, "output": output}
    monkeypatch.setattr(sys, "argv", ["x", *(f"--{name}={value}" for name, value in given.items())])
    try:
        run(benchmark.main)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_a_round_holds_the_time_of_every_call(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.bin").write_bytes(bytes(300))

    assert measured(monkeypatch, TIMED, data, tmp_path / "out") == 0

    found = json.loads((tmp_path / "out" / "round.json").read_text())
    assert found["warm_up"] == 5
    assert 5 <= len(found["network_ms"]) <= 0.35 / SLOW
    assert min(found["network_ms"]) >= 1000 * SLOW
    assert min(found["end_to_end_ms"]) >= min(found["detector_ms"]) >= 1000 * SLOW
    assert "saved_model_ms" not in found  # this was converted
    assert found["size_bytes"] == 300
    assert found["peak_memory_mib"] > 10


def test_a_slow_network_is_called_no_more_often_than_it_must(data: Path) -> None:
    calls: list[float] = []

    found = benchmark.measure(slow_detector(calls, 0.1), data / "test", seconds=0.01)

    assert found["warm_up"] == 2
    assert len(found["network_ms"]) == len(found["end_to_end_ms"]) == 3
    assert len(calls) == 3 * (2 + 3)  # network, detector, end to end; to warm up, to count


def test_an_export_is_measured_with_its_saved_model_too(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    from detection.runtimes import tensorflow

    seen: list[np.ndarray] = []

    def whole(photo: np.ndarray) -> Detections:
        seen.append(photo)
        time.sleep(2 * SLOW)
        return detections()

    (tmp_path / "out" / "saved_model").mkdir(parents=True)
    monkeypatch.setattr(tensorflow, "whole_model", lambda _: FakeRuntime(whole))
    assert measured(monkeypatch, TIMED, data, tmp_path / "out") == 0

    found = json.loads((tmp_path / "out" / "round.json").read_text())
    assert min(found["saved_model_ms"]) >= 2000 * SLOW
    assert len(found["saved_model_ms"]) == len(found["detector_ms"])
    assert seen[0].ndim == 3


def test_what_has_no_network_of_its_own_is_refused(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    whole = FakeRuntime(lambda photo: detections())

    assert measured(monkeypatch, whole, data, tmp_path / "out") == 2


def test_no_photo_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data" / "test").mkdir(parents=True)

    assert (
        measured(monkeypatch, RawHeads(DETECTOR, network), tmp_path / "data", tmp_path / "o") == 2
    )


def test_a_summary_has_the_percentiles() -> None:
    line = benchmark.summary("network", [10.0] * 99 + [110.0])

    assert line == "network:    p50 10.00 ms, p95 10.00, p99 11.00; 100.0/s; 100 times"


def test_the_weights_of_two_stages_count_once(tmp_path: Path) -> None:
    for name, length in {"raw_heads/variables/all": 20, "box_head/variables/all": 20}.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(bytes(length))
    assert benchmark.size(tmp_path) == 20

    for name, length in {"model.xml": 1, "model.bin": 2, "box_head.bin": 30}.items():
        (tmp_path / "converted").mkdir(exist_ok=True)
        (tmp_path / "converted" / name).write_bytes(bytes(length))
    assert benchmark.size(tmp_path / "converted") == 33

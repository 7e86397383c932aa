"""What a benchmark makes of its rounds."""

from __future__ import annotations

import json

import pytest
from conftest import Project

from pipeline import benchmarking


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], {"p50": 7.0, "p95": 7.0, "p99": 7.0}),
        (list(range(100, 0, -1)), {"p50": 50, "p95": 95, "p99": 99}),
        ([1.0, 2.0, 100.0], {"p50": 2.0, "p95": 100.0, "p99": 100.0}),
    ],
)
def test_percentiles_are_times_that_occurred(
    values: list[float], expected: dict[str, float]
) -> None:
    assert benchmarking.percentiles(values) == expected


def test_a_ratio_holds_when_the_host_slows_down_meanwhile() -> None:
    # Twice as fast as the reference in each round, though everything takes longer and longer.
    assert benchmarking.ratio([5.5, 15.0, 50.0], [10.0, 12.0, 48.0, 152.0]) == pytest.approx(0.5)


def test_a_round_that_lacks_a_neighbour_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        benchmarking.ratio([1.0, 2.0], [1.0, 2.0])


def test_rounds_alternate_and_stand_ins_are_named(verified: Project) -> None:
    done = verified.invoke(
        *("benchmark", "--runner", "local", "--target", "box", "--rounds", "2"),
    )

    assert done.returncode == 0, done.stderr
    order = [line.rpartition(": ")[2] for line in done.stdout.splitlines() if "round " in line]
    assert order == [*("tensorflow/fp32", "box/fp32", "box/int8") * 2, "tensorflow/fp32"]
    result = json.loads(verified.artifact("default/box/int8/benchmark/benchmark.json").read_text())
    assert result["network_ms"]["ratio"] == 0.5
    assert result["network_ms"]["count"] == 6
    assert result["detector_ms"]["ratio"] == 0.25  # to the SavedModel, which does the same
    assert "TensorFlow's SavedModel: 16.0 ms" in done.stdout
    assert result["stand_in"] == "a crate"
    assert "stand-in: a crate" in done.stdout
    assert not verified.artifact("default/.benchmark").exists()

    verified.invoke(
        *("benchmark", "--runner", "local", "--target", "box", "--precision", "int8"),
        *("--rounds", "1", "--device", "BOX 7"),
    )
    result = json.loads(verified.artifact("default/box/int8/benchmark/benchmark.json").read_text())
    assert result["stand_in"] == ""

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
    order = [line.rpartition(": ")[2] for line in done.stdout.splitlines() if "round" in line][:7]
    assert order == [*("tensorflow/fp32", "box/fp32", "box/int8") * 2, "tensorflow/fp32"]
    result = json.loads(verified.artifact("default/box/int8/benchmark/benchmark.json").read_text())
    assert result["network_ms"]["ratio"] == 0.5
    assert result["network_ms"]["count"] == 6
    assert result["detector_ms"]["ratio"] == 0.25  # to the SavedModel, which does the same
    assert "TensorFlow's SavedModel: 16.0 ms" in done.stdout
    assert ", 2 rounds, each after 5 calls" in done.stdout
    assert result["stand_in"] == "a crate"
    assert "stand-in: a crate" in done.stdout
    assert not verified.artifact("default/.benchmark").exists()

    verified.invoke(
        *("benchmark", "--runner", "local", "--target", "box", "--precision", "int8"),
        *("--rounds", "1", "--device", "BOX 7"),
    )
    result = json.loads(verified.artifact("default/box/int8/benchmark/benchmark.json").read_text())
    assert result["stand_in"] == ""


def test_slow_networks_have_fewer_rounds_and_it_is_said(project: Project) -> None:
    done = project.invoke(
        *("benchmark", "--runner", "local", "--target", "box", "--precision", "fp32"),
        *("--rounds", "100", "--minutes", "0.05"),
    )

    assert done.returncode == 0, done.stderr
    result = json.loads(project.artifact("default/box/fp32/benchmark/benchmark.json").read_text())
    assert 1 <= result["rounds"] < 100
    assert f"{result['rounds']} of 100 rounds: they took" in done.stdout
    assert "would end after 0.05 minutes (--minutes)" in done.stdout
    assert "ratio" in result["network_ms"]  # the last round lies between two of the reference too


def test_what_was_measured_and_how_long_the_rest_takes_is_said_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(benchmarking.time, "monotonic", lambda: now[0])
    clock = benchmarking.Clock(rounds=5, minutes=10)

    now[0] += 150
    assert clock.left(1.25) == "about 7 min 30 s left"  # at 2 min a round
    assert clock.left(0.625) == "about 5 min 30 s left"  # at 4 min a round there is time for two
    assert clock.left(0.125) == "about 17 min 30 s left"  # the first round is finished anyway
    assert clock.another(1)
    assert not clock.another(5)
    now[0] += 250
    assert not clock.another(1)  # it would end at 800 s

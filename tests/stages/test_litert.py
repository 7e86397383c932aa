"""LiteRT's runtime on what `train` converted, in its environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("ai_edge_litert", reason="runs in the environment 'litert'")

import numpy as np
from converted import TINY, assert_same_detections, assert_same_heads

from detection import runtimes


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_converted_network_gives_tensorflows_heads(precision: str) -> None:
    assert_same_heads(TINY / "tflite" / precision, "litert", precision)


def test_a_photo_gives_tensorflows_detections() -> None:
    assert_same_detections(TINY / "tflite" / "fp32", "litert")


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.parametrize(("asked", "workers"), [(0, 2), (1, 0), (2, 1)])
def test_it_takes_all_cores_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, asked: int, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    before = _threads()

    detector = runtimes.load("litert", TINY / "tflite" / "fp32", threads=asked)
    height, width = detector.detector.input.height, detector.detector.input.width
    detector.network(np.zeros((1, height, width, 3), np.uint8))

    # The caller works too.
    assert _threads() - before == workers


def test_int8_is_a_quarter_of_fp32() -> None:
    sizes = {
        precision: (TINY / "tflite" / precision / "model.tflite").stat().st_size
        for precision in ("fp32", "int8")
    }
    assert sizes["int8"] < 0.5 * sizes["fp32"]

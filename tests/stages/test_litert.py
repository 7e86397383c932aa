"""LiteRT's runtime on what `train` converted, in its environment."""

from __future__ import annotations

import pytest

pytest.importorskip("ai_edge_litert", reason="runs in the environment 'litert'")

from converted import TINY, assert_same_detections, assert_same_heads


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_converted_network_gives_tensorflows_heads(precision: str) -> None:
    assert_same_heads(TINY / "tflite" / precision, "litert", precision)


def test_a_photo_gives_tensorflows_detections() -> None:
    assert_same_detections(TINY / "tflite" / "fp32", "litert")


def test_int8_is_a_quarter_of_fp32() -> None:
    sizes = {
        precision: (TINY / "tflite" / precision / "model.tflite").stat().st_size
        for precision in ("fp32", "int8")
    }
    assert sizes["int8"] < 0.5 * sizes["fp32"]

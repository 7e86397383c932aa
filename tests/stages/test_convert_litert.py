"""INT8 for LiteRT where the plain way misses: converted in `train`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="runs in the environment 'train'")

from converted import TINY

import attempts
import convert_litert
from conversion import Request
from detection.detector import read_detector


def test_where_plain_int8_does_not_hold_the_layers_that_round_most_stay_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A bar that plain int8 of this network does not reach.
    monkeypatch.setattr(
        attempts.Closeness, "close", property(lambda one: one.mean_score_difference < 0.0075)
    )
    folder = tmp_path
    export = TINY / "export"
    convert_litert.convert(
        Request(export, None, TINY / "data", "int8", "", 1, folder, read_detector(export))
    )

    calibration = json.loads((folder / "calibration.json").read_text())
    plain, better = calibration["tried"]
    assert "layers that round most" in better["method"]
    assert better["mean_score_difference"] < 0.0075 <= plain["mean_score_difference"]
    assert better["differing"] < 0.05
    assert calibration["method"] == f"post-training, {better['method']}"
    sizes = [
        (path / "model.tflite").stat().st_size
        for path in (TINY / "tflite" / "int8", folder, TINY / "tflite" / "fp32")
    ]
    assert sizes[0] < sizes[1] < 0.6 * sizes[2]

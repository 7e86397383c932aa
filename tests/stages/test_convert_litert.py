"""INT8 for LiteRT where the plain way misses: converted in `train`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="runs in the environment 'train'")

from converted import TINY, convert


def test_where_plain_int8_does_not_hold_the_layers_that_round_most_stay_exact(
    tmp_path: Path,
) -> None:
    # A network that has learned nothing amplifies every rounding of its activations.
    folder = convert("convert_litert.py", tmp_path / "converted", "int8", "--attempts", "9")

    calibration = json.loads((folder / "calibration.json").read_text())
    plain, better = calibration["tried"]
    assert "layers that round most" in better["method"]
    assert better["mean_iou"] > max(0.96, plain["mean_iou"])
    assert better["differing"] < 0.05
    assert calibration["method"] == f"post-training, {better['method']}"
    sizes = [
        (path / "model.tflite").stat().st_size
        for path in (TINY / "tflite" / "int8", folder, TINY / "tflite" / "fp32")
    ]
    assert sizes[0] < sizes[1] < 0.6 * sizes[2]

"""INT8 for LiteRT where the plain way misses: converted in `train`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="runs in the environment 'train'")

from converted import TINY, convert


def test_where_plain_int8_is_not_close_arithmetic_stays_in_floating_point(tmp_path: Path) -> None:
    # A network that has learned nothing amplifies every rounding of its activations.
    folder = convert("convert_litert.py", tmp_path / "converted", "int8", "--attempts", "2")

    calibration = json.loads((folder / "calibration.json").read_text())
    plain, better = calibration["tried"]
    assert better["mean_iou"] > max(0.98, plain["mean_iou"])
    assert better["differing"] < 0.05
    assert calibration["method"] == f"post-training, {better['method']}"
    size = (folder / "model.tflite").stat().st_size
    assert size < 0.5 * (TINY / "tflite" / "fp32" / "model.tflite").stat().st_size

"""Conversion to OpenVINO and its runtime, in their environment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openvino", reason="runs in the environment 'openvino'")

from converted import (
    TINY,
    assert_same_detections,
    assert_same_heads,
    assert_same_two_networks,
    convert,
)
from samples import stage

from console import InputError
from detection import runtimes


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_converted_network_gives_tensorflows_heads(tmp_path: Path, precision: str) -> None:
    folder = convert("convert_openvino.py", tmp_path / "converted", precision)

    assert_same_heads(folder, "openvino", precision)


def test_a_photo_gives_tensorflows_detections(tmp_path: Path) -> None:
    folder = convert("convert_openvino.py", tmp_path / "converted", "fp32")

    assert_same_detections(folder, "openvino")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_both_networks_of_a_two_stage_detector(tmp_path: Path, precision: str) -> None:
    folder = convert("convert_openvino.py", tmp_path / "converted", precision, source=TINY / "two")

    assert_same_two_networks(folder, "openvino", precision)


def test_int8_leaves_the_box_head_as_it_is(tmp_path: Path) -> None:
    folder = convert("convert_openvino.py", tmp_path / "converted", "int8", source=TINY / "two")

    assert "FakeQuantize" in (folder / "model.xml").read_text()
    assert "FakeQuantize" not in (folder / "box_head.xml").read_text()
    expected = np.load(TINY / "two" / "networks.npz")
    scores, _, features = runtimes.load("openvino", folder).first(expected["picture"])
    assert scores.shape == expected["scores"].shape and len(features) == 4


def test_int8_says_what_it_was_calibrated_on(tmp_path: Path) -> None:
    folder = convert("convert_openvino.py", tmp_path / "converted", "int8", "--seed", "5")

    calibration = json.loads((folder / "calibration.json").read_text())
    assert sorted(calibration["photos"]) == sorted(f"{n}.jpg" for n in range(12))
    assert calibration["seed"] == 5
    assert (folder / "model.bin").stat().st_size < 0.6 * (
        convert("convert_openvino.py", tmp_path / "fp32", "fp32") / "model.bin"
    ).stat().st_size


def test_where_plain_int8_is_not_close_a_better_way_is_tried(tmp_path: Path) -> None:
    folder = convert("convert_openvino.py", tmp_path / "converted", "int8", "--attempts", "2")

    calibration = json.loads((folder / "calibration.json").read_text())
    plain, better = calibration["tried"]
    assert plain["mean_iou"] < 0.93  # the network has learned nothing, and rounding shows
    assert "last layers of the heads in floating point" in better["method"]
    assert calibration["method"].removeprefix("post-training, ") in (
        plain["method"],
        better["method"],
    )


def test_int8_without_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    done = stage(
        *("convert_openvino.py", "--export", TINY / "export", "--data", tmp_path),
        *("--precision", "int8", "--output", tmp_path / "converted"),
    )

    assert done.returncode == 2
    assert "no photo here to calibrate int8 on" in done.stderr
    assert not (tmp_path / "converted" / "detector.json").exists()


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = convert("convert_openvino.py", tmp_path / "converted", "fp32")

    with pytest.raises(InputError, match=r"--device NPU: OpenVINO finds none here, only .*CPU"):
        runtimes.load("openvino", folder, "NPU")

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

import mixed_precision
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


def test_where_plain_int8_does_not_hold_the_parts_that_cost_accuracy_stay_exact(
    tmp_path: Path,
) -> None:
    # The network has learned nothing, and rounding shows.
    folder = convert("convert_openvino.py", tmp_path / "converted", "int8", "--attempts", "9")

    calibration = json.loads((folder / "calibration.json").read_text())
    plain, last_layers, parts = calibration["tried"]
    assert plain["mean_iou"] < 0.93 and last_layers["mean_iou"] < 0.93 < parts["mean_iou"]
    assert "last layers of the heads in floating point" in last_layers["method"]
    assert calibration["method"] == f"post-training, {parts['method']}"
    # Most of it is in 8 bits all the same, and it is what the runtime computes.
    layers = (folder / "model.xml").read_text().count('type="FakeQuantize"')
    assert layers > 50
    assert_same_heads(folder, "openvino", "int8")


def test_a_part_that_is_given_back_computes_exactly() -> None:
    """All parts given back are the exact network again, biases that were corrected included."""
    import nncf
    import openvino

    exact = openvino.convert_model(str(TINY / "export" / "raw_heads"))
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (1, 128, 128, 3), np.uint8) for _ in range(2)]
    quantized = nncf.quantize(exact.clone(), nncf.Dataset(pictures), subset_size=2)

    parts = mixed_precision.split(exact, 12)
    all_of_it = [name for part in parts for name in part]
    assert len(parts) == 12
    assert sorted(all_of_it) == sorted(one.get_friendly_name() for one in exact.get_ops())

    def heads(model: openvino.Model) -> np.ndarray:
        exactly = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.compile_model(model, "CPU", exactly)
        return compiled(pictures[:1])["boxes"].copy()

    apart = [
        np.abs(heads(mixed_precision.restored(quantized, exact, names)) - heads(exact)).mean()
        for names in ([], parts[0], all_of_it)
    ]
    assert apart[0] > 0 and apart[1] != apart[0]
    assert apart[2] < 0.02 * apart[0]


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

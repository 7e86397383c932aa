"""Conversion for ONNX Runtime and its runtime, in their environment."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="runs in the environment 'nvidia'")

from converted import (
    TINY,
    assert_same_detections,
    assert_same_heads,
    assert_same_two_networks,
    convert,
)

from console import InputError
from detection import runtimes
from detection.detector import read_detector


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_converted_network_gives_tensorflows_heads(tmp_path: Path, precision: str) -> None:
    folder = convert("convert_onnx.py", tmp_path / "converted", precision)

    assert_same_heads(folder, "onnx", precision)


@pytest.mark.parametrize("source", [TINY, TINY / "two"])
def test_scores_near_one_are_told_apart_in_16_bits_too(tmp_path: Path, source: Path) -> None:
    folder = convert("convert_onnx.py", tmp_path / "converted", "fp16", source=source)
    picture = np.load(TINY / "heads.npz")["picture"]
    detector = runtimes.load("onnx", folder)

    scores = (detector.network if source == TINY else detector.first)(picture)[0]

    assert np.mean(scores.astype(np.float16) == scores) < 0.1


def test_a_photo_gives_tensorflows_detections(tmp_path: Path) -> None:
    folder = convert("convert_onnx.py", tmp_path / "converted", "fp32")

    assert_same_detections(folder, "onnx")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_both_networks_of_a_two_stage_detector(tmp_path: Path, precision: str) -> None:
    folder = convert("convert_onnx.py", tmp_path / "converted", precision, source=TINY / "two")

    assert_same_two_networks(folder, "onnx", precision)
    script = (folder / "build_engine.sh").read_text()
    assert "--onnx=model.onnx" in script and "--onnx=box_head.onnx" in script


def test_cuda_without_a_gpu_is_an_error_and_no_silent_cpu(tmp_path: Path) -> None:
    folder = convert("convert_onnx.py", tmp_path / "converted", "fp32")

    with pytest.raises(InputError, match="finds no CUDA here"):
        runtimes.load("onnx", folder, "CUDA")


def test_the_network_for_toolchains_wants_normalised_planes() -> None:
    import onnxruntime

    expected = np.load(TINY / "heads.npz")
    given = read_detector(TINY / "export").input
    normalised = (expected["picture"] - np.array(given.mean)) / np.array(given.std)
    planes = normalised.transpose(0, 3, 1, 2).astype(np.float32)
    session = onnxruntime.InferenceSession(str(TINY / "onnx" / "nchw.onnx"))

    scores, boxes = session.run(["scores", "boxes"], {"images": planes})

    np.testing.assert_allclose(scores[0], expected["scores"], atol=1e-4)
    np.testing.assert_allclose(boxes[0], expected["boxes"], atol=1e-3)


def test_the_engine_script_says_what_is_missing(tmp_path: Path) -> None:
    folder = convert("convert_onnx.py", tmp_path / "converted", "fp16")

    done = subprocess.run(
        ["sh", str(folder / "build_engine.sh")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "no trtexec here" in done.stderr

"""What the tests of every device's environment ask of a converted detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from samples import stage
from tiny_export import TINY

from detection import runtimes
from detection.decoding import decode

if not (TINY / "heads.npz").exists():
    pytest.skip(
        "needs `python tests/stages/tiny_export.py artifacts/.tests/tiny` in `train`",
        allow_module_level=True,
    )

# How far scores (0 to 1) and box codes may be from TensorFlow's.
TOLERANCE = {"fp32": (1e-4, 1e-3), "fp16": (1e-2, 3e-2)}


def convert(script: str, output: Path, precision: str, *further: str) -> Path:
    """The folder that a converter wrote."""
    done = stage(
        *(script, "--export", TINY / "export", "--onnx", TINY / "onnx", "--data", TINY / "data"),
        # This network has learned nothing: no int8 of it is close to it.
        *("--precision", precision, "--attempts", 1, "--output", output, *further),
    )
    assert done.returncode == 0, done.stderr
    return output


def assert_same_heads(folder: Path, runtime: str, precision: str, device: str = "") -> None:
    """The converted network gives TensorFlow's scores and boxes, anchor by anchor."""
    expected = np.load(TINY / "heads.npz")
    scores, boxes = runtimes.load(runtime, folder, device, threads=1).network(expected["picture"])
    if precision == "int8":
        # A network that has learned nothing amplifies every rounding; how good int8 is on a
        # trained one is for verify.py to say.
        assert (scores.shape, boxes.shape) == (expected["scores"].shape, expected["boxes"].shape)
        assert np.isfinite(boxes).all() and (scores >= 0).all() and (scores <= 1).all()
        assert scores.std() > 0
        return
    for found, name, tolerance in zip((scores, boxes), ("scores", "boxes"), TOLERANCE[precision]):
        assert found.shape == expected[name].shape
        np.testing.assert_allclose(found, expected[name], atol=tolerance, err_msg=name)
    # Not merely near a constant: the order of anchors and classes is the same.
    assert np.corrcoef(scores.ravel(), expected["scores"].ravel())[0, 1] > 0.9


def assert_same_detections(folder: Path, runtime: str) -> None:
    """A whole photo gives the detections that TensorFlow's heads decode to."""
    expected = np.load(TINY / "heads.npz")
    detector = runtimes.load(runtime, folder, threads=1)
    photo = expected["photo"]
    found = detector.detect(photo)
    wanted = decode(
        expected["scores"], expected["boxes"], detector.detector, photo.shape[1], photo.shape[0]
    )
    assert len(wanted) > 5
    np.testing.assert_array_equal(found.classes, wanted.classes)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.05)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)

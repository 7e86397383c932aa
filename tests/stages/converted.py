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

# How far scores (0 to 1) and box codes may be from TensorFlow's: three times what the furthest of
# all runtimes is with 16 bits.
TOLERANCE = {"fp32": (1e-4, 1e-3), "fp16": (5e-3, 5e-3)}
# The same for what has another scale, as a share of the largest value.
SHARE = {"fp32": 1e-4, "fp16": 2e-3}
SMALLEST_IN_16_BITS = 2.0**-24


def convert(script: str, output: Path, precision: str, *further: str, source: Path = TINY) -> Path:
    """The folder that a converter wrote."""
    done = stage(
        *(script, "--export", source / "export", "--onnx", source / "onnx"),
        # This network has learned nothing: no int8 of it is close to it.
        *("--data", TINY / "data", "--attempts", 1),
        *("--precision", precision, "--output", output, *further),
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
        np.testing.assert_allclose(found, expected[name], rtol=0, atol=tolerance, err_msg=name)
    # Not merely near a constant: the order of anchors and classes is the same.
    assert np.corrcoef(scores.ravel(), expected["scores"].ravel())[0, 1] > 0.9


def assert_same_two_networks(folder: Path, runtime: str, precision: str) -> None:
    """Both networks of a two-stage detector give what TensorFlow's give, each for the same input.

    Not one after the other: of an untrained one all scores are nearly equal, and which proposals
    come first is a matter of the last digit.
    """
    expected = dict(np.load(TINY / "two" / "networks.npz"))
    detector = runtimes.load(runtime, folder, threads=1)
    score, code = TOLERANCE[precision]
    scores, codes, features = detector.first(expected["picture"])
    np.testing.assert_allclose(scores, expected["scores"], rtol=0, atol=score)
    np.testing.assert_allclose(codes, expected["codes"], rtol=0, atol=code)
    assert sorted(features) == ["features_3", "features_4", "features_5", "features_6"]
    for name, found in features.items():
        largest = np.abs(expected[name]).max()
        # The coarser levels of an untrained network are too faint for 16 bits.
        if precision == "fp32" or largest > 1000 * SMALLEST_IN_16_BITS:
            atol = SHARE[precision] * largest
            np.testing.assert_allclose(found, expected[name], rtol=0, atol=atol, err_msg=name)
    given = {name: expected[name] for name in features}
    region_scores, region_codes = detector.second(given, expected["proposals"])
    np.testing.assert_allclose(region_scores, expected["region_scores"], rtol=0, atol=score)
    atol = SHARE[precision] * np.abs(expected["region_codes"]).max()
    np.testing.assert_allclose(region_codes, expected["region_codes"], rtol=0, atol=atol)
    assert len(np.unique(expected["region_scores"].round(4), axis=0)) > 5  # each looks elsewhere
    assert len(detector.detect(expected["picture"][0])) > 0


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

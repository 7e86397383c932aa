"""Conversion for the RK3399Pro up to its maker's wheel, which is on no package registry.

What would be handed to it is real; in its place stands an object of its shape. Runs in the
environment 'rknn', which has ONNX and ONNX Runtime.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rknn", reason="runs in the environment 'rknn'")

import onnx
import onnxruntime
from converted import TINY
from PIL import Image
from samples import stage

import convert_rk3399pro
from console import StageError
from conversion import Request
from detection import runtimes
from detection.detector import read_detector
from npu_network import for_npu


class Toolkit:
    """The toolkit's names and answers; keeps what it is given, and writes the network as it is."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.given: dict[str, Any] = {}

    def config(self, **options: Any) -> int:
        self.given |= options
        return self._answer("config")

    def load_onnx(self, model: str) -> int:
        self.network = Path(model).read_bytes()
        return self._answer("load_onnx")

    def build(self, do_quantization: bool, dataset: str = "") -> int:
        self.given["do_quantization"] = do_quantization
        paths = Path(dataset).read_text().split() if dataset else []
        self.photos = [np.asarray(Image.open(path)) for path in paths]
        return self._answer("build")

    def export_rknn(self, path: str) -> int:
        Path(path).write_bytes(self.network)
        return self._answer("export_rknn")

    def _answer(self, step: str) -> int:
        return -1 if step == self.failing else 0


def convert(output: Path, precision: str, toolkit: Toolkit, monkeypatch) -> None:
    monkeypatch.setattr(convert_rk3399pro, "toolkit_1", lambda: toolkit)
    output.mkdir()
    detector = read_detector(TINY / "export")
    places = (TINY / "export", TINY / "onnx", TINY / "data")
    convert_rk3399pro.convert(Request(*places, precision, "", 5, output, detector))


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_toolkit_is_given_what_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    toolkit = Toolkit()
    convert(tmp_path / "converted", precision, toolkit, monkeypatch)

    network = onnx.load_from_string(toolkit.network)
    assert (network.opset_import[0].version, len(network.opset_import)) == (9, 1)
    assert network.ir_version <= 6  # that of ONNX 1.6
    assert {node.op_type for node in network.graph.node} <= convert_rk3399pro.OPERATORS
    assert toolkit.given["target_platform"] == ["rk3399pro"]
    assert toolkit.given["mean_values"] == [list(read_detector(TINY / "export").input.mean)]
    assert toolkit.given["do_quantization"] == (precision == "int8")
    assert len(toolkit.photos) == (12 if precision == "int8" else 0)
    assert all(photo.shape == (128, 128, 3) for photo in toolkit.photos)
    files = {path.name for path in (tmp_path / "converted").iterdir()}
    assert files - {"calibration.json"} == {"model.rknn", "detector.json", "anchors.npy"}
    if precision == "int8":
        calibration = json.loads((tmp_path / "converted" / "calibration.json").read_text())
        assert (calibration["seed"], len(calibration["photos"])) == (5, 12)


def test_what_it_is_given_detects_what_tensorflow_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network in the toolkit's place, run by ONNX Runtime, through the runtime of the board."""
    convert(tmp_path / "converted", "fp16", Toolkit(), monkeypatch)
    given = read_detector(tmp_path / "converted").input

    class RKNN:
        def load_rknn(self, path: str) -> int:
            self.session = onnxruntime.InferenceSession(path)
            return 0

        def init_runtime(self, target: object) -> int:
            return 0

        def inference(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
            (picture,) = inputs
            planes = ((picture - np.array(given.mean)) / np.array(given.std)).transpose(2, 0, 1)
            name = self.session.get_inputs()[0].name
            return self.session.run(None, {name: planes[None].astype(np.float32)})

    api = types.ModuleType("rknn.api")
    api.RKNN = RKNN
    monkeypatch.setitem(sys.modules, "rknn.api", api)
    expected = np.load(TINY / "heads.npz")

    scores, boxes = runtimes.load("rknn1", tmp_path / "converted").network(expected["picture"])

    np.testing.assert_allclose(scores, expected["scores"], atol=1e-4)
    np.testing.assert_allclose(boxes, expected["boxes"], atol=1e-3)


def test_an_operator_that_is_not_listed_is_named() -> None:
    network = for_npu(onnx.load(TINY / "onnx" / "nchw.onnx"), read_detector(TINY / "onnx"))
    next(node for node in network.graph.node if node.op_type == "Add").op_type = "HardSwish"

    with pytest.raises(StageError, match="does not list the ONNX operators HardSwish"):
        convert_rk3399pro.for_toolkit_1(network)


@pytest.mark.parametrize("step", ["config", "load_onnx", "build", "export_rknn"])
def test_a_step_that_fails_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with pytest.raises(StageError, match=f"{step} failed"):
        convert(tmp_path / "converted", "fp16", Toolkit(failing=step), monkeypatch)

    assert not (tmp_path / "converted" / "detector.json").exists()


def test_without_the_wheel_it_says_where_that_comes_from(tmp_path: Path) -> None:
    done = stage(
        *("convert_rk3399pro.py", "--export", TINY / "export", "--onnx", TINY / "onnx"),
        *("--precision", "fp16", "--output", tmp_path / "converted"),
    )

    assert done.returncode == 1
    assert "all of operators that it lists" in done.stdout
    assert "its wheel comes from Rockchip's releases. docs/ROCKCHIP.md says" in done.stderr

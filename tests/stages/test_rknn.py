"""Conversion for Rockchip's NPUs and their simulator, in their environment."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rknn", reason="runs in the environment 'rknn'")

import onnx
from converted import TINY, assert_same_heads, convert
from samples import stage

import attempts
import convert_rknn
from attempts import Closeness
from console import InputError, StageError
from convert_rknn import Method
from detection import rknn_toolkit, runtimes
from detection.detector import read_detector
from npu_network import for_npu


@pytest.fixture(scope="module")
def fp16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("fp16") / "converted"
    return convert("convert_rknn.py", output, "fp16", "--chip", "rk3588")


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("int8") / "converted"
    return convert("convert_rknn.py", output, "int8", "--chip", "rk3566", "--seed", "5")


def test_the_simulator_gives_tensorflows_heads_in_16_bits(fp16: Path) -> None:
    assert_same_heads(fp16, "rknn", "fp16")


def test_the_simulator_runs_8_bits(int8: Path) -> None:
    assert_same_heads(int8, "rknn", "int8")


def test_int8_says_how_it_came_about(int8: Path) -> None:
    calibration = json.loads((int8 / "calibration.json").read_text())

    assert sorted(calibration["photos"]) == sorted(f"{n}.jpg" for n in range(12))
    assert calibration["seed"] == 5
    assert "post-training" in calibration["method"]
    assert 0 <= calibration["tried"][0]["mean_iou"] <= 1


def test_the_board_gets_a_network_for_its_chip(fp16: Path, int8: Path) -> None:
    for folder, chip in ((fp16, b'["rk3588"]'), (int8, b'["rk3566"]')):
        content = (folder / "model.rknn").read_bytes()
        assert content.startswith(b"RKNN") and b'"target_platform":' + chip in content
        # Nothing is left to processors: the toolkit says of each layer what runs it.
        assert {path.name for path in folder.iterdir()} - {"calibration.json"} == {
            *("model.rknn", "detector.json", "anchors.npy", "simulation")
        }


@pytest.mark.parametrize(
    ("kept", "message"), [(-1, "not a whole"), (200, "not a whole"), (3, "load_rknn")]
)
def test_a_file_that_is_not_whole_is_not_opened(
    fp16: Path, tmp_path: Path, kept: int, message: str
) -> None:
    path = tmp_path / "model.rknn"
    path.write_bytes((fp16 / "model.rknn").read_bytes()[:kept])

    with pytest.raises(StageError, match=message):
        rknn_toolkit.opened(path)


def test_a_network_for_something_else_is_refused(fp16: Path, tmp_path: Path) -> None:
    given = read_detector(fp16).input
    simulation = shutil.copytree(fp16 / "simulation", tmp_path / "simulation")

    with pytest.raises(StageError, match=r"something else: \(\['rk3588'\]"):
        rknn_toolkit.export(simulation, given, 7, tmp_path / "model.rknn")


def test_a_model_that_is_not_what_would_be_simulated_is_refused(fp16: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fp16, tmp_path / "mixed")
    with (folder / "model.rknn").open("ab") as file:
        file.write(b"another")

    with pytest.raises(StageError, match="is not what"):
        runtimes.load("rknn", folder)


def test_a_packed_detector_cannot_be_simulated(fp16: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fp16, tmp_path / "packed")
    shutil.rmtree(folder / "simulation")

    with pytest.raises(InputError, match="a packed detector runs on its board alone"):
        runtimes.load("rknn", folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--precision", "fp16", "--chip", "rk9999"), "--chip rk9999: "),
        (("--precision", "fp16"), "--chip is missing"),
        (("--precision", "fp32", "--chip", "rk3588"), "Rockchip's NPUs have fp16 and int8"),
    ],
)
def test_what_cannot_be_converted_is_said(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = stage(
        *("convert_rknn.py", "--export", TINY / "export", "--onnx", TINY / "onnx"),
        *(*arguments, "--output", tmp_path / "converted"),
    )

    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "converted" / "detector.json").exists()


def test_a_network_of_another_form_is_refused() -> None:
    detector = read_detector(TINY / "onnx")
    network = onnx.load(TINY / "onnx" / "nchw.onnx")
    node = next(node for node in network.graph.node if node.op_type == "Concat")
    node.op_type = "Max"
    del node.attribute[:]

    with pytest.raises(StageError, match="come from Max where"):
        for_npu(network, detector)


def test_a_network_that_adds_up_differently_when_cut_is_refused() -> None:
    """Columns exchanged behind the concatenation would be lost by cutting it off."""
    detector = read_detector(TINY / "onnx")
    network = onnx.load(TINY / "onnx" / "nchw.onnx")
    concat = [node for node in network.graph.node if node.op_type == "Concat"][-1]
    concat.input[:] = [*concat.input[1:], concat.input[0]]

    with pytest.raises((StageError, ValueError), match=r"differs by|not the logits"):
        for_npu(network, detector)


def test_the_npu_network_has_nothing_but_what_npus_do() -> None:
    network = for_npu(onnx.load(TINY / "onnx" / "nchw.onnx"), read_detector(TINY / "onnx"))

    kinds = {node.op_type for node in network.graph.node}
    assert kinds <= {"Conv", "Clip", "Add", "Mul", "BatchNormalization", "Resize"}
    assert "Resize" in kinds  # instead of Tile in six dimensions


def test_the_last_layers_can_be_kept_in_16_bits(int8: Path, tmp_path: Path) -> None:
    network = for_npu(onnx.load(TINY / "onnx" / "nchw.onnx"), read_detector(TINY / "onnx"))
    path = tmp_path / "network.quantization.cfg"
    shutil.copy(int8 / "simulation" / path.name, path)

    convert_rknn._set_type(path, [output.name for output in network.graph.output], "float16")

    folder = shutil.copytree(int8 / "simulation", tmp_path / "simulation")
    shutil.copy(path, folder)
    toolkit = rknn_toolkit.built(folder, read_detector(int8).input)
    toolkit.do("export_rknn", str(tmp_path / "mixed.rknn"))
    mixed, whole = (path.read_bytes() for path in (tmp_path / "mixed.rknn", int8 / "model.rknn"))
    # The input, and of the outputs all or none.
    assert (mixed.count(b'"vx_type":"int8"'), whole.count(b'"vx_type":"int8"')) == (1, 9)


def test_better_quantization_is_tried_until_one_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which methods are tried, what is kept of them and what is written down of it."""
    far, nearer, close = (Closeness(x, 1 - x, x) for x in (0.3, 0.2, 0.0))
    results = {"plain": far, "not on this chip": None, "ends": nearer, "search": close, "": far}
    monkeypatch.setattr(convert_rknn, "METHODS", [Method(name, "normal") for name in results])
    monkeypatch.setattr(convert_rknn, "runner", lambda *_: None)
    monkeypatch.setattr(convert_rknn, "_detections", lambda network, *_: network or [])
    monkeypatch.setattr(attempts.Judge, "__call__", lambda _, found: results[found])

    def quantized(_network, method, _photos, _asked, folder) -> SimpleNamespace:
        if results[method.name] is None:
            raise StageError("no float16")
        for name in rknn_toolkit.QUANTIZED:
            (folder / name).write_text(method.name)
        return SimpleNamespace(infer=method.name)

    monkeypatch.setattr(convert_rknn, "_try", quantized)
    (tmp_path / "simulation").mkdir()
    asked = convert_rknn.Request(
        *(TINY / "export", None, TINY / "data", "int8", "rk3588", 1, tmp_path),
        read_detector(TINY / "export"),
    )

    said = convert_rknn.quantize(
        None,
        convert_rknn.CalibrationSet(("a.jpg",), (np.zeros(1),)),
        asked,
        tmp_path / "simulation",
    )

    assert said["method"] == "post-training, search"
    assert [one["method"] for one in said["tried"]] == ["plain", "ends", "search"]
    assert {path.read_text() for path in (tmp_path / "simulation").iterdir()} == {"search"}
    assert "that cannot be done here (no float16)" in capsys.readouterr().out

"""Conversion for the Myriad X and OpenVINO's runtime of 2021, in their environment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openvino.inference_engine", reason="runs in the environment 'movidius'")

import onnx
from converted import TINY, assert_same_heads, convert
from samples import stage

import convert_movidius
from console import InputError, StageError
from detection import runtimes
from detection.decoding import decode
from detection.detector import NetworkInput, read_detector


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert("convert_movidius.py", tmp_path_factory.mktemp("movidius") / "fp16", "fp16")


def test_the_converted_network_gives_tensorflows_heads(converted: Path) -> None:
    assert_same_heads(converted, "openvino_2021", "fp16", "CPU")


def test_a_photo_gives_tensorflows_detections(converted: Path) -> None:
    expected = np.load(TINY / "heads.npz")
    detector = runtimes.load("openvino_2021", converted, threads=1)
    photo = expected["photo"]
    found = detector.detect(photo)
    wanted = decode(
        expected["scores"], expected["boxes"], detector.detector, photo.shape[1], photo.shape[0]
    )

    # One by one: 16-bit weights may exchange neighbours in the order of scores.
    assert len(wanted) > 5
    for box, label in zip(wanted.boxes[:5], wanted.classes[:5]):
        same = found.boxes[found.classes == label]
        assert (np.abs(same - box).max(axis=1) < 1).any()


def test_it_takes_pixels_in_the_order_red_green_blue(converted: Path) -> None:
    expected = np.load(TINY / "heads.npz")
    network = runtimes.load("openvino_2021", converted, threads=1).network
    right, _ = network(expected["picture"])
    swapped, _ = network(expected["picture"][..., ::-1])

    error = [np.abs(scores - expected["scores"]).max() for scores in (right, swapped)]
    assert error[1] > 5 * error[0]


def test_the_blob_is_what_a_camera_takes(converted: Path) -> None:
    import depthai

    detector = read_detector(converted)
    blob = depthai.OpenVINO.Blob(converted / "myriad_x.blob")

    assert blob.networkInputs["images"].dataType == depthai.TensorInfo.DataType.U8F
    assert blob.networkInputs["images"].dims[:3] == [
        detector.input.width,
        detector.input.height,
        3,
    ]
    assert blob.networkOutputs["scores"].dims[:2] == [
        len(detector.classes),
        len(detector.anchors),
    ]
    about = json.loads((converted / "compiler.json").read_text())
    assert about["blob"]["shaves"] == blob.numShaves <= 16
    assert about["layers_on_myriad"] > 50


def test_it_holds_what_the_device_needs_and_nothing_more(converted: Path) -> None:
    assert sorted(path.name for path in converted.iterdir()) == [
        "anchors.npy",
        "compiler.json",
        "detector.json",
        "model.bin",
        "model.xml",
        "myriad_x.blob",
    ]


def test_a_layer_that_the_chip_lacks_is_named(tmp_path: Path) -> None:
    planes = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, 8, 8])
    result = onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [1, 3, 8, 8])
    node = onnx.helper.make_node("Cosh", ["images"], ["scores"])
    graph = onnx.helper.make_graph([node], "odd", [planes], [result])
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 12)]),
        str(tmp_path / "odd.onnx"),
    )
    taken = NetworkInput(height=8, width=8, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    model = convert_movidius.optimize(tmp_path / "odd.onnx", taken, tmp_path)

    with pytest.raises(StageError, match=r"cannot run 1 of \d+ layers: scores \(Cosh\)"):
        convert_movidius.supported_layers(model)


def test_a_network_that_cannot_be_read_fails_with_the_optimizers_words(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    taken = NetworkInput(height=8, width=8, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))

    with pytest.raises(StageError, match=r"model optimizer failed with exit code 1:\n.*broken"):
        convert_movidius.optimize(tmp_path / "broken.onnx", taken, tmp_path)


def test_other_precisions_are_refused(tmp_path: Path) -> None:
    done = stage(
        *("convert_movidius.py", "--export", TINY / "export", "--onnx", TINY / "onnx"),
        *("--precision", "fp32", "--output", tmp_path / "converted"),
    )

    assert done.returncode == 2
    assert "computes in fp16 only" in done.stderr
    assert not (tmp_path / "converted" / "detector.json").exists()


def test_without_a_stick_it_says_so_and_takes_no_other_device(converted: Path) -> None:
    with pytest.raises(InputError, match="no Movidius stick can be used here"):
        runtimes.load("openvino_2021", converted, "MYRIAD")


def test_a_device_that_does_not_exist_is_refused(converted: Path) -> None:
    with pytest.raises(InputError, match="CPU or MYRIAD"):
        runtimes.load("openvino_2021", converted, "GPU")

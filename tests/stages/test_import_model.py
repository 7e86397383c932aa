"""Detectors that were trained elsewhere: the SSDLite graph of a package, and changed copies."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("official", reason="runs in the environment 'train'")

import tensorflow as tf

import import_model
from console import InputError, run
from dataset import label_map
from detection.agreement import compare
from detection.detector import ONE_STAGE, WHOLE, read_detector
from detection.preprocess import between_pixels
from detection.runtimes import tensorflow
from foreign import object_detection_api, proof
from foreign.object_detection_api import NoHeadsError
from garden.weights import package_file, read_list

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = {1: "pedestrian"}


@pytest.fixture(scope="module")
def graph_file() -> Path:
    return package_file(read_list(REPOSITORY / "configs" / "weights.toml")["mobilenetv2-coco"])


@pytest.fixture(scope="module")
def graph(graph_file: Path) -> Any:
    return object_detection_api.read_graph(graph_file)


@pytest.fixture(scope="module")
def imported(graph_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("imported") / "export"
    import_model.import_model(graph_file, NAMES, output)
    return output


def photos() -> list[np.ndarray]:
    """Made-up and rendered photos, larger, smaller and of other shapes than the network's input."""
    rendered = REPOSITORY / "data" / "images" / "test"
    made_up = proof.pictures(300, 300)
    return [
        np.asarray(Image.fromarray(made_up[0]).resize((640, 360))),
        np.asarray(Image.fromarray(made_up[1]).resize((97, 211))),
        *(np.asarray(Image.open(path)) for path in sorted(rendered.glob("*.jpg"))[:2]),
    ]


def test_the_export_is_like_any_other(imported: Path, graph_file: Path) -> None:
    assert sorted(path.name for path in imported.iterdir()) == [
        "anchors.npy",
        "detector.json",
        "frozen_inference_graph.pb",
        "label_map.pbtxt",
        "origin.json",
        "raw_heads",
        "saved_model",
    ]
    detector = read_detector(imported)
    assert (detector.kind, detector.classes) == (ONE_STAGE, ("pedestrian",))
    assert (detector.input.height, detector.input.width) == (300, 300)
    assert detector.input.mean == detector.input.std == (127.5, 127.5, 127.5)
    assert detector.box_coder_scale == (10, 10, 5, 5)
    assert (detector.iou_threshold, detector.max_detections) == (0.6, 100)
    assert (detector.scores, detector.clip) == ("sigmoid", "after_nms")
    assert len(detector.anchors) == 1917
    origin = json.loads((imported / "origin.json").read_text())
    assert origin["sha256"] == hashlib.sha256(graph_file.read_bytes()).hexdigest()


def test_photos_give_what_the_graph_itself_finds(imported: Path) -> None:
    whole, heads = tensorflow.whole_model(imported), tensorflow.load(imported)
    # Nobody walks through these photos: what is compared are faint scores.
    heads = dataclasses.replace(
        heads, detector=dataclasses.replace(heads.detector, score_threshold=1e-8)
    )
    for photo in photos():
        expected = whole.detect(photo)
        # What differs is that the graph resizes to fractions of a grey level, the heads to whole;
        # of two boxes with nearly the same score, the other one may then suppress the first.
        agreement = compare(expected, heads.detect(photo), float(expected.scores[9]))
        assert agreement.disagreements <= 1
        assert len(agreement.ious) >= 9
        assert np.median(agreement.ious) > 0.98
        assert np.median(np.abs(agreement.score_differences)) < 0.03 * expected.scores[0]


@pytest.mark.parametrize("shape", [(300, 300), (480, 640), (301, 77), (1080, 810), (2, 3)])
def test_the_resize_is_tensorflow_1s(shape: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    theirs = tf.compat.v1.image.resize_bilinear(photo[None].astype(np.float32), (300, 200))[0]
    np.testing.assert_allclose(between_pixels(photo, 300, 200), theirs, atol=1e-3)


def changed(graph: Any, change: Callable[[dict[str, Any]], None]) -> Any:
    copy = tf.compat.v1.GraphDef()
    copy.CopyFrom(graph)
    change({node.name: node for node in copy.node})
    return copy


def put(node: Any, value: float) -> None:
    dtype = tf.as_dtype(node.attr["dtype"].type).as_numpy_dtype
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(dtype(value)))


def softmax(nodes: dict[str, Any]) -> None:
    nodes["Postprocessor/convert_scores"].op = "Softmax"


def other_scale(nodes: dict[str, Any]) -> None:
    for name, value in (("truediv/y", 8.0), ("truediv_1/y", 9.0), ("truediv_2/y", 4.0)):
        put(nodes[f"Postprocessor/Decode/{name}"], value)


def stricter_nms(nodes: dict[str, Any]) -> None:
    scope = "Postprocessor/BatchMultiClassNonMaxSuppression/map/while/MultiClassNonMaxSuppression"
    put(nodes[f"{scope}/non_max_suppression/iou_threshold"], 0.3)
    put(nodes[f"{scope}/non_max_suppression/score_threshold"], 0.002)


def other_normalisation(nodes: dict[str, Any]) -> None:
    put(nodes["Preprocessor/mul/x"], 1 / 128)
    put(nodes["Preprocessor/sub/y"], 0.9)


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        (softmax, "scores", "softmax"),
        (other_scale, "box_coder_scale", (8.0, 9.0, 4.0, 5.0)),
        (stricter_nms, "iou_threshold", 0.3),
        (other_normalisation, "input.mean", (115.2, 115.2, 115.2)),
    ],
)
def test_what_a_graph_does_is_read_from_it_and_proven(
    graph: Any, graph_file: Path, change: Callable, field: str, value: object
) -> None:
    detector, network, find = import_model.taken_apart(changed(graph, change), graph_file, NAMES)

    found: Any = detector
    for part in field.split("."):
        found = getattr(found, part)
    assert found == pytest.approx(value) if field != "scores" else found == value
    assert proof.prove(detector, network, find) < 1e-4


@pytest.mark.parametrize(
    "wrong",
    [
        {"box_coder_scale": (1.0, 1.0, 1.0, 1.0)},
        {"iou_threshold": 0.3},
        {"clip": "before_nms"},
    ],
)
def test_heads_that_were_misread_are_noticed(graph: Any, graph_file: Path, wrong: dict) -> None:
    detector, network, find = import_model.taken_apart(graph, graph_file, NAMES)

    with pytest.raises(NoHeadsError, match="heads"):
        proof.prove(dataclasses.replace(detector, **wrong), network, find)


def rounded_corners(nodes: dict[str, Any]) -> None:
    name = "Preprocessor/map/while/ResizeImage/resize_images/ResizeBilinear"
    nodes[name].attr["align_corners"].b = True


def test_a_graph_whose_heads_are_not_found_still_runs_as_a_whole(
    graph: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "aligned.pb"
    path.write_bytes(changed(graph, rounded_corners).SerializeToString())
    import_model.import_model(path, NAMES, tmp_path / "export")

    assert read_detector(tmp_path / "export").kind == WHOLE
    assert not (tmp_path / "export" / "raw_heads").exists()
    assert "it aligns the corners" in capsys.readouterr().out
    assert len(tensorflow.load(tmp_path / "export").detect(photos()[0])) > 10


def test_a_saved_model_with_nms_inside_runs_as_it_is(imported: Path, tmp_path: Path) -> None:
    source = shutil.copytree(imported / "saved_model", tmp_path / "theirs")
    import_model.import_model(source, NAMES, tmp_path / "export")

    assert read_detector(tmp_path / "export").kind == WHOLE
    photo = photos()[0]
    expected = tensorflow.whole_model(imported).detect(photo)
    found = tensorflow.load(tmp_path / "export").detect(photo)
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_a_whole_export_brings_its_raw_heads(imported: Path, tmp_path: Path) -> None:
    import_model.import_model(imported, None, tmp_path / "export")

    assert read_detector(tmp_path / "export").kind == ONE_STAGE
    assert (tmp_path / "export" / "raw_heads" / "saved_model.pb").exists()
    with pytest.raises(InputError, match="the export itself says pedestrian"):
        import_model.import_model(imported, {1: "cat"}, tmp_path / "export")


def a_saved_model(folder: Path, pixels: bool, **outputs: Any) -> Path:
    """As Model Garden's exporter writes them: one box, in pixels of a 320 x 320 picture or not."""

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8)])
    def serve(inputs: Any) -> dict[str, Any]:
        size = tf.cast(tf.shape(inputs)[1:3], tf.float32)
        scale = 320.0 / size
        box = tf.constant([[[0.25, 0.5, 0.75, 1.0]]])
        found = {
            "detection_boxes": box * tf.tile(size * scale, [2]) if pixels else box,
            "detection_scores": tf.constant([[0.75]]),
            "detection_classes": tf.constant([[2]]),
            "num_detections": tf.constant([1]),
            "image_info": tf.stack([size, tf.constant([320.0, 320.0]), scale, 0 * size])[None],
        }
        return {name: value for name, value in {**found, **outputs}.items() if value is not None}

    module = tf.Module()
    module.serve = serve
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    return folder


@pytest.mark.parametrize("pixels", [True, False])
def test_model_gardens_boxes_become_pixels_of_the_photo(tmp_path: Path, pixels: bool) -> None:
    source = a_saved_model(tmp_path / "theirs", pixels)
    import_model.import_model(source, {1: "cat", 2: "dog"}, tmp_path / "export")

    found = tensorflow.load(tmp_path / "export").detect(np.zeros((80, 200, 3), np.uint8))
    np.testing.assert_allclose(found.boxes, [[100, 20, 200, 60]], atol=1e-3)
    assert (found.classes.tolist(), found.scores.tolist()) == ([1], [0.75])


def test_a_class_without_a_name_is_an_error_and_no_crash(tmp_path: Path) -> None:
    source = a_saved_model(tmp_path / "theirs", True)
    import_model.import_model(source, {1: "cat"}, tmp_path / "export")

    with pytest.raises(InputError, match="Import it again with the label map"):
        tensorflow.load(tmp_path / "export").detect(np.zeros((80, 200, 3), np.uint8))


def no_outputs(graph: Any) -> bytes:
    kept = tf.compat.v1.graph_util.extract_sub_graph(graph, ["Postprocessor/convert_scores"])
    return kept.SerializeToString()


def half(graph: Any) -> bytes:
    part = tf.compat.v1.GraphDef()
    part.node.extend(graph.node[len(graph.node) // 2 :])
    return part.SerializeToString()


WRONG_FILES: dict[str, tuple[Callable[[Any], bytes], str]] = {
    "text": (lambda graph: b"item { id: 1 name: 'cat' }\n", "is not a frozen TensorFlow graph"),
    "photo": (lambda graph: bytes(range(256)) * 40, "is not a frozen TensorFlow graph"),
    "empty": (lambda graph: b"", "is not a frozen TensorFlow graph"),
    "cut off": (lambda graph: graph.SerializeToString()[:3_000_000], "part of one"),
    "half": (half, "of its nodes are missing"),
    "no detector": (no_outputs, "it has no detection_boxes, detection_scores"),
}


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> str:
    monkeypatch.setattr(sys, "argv", ["import_model.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        run(import_model.main)
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1
    return told


@pytest.mark.parametrize("wrong", WRONG_FILES)
def test_a_wrong_file_is_one_clear_error(
    graph: Any, tmp_path: Path, monkeypatch, capsys, wrong: str
) -> None:
    make, message = WRONG_FILES[wrong]
    (tmp_path / "theirs.pb").write_bytes(make(graph))

    told = refused(
        *(monkeypatch, capsys, f"--source={tmp_path}", "--imported=theirs.pb"),
        *("--labels=cat", f"--output={tmp_path / 'export'}"),
    )
    assert message in told and "theirs.pb" in told
    assert not (tmp_path / "export" / "detector.json").exists()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("", "what are its 1 classes called? Give --labels"),
        ("cat,dog", "has 1 classes, the labels name 2, up to id 2"),
        ("cat,cat", "different names"),
        ("cat,,dog", "different names"),
    ],
)
def test_labels_that_do_not_fit_are_refused(  # noqa: PLR0917  (fixtures)
    graph_file: Path, tmp_path: Path, monkeypatch, capsys, labels: str, message: str
) -> None:
    shutil.copy(graph_file, tmp_path / "theirs.pb")

    told = refused(
        *(monkeypatch, capsys, f"--source={tmp_path}", "--imported=theirs.pb"),
        *(f"--labels={labels}", f"--output={tmp_path / 'export'}"),
    )
    assert message in told


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"detection_scores": None}, "gives no detection_scores"),
        ({"detection_boxes": None, "raw_boxes": tf.zeros([1, 9, 4])}, "gives no detection_boxes"),
    ],
)
def test_a_saved_model_of_something_else_is_refused(
    tmp_path: Path, outputs: dict, message: str
) -> None:
    source = a_saved_model(tmp_path / "theirs", True, **outputs)
    with pytest.raises(InputError, match=message):
        import_model.import_model(source, {1: "cat"}, tmp_path / "export")


def test_a_damaged_saved_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "saved_model.pb").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="cannot load this SavedModel"):
        import_model.import_model(tmp_path / "theirs", NAMES, tmp_path / "export")


def test_a_label_map_may_leave_ids_out(tmp_path: Path) -> None:
    (tmp_path / "labels.pbtxt").write_text(
        "item { name: '/m/1' id: 1 display_name: 'person' }\nitem { id: 3 display_name: 'car' }\n"
    )
    names = import_model._names("", tmp_path)
    assert import_model._check_names(names, 3) == ("person", "class 2", "car")
    label_map.write(tmp_path / "written.pbtxt", ["person", "class 2", "car"])
    assert label_map.read(tmp_path / "written.pbtxt") == {"person": 1, "class 2": 2, "car": 3}

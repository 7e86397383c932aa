"""export.py: that what is exported is the trained network, in every form that is written."""

from __future__ import annotations

import functools
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import garden.quiet  # noqa: F401  # isort: skip  (before TensorFlow)
import numpy as np
import pytest
import tensorflow as tf
from official.vision.modeling.heads import dense_prediction_heads
from PIL import Image
from untrained import CLASSES, SIZE, write_records, write_training

import detect
import export
from console import InputError, StageError, run
from dataset import label_map
from detection.agreement import compare
from detection.detections import Detections
from detection.detector import ONE_STAGE, TWO_STAGE, read_detector
from detection.preprocess import network_input
from detection.runtimes import tensorflow
from garden import config, operators
from garden.model import drop_background, load_detector

PHOTO_SIZES = [(SIZE, SIZE), (97, 211), (400, 300), (30, 500), (1, 1)]


def a_photo(height: int, width: int) -> np.ndarray:
    """Smooth colours with sharp edges, as photos have them."""
    rng = np.random.default_rng(height * 1000 + width)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    photo = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))
    photo[height // 3 : height // 2, width // 4 : width // 2] = rng.integers(0, 256, 3)
    return photo


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    write_training(folder / "train")
    write_records(folder / "records")
    export.export(folder / "train", folder / "records", folder / "export")
    return folder


@pytest.fixture(scope="module")
def exported(work: Path) -> Path:
    return work / "export"


@pytest.fixture(scope="module")
def by_heads(exported: Path) -> tensorflow.RawHeads:
    return tensorflow.load(exported)


def assert_same(found: Detections, expected: Detections, photo: np.ndarray) -> None:
    assert len(found) == len(expected)
    assert len(found) > 0 or photo.size == 3, "nothing detected: nothing compared"
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-4 * max(photo.shape))


def test_what_is_written(exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == [
        "anchors.npy",
        "detector.json",
        "frozen_inference_graph.pb",
        "label_map.pbtxt",
        "raw_heads",
        "saved_model",
    ]
    assert label_map.read(exported / "label_map.pbtxt") == {"bolt": 1, "nut": 2, "washer": 3}
    detector = read_detector(exported)
    assert (detector.kind, detector.name) == (ONE_STAGE, "untrained")
    assert detector.classes == tuple(CLASSES)
    assert (detector.input.height, detector.input.width) == (SIZE, SIZE)
    assert len(detector.anchors) == 6 * (16**2 + 8**2 + 4**2 + 2**2)


def test_raw_heads_keep_their_contract(exported: Path) -> None:
    signature = tf.saved_model.load(str(exported / "raw_heads")).signatures["serving_default"]
    (arguments,) = (signature.structured_input_signature[1],)
    assert arguments == {"images": tf.TensorSpec([1, SIZE, SIZE, 3], tf.uint8, name="images")}
    anchors = len(read_detector(exported).anchors)
    outputs = {k: (v.dtype, v.shape.as_list()) for k, v in signature.structured_outputs.items()}
    assert outputs == {
        "scores": (tf.float32, [1, anchors, len(CLASSES)]),
        "boxes": (tf.float32, [1, anchors, 4]),
    }


def test_raw_heads_are_the_trained_models_own(work: Path, by_heads: tensorflow.RawHeads) -> None:
    _, model = load_detector(work / "train")
    picture = a_photo(SIZE, SIZE)[None]
    mean, std = (
        np.array(v, np.float32) for v in (by_heads.detector.input.mean, by_heads.detector.input.std)
    )
    outputs = model(tf.constant((picture - mean) / std), training=False)
    scores, codes = by_heads.network(picture)
    start = 0
    for level in ("3", "4", "5", "6"):
        logits = outputs["cls_outputs"][level].numpy().reshape(-1, len(CLASSES) + 1)[:, 1:]
        rows = slice(start, start := start + len(logits))
        np.testing.assert_allclose(scores[rows], 1 / (1 + np.exp(-logits)), atol=1e-5)
        np.testing.assert_allclose(
            codes[rows], outputs["box_outputs"][level].numpy().reshape(-1, 4), atol=1e-5
        )
    assert start == len(scores)


@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_a_head_without_background_gives_the_other_classes_alone(
    separable: bool, shared: bool
) -> None:
    head = dense_prediction_heads.RetinaNetHead(
        min_level=3,
        max_level=4,
        num_classes=len(CLASSES) + 1,
        num_anchors_per_location=2,
        num_convs=1,
        num_filters=8,
        use_separable_conv=separable,
        share_level_convs=shared,
    )
    features = {level: tf.random.normal([1, 16 // int(level), 5, 8]) for level in ("3", "4")}
    head(features)
    for variable in head.weights:
        variable.assign(tf.random.normal(variable.shape))
    whole, boxes, _ = head(features)

    drop_background(head, len(CLASSES))

    logits, boxes_after, _ = head(features)
    for level, before in whole.items():
        rows, columns = before.shape[1:3]
        by_class = before.numpy().reshape(1, rows, columns, 2, len(CLASSES) + 1)[..., 1:]
        after = logits[level].numpy().reshape(by_class.shape)
        np.testing.assert_allclose(after, by_class, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(boxes_after[level], boxes[level])


def test_raw_heads_and_numpy_find_what_model_garden_finds(work: Path, by_heads) -> None:
    """The whole way against the layer that Model Garden evaluates with during training."""
    _, model = load_detector(work / "train")
    picture = a_photo(SIZE, SIZE)
    mean, std = (
        np.array(v, np.float32) for v in (by_heads.detector.input.mean, by_heads.detector.input.std)
    )
    outputs = model(
        tf.constant((picture[None] - mean) / std),
        image_shape=tf.constant([[SIZE, SIZE]], tf.float32),
        training=False,
    )
    count = int(outputs["num_detections"][0])
    expected = Detections(
        outputs["detection_boxes"][0, :count].numpy()[:, [1, 0, 3, 2]],
        outputs["detection_classes"][0, :count].numpy() - 1,
        outputs["detection_scores"][0, :count].numpy(),
    )
    assert_same(by_heads.detect(picture), expected, picture)


@pytest.mark.parametrize("size", PHOTO_SIZES)
def test_nms_inside_and_raw_heads_with_numpy_agree(exported: Path, by_heads, size) -> None:
    photo = a_photo(*size)
    found = tensorflow.whole_model(exported).detect(photo)
    assert_same(found, by_heads.detect(photo), photo)


@pytest.mark.parametrize(
    "size", [*PHOTO_SIZES, (501, 37), (127, 129), (1201, 1601), (2, 3), (640, 128), (128, 999)]
)
def test_tensorflows_resize_is_pillows_to_the_last_bit(by_heads, size: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    ours = operators.resized(tf.constant(photo[None]), by_heads.detector).numpy()
    np.testing.assert_array_equal(ours, network_input(photo, by_heads.detector.input))


def test_the_saved_model_says_what_it_takes_and_gives(exported: Path) -> None:
    signature = tf.saved_model.load(str(exported / "saved_model")).signatures["serving_default"]
    assert signature.structured_input_signature[1] == {
        "inputs": tf.TensorSpec([1, None, None, 3], tf.uint8, name="inputs")
    }
    found = signature(inputs=tf.constant(a_photo(90, 120)[None]))
    assert {key: (value.dtype, value.shape) for key, value in found.items()} == {
        "detection_boxes": (tf.float32, [1, 100, 4]),
        "detection_scores": (tf.float32, [1, 100]),
        "detection_classes": (tf.float32, [1, 100]),
        "num_detections": (tf.float32, [1]),
    }
    count = int(found["num_detections"][0])
    assert 0 < count <= 100
    assert 0 <= found["detection_boxes"].numpy().min() < found["detection_boxes"].numpy().max() <= 1
    assert set(found["detection_classes"].numpy()[0, :count]) <= {1.0, 2.0, 3.0}


def in_a_tensorflow_1_session(path: Path, photo: np.ndarray) -> dict[str, np.ndarray]:
    """The inference code of the TensorFlow 1 object detection tutorials."""
    graph = tf.Graph()
    with graph.as_default():
        graph_def = tf.compat.v1.GraphDef()
        with tf.io.gfile.GFile(str(path), "rb") as file:
            graph_def.ParseFromString(file.read())
        tf.import_graph_def(graph_def, name="")
        with tf.compat.v1.Session() as session:
            names = {out.name for op in graph.get_operations() for out in op.outputs}
            wanted = ["num_detections", "detection_boxes", "detection_scores", "detection_classes"]
            tensors = {
                key: graph.get_tensor_by_name(f"{key}:0") for key in wanted if f"{key}:0" in names
            }
            image_tensor = graph.get_tensor_by_name("image_tensor:0")
            return session.run(tensors, feed_dict={image_tensor: np.expand_dims(photo, 0)})


@pytest.mark.parametrize("size", [(300, 400), (97, 211)])
def test_the_frozen_graph_runs_in_tensorflow_1_code(exported: Path, by_heads, size) -> None:
    photo = a_photo(*size)
    found = in_a_tensorflow_1_session(exported / "frozen_inference_graph.pb", photo)
    assert sorted(found) == sorted(export._NAMES)
    count = int(found["num_detections"][0])
    height, width = size
    boxes = found["detection_boxes"][0][:count][:, [1, 0, 3, 2]] * [width, height, width, height]
    classes = found["detection_classes"][0][:count].astype(np.int64) - 1
    as_found = Detections(boxes.astype(np.float32), classes, found["detection_scores"][0][:count])
    assert_same(as_found, by_heads.detect(photo), photo)


def test_the_frozen_graph_holds_nothing_of_the_training(exported: Path) -> None:
    graph = tf.compat.v1.GraphDef.FromString((exported / "frozen_inference_graph.pb").read_bytes())
    used = {node.op for node in graph.node}
    used |= {node.op for function in graph.library.function for node in function.node_def}
    assert not {op for op in used if "Variable" in op or "Gradient" in op or "Momentum" in op}
    assert [node.name for node in graph.node if node.op == "Placeholder"] == ["image_tensor"]


def test_the_detector_goes_through_detect(exported: Path, tmp_path: Path) -> None:
    Image.fromarray(a_photo(90, 120)).save(tmp_path / "a.png")
    load = functools.partial(tensorflow.load, exported)
    detect.detect(load, [str(tmp_path / "a.png")], tmp_path / "out", 0.05)
    (image,) = json.loads((tmp_path / "out/detections.json").read_text())["images"]
    assert image["detections"] and {d["class"] for d in image["detections"]} <= set(CLASSES)


def test_exporting_again_replaces_what_was_there(work: Path) -> None:
    again = work / "again"
    shutil.copytree(work / "export", again)
    (again / "raw_heads/stale").write_text("from an earlier export")
    export.export(work / "train", work / "records", again)
    assert not (again / "raw_heads/stale").exists()
    for name in ("detector.json", "anchors.npy"):
        assert (again / name).read_bytes() == (work / "export" / name).read_bytes()
    assert not [path for path in again.iterdir() if path.name.startswith(".")]


def test_an_export_that_fails_is_not_taken_for_one(work: Path, monkeypatch) -> None:
    again = work / "failed"
    shutil.copytree(work / "export", again)

    def fail(*arguments: object) -> None:
        raise StageError("no space left")

    monkeypatch.setattr(export, "frozen_graph", fail)
    with pytest.raises(StageError):
        export.export(work / "train", work / "records", again)
    with pytest.raises(InputError, match=r"detector\.json"):
        read_detector(again)


@pytest.mark.parametrize(
    "train, records, told",
    [
        ("nothing", "records", "train.json"),
        ("train", "nothing", "label_map.pbtxt"),
        ("train", "others", "washer"),
        ("broken", "records", "train.json"),
        ("no_checkpoint", "records", "checkpoint"),
    ],
)
def test_wrong_input_is_one_clear_error(  # noqa: PLR0917  (fixtures)
    work, tmp_path, monkeypatch, capsys, train, records, told
):
    write_records(work / "others", ["bolt", "nut"])
    for name in ("broken", "no_checkpoint"):
        shutil.copytree(work / "train", work / name, dirs_exist_ok=True)
    (work / "broken/train.json").write_text('{"checkpoint"')
    for part in (work / "no_checkpoint").glob("selected*"):
        part.unlink()
    arguments = ["--train", work / train, "--records", work / records, "--output", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", ["export.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        run(export.main)
    assert caught.value.code == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and told in errors
    assert not (tmp_path / "out").exists()


def test_an_input_that_the_pyramid_does_not_divide_is_refused() -> None:
    model = SimpleNamespace(
        input_size=[320, 320, 3],
        max_level=7,
        detection_generator=SimpleNamespace(soft_nms_sigma=None),
    )
    with pytest.raises(StageError, match="not a multiple of 128"):
        export.describe(SimpleNamespace(task=SimpleNamespace(model=model)), {"classes": ["a"]})


@pytest.mark.slow
def test_a_two_stage_detector_is_cut_in_two(work: Path) -> None:
    write_training(work / "train_two", config.FASTERRCNN)
    output = work / "export_two"
    export.export(work / "train_two", work / "records", output)
    assert sorted(path.name for path in output.iterdir()) == [
        "anchors.npy",
        "box_head",
        "detector.json",
        "frozen_inference_graph.pb",
        "label_map.pbtxt",
        "raw_heads",
        "saved_model",
    ]
    detector = read_detector(output)
    assert detector.kind == TWO_STAGE
    assert sum(detector.proposals.levels) == len(detector.anchors)
    photo = a_photo(90, 120)
    found = tensorflow.whole_model(output).detect(photo)
    assert len(found) > 5
    # An untrained one gives nearly the same score to everything: the order is a matter of rounding.
    same = compare(found, tensorflow.load(output).detect(photo), 0.05)
    assert same.disagreements <= len(found) // 10
    assert same.ious.min() > 0.999 and np.abs(same.score_differences).max() < 1e-5
    assert found.boxes.min(initial=0) >= 0
    assert found.boxes[:, 2].max(initial=0) <= 120 and found.boxes[:, 3].max(initial=0) <= 90
    frozen = in_a_tensorflow_1_session(output / "frozen_inference_graph.pb", photo)
    count = int(frozen["num_detections"][0])
    np.testing.assert_allclose(frozen["detection_scores"][0, :count], found.scores, atol=1e-5)

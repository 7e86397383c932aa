"""Decoding and the detector's description, without TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from console import InputError
from detection.decoding import decode, decode_boxes
from detection.detections import Detections
from detection.detector import (
    ONE_STAGE,
    STRETCH_TF1,
    TWO_STAGE,
    WHOLE,
    Detector,
    NetworkInput,
    Proposals,
    read_detector,
    write_detector,
)
from detection.preprocess import network_input

ANCHORS = np.array([[0, 0, 10, 20], [40, 40, 60, 80], [80, 80, 100, 100]], np.float32)


def a_detector(**changes: object) -> Detector:
    detector = Detector(
        kind=ONE_STAGE,
        name="test",
        classes=("bolt", "nut"),
        input=NetworkInput(100, 100, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        score_threshold=0.05,
        iou_threshold=0.5,
        max_detections=100,
        pre_nms_top_k=5000,
        anchors=ANCHORS,
        box_coder_scale=(1.0, 1.0, 1.0, 1.0),
    )
    return dataclasses.replace(detector, **changes)


def test_codes_of_zero_are_the_anchors() -> None:
    boxes = decode_boxes(np.zeros((3, 4)), ANCHORS, (1, 1, 1, 1))
    np.testing.assert_allclose(boxes, ANCHORS)


def test_codes_move_by_the_anchors_size_and_stretch_by_the_exponential() -> None:
    codes = np.array([[0.5, -0.25, math.log(2), 0]])
    (box,) = decode_boxes(codes, ANCHORS[1:2], (1, 1, 1, 1))
    # Centre (50, 60) moves to (60, 50); 20 high becomes 40, 40 wide stays.
    np.testing.assert_allclose(box, [40, 30, 80, 70], rtol=1e-6)


def test_the_coders_scale_divides() -> None:
    codes = np.array([[5.0, -2.5, 5 * math.log(2), 0]])
    (box,) = decode_boxes(codes, ANCHORS[1:2], (10, 10, 5, 5))
    np.testing.assert_allclose(box, [40, 30, 80, 70], rtol=1e-6)


def test_growth_is_bounded() -> None:
    (box,) = decode_boxes(np.array([[0, 0, 1000.0, 1000.0]]), ANCHORS[1:2], (1, 1, 1, 1))
    np.testing.assert_allclose([box[2] - box[0], box[3] - box[1]], [1250, 2500], rtol=1e-5)


def test_boxes_come_in_pixels_of_the_photo_and_inside_it() -> None:
    scores = np.array([[0.9, 0], [0, 0.8], [0, 0]], np.float32)
    codes = np.zeros((3, 4), np.float32)
    codes[0] = [-0.5, 0, 0, 0]  # half of it above the picture
    found = decode(scores, codes, a_detector(), width=400, height=200)
    np.testing.assert_allclose(found.boxes, [[0, 0, 80, 10], [160, 80, 320, 120]], rtol=1e-6)
    assert found.classes.tolist() == [0, 1]
    assert found.boxes.dtype == np.float32 and found.classes.dtype == np.int32


def test_what_is_not_a_number_is_no_detection() -> None:
    scores = np.array([[np.nan, 0], [0, 0.8], [0.7, 0]], np.float32)
    codes = np.zeros((3, 4), np.float32)
    codes[2, 1] = np.nan
    found = decode(scores, codes, a_detector(), width=100, height=100)
    assert found.classes.tolist() == [1]


def test_nothing_above_the_threshold_gives_an_empty_result() -> None:
    found = decode(np.zeros((3, 2)), np.zeros((3, 4)), a_detector(), 100, 100)
    assert len(found) == 0 and found.boxes.shape == (0, 4)


def test_the_example_in_the_documentation_does_the_same(tmp_path: Path, monkeypatch) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs/ARTIFACTS.md").read_text("utf-8")
    example = text.split("```python\n")[1].split("```")[0]
    detector = a_detector(input=NetworkInput(80, 100, (0, 0, 0), (1, 1, 1)))
    codes = np.array([[0.1, 0, 0.2, 0], [0, -0.2, 9, 0.1], [-0.3, 0.1, 0, 0]], np.float32)
    scores = np.array([[0.9, 0], [0, 0.8], [0.7, 0]], np.float32)

    def network(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        np.testing.assert_array_equal(picture, network_input(photo, detector.input))
        return scores[None], codes[None]

    photo = np.random.default_rng(0).integers(0, 256, (90, 150, 3), np.uint8)
    write_detector(tmp_path, detector)
    Image.fromarray(photo).save(tmp_path / "photo.jpg", format="PNG")
    monkeypatch.chdir(tmp_path)
    names = {"network": network}
    exec(example, names)
    found = decode(scores, codes, detector, width=150, height=90)
    np.testing.assert_allclose(found.boxes, names["boxes"], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("scores, codes", [((3, 3), (3, 4)), ((2, 2), (2, 4)), ((3, 2), (4, 3))])
def test_heads_of_another_network_are_refused(scores: tuple, codes: tuple) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        decode(np.zeros(scores), np.zeros(codes), a_detector(), 100, 100)


def test_detections_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError):
        Detections(np.zeros((2, 4)), np.zeros(2), np.zeros(3))


def test_a_picture_of_the_right_size_is_passed_on_as_it_is() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    np.testing.assert_array_equal(network_input(photo, a_detector().input)[0], photo)


def test_reducing_does_not_alias() -> None:
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[:, ::2] = 255
    picture = network_input(stripes, a_detector().input)
    assert picture.shape == (1, 100, 100, 3) and picture.dtype == np.uint8
    assert abs(picture.astype(int) - 127).max() <= 8


@pytest.mark.parametrize(
    "detector",
    [
        a_detector(),
        a_detector(kind=TWO_STAGE, scores="softmax", proposals=Proposals((2, 1), 9, 0.7, 5)),
        a_detector(kind=WHOLE, anchors=None, box_coder_scale=None),
        a_detector(clip="after_nms", input=NetworkInput(9, 9, (0,) * 3, (1,) * 3, STRETCH_TF1)),
    ],
    ids=["one stage", "two stages", "whole", "imported"],
)
def test_what_is_written_is_read_back(tmp_path: Path, detector: Detector) -> None:
    write_detector(tmp_path, detector)
    read = read_detector(tmp_path)
    assert dataclasses.replace(read, anchors=None) == dataclasses.replace(detector, anchors=None)
    if detector.anchors is not None:
        np.testing.assert_array_equal(read.anchors, detector.anchors)


@pytest.mark.parametrize(
    "path, value, told",
    [
        ("format", 2, "format is 2"),
        ("kind", "three_stage", "'kind' must be"),
        ("classes", [], "'classes'"),
        ("classes", ["a", "a"], "'classes'"),
        ("classes", "bolt", "'classes'"),
        ("input", None, "'input'"),
        ("input.height", 0, "'height'"),
        ("input.height", True, "'height'"),
        ("input.width", 3.5, "'width'"),
        ("input.resize", "crop", "'resize'"),
        ("input.std", [1, 0, 1], "'std'"),
        ("input.mean", [1, 2], "'mean'"),
        ("input.mean", [1, 2, float("nan")], "'mean'"),
        ("score_threshold", 1.5, "'score_threshold'"),
        ("iou_threshold", "0.5", "'iou_threshold'"),
        ("max_detections", -1, "'max_detections'"),
        ("box_coder", {"scale": [1, 1, 1]}, "'scale'"),
        ("box_coder", {}, "'scale' is missing"),
        ("scores", "logits", "'scores'"),
        ("clip", "never", "'clip'"),
        ("input.resize", "crop", "'resize'"),
        ("anchors", "../anchors.npy", "'anchors'"),
        ("anchors", "other.npy", "other.npy: there is no such file"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, path: str, value: object, told: str) -> None:
    write_detector(tmp_path, a_detector())
    file = tmp_path / "detector.json"
    fields = json.loads(file.read_text())
    *parents, name = path.split(".")
    place = fields
    for parent in parents:
        place = place[parent]
    place[name] = value
    file.write_text(json.dumps(fields))
    with pytest.raises(InputError) as caught:
        read_detector(tmp_path)
    assert told in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_description_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "detector.json").write_bytes(content)
    with pytest.raises(InputError, match=r"detector\.json"):
        read_detector(tmp_path)


def test_a_missing_description_says_which_folder_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"export\.py"):
        read_detector(tmp_path)


@pytest.mark.parametrize(
    "anchors",
    [
        ANCHORS.astype(np.float64),
        ANCHORS[:, :3],
        ANCHORS[:0],
        ANCHORS[:, [2, 3, 0, 1]],
        np.full((2, 4), np.nan, np.float32),
    ],
    ids=["double", "three columns", "none", "inverted", "not numbers"],
)
def test_wrong_anchors_are_refused(tmp_path: Path, anchors: np.ndarray) -> None:
    write_detector(tmp_path, a_detector())
    np.save(tmp_path / "anchors.npy", anchors)
    with pytest.raises(InputError, match=r"anchors\.npy"):
        read_detector(tmp_path)


def test_anchors_that_are_pickled_code_are_refused(tmp_path: Path) -> None:
    write_detector(tmp_path, a_detector())
    np.save(tmp_path / "anchors.npy", np.array([print], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"anchors\.npy"):
        read_detector(tmp_path)


def test_proposals_that_do_not_fit_the_anchors_are_refused(tmp_path: Path) -> None:
    write_detector(tmp_path, a_detector(kind=TWO_STAGE, proposals=Proposals((2, 2), 9, 0.7, 5)))
    with pytest.raises(InputError, match="'levels' must be counts that add up to 3"):
        read_detector(tmp_path)


def test_boxes_cut_off_after_nms_compete_uncut() -> None:
    """Two boxes that overlap inside the picture alone: cut off first, one suppresses the other."""
    anchors = np.array([[0, -90, 20, 10], [0, 0, 20, 10]], np.float32)
    scores, codes = np.array([[0.9], [0.8]], np.float32), np.zeros((2, 4), np.float32)
    for clip, count in (("before_nms", 1), ("after_nms", 2)):
        detector = a_detector(anchors=anchors, classes=("bolt",), clip=clip)
        assert len(decode(scores, codes, detector, 100, 100)) == count

"""NumPy's decoding and NMS against TensorFlow's, on raw heads of every kind.

There are three references: what export.py builds into the SavedModel, Model Garden's own detection
layer, as training evaluates with it, and TensorFlow's combined operator.
"""

from __future__ import annotations

import dataclasses
from typing import Callable

import garden.quiet  # noqa: F401  # isort: skip  (before TensorFlow)
import numpy as np
import pytest
import tensorflow as tf
from official.vision.modeling.layers.detection_generator import MultilevelDetectionGenerator
from official.vision.ops.anchor import build_anchor_generator

import export
from detection.decoding import decode, decode_boxes
from detection.detections import Detections
from detection.detector import ONE_STAGE, Detector, NetworkInput

SIZE = 128
LEVELS = {"3": 16, "4": 8}
ANCHORS = build_anchor_generator(3, 4, 2, [0.5, 1.0, 2.0], 3.0)((SIZE, SIZE))
COUNT = sum(6 * side * side for side in LEVELS.values())

Heads = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def detector_of(classes: int, scale: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)) -> Detector:
    flat = [tf.reshape(ANCHORS[level], [-1, 4]) for level in LEVELS]
    return Detector(
        kind=ONE_STAGE,
        name="test",
        classes=tuple(f"class {index}" for index in range(classes)),
        input=NetworkInput(SIZE, SIZE, (0, 0, 0), (1, 1, 1)),
        score_threshold=0.05,
        iou_threshold=0.5,
        max_detections=100,
        pre_nms_top_k=200,
        anchors=tf.concat(flat, axis=0).numpy(),
        box_coder_scale=scale,
    )


def by_model_garden(
    logits: np.ndarray, codes: np.ndarray, detector: Detector, version: str = "v1"
) -> Detections:
    """``logits`` [N, C] and ``codes`` [N, 4] through Model Garden's layer."""
    generator = MultilevelDetectionGenerator(
        pre_nms_top_k=detector.pre_nms_top_k,
        pre_nms_score_threshold=detector.score_threshold,
        nms_iou_threshold=detector.iou_threshold,
        max_num_detections=detector.max_detections,
        nms_version=version,
        box_coder_weights=list(detector.box_coder_scale),
    )
    with_background = np.concatenate([np.zeros_like(logits[:, :1]), logits], axis=1)
    boxes, scores, anchors, start = {}, {}, {}, 0
    for level, side in LEVELS.items():
        rows = slice(start, start := start + 6 * side * side)
        boxes[level] = tf.reshape(codes[rows], [1, side, side, -1])
        scores[level] = tf.reshape(with_background[rows], [1, side, side, -1])
        anchors[level] = ANCHORS[level][None]
    found = generator(boxes, scores, anchors, tf.constant([[SIZE, SIZE]], tf.float32))
    count = int(found["num_detections"][0])
    return Detections(
        found["detection_boxes"][0, :count].numpy()[:, [1, 0, 3, 2]],
        found["detection_classes"][0, :count].numpy() - 1,
        found["detection_scores"][0, :count].numpy(),
    )


def by_the_export(logits: np.ndarray, codes: np.ndarray, detector: Detector) -> Detections:
    """The same through the operators that the exported SavedModel contains."""
    heads = {"scores": tf.sigmoid(logits)[None], "boxes": tf.constant(codes)[None]}
    find = export.one_stage_function(lambda images: heads, detector)
    found = {k: v[0].numpy() for k, v in find(tf.zeros([1, SIZE, SIZE, 3], tf.uint8)).items()}
    count = int(found["num_detections"])
    assert not found["detection_scores"][count:].any()
    return Detections(
        found["detection_boxes"][:count][:, [1, 0, 3, 2]] * SIZE,
        found["detection_classes"][:count].astype(int) - 1,
        found["detection_scores"][:count],
    )


def ordinary(rng: np.random.Generator, classes: int) -> tuple[np.ndarray, np.ndarray]:
    logits = rng.normal(-3, 1.5, (COUNT, classes))
    # Small enough for every box to keep some area inside the picture.
    return logits, rng.normal(0, 0.1, (COUNT, 4))


def tied(rng: np.random.Generator, classes: int) -> tuple[np.ndarray, np.ndarray]:
    logits, codes = ordinary(rng, classes)
    return np.round(logits), codes


def all_the_same(rng: np.random.Generator, classes: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((COUNT, classes)), np.zeros((COUNT, 4))


def nothing(rng: np.random.Generator, classes: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full((COUNT, classes), -9.0), np.zeros((COUNT, 4))


def a_single_one(rng: np.random.Generator, classes: int) -> tuple[np.ndarray, np.ndarray]:
    logits, codes = nothing(rng, classes)
    logits[700, classes - 1] = 3
    return logits, codes


def enormous_boxes(rng: np.random.Generator, classes: int) -> tuple[np.ndarray, np.ndarray]:
    logits, codes = ordinary(rng, classes)
    return logits, codes * 200


def not_numbers(rng: np.random.Generator, classes: int) -> tuple[np.ndarray, np.ndarray]:
    logits, codes = ordinary(rng, classes)
    logits[rng.integers(0, COUNT, 50)] = np.nan
    codes[rng.integers(0, COUNT, 50), 2] = np.nan
    return logits, codes


def assert_same(found: Detections, expected: Detections) -> None:
    assert len(found) == len(expected)
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-4)


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize(
    "heads",
    [ordinary, tied, all_the_same, nothing, a_single_one, enormous_boxes, not_numbers],
)
def test_detections_are_those_of_the_exported_operators(heads: Heads, classes: int) -> None:
    logits, codes = (p.astype(np.float32) for p in heads(np.random.default_rng(classes), classes))
    detector = detector_of(classes)
    found = decode(tf.sigmoid(logits).numpy(), codes, detector, SIZE, SIZE)
    assert_same(found, by_the_export(logits, codes, detector))


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("heads", [ordinary, tied, nothing, a_single_one])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_detections_are_model_gardens(heads: Heads, classes: int, version: str) -> None:
    logits, codes = (p.astype(np.float32) for p in heads(np.random.default_rng(classes), classes))
    detector = detector_of(classes)
    found = decode(tf.sigmoid(logits).numpy(), codes, detector, SIZE, SIZE)
    assert_same(found, by_model_garden(logits, codes, detector, version))


@pytest.mark.parametrize(
    "change",
    [
        {"iou_threshold": 0.2},
        {"max_detections": 7},
        {"score_threshold": 0.7},
        {"pre_nms_top_k": 9},
        {"box_coder_scale": (10.0, 10.0, 5.0, 5.0)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_means_the_same_everywhere(change: dict) -> None:
    logits, codes = (p.astype(np.float32) for p in ordinary(np.random.default_rng(3), 3))
    plain, changed = detector_of(3), dataclasses.replace(detector_of(3), **change)
    scores = tf.sigmoid(logits).numpy()
    expected = by_model_garden(logits, codes, changed)
    found = decode(scores, codes, changed, SIZE, SIZE)
    assert_same(found, expected)
    assert_same(found, by_the_export(logits, codes, changed))
    otherwise = decode(scores, codes, plain, SIZE, SIZE)
    assert otherwise.boxes.tolist() != found.boxes.tolist(), "the setting had no effect"


def test_the_combined_operator_agrees() -> None:
    """tf.image.combined_non_max_suppression, a second implementation, on scores without ties."""
    logits, codes = (p.astype(np.float32) for p in ordinary(np.random.default_rng(5), 2))
    detector = dataclasses.replace(detector_of(2), pre_nms_top_k=COUNT)
    scores = tf.sigmoid(logits).numpy()
    found = decode(scores, codes, detector, SIZE, SIZE)
    boxes = np.clip(decode_boxes(codes, detector.anchors, (1, 1, 1, 1)), 0, SIZE)
    expected = tf.image.combined_non_max_suppression(
        boxes[None, :, None], scores[None], 100, 100, 0.5, 0.05, clip_boxes=False
    )
    count = int(expected.valid_detections[0])
    assert len(found) == count
    np.testing.assert_array_equal(found.scores, expected.nmsed_scores[0, :count])
    np.testing.assert_array_equal(
        found.boxes, expected.nmsed_boxes[0, :count].numpy()[:, [1, 0, 3, 2]]
    )

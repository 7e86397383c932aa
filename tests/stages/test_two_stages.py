"""Proposals and regions of two-stage detectors in NumPy, held against Model Garden's own layers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("official", reason="runs in the environment 'train'")

import tensorflow as tf
from official.vision.modeling.layers import detection_generator, roi_generator

from detection.detector import TWO_STAGE, Detector, NetworkInput, Proposals
from detection.two_stages import decode_regions, propose

SIZE = 64
LEVELS = ((16, 3), (8, 3), (4, 3))  # places along a side, anchors at each
CLASSES = ("bolt", "nut", "washer")


def anchors() -> np.ndarray:
    levels = []
    for side, count in LEVELS:
        stride = SIZE / side
        rows, columns = np.mgrid[0:side, 0:side]
        centres = (np.stack([rows, columns], axis=-1) + 0.5)[:, :, None] * stride
        halves = stride * np.array([[1, 1], [0.7, 1.4], [1.4, 0.7]])
        boxes = np.concatenate([centres - halves, centres + halves], axis=-1)
        levels.append(boxes[:, :, :count].reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


DETECTOR = Detector(
    kind=TWO_STAGE,
    name="two",
    classes=CLASSES,
    input=NetworkInput(SIZE, SIZE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    score_threshold=0.05,
    iou_threshold=0.5,
    max_detections=30,
    pre_nms_top_k=5000,
    anchors=anchors(),
    box_coder_scale=(10.0, 10.0, 5.0, 5.0),
    scores="softmax",
    proposals=Proposals(tuple(side * side * n for side, n in LEVELS), 100, 0.7, 60),
)


@pytest.mark.parametrize("seed", range(4))
def test_proposals_are_model_gardens(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=len(DETECTOR.anchors)).astype(np.float32)
    codes = rng.normal(scale=0.3, size=(len(logits), 4)).astype(np.float32)
    by_level: dict[str, list] = {"scores": [], "codes": [], "anchors": []}
    start = 0
    for side, count in LEVELS:
        part = slice(start, start := start + side * side * count)
        by_level["scores"].append(logits[part].reshape(1, side, side, count))
        by_level["codes"].append(codes[part].reshape(1, side, side, count * 4))
        by_level["anchors"].append(DETECTOR.anchors[part].reshape(1, side, side, count * 4))
    given = {
        name: {str(level): tf.constant(values) for level, values in enumerate(parts, start=3)}
        for name, parts in by_level.items()
    }
    layer = roi_generator.MultilevelROIGenerator(test_pre_nms_top_k=100, test_num_proposals=60)
    expected, _ = layer(
        given["codes"], given["scores"], given["anchors"], tf.constant([[SIZE, SIZE]], tf.float32)
    )

    found, count = propose(1 / (1 + np.exp(-logits)), codes, DETECTOR)

    assert count == 60
    np.testing.assert_allclose(found, expected[0], atol=1e-3)


def test_what_is_missing_is_filled_with_the_whole_picture() -> None:
    few = dataclasses.replace(
        DETECTOR, anchors=DETECTOR.anchors[:2], proposals=Proposals((2,), 100, 0.7, 5)
    )
    found, count = propose(np.array([0.2, 0.9]), np.zeros((2, 4)), few)

    assert count == 2
    assert found[2:].tolist() == [[0, 0, SIZE, SIZE]] * 3
    np.testing.assert_array_equal(found[0], np.clip(few.anchors[1], 0, SIZE))  # best first


@pytest.mark.parametrize("seed", range(4))
def test_regions_become_model_gardens_detections(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, SIZE * 0.7, (60, 2))
    proposals = np.concatenate([corners, corners + rng.uniform(6, 20, (60, 2))], axis=1)
    proposals = proposals.astype(np.float32)
    logits = rng.normal(scale=2, size=(60, len(CLASSES) + 1)).astype(np.float32)
    codes = rng.normal(size=(60, len(CLASSES) + 1, 4)).astype(np.float32)
    expected = detection_generator.DetectionGenerator(max_num_detections=30)(
        tf.constant(codes.reshape(1, 60, -1)),
        tf.constant(logits[None]),
        tf.constant(proposals[None]),
        tf.constant([[SIZE, SIZE]], tf.float32),
        [10.0, 10.0, 5.0, 5.0],
    )
    count = int(expected["num_detections"][0])
    assert count > 10

    scores = tf.nn.softmax(logits).numpy()[:, 1:]
    found = decode_regions((scores, codes[:, 1:], proposals), DETECTOR, SIZE, SIZE)

    assert len(found) == count
    np.testing.assert_array_equal(found.classes, expected["detection_classes"][0, :count] - 1)
    np.testing.assert_allclose(found.scores, expected["detection_scores"][0, :count], atol=1e-6)
    boxes = expected["detection_boxes"].numpy()[0, :count][:, [1, 0, 3, 2]]
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-3)


def test_outputs_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        propose(np.zeros(3), np.zeros((3, 4)), DETECTOR)
    with pytest.raises(ValueError, match="do not fit"):
        decode_regions((np.zeros((5, 2)), np.zeros((5, 2, 4)), np.zeros((5, 4))), DETECTOR, 9, 9)

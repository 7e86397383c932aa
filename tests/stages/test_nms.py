"""NMS alone, against the plainest loop; test_decoding_tensorflow has TensorFlow's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from detection import nms


def crowded(count: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corners = rng.random((count, 2)) * 200
    boxes = np.concatenate([corners, corners + 10 + rng.random((count, 2)) * 60], axis=1)
    scores = np.sort(rng.random(count))[::-1]
    return boxes.astype(np.float32), rng.integers(0, classes, count), scores.astype(np.float32)


def one_by_one(boxes: np.ndarray, classes: np.ndarray, threshold: float, most: int) -> list[int]:
    kept: list[int] = []
    for index, (ymin, xmin, ymax, xmax) in enumerate(boxes):
        for better in kept:
            top, left, bottom, right = boxes[better]
            height = max(0, min(bottom, ymax) - max(top, ymin))
            width = max(0, min(right, xmax) - max(left, xmin))
            union = (bottom - top) * (right - left) + (ymax - ymin) * (xmax - xmin) - height * width
            if classes[better] == classes[index] and height * width / union > threshold:
                break
        else:
            kept.append(index)
    return kept[:most]


@pytest.mark.parametrize("count", [1, 255, 256, 257, 1500])
@pytest.mark.parametrize("classes", [1, 5])
def test_survivors_are_those_of_the_plain_loop(count: int, classes: int) -> None:
    boxes, kinds, _ = crowded(count, classes, seed=count)
    expected = one_by_one(boxes, kinds, 0.5, 100)
    assert nms.suppress(boxes, kinds, 0.5, 100).tolist() == expected


def test_classes_do_not_suppress_each_other() -> None:
    boxes = np.array([[0, 0, 10, 10]] * 3, np.float32)
    assert nms.suppress(boxes, np.array([0, 1, 0]), 0.5, 100).tolist() == [0, 1]


def test_an_overlap_of_exactly_the_threshold_survives() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5]], np.float32)  # IoU 0.5
    assert nms.suppress(boxes, np.array([0, 0]), 0.5, 100).tolist() == [0, 1]
    assert nms.suppress(boxes, np.array([0, 0]), 0.49, 100).tolist() == [0]


def test_boxes_without_area_neither_suppress_nor_are_suppressed() -> None:
    boxes = np.array([[5, 5, 5, 9], [5, 5, 5, 9], [0, 0, 10, 10]], np.float32)
    assert nms.suppress(boxes, np.zeros(3, int), 0.5, 100).tolist() == [0, 1, 2]


def test_nothing_in_nothing_out() -> None:
    rows, classes, scores = nms.candidates(np.full((40, 3), 0.01, np.float32), 0.05, 100)
    assert len(rows) == len(classes) == len(scores) == 0
    assert len(nms.suppress(np.empty((0, 4), np.float32), classes, 0.5, 100)) == 0


def test_candidates_come_best_first_and_equal_ones_by_class_then_anchor() -> None:
    scores = np.array([[0.5, 0.9], [0.5, 0.5], [0.05, 0.5]], np.float32)
    rows, classes, best = nms.candidates(scores, 0.05, 100)
    assert list(zip(rows.tolist(), classes.tolist())) == [(0, 1), (0, 0), (1, 0), (1, 1), (2, 1)]
    assert best.tolist() == pytest.approx([0.9, 0.5, 0.5, 0.5, 0.5])


def test_top_k_counts_each_class_by_itself() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]], np.float32)
    rows, classes, _ = nms.candidates(scores, 0.05, 2)
    assert list(zip(rows.tolist(), classes.tolist())) == [(0, 0), (1, 0), (2, 1), (1, 1)]


@pytest.mark.parametrize("top_k", [7, 50, 10_000])
def test_of_many_equal_scores_the_same_are_candidates_as_by_sorting_plainly(top_k: int) -> None:
    scores = np.random.default_rng(top_k).integers(0, 20, (2000, 3)) / np.float32(20)
    every = [
        (-score, label, row)
        for row, line in enumerate(scores.tolist())
        for label, score in enumerate(line)
        if score > 0.3
    ]
    best = [sorted(one for one in every if one[1] == label)[:top_k] for label in range(3)]
    expected = [(row, label) for _, label, row in sorted(itertools.chain(*best))]

    rows, classes, _ = nms.candidates(scores, 0.3, top_k)

    assert list(zip(rows.tolist(), classes.tolist())) == expected


def test_scores_that_are_not_numbers_are_no_candidates() -> None:
    scores = np.array([[np.nan], [0.6], [-np.inf]], np.float32)
    assert nms.candidates(scores, 0.05, 100)[0].tolist() == [1]


def test_iou_matrix_of_known_boxes() -> None:
    first = np.array([[0, 0, 10, 10], [20, 20, 30, 30]])
    second = np.array([[0, 0, 10, 5], [5, 5, 15, 15], [10, 0, 20, 10]])
    expected = [[0.5, 25 / 175, 0], [0, 0, 0]]
    np.testing.assert_allclose(nms.iou_matrix(first, second), expected, rtol=1e-6)

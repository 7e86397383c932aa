"""Class-wise non-maximum suppression in NumPy.

Gives exactly what this gives: per class the ``top_k`` best candidates above the threshold, greedy
suppression by ``tf.image.non_max_suppression``, then the best ``max_detections`` of all classes.
Of equal scores the lower class comes first, then the earlier anchor. Model Garden's detection
layer (``nms_version`` v1 and v2) finds the same, but for boxes that overlap by precisely the
threshold: there it suppresses.
"""

from __future__ import annotations

import numpy as np

# Candidates compared with one another at a time: large enough that NumPy's cost per call vanishes,
# small enough that a noisy network's thousands of candidates do not make a matrix of millions.
_BLOCK = 256


def candidates(
    scores: np.ndarray, threshold: float, top_k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The anchors that could become a detection, best first.

    ``scores``: [N, C]. Returns (rows, classes, scores), each [M]: int anchor rows, int32 classes
    and float32 scores above ``threshold``, at most ``top_k`` of each class. NaN is below any
    threshold.
    """
    by_class = np.ascontiguousarray(np.asarray(scores, np.float32).T)
    found = np.flatnonzero(by_class > np.float32(threshold))
    if not len(found):
        return found, found.astype(np.int32), np.empty(0, np.float32)
    best = by_class.ravel()[found]
    order = _best_first(best)
    classes, rows = np.divmod(found[order].astype(np.int32), np.int32(by_class.shape[1]))
    best = best[order]
    if len(found) > top_k:
        kept = np.ones(len(found), bool)
        for label in np.flatnonzero(np.bincount(classes) > top_k):
            kept[np.flatnonzero(classes == label)[top_k:]] = False
        rows, classes, best = rows[kept], classes[kept], best[kept]
    return rows, classes, best


def suppress(
    boxes: np.ndarray, classes: np.ndarray, iou_threshold: float, max_detections: int
) -> np.ndarray:
    """Indices of the candidates that survive, in order, at most ``max_detections``.

    ``boxes``: float32 [M, 4] ymin, xmin, ymax, xmax and ``classes``: [M], best first. A candidate
    falls when its IoU with a better survivor of the same class exceeds ``iou_threshold``.
    """
    kept: list[int] = []
    areas = _areas(boxes)
    for start in range(0, len(boxes), _BLOCK):
        block = slice(start, start + _BLOCK)
        ahead = [*kept, *range(start, min(start + _BLOCK, len(boxes)))]
        overlapping = (
            _iou(boxes[ahead], areas[ahead], boxes[block], areas[block]) > iou_threshold
        ) & (classes[ahead, None] == classes[None, block])
        fallen = overlapping[: len(kept)].any(axis=0)
        for index, row in enumerate(overlapping[len(kept) :]):
            if fallen[index]:
                continue
            kept.append(start + index)
            if len(kept) == max_detections:
                return np.array(kept, np.intp)
            fallen |= row
    return np.array(kept, np.intp)


def iou_matrix(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of [N, 4] with [M, 4] boxes: float32 [N, M].

    Either order of axes will do, as long as both use the same. Boxes without area give 0.
    """
    first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
    return _iou(first, _areas(first), second, _areas(second))


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _iou(
    first: np.ndarray, first_areas: np.ndarray, second: np.ndarray, second_areas: np.ndarray
) -> np.ndarray:
    # One axis after the other keeps the temporary arrays two-dimensional and in the cache.
    sides = [
        np.minimum(first[:, None, axis + 2], second[None, :, axis + 2])
        - np.maximum(first[:, None, axis], second[None, :, axis])
        for axis in (0, 1)
    ]
    common = np.maximum(sides[0], 0) * np.maximum(sides[1], 0)
    union = first_areas[:, None] + second_areas[None, :] - common
    return np.divide(common, union, out=np.zeros_like(common), where=common > 0)


def _best_first(scores: np.ndarray) -> np.ndarray:
    """The order of positive float32 ``scores``, largest first, equal ones as they came.

    Like a stable argsort, several times faster: positive floats sort as the integers that their
    bits are, so score and position fit into one integer, and NumPy sorts those with vectors.
    """
    bits = scores.view(np.int32).astype(np.int64)
    keys = (-bits << 32) + np.arange(len(scores))
    keys.sort()
    return keys & 0xFFFFFFFF

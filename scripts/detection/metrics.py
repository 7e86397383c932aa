"""How good detections are: COCO's average precision and what stands behind it.

Average precision is pycocotools' (``COCOeval``, all box sizes, at most 100 detections a photo), at
the scale of the photos' own pixels. The rest of this module looks at the same matches from other
sides: an interval over photos, the best score threshold, which class is taken for which, and what
went wrong in each photo.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional, Union

import numpy as np

from detection.detections import Detections
from detection.nms import iou_matrix

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""The IoUs that average precision is averaged over."""

_AT_50, _AT_75 = 0, 5
_RECALLS = np.linspace(0.0, 1.0, 101)
_MOST_DETECTIONS = 100
_POOR_IOU = 0.75


@dataclass(frozen=True)
class Truth:
    """The annotated objects of one photo: ``boxes`` float [N, 4] xmin, ymin, xmax, ymax in pixels
    of the photo, ``classes`` int [N], 0-based."""

    boxes: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True)
class ClassMatches:
    """All detections of one class, best first, and whether each found an object.

    ``scores`` [D], ``photos`` [D] (index of the photo), ``hits`` bool [10, D] (one row for each of
    ``THRESHOLDS``), ``objects`` [photos] the number of annotated objects in each photo.
    """

    scores: np.ndarray
    photos: np.ndarray
    hits: np.ndarray
    objects: np.ndarray


@dataclass(frozen=True)
class CocoResult:
    """Average precision by COCO's definition.

    ``precision``: [10 IoUs, 101 recalls, classes], NaN for a class without annotated objects.
    ``matches``: the matches behind it, one ``ClassMatches`` a class.
    """

    precision: np.ndarray
    matches: tuple[ClassMatches, ...]

    def mean(self) -> dict[str, Optional[float]]:
        """mAP, AP50 and AP75 over the classes that occur; None when none occurs."""
        return _summary(self.precision, "mAP")

    def of_class(self, index: int) -> dict[str, Optional[float]]:
        """AP, AP50 and AP75 of one class; None when it does not occur."""
        return _summary(self.precision[:, :, index], "AP")


@dataclass(frozen=True)
class PhotoErrors:
    """What is wrong with one photo's detections at a score threshold and an IoU of 0.5.

    Each holds indices: ``missed`` into the truth, ``false`` and ``poor`` (right, but with an IoU
    below 0.75) into the detections. ``ious`` are those of the right ones.
    """

    missed: np.ndarray
    false: np.ndarray
    poor: np.ndarray
    ious: np.ndarray

    @property
    def badness(self) -> float:
        """For sorting: each missed or false one counts 1, each poorly placed one a half."""
        looseness = 1 - float(self.ious.mean()) if len(self.ious) else 0.0  # breaks ties
        return len(self.missed) + len(self.false) + 0.5 * len(self.poor) + 0.01 * looseness


def coco(truths: Sequence[Truth], found: Sequence[Detections], classes: int) -> CocoResult:
    """Evaluate the detections of each photo against its truth."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def as_coco(annotations: list[dict]) -> COCO:
        data = COCO()
        data.dataset = {
            "images": [{"id": photo} for photo in range(len(truths))],
            "categories": [{"id": index} for index in range(classes)],
            "annotations": annotations,
        }
        data.createIndex()
        return data

    objects = [
        entry for photo, truth in enumerate(truths) for entry in _entries(photo, truth, None)
    ]
    detected = [
        entry for photo, one in enumerate(found) for entry in _entries(photo, one, one.scores)
    ]
    # pycocotools takes an annotation with the id 0 for "no match".
    for number, entry in enumerate([*objects, *detected], start=1):
        entry["id"] = number
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress there
        evaluation = COCOeval(as_coco(objects), as_coco(detected), "bbox")
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.params.maxDets = [_MOST_DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 0]
    photos = len(truths)
    return CocoResult(
        np.where(precision < 0, np.nan, precision),
        tuple(
            _matches(evaluation.evalImgs[index * photos : (index + 1) * photos])
            for index in range(classes)
        ),
    )


def precisions(
    truths: Sequence[Truth], found: Sequence[Detections], classes: int
) -> list[Optional[float]]:
    """The AP of each class as ``coco`` has it, from NumPy alone; None where a class does not occur.

    For environments without pycocotools.
    """
    once = np.ones(len(truths), int)
    each = [_matched(truths, found, index) for index in range(classes)]
    return [
        float(weighted_precision(one, once).mean()) if one.objects.any() else None for one in each
    ]


def _matched(truths: Sequence[Truth], found: Sequence[Detections], index: int) -> ClassMatches:
    """As ``COCOeval.evaluateImg``: the best detection takes the free object it overlaps most."""
    objects = np.zeros(len(truths), int)
    scores, photos, hits = [np.zeros(0)], [np.zeros(0, int)], [np.zeros((len(THRESHOLDS), 0), bool)]
    for photo, (truth, one) in enumerate(zip(truths, found)):
        boxes = truth.boxes[truth.classes == index]
        mine = np.flatnonzero(one.classes == index)
        mine = mine[np.argsort(-one.scores[mine], kind="stable")][:_MOST_DETECTIONS]
        overlaps = iou_matrix(one.boxes[mine], boxes)
        hit = np.zeros((len(THRESHOLDS), len(mine)), bool)
        free = np.ones((len(THRESHOLDS), len(boxes)), bool)
        for row in np.flatnonzero((overlaps >= THRESHOLDS[0]).any(axis=1)):
            candidates = np.where(free, overlaps[row], 0)
            best = candidates.argmax(axis=1)
            hit[:, row] = candidates.max(axis=1) >= THRESHOLDS
            free[hit[:, row], best[hit[:, row]]] = False
        objects[photo] = len(boxes)
        scores.append(one.scores[mine])
        photos.append(np.full(len(mine), photo))
        hits.append(hit)
    all_scores = np.concatenate(scores)
    order = np.argsort(-all_scores, kind="stable")
    return ClassMatches(
        all_scores[order],
        np.concatenate(photos)[order],
        np.concatenate(hits, axis=1)[:, order],
        objects,
    )


def interval(
    matches: Sequence[ClassMatches], seed: int, rounds: int = 1000
) -> Optional[tuple[float, float]]:
    """Where 95 % of the mAPs lie when the test photos are drawn anew, with replacement.

    None when no class occurs. The work grows with ``rounds`` times the number of detections.
    """
    photos = len(matches[0].objects)
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(rounds):
        drawn = np.bincount(rng.integers(0, photos, photos), minlength=photos)
        each = [weighted_precision(one, drawn).mean() for one in matches if drawn @ one.objects]
        if each:
            values.append(np.mean(each))
    if not values:
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def weighted_precision(matches: ClassMatches, weights: np.ndarray) -> np.ndarray:
    """Precision [10, 101] over IoUs and recalls where photo i counts ``weights[i]`` times."""
    counts = weights[matches.photos]
    hits = np.cumsum(matches.hits * counts, axis=1)
    recall = hits / (weights @ matches.objects)
    reported = np.maximum(np.cumsum(counts), np.spacing(1))
    # Precision at a recall is the best at that recall or beyond.
    best = np.maximum.accumulate((hits / reported)[:, ::-1], axis=1)[:, ::-1]
    padded = np.concatenate([best, np.zeros((len(best), 1))], axis=1)
    return np.stack([row[np.searchsorted(r, _RECALLS)] for row, r in zip(padded, recall)])


def best_threshold(matches: Sequence[ClassMatches]) -> Optional[tuple[float, float]]:
    """The score threshold with the best F1 over all classes at an IoU of 0.5, and that F1."""
    objects = sum(int(one.objects.sum()) for one in matches)
    scores = np.concatenate([one.scores for one in matches])
    if not objects or not len(scores):
        return None
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(np.concatenate([one.hits[_AT_50] for one in matches])[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + objects)
    # A threshold shows all detections of a score or none: only after the last of them it counts.
    scores = scores[order]
    last = np.flatnonzero(np.append(scores[1:] < scores[:-1], True))
    best = last[np.argmax(f1[last])]
    return float(scores[best]), float(f1[best])


def confusion(
    truths: Sequence[Truth], found: Sequence[Detections], classes: int, score_threshold: float
) -> np.ndarray:
    """int [classes + 1, classes + 1]: true class down, detected class across, last: background.

    At an IoU of 0.5, one to one. An object goes to a detection of its own class if there is one;
    what remains is then paired across classes, the largest overlap first.
    """
    counts = np.zeros((classes + 1, classes + 1), int)
    for truth, all_found in zip(truths, found):
        one = all_found.above(score_threshold)
        overlaps = iou_matrix(truth.boxes, one.boxes)
        same = truth.classes[:, None] == one.classes[None]
        pairs = _pairs(np.where(same, overlaps, 0))
        rows, columns = ([pair[side] for pair in pairs] for side in (0, 1))
        overlaps[rows] = 0
        overlaps[:, columns] = 0
        pairs += _pairs(overlaps)
        for row, column in pairs:
            counts[truth.classes[row], one.classes[column]] += 1
        missed = np.delete(truth.classes, [row for row, _ in pairs])
        false = np.delete(one.classes, [column for _, column in pairs])
        np.add.at(counts, (missed, classes), 1)
        np.add.at(counts, (classes, false), 1)
    return counts


def photo_errors(truth: Truth, found: Detections, score_threshold: float) -> PhotoErrors:
    """What is missed, false or poorly placed; indices of detections are those of ``found``."""
    kept = np.flatnonzero(found.scores >= score_threshold)
    overlaps = iou_matrix(truth.boxes, found.boxes[kept])
    overlaps[truth.classes[:, None] != found.classes[kept][None]] = 0
    pairs = _pairs(overlaps)
    ious = np.array([overlaps[pair] for pair in pairs])
    columns = np.array([column for _, column in pairs], int)
    return PhotoErrors(
        missed=np.delete(np.arange(len(truth.classes)), [row for row, _ in pairs]),
        false=np.delete(kept, columns),
        poor=kept[columns[ious < _POOR_IOU]],
        ious=ious,
    )


def _summary(precision: np.ndarray, name: str) -> dict[str, Optional[float]]:
    parts = {name: precision, "AP50": precision[_AT_50], "AP75": precision[_AT_75]}
    return {
        key: None if np.isnan(part).all() else float(np.nanmean(part))
        for key, part in parts.items()
    }


def _entries(photo: int, one: Union[Truth, Detections], scores: Optional[np.ndarray]) -> list[dict]:
    sizes = one.boxes[:, 2:] - one.boxes[:, :2]
    entries = [
        {
            "image_id": photo,
            "category_id": int(index),
            "bbox": [float(corner[0]), float(corner[1]), float(size[0]), float(size[1])],
            "area": float(size[0] * size[1]),
            "iscrowd": 0,
        }
        for index, corner, size in zip(one.classes, one.boxes, sizes)
    ]
    if scores is not None:
        for entry, score in zip(entries, scores):
            entry["score"] = float(score)
    return entries


def _matches(per_photo: Sequence[Optional[dict]]) -> ClassMatches:
    """From COCOeval's result for each photo, None where a class neither is nor is detected."""
    there = [(index, one) for index, one in enumerate(per_photo) if one is not None]
    scores = np.concatenate([[], *(one["dtScores"] for _, one in there)])
    photos = np.repeat([i for i, _ in there], [len(one["dtScores"]) for _, one in there])
    nothing = np.zeros((len(THRESHOLDS), 0))
    hits = np.concatenate([nothing, *(one["dtMatches"] for _, one in there)], axis=1) > 0
    objects = np.zeros(len(per_photo), int)
    for index, one in there:
        objects[index] = len(one["gtIds"])
    order = np.argsort(-scores, kind="stable")
    return ClassMatches(scores[order], photos[order].astype(int), hits[:, order], objects)


def _pairs(overlaps: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column) with an overlap of at least 0.5, one to one, the largest first."""
    rows, columns = np.nonzero(overlaps >= 0.5)
    order = np.argsort(-overlaps[rows, columns], kind="stable")
    pairs: list[tuple[int, int]] = []
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist()):
        if row not in taken_rows and column not in taken_columns:
            pairs.append((row, column))
            taken_rows.add(row)
            taken_columns.add(column)
    return pairs

"""How far two detectors agree on the same photos, detection by detection.

Average precision alone would not notice scores that all shifted, or duplicates with low scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detection.detections import Detections
from detection.nms import iou_matrix

_SAME_OBJECT = 0.5  # IoU
_LOOSE = 0.75  # below it a box is badly placed, for people


@dataclass(frozen=True)
class Agreement:
    """One photo's reference and target. ``missing`` holds indices into the shown detections of the
    reference, ``extra`` and ``loose`` (matched, but with an IoU below 0.75) into those of the
    target; ``ious`` and ``score_differences`` (target minus reference) belong to the pairs that
    match.
    """

    reference: Detections
    target: Detections
    missing: np.ndarray
    extra: np.ndarray
    loose: np.ndarray
    ious: np.ndarray
    score_differences: np.ndarray

    @property
    def disagreements(self) -> int:
        """Shown detections of either side that the other one does not have."""
        return len(self.missing) + len(self.extra)

    @property
    def badness(self) -> float:
        """For sorting: disagreements first, then how far apart the boxes are."""
        return self.disagreements + (1 - float(self.ious.min()) if len(self.ious) else 0.0)


def compare(reference: Detections, target: Detections, shown: float) -> Agreement:
    """Match what is shown, scores from ``shown`` on, one to one by class and overlap.

    A detection may also find its partner among those down to half that score: one that slips from
    0.51 to 0.49 has not vanished.
    """
    first, second = _candidates(reference, shown), _candidates(target, shown)
    overlaps = iou_matrix(first.boxes, second.boxes)
    overlaps[first.classes[:, None] != second.classes[None]] = 0
    pairs = []
    while overlaps.size and overlaps.max() >= _SAME_OBJECT:
        row, column = (int(i) for i in np.unravel_index(overlaps.argmax(), overlaps.shape))
        pairs.append((row, column, float(overlaps[row, column])))
        overlaps[row], overlaps[:, column] = 0, 0
    # Neither side shows these: nobody would see a difference.
    pairs = [p for p in pairs if first.scores[p[0]] >= shown or second.scores[p[1]] >= shown]
    rows, columns = [p[0] for p in pairs], [p[1] for p in pairs]
    return Agreement(
        reference=reference.above(shown),
        target=target.above(shown),
        missing=_unmatched(first.scores, rows, shown),
        extra=_unmatched(second.scores, columns, shown),
        loose=np.array(
            [column for _, column, iou in pairs if iou < _LOOSE and second.scores[column] >= shown],
            int,
        ),
        ious=np.array([p[2] for p in pairs]),
        score_differences=second.scores[columns] - first.scores[rows],
    )


def _candidates(found: Detections, shown: float) -> Detections:
    # Best first, so that indices of the shown ones are the same as in `above(shown)`.
    order = np.argsort(-found.scores, kind="stable")
    return Detections(found.boxes[order], found.classes[order], found.scores[order]).above(
        shown / 2
    )


def _unmatched(scores: np.ndarray, matched: list[int], shown: float) -> np.ndarray:
    return np.setdiff1d(np.flatnonzero(scores >= shown), np.array(matched, int))

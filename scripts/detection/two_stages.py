"""What lies between and behind the two networks of a Faster R-CNN (Ren et al. 2015).

The first network gives, for each anchor, whether there is something, and a code that moves the
anchor; the best of those boxes are the proposals. The second network looks at each proposal once
more and gives scores for the classes, and a box code relative to the proposal for each of them. As
in TensorFlow Model Garden's ``MultilevelROIGenerator`` and ``DetectionGenerator``; both with this
project's own NMS, so that it is the same on every device.
"""

from __future__ import annotations

import numpy as np

from detection import nms
from detection.decoding import decode_boxes, survivors
from detection.detections import Detections
from detection.detector import Detector

_UNSCALED = (1.0, 1.0, 1.0, 1.0)


def propose(scores: np.ndarray, codes: np.ndarray, detector: Detector) -> tuple[np.ndarray, int]:
    """Where the second network looks, and how many of these are proposals.

    ``scores``: [N], ``codes``: [N, 4], N the number of anchors. Returns float32 [count, 4], ymin,
    xmin, ymax, xmax in pixels of the network's input, best first; the second network always takes
    ``detector.proposals.count``, so the whole picture fills what is missing.
    """
    rules, anchors = detector.proposals, detector.anchors
    if rules is None or anchors is None:
        raise ValueError(f"{detector.name} is no two-stage detector: it proposes nothing")
    if (scores.shape, codes.shape) != ((len(anchors),), (len(anchors), 4)):
        raise ValueError(
            f"scores {scores.shape} and codes {codes.shape} do not fit {len(anchors)} anchors"
        )
    rows, levels, start = [], [], 0
    for level, size in enumerate(rules.levels):
        found, _, _ = nms.candidates(scores[start : start + size, None], 0.0, rules.pre_nms_top_k)
        rows.append(found + start)
        levels.append(np.full(len(found), level, np.int32))
        start += size
    candidates, level_of = np.concatenate(rows), np.concatenate(levels)
    order = np.argsort(-scores[candidates], kind="stable")
    candidates, level_of = candidates[order], level_of[order]
    boxes = decode_boxes(codes[candidates], anchors[candidates], _UNSCALED)
    frame = np.array([0, 0, detector.input.height, detector.input.width], np.float32)
    boxes = np.clip(boxes, 0, np.tile(frame[2:], 2))
    finite = np.isfinite(boxes).all(axis=1)
    kept = nms.suppress(boxes[finite], level_of[finite], rules.iou_threshold, rules.count)
    proposals = np.tile(frame, (rules.count, 1))
    proposals[: len(kept)] = boxes[finite][kept]
    return proposals, len(kept)


def decode_regions(
    found: tuple[np.ndarray, np.ndarray, np.ndarray], detector: Detector, width: int, height: int
) -> Detections:
    """Detections in a photo of ``width`` x ``height`` pixels from what the second network found.

    ``found``: scores [R, C] (activation applied, no background) and box codes [R, C, 4] relative to
    proposals [R, 4]. ValueError when the shapes are not those of ``detector``.
    """
    scores, codes, proposals = found
    classes_known = len(detector.classes)
    expected = (len(proposals), classes_known), (len(proposals), classes_known, 4)
    if detector.box_coder_scale is None or (scores.shape, codes.shape) != expected:
        raise ValueError(
            f"scores {scores.shape} and codes {codes.shape} do not fit {len(proposals)} proposals "
            f"and {classes_known} classes"
        )
    rows, classes, best = nms.candidates(scores, detector.score_threshold, detector.pre_nms_top_k)
    boxes = decode_boxes(codes[rows, classes], proposals[rows], detector.box_coder_scale)
    return survivors((boxes, classes, best), detector, width, height)

"""From the raw heads of a one-stage network to detections.

The heads give, per anchor, a score for each class and four numbers that move and stretch the
anchor: the box coder of Faster R-CNN (Ren et al. 2015, section 3.1.2), in the variant of
TensorFlow Model Garden's ``official.vision.ops.box_ops.decode_boxes``.
"""

from __future__ import annotations

import math

import numpy as np

from detection import nms
from detection.detections import Detections
from detection.detector import Detector
from detection.preprocess import to_photo

# Model Garden's BBOX_XFORM_CLIP: a box grows to at most 1000/16 of its anchor, so that exp() of a
# wild number stays finite.
LARGEST_LOG_SCALE = math.log(1000.0 / 16.0)


def decode_boxes(
    codes: np.ndarray, anchors: np.ndarray, scale: tuple[float, float, float, float]
) -> np.ndarray:
    """float32 [N, 4] boxes (ymin, xmin, ymax, xmax, in the anchors' unit), not yet clipped.

    ``codes``: [N, 4] dy, dx, dh, dw, each multiplied by its element of ``scale`` at training.
    ``anchors``: [N, 4] ymin, xmin, ymax, xmax.
    """
    # Coordinate by coordinate: rows of thousands are many times faster than thousands of rows.
    columns = np.ascontiguousarray(np.asarray(codes, np.float32).T)
    columns = columns / np.asarray(scale, np.float32)[:, None]
    lowest, highest = np.split(np.ascontiguousarray(anchors.T), 2)
    sizes = highest - lowest
    centres = columns[:2] * sizes + (lowest + np.float32(0.5) * sizes)
    decoded_sizes = np.exp(np.minimum(columns[2:], np.float32(LARGEST_LOG_SCALE))) * sizes
    corners = centres - np.float32(0.5) * decoded_sizes
    return np.concatenate([corners, corners + decoded_sizes]).T


def decode(
    scores: np.ndarray, codes: np.ndarray, detector: Detector, width: int, height: int
) -> Detections:
    """Detections in a photo of ``width`` x ``height`` pixels from the raw heads of its picture.

    ``scores``: [N, C] (activation applied, no background), ``codes``: [N, 4], N the number of
    anchors and C of classes. ValueError when the shapes are not those of ``detector``. Candidates
    whose score is not a number, or whose box has no area inside the picture, are dropped.
    """
    anchors = detector.anchors
    if anchors is None or detector.proposals is not None:
        raise ValueError(f"{detector.name} is no one-stage detector: it has no raw heads")
    expected = (len(anchors), len(detector.classes)), (len(anchors), 4)
    if (scores.shape, codes.shape) != expected:
        raise ValueError(
            f"raw heads {scores.shape} and {codes.shape} do not fit the detector's anchors and "
            f"classes {expected[0]} and {expected[1]}"
        )
    # Decoding only what can be detected is many times faster than decoding every anchor.
    rows, classes, best = nms.candidates(scores, detector.score_threshold, detector.pre_nms_top_k)
    boxes = decode_boxes(
        codes.take(rows, axis=0), anchors.take(rows, axis=0), detector.box_coder_scale
    )
    return survivors((boxes, classes, best), detector, width, height)


def survivors(
    candidates: tuple[np.ndarray, np.ndarray, np.ndarray],
    detector: Detector,
    width: int,
    height: int,
) -> Detections:
    """What clipping and NMS leave of candidates, in pixels of a photo of ``width`` x ``height``.

    ``candidates``: boxes [M, 4] in pixels of the network's input, classes and scores [M], best
    first.
    """
    boxes, classes, best = candidates
    limits = np.array([detector.input.height, detector.input.width] * 2, np.float32)
    clipped = np.clip(boxes, 0, limits)
    # Also false where something is NaN.
    sound = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
    if detector.clip == "after_nms":
        # Boxes without area take part in NMS; they take nobody's place in what is returned.
        usable, compete, most = np.isfinite(boxes).all(axis=1), boxes, len(boxes)
    else:
        usable, compete, most = sound, clipped, detector.max_detections
    if not usable.all():
        compete, clipped, sound = compete[usable], clipped[usable], sound[usable]
        classes, best = classes[usable], best[usable]
    kept = nms.suppress(compete, classes, detector.iou_threshold, most)
    kept = kept[sound[kept]][: detector.max_detections]
    photo_boxes = to_photo(clipped[kept], detector.input, width, height)
    return Detections(photo_boxes, classes[kept], best[kept])

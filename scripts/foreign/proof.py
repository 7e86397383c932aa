"""Whether a network that was taken out of a graph, decoded by this project, finds what the graph
finds: tried on made-up pictures."""

from __future__ import annotations

import dataclasses
from typing import Callable

import numpy as np
import tensorflow as tf
from PIL import Image

from detection.decoding import decode
from detection.detections import Detections
from detection.detector import Detector
from foreign.object_detection_api import NoHeadsError

Find = Callable[[tf.Tensor], dict[str, tf.Tensor]]

_PICTURES = 4
# How far the NumPy code may be from the graph itself: rounding, on pictures of the network's size.
_SCORE_ROUNDING = 1e-4
_BOX_ROUNDING = 0.05  # pixels


def prove(detector: Detector, network: Find, find: Find) -> float:
    """The largest difference in score between the NumPy code on the heads and the whole graph.

    NoHeadsError where they do not find the same, box by box. The pictures have the network's own
    size: how photos are resized is not in question here, only where the heads are and what is done
    with them.
    """
    height, width = detector.input.height, detector.input.width
    largest, compared = 0.0, 0
    for picture in pictures(height, width):
        expected = _detections(find(tf.constant(picture[None])), width, height)
        if not len(expected):
            continue
        # All that the graph shows, however faint, but nothing below: that is what it cut off.
        faintest = float(np.nextafter(expected.scores.min(), np.float32(0)))
        all_shown = dataclasses.replace(detector, score_threshold=max(faintest - 1e-6, 0.0))
        heads = network(tf.constant(picture[None]))
        found = decode(
            heads["scores"][0].numpy(), heads["boxes"][0].numpy(), all_shown, width, height
        )
        count = min(len(found), len(expected))
        if count < len(expected):
            raise NoHeadsError(
                f"decoded from its heads there are {len(found)} detections instead of "
                f"{len(expected)}"
            )
        difference = np.abs(found.scores[:count] - expected.scores)
        if difference.max() > _SCORE_ROUNDING or not _same_boxes(found, expected):
            raise NoHeadsError("what is decoded from its heads is not what it finds as a whole")
        largest, compared = max(largest, float(difference.max())), compared + count
    if not compared:
        raise NoHeadsError(
            "it finds nothing in made-up pictures that its heads could be held against"
        )
    return largest


def pictures(height: int, width: int) -> list[np.ndarray]:
    """Made-up pictures, uint8 [height, width, 3], the same each time: colours, edges and noise."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(_PICTURES):
        coarse = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.BICUBIC), int)
        for _ in range(12):
            y, x = int(rng.integers(0, height * 3 // 4)), int(rng.integers(0, width * 3 // 4))
            smooth[y : y + height // 4, x : x + int(rng.integers(4, width // 3))] = rng.integers(
                0, 256, 3
            )
        noisy = smooth + rng.integers(-12, 13, smooth.shape)
        found.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return found


def _same_boxes(found: Detections, expected: Detections) -> bool:
    """Whether each expected box is there; among nearly equal scores in any order."""
    for index, (box, label, score) in enumerate(
        zip(expected.boxes, expected.classes, expected.scores)
    ):
        near = (np.abs(found.scores - score) <= _SCORE_ROUNDING) & (found.classes == label)
        distances = np.abs(found.boxes[near] - box).max(axis=1, initial=0)
        last = index >= len(expected) - 3 and score - expected.scores[-1] <= _SCORE_ROUNDING
        if not last and not (near.any() and distances.min() <= _BOX_ROUNDING):
            return False
    return True


def _detections(found: dict[str, tf.Tensor], width: int, height: int) -> Detections:
    count = int(found["num_detections"][0])
    boxes = found["detection_boxes"][0, :count].numpy()[:, [1, 0, 3, 2]]
    scores = found["detection_scores"][0, :count].numpy()
    classes = found["detection_classes"][0, :count].numpy().astype(np.int32) - 1
    shown = scores > 0
    return Detections(
        (boxes * np.array([width, height] * 2)).astype(np.float32)[shown],
        classes[shown],
        scores[shown],
    )

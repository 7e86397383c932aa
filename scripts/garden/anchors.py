"""Anchors fitted to the boxes of a dataset, in pixels of the model's input.

Model Garden's anchors are a grid of ``num_scales`` sizes, a factor 2^(1/num_scales) apart, times
``aspect_ratios``, on every level, starting at ``anchor_size`` strides. The levels already cover
a wide range of sizes, so what is fitted is the shapes and where the ladder of sizes starts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# With fewer boxes than this the default shapes are safer than any fit.
MIN_BOXES = 30
_SIZES = np.round(np.arange(2.0, 4.01, 0.25), 2)


@dataclass(frozen=True)
class Fit:
    """Fitted anchors, and the mean best overlap (IoU) of the boxes with them and with the given."""

    aspect_ratios: list[float]
    anchor_size: float
    overlap: float
    overlap_given: float


def overlap(boxes: np.ndarray, shapes: np.ndarray) -> float:
    """Mean over boxes [n, 2] (height, width) of the best IoU with centred shapes [m, 2]."""
    shared = np.minimum(boxes[:, None], shapes[None]).prod(axis=2)
    union = boxes.prod(axis=1)[:, None] + shapes.prod(axis=1)[None] - shared
    return float((shared / union).max(axis=1).mean())


def shapes(
    anchor_size: float, aspect_ratios: list[float], num_scales: int, levels: range
) -> np.ndarray:
    """All anchor shapes [m, 2] (height, width) in pixels; a ratio is width over height."""
    sides = [
        anchor_size * 2.0 ** (level + scale / num_scales)
        for level in levels
        for scale in range(num_scales)
    ]
    ratios = np.sqrt(np.array(aspect_ratios, dtype=np.float64))
    return np.array([(side / ratio, side * ratio) for side in sides for ratio in ratios])


def fit(
    boxes: np.ndarray,
    given_ratios: list[float],
    given_size: float,
    num_scales: int,
    levels: range,
) -> Fit | None:
    """Fit at most as many ratios as are given to boxes [n, 2] (height, width in input pixels).

    The ratios are the centres of a one-dimensional k-means on the logarithm of width over height,
    started at evenly spaced quantiles, so the result depends on the boxes alone. None with fewer
    than MIN_BOXES boxes, or where the given anchors overlap the boxes as well.
    """
    boxes = boxes[(boxes > 1.0).all(axis=1)]
    if len(boxes) < MIN_BOXES:
        return None
    logs = np.log(boxes[:, 1] / boxes[:, 0])
    count = len(given_ratios)
    centres = np.quantile(logs, (np.arange(count) + 0.5) / count)
    for _ in range(50):
        nearest = np.abs(logs[:, None] - centres[None]).argmin(axis=1)
        moved = np.array(
            [
                logs[nearest == index].mean() if (nearest == index).any() else centres[index]
                for index in range(count)
            ]
        )
        if np.allclose(moved, centres):
            break
        centres = moved
    ratios = sorted({round(float(ratio), 2) for ratio in np.exp(centres)})
    # Augmentation changes sizes anyway: the size is that which fits boxes of all magnifications.
    spread = np.concatenate([boxes * factor for factor in (0.6, 0.8, 1.0, 1.25, 1.6)])
    overlaps = [overlap(spread, shapes(size, ratios, num_scales, levels)) for size in _SIZES]
    best = int(np.argmax(overlaps))
    given = overlap(spread, shapes(given_size, given_ratios, num_scales, levels))
    if overlaps[best] <= given:
        return None
    return Fit(ratios, float(_SIZES[best]), overlaps[best], given)

"""Detections as the JSON that programs for users write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detection.detections import Detections


def listed(found: Detections, classes: Sequence[str]) -> list[dict[str, Any]]:
    """One object for each: class name, score to 4 digits, box in pixels to 2."""
    return [
        {
            "class": classes[index],
            "score": round(float(score), 4),
            "box": [round(float(side), 2) for side in box],
        }
        for box, index, score in zip(found.boxes, found.classes, found.scores)
    ]

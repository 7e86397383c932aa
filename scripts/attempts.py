"""Quantizing in attempts: the plain way first, and better ones as long as the result is not close.

What is close is judged on calibration photos, never on test photos: the detections of the quantized
network against those of the exact one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Callable

import numpy as np

from console import StageError, say
from detection.agreement import compare
from detection.decoding import decode
from detection.detections import Detections
from detection.detector import Detector

COMPARED_PHOTOS = 8
_SHOWN = 0.5


@dataclass(frozen=True)
class Closeness:
    """How a quantized network's detections agree with the exact one's on the same photos."""

    differing: float  # share of the detections that only one of them shows
    mean_iou: float
    mean_score_difference: float

    @property
    def close(self) -> bool:
        """Well inside what verify.py allows int8, so that it will pass on other photos too."""
        return (
            self.differing <= 0.05 and self.mean_iou >= 0.93 and self.mean_score_difference <= 0.03
        )

    @property
    def merit(self) -> float:
        """For choosing among several: more is closer."""
        return self.mean_iou - self.differing - self.mean_score_difference

    def told(self, photos: int) -> str:
        """In words."""
        return (
            f"on {photos} of the photos {self.differing:.1%} of the detections differ, "
            f"mean IoU {self.mean_iou:.3f}, scores by {self.mean_score_difference:.3f}"
        )


def closeness_of(reference: Sequence[Detections], found: Sequence[Detections]) -> Closeness:
    """The agreement over all photos; where neither detects anything, there is nothing between."""
    each = [compare(one, other, _SHOWN) for one, other in zip(reference, found)]
    shown = sum(len(one.reference) + len(one.target) for one in each)
    ious = np.concatenate([one.ious for one in each])
    scores = np.concatenate([one.score_differences for one in each])
    return Closeness(
        differing=round(sum(one.disagreements for one in each) / max(shown, 1), 4),
        mean_iou=round(float(ious.mean()), 4) if len(ious) else float(not shown),
        mean_score_difference=round(float(np.abs(scores).mean()), 4) if len(scores) else 0.0,
    )


@dataclass(frozen=True)
class Attempt:
    """A way to quantize. ``make`` gives the network in the toolchain's own form, or StageError."""

    name: str
    make: Callable[[], Any]


def detections(
    network: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    pictures: Sequence[np.ndarray],
    detector: Detector,
) -> list[Detections]:
    """What a network finds in pictures, each uint8 [1, H, W, 3]."""
    size = detector.input.width, detector.input.height
    return [decode(*network(picture), detector, *size) for picture in pictures]


def closest(
    attempts: Sequence[Attempt],
    exact: Sequence[Detections],
    detect: Callable[[Any], Sequence[Detections]],
) -> tuple[Any, dict[str, Any]]:
    """The first attempt that is close to ``exact``, else the closest of all; and what was tried.

    ``detect`` runs what an attempt made on the photos of ``exact``. The second value is what
    calibration.json says. StageError where the first attempt already cannot be made.
    """
    tried: list[tuple[Attempt, Closeness]] = []
    best = None
    for attempt in attempts:
        say(f"quantizing: {attempt.name}")
        try:
            made = attempt.make()
        except StageError as error:
            if not tried:
                raise
            say(f"that cannot be done here ({error})")
            continue
        closeness = closeness_of(exact, detect(made))
        say(closeness.told(len(exact)))
        if not tried or closeness.merit > max(one.merit for _, one in tried):
            best = attempt.name, made
        tried.append((attempt, closeness))
        if closeness.close:
            break
        say("that is not close enough")
    assert best is not None
    if not tried[-1][1].close:
        say(f"none is close enough; the closest is taken: {best[0]}")
    return best[1], {
        "method": f"post-training, {best[0]}",
        "tried": [{"method": one.name, **asdict(how)} for one, how in tried],
    }

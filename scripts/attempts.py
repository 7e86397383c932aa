"""Quantizing in attempts: the plain way first, and better ones as long as the result does not hold.

What holds is judged on training photos (those set aside for validation first), never on test
photos: by mAP against their annotations, as verify.py will judge on the test photos, and by how the
quantized network's detections agree with those of the exact one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Callable, Optional

import numpy as np

from console import StageError, say
from conversion import JudgingSet, Request
from detection.agreement import compare
from detection.decoding import decode
from detection.detections import Detections
from detection.detector import Detector
from detection.metrics import precisions

_SHOWN = 0.5
_WIDER = 5  # for one class, which varies more than the mean: as verify.py
# On photos it was trained on a detector loses about half of what it loses on others (DEVICES.md);
# on a handful of them as much is chance, and refusing by chance costs minutes.
_FAMILIAR = 0.5
_HANDFUL = 16


@dataclass(frozen=True)
class Closeness:
    """How a quantized network's detections compare with the exact one's on the same photos."""

    differing: float  # share of the detections that only one of them shows
    mean_iou: float
    mean_score_difference: float
    lost: Optional[float] = None  # mAP; None where no photo is annotated
    lost_most: Optional[float] = None  # AP of the class that loses most
    shown: int = 1  # detections there were to compare, of both together

    @property
    def close(self) -> bool:
        """Well inside what verify.py allows int8, so that it will pass on other photos too."""
        return (
            self.differing <= 0.05 and self.mean_iou >= 0.93 and self.mean_score_difference <= 0.03
        )

    def holds(self, allowed: float) -> bool:
        """Close, and at most ``allowed`` of mAP lost, five times that in one class."""
        return (
            self.close and (self.lost or 0) <= allowed and (self.lost_most or 0) <= _WIDER * allowed
        )

    @property
    def merit(self) -> float:
        """For choosing among several: more is better."""
        # A network that detects better than the exact one is not the better for differing from it.
        lost = max(self.lost or 0, 0)
        return self.mean_iou - self.differing - self.mean_score_difference - lost

    def told(self, photos: int) -> str:
        """In words."""
        if not self.shown:
            return f"nothing is detected on {photos} of the photos: this way could not be judged"
        lost = "" if self.lost is None else f"mAP {0.0 - self.lost:+.4f}, "
        return (
            f"on {photos} of the photos: {lost}{self.differing:.1%} of the detections differ, "
            f"mean IoU {self.mean_iou:.3f}, scores by {self.mean_score_difference:.3f}"
        )


class Judge:
    """Holds quantized networks against the exact one on the same photos."""

    def __init__(self, photos: JudgingSet, exact: Sequence[Detections], asked: Request) -> None:
        self._photos, self._exact, self._asked = photos, exact, asked
        self._precisions = self._measured(exact)

    def __call__(self, found: Sequence[Detections]) -> Closeness:
        """``found``: what the quantized network detects in the photos."""
        each = [compare(one, other, _SHOWN) for one, other in zip(self._exact, found)]
        shown = sum(len(one.reference) + len(one.target) for one in each)
        ious = np.concatenate([one.ious for one in each])
        scores = np.concatenate([one.score_differences for one in each])
        lost = [
            before - after
            for before, after in zip(self._precisions, self._measured(found))
            if before is not None and after is not None
        ]
        # Where neither detects anything, there is nothing between them.
        return Closeness(
            differing=_rounded(sum(one.disagreements for one in each) / max(shown, 1)),
            mean_iou=_rounded(ious.mean()) if len(ious) else float(not shown),
            mean_score_difference=_rounded(np.abs(scores).mean()) if len(scores) else 0.0,
            lost=_rounded(np.mean(lost)) if lost else None,
            lost_most=_rounded(max(lost)) if lost else None,
            shown=shown,
        )

    def holds(self, closeness: Closeness) -> bool:
        """Whether it will lose no more than the tolerance on other photos, as far as these tell."""
        annotated = sum(truth is not None for truth in self._photos.truths)
        share = 1.0 if annotated < _HANDFUL else _FAMILIAR
        return closeness.holds(share * self._asked.tolerance)

    def told(self, closeness: Closeness) -> str:
        """In words."""
        return closeness.told(len(self._exact))

    def _measured(self, found: Sequence[Detections]) -> list[Optional[float]]:
        pairs = [(t, f) for t, f in zip(self._photos.truths, found) if t is not None]
        classes = len(self._asked.detector.classes)
        return precisions([t for t, _ in pairs], [f for _, f in pairs], classes)


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
    """What a network finds in pictures, each uint8 [1, H, W, 3], in their pixels."""
    size = detector.input.width, detector.input.height
    return [decode(*network(picture), detector, *size) for picture in pictures]


def best(
    attempts: Sequence[Attempt],
    judge: Judge,
    detect: Callable[[Any], Sequence[Detections]],
) -> tuple[Any, dict[str, Any]]:
    """The first attempt that holds, else the best of all; and what was tried.

    ``detect`` runs what an attempt made on the judge's photos. The second value is what
    calibration.json says. StageError where the first attempt already cannot be made.
    """
    tried: list[tuple[Attempt, Closeness]] = []
    chosen, holds = None, False
    for attempt in attempts:
        say(f"quantizing: {attempt.name}")
        try:
            made = attempt.make()
        except StageError as error:
            if not tried:
                raise
            say(f"that cannot be done here ({error})")
            continue
        closeness = judge(detect(made))
        say(judge.told(closeness))
        holds = judge.holds(closeness)
        if holds or not tried or closeness.merit > max(one.merit for _, one in tried):
            chosen = attempt.name, made
        tried.append((attempt, closeness))
        if holds:
            break
        say("that is not good enough")
    assert chosen is not None
    if not holds:
        say(f"none is good enough; the best is taken: {chosen[0]}")
    return chosen[1], {
        "method": f"post-training, {chosen[0]}",
        "holds": holds,
        "tried": [{"method": one.name, **asdict(how)} for one, how in tried],
    }


def first_good(candidates: Iterable[Any], judge: Judge, detect: Callable[[Any], Any]) -> Any:
    """The first of ``candidates`` that holds, else the best of all: variants within an attempt."""
    chosen, merit = None, -np.inf
    for candidate in candidates:
        closeness = judge(detect(candidate))
        if judge.holds(closeness):
            return candidate
        if closeness.merit > merit:
            chosen, merit = candidate, closeness.merit
    return chosen


def _rounded(value: float) -> float:
    return round(float(value), 4) + 0.0  # never -0.0

"""A detector that finds what it is told, and a dataset for it: stages without TensorFlow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
from PIL import Image

from dataset import voc
from detection.detections import Detections
from detection.detector import ONE_STAGE, Detector, NetworkInput

CLASSES = ("bolt", "nut", "washer")


DETECTOR = Detector(
    kind=ONE_STAGE,
    name="fake",
    classes=CLASSES,
    input=NetworkInput(32, 32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    score_threshold=0.05,
    iou_threshold=0.5,
    max_detections=100,
    pre_nms_top_k=5000,
)


@dataclass
class FakeRuntime:
    """Answers each photo with ``answer(photo)``."""

    answer: Callable[[np.ndarray], Detections]
    detector: Detector = DETECTOR

    def detect(self, photo: np.ndarray) -> Detections:
        assert photo.dtype == np.uint8 and photo.ndim == 3 and photo.shape[2] == 3
        return self.answer(photo)


def detections(*parts: tuple[str, float, tuple[float, ...]]) -> Detections:
    """From (class name, score, box) triples."""
    return Detections(
        np.array([box for _, _, box in parts], np.float32).reshape(-1, 4),
        np.array([CLASSES.index(name) for name, _, _ in parts], np.int32),
        np.array([score for _, score, _ in parts], np.float32),
    )


def write_photo(
    path: Path,
    boxes: list[tuple[str, float, float, float, float]] | None = None,
    size: tuple[int, int] = (64, 48),
    **save: object,
) -> None:
    """A grey photo; with ``boxes``, also its annotation (an empty list: a negative)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (120, 130, 140)).save(path, **save)
    if boxes is not None:
        found = tuple(voc.Box(*box) for box in boxes)
        voc.write(path.with_suffix(".xml"), voc.Annotation(path.name, *size, found))


def read_json(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))

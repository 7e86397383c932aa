"""What all converters share: their flags, the calibration set, and what lies beside an artifact."""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from atomic import atomic_write
from console import InputError
from dataset import voc
from dataset.folder import Photo, photos
from dataset.image import load_photo
from detection.detector import ONE_STAGE, Detector, read_detector, write_detector
from detection.metrics import Truth
from detection.preprocess import network_input

PRECISIONS = ("fp32", "fp16", "int8")

# Activation ranges settle after a few dozen photos; more cost time and find ever rarer outliers.
_CALIBRATION_PHOTOS = 100


@dataclass(frozen=True)
class Request:
    """What a converter was asked for."""

    export: Path
    onnx: Optional[Path]
    data: Optional[Path]
    precision: str
    chip: str
    seed: int
    output: Path
    detector: Detector
    attempts: int = 9  # more than any converter knows
    tolerance: float = 0.02


@dataclass(frozen=True)
class CalibrationSet:
    """Pictures as the network gets them, uint8 [1, H, W, 3] each, and the photos they are of."""

    names: tuple[str, ...]
    pictures: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class JudgingSet:
    """What ways to quantize are judged on: pictures as the network gets them, and what is in them.

    ``truths`` are in pixels of the picture, None where nothing says what is there.
    """

    pictures: tuple[np.ndarray, ...]
    truths: tuple[Optional[Truth], ...]


def request(description: str, onnx: bool = False, kinds: tuple[str, ...] = (ONE_STAGE,)) -> Request:
    """The command line of a converter of detectors of ``kinds``. InputError for others."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--export", type=Path, required=True, help="folder that export.py wrote")
    parser.add_argument("--onnx", type=Path, required=onnx, help="folder that make_onnx.py wrote")
    parser.add_argument("--data", type=Path, help="dataset; int8 is calibrated on its train/")
    parser.add_argument("--precision", choices=PRECISIONS, required=True)
    parser.add_argument("--chip", default="", help="what to convert for, where there are several")
    parser.add_argument("--seed", type=int, default=1, help="draws the calibration photos")
    parser.add_argument(
        "--attempts", type=int, default=9, help="ways to quantize that are tried at most"
    )
    parser.add_argument(
        "--tolerance", type=float, default=0.02, help="mAP that int8 may lose on these photos"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    given = parser.parse_args()
    if not 0 <= given.tolerance < 1:
        parser.error("--tolerance must be at least 0 and below 1")
    if given.attempts < 1:
        parser.error("--attempts: at least one way to quantize has to be tried")
    if given.precision == "int8" and given.data is None:
        parser.error("--precision int8 is calibrated on photos: give --data")
    detector = read_detector(given.export)
    if detector.kind not in kinds:
        raise InputError(
            f"{given.export}: {detector.name} is a detector of the kind {detector.kind}; this "
            f"converter takes {', '.join(kinds)}."
        )
    given.output.mkdir(parents=True, exist_ok=True)
    return Request(detector=detector, **vars(given))


def calibration_set(asked: Request, most: int = _CALIBRATION_PHOTOS) -> CalibrationSet:
    """At most ``most`` photos of the dataset's train/, drawn by the request's seed."""
    assert asked.data is not None
    found = photos(asked.data / "train")
    if not found:
        raise InputError(f"{asked.data / 'train'}: there is no photo here to calibrate int8 on.")
    drawn = random.Random(asked.seed).sample(found, min(most, len(found)))
    pictures = tuple(network_input(load_photo(photo.path), asked.detector.input) for photo in drawn)
    return CalibrationSet(tuple(photo.name for photo in drawn), pictures)


def judging_set(asked: Request, most: int) -> JudgingSet:
    """At most ``most`` photos of validation/ and, where those are fewer, of train/: never of test/.

    Photos that the detector was not trained on tell more of what it does on others.
    """
    assert asked.data is not None
    drawn: list[Photo] = []
    for split in ("validation", "train"):
        if (asked.data / split).is_dir():
            found = photos(asked.data / split)
            drawn += random.Random(asked.seed).sample(found, min(most - len(drawn), len(found)))
    pictures, truths = [], []
    for photo in drawn:
        pixels = load_photo(photo.path)
        pictures.append(network_input(pixels, asked.detector.input))
        truths.append(_truth(photo, pixels.shape, asked.detector))
    return JudgingSet(tuple(pictures), tuple(truths))


def _truth(photo: Photo, shape: tuple[int, ...], detector: Detector) -> Optional[Truth]:
    """The boxes of classes that the detector knows, in pixels of its input."""
    if photo.xml is None:
        return None
    ids = {name: index for index, name in enumerate(detector.classes)}
    known = [box for box in voc.read(photo.xml).boxes if box.name in ids]
    width, height = detector.input.width / shape[1], detector.input.height / shape[0]
    corners = np.array([box[1:5] for box in known], np.float32).reshape(-1, 4)
    return Truth(
        corners * np.array([width, height] * 2, np.float32),
        np.array([ids[box.name] for box in known], int),
    )


def finish(asked: Request, calibration: Optional[dict[str, Any]] = None) -> None:
    """Write what a runtime needs beside the model: detector.json, last, marks the folder whole.

    ``calibration`` says how int8 came about: the photos, the method and the reason for it.
    """
    if calibration is not None:
        with atomic_write(asked.output / "calibration.json") as path:
            path.write_text(json.dumps(calibration, indent=2, ensure_ascii=False) + "\n", "utf-8")
    write_detector(asked.output, asked.detector)

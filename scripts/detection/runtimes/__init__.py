"""One module for each thing that can run an exported network, all of the same shape.

Each offers ``load(folder, device, threads)``, which returns something with ``detector`` (a
``Detector``) and ``detect(photo)`` (uint8 [height, width, 3] RGB -> ``Detections``). For one-stage
networks that is ``RawHeads`` from here, for two-stage ones ``TwoStages``: the module only says how
to call its networks. ``device``
is the runtime's own name of what to run on, empty for its default; ``threads`` is how many cores
it may use, 0 for all.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np

from console import InputError
from detection.decoding import decode
from detection.detections import Detections
from detection.detector import Detector
from detection.preprocess import network_input
from detection.two_stages import decode_regions, propose

Features = dict[str, np.ndarray]


@dataclass(frozen=True)
class RawHeads:
    """A one-stage detector: resize, network, decoding, NMS.

    ``network`` takes uint8 [1, H, W, 3] and returns scores [N, C] and box codes [N, 4].
    """

    detector: Detector
    network: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

    def detect(self, photo: np.ndarray) -> Detections:
        """The objects in ``photo``, uint8 [height, width, 3], RGB, upright."""
        scores, codes = self.network(network_input(photo, self.detector.input))
        return decode(scores, codes, self.detector, photo.shape[1], photo.shape[0])


@dataclass(frozen=True)
class TwoStages:
    """A two-stage detector: resize, first network, proposals, second network, decoding, NMS.

    ``first`` takes uint8 [1, H, W, 3] and returns scores [N], box codes [N, 4] and the features,
    by name; ``second`` takes features and proposals [R, 4] and returns scores [R, C] and box codes
    [R, C, 4].
    """

    detector: Detector
    first: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, Features]]
    second: Callable[[Features, np.ndarray], tuple[np.ndarray, np.ndarray]]

    def network(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores and box codes of both networks for one picture, and the proposals between."""
        scores, codes, features = self.first(picture)
        proposals, count = propose(scores, codes, self.detector)
        scores, codes = self.second(features, proposals)
        return scores[:count], codes[:count], proposals[:count]

    def detect(self, photo: np.ndarray) -> Detections:
        """The objects in ``photo``, uint8 [height, width, 3], RGB, upright."""
        found = self.network(network_input(photo, self.detector.input))
        return decode_regions(found, self.detector, photo.shape[1], photo.shape[0])


def cores() -> int:
    """How many this process may use, for a runtime that does not take all by itself."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def names() -> list[str]:
    """The runtimes there are."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def load(runtime: str, folder: Path, device: str = "", threads: int = 0) -> Any:
    """The detector in ``folder``, run by the module called ``runtime``.

    InputError when there is no such runtime, its library is not in this environment, or the
    folder does not hold what it runs.
    """
    if runtime not in names():
        raise InputError(f"--runtime {runtime}: it is one of {', '.join(names())}")
    try:
        return importlib.import_module(f"detection.runtimes.{runtime}").load(
            Path(folder), device, threads
        )
    except ModuleNotFoundError as error:
        raise InputError(
            f"--runtime {runtime}: this environment has no {error.name}; run it in its own one"
        ) from None


def model_file(folder: Path, name: str) -> Path:
    """``folder/name``; InputError where a converter has not left it there."""
    path = folder / name
    if not path.is_file():
        raise InputError(f"{path}: there is no such file. Convert the detector again.")
    return path

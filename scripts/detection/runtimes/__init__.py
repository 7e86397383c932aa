"""One module for each thing that can run an exported network, all of the same shape.

Each offers ``load(folder)``, which returns something with ``detector`` (a ``Detector``) and
``detect(photo)`` (uint8 [height, width, 3] RGB -> ``Detections``). For one-stage networks that is
``RawHeads`` from here: the module only says how to call its network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np

from detection.decoding import decode
from detection.detections import Detections
from detection.detector import Detector
from detection.preprocess import network_input


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

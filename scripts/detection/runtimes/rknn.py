"""Rockchip's NPU, simulated on x86 by rknn-toolkit2. On a board it is ``rknnlite``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detection import rknn_toolkit
from detection.detector import read_detector
from detection.levels import join
from detection.runtimes import RawHeads, model_file


def load(folder: Path, device: str = "", threads: int = 0) -> RawHeads:
    """The detector in ``folder``, a conversion; ``device`` and ``threads`` are not used.

    What is simulated is built from the same graph and ranges as model.rknn, and held against it.
    """
    detector = read_detector(folder)
    model_file(folder, "model.rknn")
    toolkit = rknn_toolkit.simulator(folder, detector.input)

    def network(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return join(toolkit.infer(picture), len(detector.classes))

    return RawHeads(detector, network)

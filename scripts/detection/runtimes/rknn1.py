"""Rockchip's RK3399Pro: rknn-toolkit 1.x, on the board or as its simulator on x86."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from console import InputError
from detection.detector import read_detector
from detection.levels import join
from detection.runtimes import RawHeads, model_file


def load(folder: Path, device: str = "", threads: int = 0) -> RawHeads:
    """The detector in ``folder``, a conversion.

    ``device`` is rk3399pro for a board that hangs on this computer; empty on the board itself, and
    on a computer for the simulator. ``threads`` is not used.
    """
    detector = read_detector(folder)
    model = model_file(folder, "model.rknn")
    from rknn.api import RKNN

    rknn = RKNN()
    if rknn.load_rknn(str(model)):
        raise InputError(f"{model} cannot be read by rknn-toolkit 1.x")
    if rknn.init_runtime(target=device or None):
        raise InputError(f"{model} cannot be started on {device or 'this machine'}")

    def network(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = rknn.inference(inputs=[picture[0]])
        if outputs is None:
            raise RuntimeError("rknn-toolkit gave no result")
        return join(outputs, len(detector.classes))

    return RawHeads(detector, network)

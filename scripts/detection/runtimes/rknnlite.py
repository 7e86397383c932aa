"""Rockchip's NPU on its board: rknn-toolkit-lite2 on the board's own librknnrt.so."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from console import InputError
from detection.detector import read_detector
from detection.levels import join
from detection.runtimes import RawHeads, model_file


def load(folder: Path, device: str = "", threads: int = 0) -> RawHeads:
    """The detector in ``folder``, a conversion for the chip of this board.

    ``device`` says which cores of the NPU: auto (the default), 0, 1, 2, 0_1, 0_1_2 or all, where
    the chip has several; ``threads`` is not used. InputError with what to look at where the NPU,
    its library or the network do not go together.
    """
    detector = read_detector(folder)
    model = model_file(folder, "model.rknn")
    from rknnlite.api import RKNNLite

    runtime = RKNNLite()
    cores = getattr(RKNNLite, f"NPU_CORE_{(device or 'auto').upper()}", None)
    if cores is None:
        raise InputError(f"--device {device}: it is auto, all, or cores such as 0 or 0_1_2")
    _must(runtime.load_rknn(str(model)), f"{model} cannot be read by rknn-toolkit-lite2")
    _must(
        runtime.init_runtime(core_mask=cores),
        f"{model} cannot be started on the NPU: it must be converted for the chip of this board, "
        "/usr/lib/librknnrt.so must be there, and the NPU's driver (/dev/dri, version 0.9 or "
        "newer) must be accessible",
    )

    def network(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = runtime.inference(inputs=[picture])
        if outputs is None:
            raise RuntimeError("the NPU gave no result; `dmesg` may say why")
        return join(outputs, len(detector.classes))

    return RawHeads(detector, network)


def _must(failed: int, message: str) -> None:
    if failed:
        raise InputError(f"{message} (error {failed})")

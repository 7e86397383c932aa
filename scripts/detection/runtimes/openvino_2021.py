"""OpenVINO by its interface of 2021, the last release that drives the Movidius stick."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from console import InputError
from detection.detector import read_detector
from detection.runtimes import RawHeads, model_file

MYRIAD = "MYRIAD"
_DEVICES = ("CPU", MYRIAD)


def load(folder: Path, device: str = "", threads: int = 0) -> RawHeads:
    """The detector in ``folder``, a conversion; ``device`` is CPU (the default) or MYRIAD.

    InputError when MYRIAD is asked for and there is no stick that this program may use.
    """
    detector = read_detector(folder)
    model, weights = model_file(folder, "model.xml"), model_file(folder, "model.bin")
    if device not in ("", *_DEVICES):
        raise InputError(f"--device {device}: it is {' or '.join(_DEVICES)}")
    core = inference_engine()
    network = core.read_network(str(model), str(weights))
    network.input_info["images"].precision = "U8"
    loaded = _on_stick(core, network) if device == MYRIAD else _on_cpu(core, network, threads)

    def run(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # This release wants pictures plane by plane. A request does not keep its network alive, so
        # it is asked for each time.
        heads = loaded.infer({"images": picture.transpose(0, 3, 1, 2)})
        return heads["scores"][0], heads["boxes"][0]

    return RawHeads(detector, run)


def inference_engine() -> Any:
    """An ``IECore`` that finds libusb in its package, as the stick's plugin wants it.

    Unlike Debian's, that one asks the kernel and not udev for devices that come and go. A
    container has no udev, and the stick leaves and comes back when its program is loaded.
    """
    import libusb_package
    from openvino.inference_engine import IECore

    ctypes.CDLL(str(libusb_package.get_library_path()), ctypes.RTLD_GLOBAL)
    return IECore()


def _on_cpu(core: Any, network: Any, threads: int) -> Any:
    # Processors with bfloat16 would round to eight bits what was made with eleven.
    options = {"ENFORCE_BF16": "NO", "CPU_THREADS_NUM": str(threads)}
    return core.load_network(network, "CPU", options)


def _on_stick(core: Any, network: Any) -> Any:
    if not any(name.startswith(MYRIAD) for name in core.available_devices):
        raise InputError(
            "--device MYRIAD: no Movidius stick can be used here. Plug it in; `inv doctor` shows "
            "whether it is seen. If it is, it is not yours to use: see docs/DEVICES.md."
        )
    return core.load_network(network, MYRIAD)

"""OpenVINO: Intel's and other x86 processors, Intel's GPUs, ARM processors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np

from console import InputError
from detection.detector import read_detector
from detection.runtimes import RawHeads, model_file


def load(folder: Path, device: str = "", threads: int = 0) -> RawHeads:
    """The detector in ``folder``, a conversion; ``device`` is CPU (the default) or GPU.

    InputError when there is no such device.
    """
    detector = read_detector(folder)
    model = model_file(folder, "model.xml")
    import openvino

    options = {"PERFORMANCE_HINT": "LATENCY"}
    if device in ("", "CPU"):
        # Processors with bfloat16 would round to eight bits what was verified with twenty-four.
        options |= {"INFERENCE_PRECISION_HINT": "f32"}
        options |= {"INFERENCE_NUM_THREADS": str(threads)} if threads else {}
    core = openvino.Core()
    # Asking what there is takes a while; a processor is always there.
    if device not in ("", "CPU") and not _is_there(device, known := core.available_devices):
        raise InputError(
            f"--device {device}: OpenVINO finds none here, only {', '.join(known)}. A container"
            " takes --device=/dev/dri and --group-add with the group that owns it."
        )
    compiled = core.compile_model(str(model), device or "CPU", options)
    return RawHeads(detector, network(compiled))


def network(compiled: Any) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """How an ``openvino.CompiledModel`` is called: scores and box codes of a picture.

    What it returns is valid until the next call.
    """
    request = compiled.create_infer_request()

    def call(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        request.infer([picture], share_inputs=True)
        return request.get_tensor("scores").data[0], request.get_tensor("boxes").data[0]

    return call


def _is_there(device: str, available: Sequence[str]) -> bool:
    """Of several they are numbered: GPU stands for GPU.0 and GPU.1."""
    return any(device in (one, one.partition(".")[0]) for one in available)

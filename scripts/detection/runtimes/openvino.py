"""OpenVINO: Intel's and other x86 processors, Intel's GPUs, ARM processors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Union

import numpy as np

from console import InputError
from detection.detector import TWO_STAGE, Detector, read_detector
from detection.runtimes import Features, RawHeads, TwoStages, model_file


def load(folder: Path, device: str = "", threads: int = 0) -> Union[RawHeads, TwoStages]:
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

    def compiled(path: Path) -> Any:
        return core.compile_model(str(path), device or "CPU", options)

    if detector.kind == TWO_STAGE:
        box_head = model_file(folder, "box_head.xml")
        return _two_stages(detector, compiled(model), compiled(box_head))
    return RawHeads(detector, network(compiled(model)))


def _two_stages(detector: Detector, raw_heads: Any, box_head: Any) -> TwoStages:
    proposing, looking = raw_heads.create_infer_request(), box_head.create_infer_request()
    names = [output.get_any_name() for output in raw_heads.outputs]

    def first(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, Features]:
        proposing.infer([picture], share_inputs=True)
        found = {name: proposing.get_tensor(name).data for name in names}
        return found.pop("scores")[0], found.pop("boxes")[0], found

    def second(features: Features, proposals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        looking.infer({**features, "proposals": proposals[None]}, share_inputs=True)
        return looking.get_tensor("scores").data[0], looking.get_tensor("boxes").data[0]

    return TwoStages(detector, first, second)


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

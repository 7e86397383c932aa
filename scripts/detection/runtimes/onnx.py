"""ONNX Runtime: NVIDIA GPUs through CUDA, any CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Union

import numpy as np

from console import InputError
from detection.detector import TWO_STAGE, read_detector
from detection.runtimes import Features, RawHeads, TwoStages, model_file

_PROVIDERS = {
    "": "CPUExecutionProvider",
    "CPU": "CPUExecutionProvider",
    "CUDA": "CUDAExecutionProvider",
}


def load(folder: Path, device: str = "", threads: int = 0) -> Union[RawHeads, TwoStages]:
    """The detector in ``folder``, a conversion; ``device`` is CPU (the default) or CUDA.

    InputError when CUDA is asked for and not there: falling back would measure the wrong thing.
    """
    detector = read_detector(folder)
    model = model_file(folder, "model.onnx")
    import onnxruntime

    if device not in _PROVIDERS:
        raise InputError(f"--device {device}: ONNX Runtime takes CPU or CUDA here")
    provider = _PROVIDERS[device]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if device == "CUDA":
        onnxruntime.preload_dlls()  # CUDA's libraries come as packages, not from the system

    def session_of(path: Path) -> Any:
        session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
        if provider not in session.get_providers():
            raise InputError(
                f"--device {device}: ONNX Runtime finds no CUDA here. Look whether `nvidia-smi` "
                "answers, or use --device CPU."
            )
        return session

    session = session_of(model)
    if detector.kind == TWO_STAGE:
        box_head = session_of(model_file(folder, "box_head.onnx"))
        outputs = [output.name for output in session.get_outputs()]

        def first(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, Features]:
            found = dict(zip(outputs, session.run(outputs, {"images": picture})))
            return found.pop("scores")[0], found.pop("boxes")[0], found

        def second(features: Features, proposals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            given = {**features, "proposals": proposals[None]}
            scores, codes = box_head.run(["scores", "boxes"], given)
            return scores[0], codes[0]

        return TwoStages(detector, first, second)

    def network(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores, codes = session.run(["scores", "boxes"], {"images": picture})
        return scores[0], codes[0]

    return RawHeads(detector, network)

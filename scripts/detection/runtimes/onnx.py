"""ONNX Runtime: NVIDIA GPUs through CUDA, any CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from console import InputError
from detection.detector import read_detector
from detection.runtimes import RawHeads, model_file

_PROVIDERS = {
    "": "CPUExecutionProvider",
    "CPU": "CPUExecutionProvider",
    "CUDA": "CUDAExecutionProvider",
}


def load(folder: Path, device: str = "", threads: int = 0) -> RawHeads:
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
    session = onnxruntime.InferenceSession(str(model), options, providers=[provider])
    if provider not in session.get_providers():
        raise InputError(
            f"--device {device}: ONNX Runtime finds no CUDA here. Look whether `nvidia-smi` "
            "answers, or use --device CPU."
        )

    def network(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores, codes = session.run(["scores", "boxes"], {"images": picture})
        return scores[0], codes[0]

    return RawHeads(detector, network)

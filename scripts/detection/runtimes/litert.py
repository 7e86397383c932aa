"""LiteRT, once TensorFlow Lite: ARM boards, phones, x86."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detection.detector import read_detector
from detection.runtimes import RawHeads, cores, model_file


def load(folder: Path, device: str = "", threads: int = 0) -> RawHeads:
    """The detector in ``folder``, a conversion; ``device`` is not used: it runs on the CPU."""
    detector = read_detector(folder)
    model = model_file(folder, "model.tflite")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model), num_threads=threads or cores())
    runner = interpreter.get_signature_runner("serving_default")

    def network(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        heads = runner(images=picture)
        return heads["scores"][0], heads["boxes"][0]

    return RawHeads(detector, network)

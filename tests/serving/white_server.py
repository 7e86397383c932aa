"""Serves a detector that finds the white part of a photo; prints its port, then serves.

Settings from the environment: SECONDS a photo takes, REQUESTS at once, BODY_BYTES, BODY_SECONDS,
and FAILS, which makes the detector fail.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import numpy as np

from detection.detections import Detections
from detection.detector import ONE_STAGE, Detector, NetworkInput
from serving.app import Limits, Model, Service
from serving.server import listen, serve_until_stopped


class White:
    """Finds one "white" where pixels are, and sees "grey" in its upper left corner."""

    detector = Detector(
        kind=ONE_STAGE,
        name="white finder",
        classes=("white", "grey"),
        input=NetworkInput(32, 32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        score_threshold=0.05,
        iou_threshold=0.5,
        max_detections=100,
        pre_nms_top_k=5000,
    )

    def detect(self, photo: np.ndarray) -> Detections:
        time.sleep(float(os.environ.get("SECONDS", "0")))
        if "FAILS" in os.environ:
            raise RuntimeError(f"secret of {__file__}")
        rows, columns = np.nonzero(photo.mean(axis=2) > 128)
        if not len(rows):
            return Detections(np.zeros((0, 4), "f4"), np.zeros(0, "i4"), np.zeros(0, "f4"))
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return Detections(
            np.array([box, [0, 0, 2, 2]], np.float32),
            np.array([0, 1], np.int32),
            np.array([0.9, 0.3], np.float32),
        )


def main() -> None:
    model = Model(White(), "white finder", "none", score_threshold=0.5, version="7")
    limits = Limits(
        body_bytes=int(os.environ.get("BODY_BYTES", "4194304")),
        body_seconds=float(os.environ.get("BODY_SECONDS", "20")),
        pixels=50_000_000,
        requests=int(os.environ.get("REQUESTS", "16")),
    )
    listening = listen("127.0.0.1", 0)
    print(listening.getsockname()[1], flush=True)
    serve_until_stopped(Service(model, limits), listening)


if __name__ == "__main__":
    main()

"""What turning raw heads into detections costs, on one core.

    ./inv shell train -- env OMP_NUM_THREADS=1 python benchmarks/nms.py

The heads are those of a 320x320 detector (levels 3 to 6, 19125 anchors, three classes).
"candidates" are the scores above the threshold: a trained detector has tens to a few hundred of
them, an untrained or badly quantized one thousands. What is measured is CPU time, which other work
on the machine hardly distorts.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import numpy as np

from detection.decoding import decode
from detection.detector import ONE_STAGE, Detector, NetworkInput

SIZE = 320
CLASSES = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    detector = default_detector()
    print(f"{len(detector.anchors)} anchors, {CLASSES} classes: decoding and NMS, CPU milliseconds")
    print(f"{'candidates':>10} {'detections':>10} {'p50':>8} {'p95':>8}")
    for candidates in (0, 20, 100, 300, 1000, 5000, 20000):
        scores, codes = heads(len(detector.anchors), candidates)
        times = []
        for _ in range(repeats):
            start = time.thread_time()
            found = decode(scores, codes, detector, 800, 600)
            times.append(1e3 * (time.thread_time() - start))
        p50, p95 = np.percentile(times, [50, 95])
        print(f"{candidates:>10} {len(found):>10} {p50:>8.2f} {p95:>8.2f}")


def default_detector() -> Detector:
    """The default model's anchors: 3 scales and 3 ratios, base size 3 strides."""
    anchors = []
    for stride in (8, 16, 32, 64):
        steps = np.arange(stride / 2, SIZE, stride)
        ys, xs = (axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij"))
        for scale in (1.0, 2 ** (1 / 3), 2 ** (2 / 3)):
            for ratio in (0.5, 1.0, 2.0):
                h, w = (1.5 * stride * scale * f for f in (ratio**-0.5, ratio**0.5))
                anchors.append(np.stack([ys - h, xs - w, ys + h, xs + w], axis=1))
    return Detector(
        kind=ONE_STAGE,
        name="benchmark",
        classes=tuple(f"class {index}" for index in range(CLASSES)),
        input=NetworkInput(SIZE, SIZE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        score_threshold=0.05,
        iou_threshold=0.5,
        max_detections=100,
        pre_nms_top_k=5000,
        anchors=np.concatenate(anchors).astype(np.float32),
        box_coder_scale=(1.0, 1.0, 1.0, 1.0),
    )


def heads(anchors: int, candidates: int) -> tuple[np.ndarray, np.ndarray]:
    """Raw heads with that many scores above 0.05."""
    rng = np.random.default_rng(candidates)
    scores = rng.random((anchors, CLASSES)) * 0.05
    chosen = rng.choice(scores.size, candidates, replace=False)
    scores.flat[chosen] = 0.05 + 0.95 * rng.random(candidates) ** 2
    return scores.astype(np.float32), rng.normal(0, 0.2, (anchors, 4)).astype(np.float32)


if __name__ == "__main__":
    main()

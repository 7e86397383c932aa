"""Run a detector on the test photos and keep all that it finds, for verify.py to compare.

    python scripts/predict.py --artifact artifacts/default/openvino-cpu/int8/convert \\
        --runtime openvino --device CPU --data data/images --output predictions

Writes predictions.json: for every photo of test/ all detections above the detector's own score
threshold, with all digits. Runs in the environment of its runtime, on Python 3.9 too.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np

from atomic import atomic_write
from console import InputError, progress, run, say
from dataset.folder import photos
from dataset.image import load_photo
from detection import runtimes
from detection.detections import Detections

FORMAT = 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--artifact", type=Path, required=True, help="converted or exported folder")
    parser.add_argument("--runtime", required=True, help=", ".join(runtimes.names()))
    parser.add_argument("--device", default="", help="what the runtime shall run on")
    parser.add_argument("--data", type=Path, required=True, help="dataset; its test/ is used")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    given = parser.parse_args()
    predict(given.artifact, given.runtime, given.device, given.data / "test", given.output)


def predict(artifact: Path, runtime: str, device: str, test: Path, output: Path) -> None:
    """Write ``output/predictions.json``; InputError when there is no photo or no such artifact.

    A photo that cannot be read is an error here: a comparison must not lose one in silence.
    """
    found = photos(test)
    if not found:
        raise InputError(f"{test}: there is no photo here to run the detector on.")
    loaded = runtimes.load(runtime, artifact, device)
    entries = []
    for photo in progress(found, len(found), "predict"):
        pixels = load_photo(photo.path)
        entries.append(_entry(photo.name, pixels, loaded.detect(pixels)))
    predictions = {
        "format": FORMAT,
        "detector": loaded.detector.name,
        "classes": list(loaded.detector.classes),
        "runtime": runtime,
        "device": device,
        "machine": platform.machine(),
        "photos": entries,
    }
    output.mkdir(parents=True, exist_ok=True)
    with atomic_write(output / "predictions.json") as path:
        path.write_text(json.dumps(predictions, ensure_ascii=False) + "\n", "utf-8")
    say(f"{sum(len(one['scores']) for one in entries)} detections in {len(entries)} photos")


def _entry(name: str, photo: np.ndarray, found: Detections) -> dict[str, Any]:
    return {
        "file": name,
        "width": photo.shape[1],
        "height": photo.shape[0],
        "boxes": found.boxes.tolist(),
        "classes": found.classes.tolist(),
        "scores": found.scores.tolist(),
    }


if __name__ == "__main__":
    run(main)

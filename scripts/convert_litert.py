"""Convert an exported detector to LiteRT (TensorFlow Lite).

    python scripts/convert_litert.py --export artifacts/default/export --precision int8 \\
        --data data/images --output converted

Writes model.tflite, which takes uint8 pixels. int8 has weights per channel and 8-bit activations;
it is held against the exact network on calibration photos, and where it differs too much,
arithmetic stays in floating point. calibration.json says what was tried and what came of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import garden.quiet  # noqa: F401  (before TensorFlow)
from atomic import atomic_write
from attempts import COMPARED_PHOTOS, Attempt, closest, detections
from console import run, say
from conversion import CalibrationSet, Request, calibration_set, finish, request
from detection.detections import Detections


def main() -> None:
    convert(request(__doc__))


def convert(asked: Request) -> None:
    """Write model.tflite and what goes with it into ``asked.output``."""
    import tensorflow as tf

    calibration = None
    if asked.precision == "int8":
        photos = calibration_set(asked)
        model, method = quantize(photos, asked)
        calibration = {**method, "seed": asked.seed, "photos": list(photos.names)}
    else:
        converter = tf.lite.TFLiteConverter.from_saved_model(str(asked.export / "raw_heads"))
        if asked.precision == "fp16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        model = converter.convert()
    with atomic_write(asked.output / "model.tflite") as path:
        path.write_bytes(model)
    finish(asked, calibration)
    say(f"LiteRT {asked.precision}: {len(model) / 1e6:.1f} MB")


def quantize(photos: CalibrationSet, asked: Request) -> tuple[bytes, dict[str, Any]]:
    """The network with int8 weights, and how that was done."""
    import tensorflow as tf

    network = str(asked.export / "raw_heads")
    compared = photos.pictures[:COMPARED_PHOTOS]
    say(f"quantizing with {len(photos.pictures)} photos")

    def representative() -> Iterator[dict[str, np.ndarray]]:
        for picture in photos.pictures:
            yield {"images": picture}

    def made(calibrated: bool) -> bytes:
        converter = tf.lite.TFLiteConverter.from_saved_model(network)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if calibrated:
            converter.representative_dataset = representative
        model: bytes = converter.convert()
        return model

    def detect(model: bytes) -> list[Detections]:
        runner = tf.lite.Interpreter(model_content=model).get_signature_runner("serving_default")

        def heads(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = runner(images=picture)
            return found["scores"][0], found["boxes"][0]

        return detections(heads, compared, asked.detector)

    exact = tf.lite.TFLiteConverter.from_saved_model(network).convert()
    attempts = (
        Attempt("weights per channel, 8-bit activations", lambda: made(calibrated=True)),
        Attempt("weights in 8 bits, arithmetic in floating point", lambda: made(calibrated=False)),
    )
    return closest(attempts[: asked.attempts], detect(exact), detect)


if __name__ == "__main__":
    run(main)

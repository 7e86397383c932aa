"""Convert an exported detector to LiteRT (TensorFlow Lite).

    python scripts/convert_litert.py --export artifacts/default/export --precision int8 \\
        --data data/images --output converted

Writes model.tflite, which takes uint8 pixels. int8 has weights per channel and 8-bit activations.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import garden.quiet  # noqa: F401  (before TensorFlow)
from atomic import atomic_write
from console import run, say
from conversion import Request, calibration_set, finish, request


def main() -> None:
    convert(request(__doc__))


def convert(asked: Request) -> None:
    """Write model.tflite and what goes with it into ``asked.output``."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(asked.export / "raw_heads"))
    calibration = None
    if asked.precision != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if asked.precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if asked.precision == "int8":
        photos = calibration_set(asked)
        say(f"quantizing with {len(photos.pictures)} photos")

        def representative() -> Iterator[dict[str, np.ndarray]]:
            for picture in photos.pictures:
                yield {"images": picture}

        converter.representative_dataset = representative
        calibration = {
            "method": "post-training, weights per channel",
            "seed": asked.seed,
            "photos": list(photos.names),
        }
    model = converter.convert()
    with atomic_write(asked.output / "model.tflite") as path:
        path.write_bytes(model)
    finish(asked, calibration)
    say(f"LiteRT {asked.precision}: {len(model) / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)

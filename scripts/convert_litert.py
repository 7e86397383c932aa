"""Convert an exported detector to LiteRT (TensorFlow Lite).

    python scripts/convert_litert.py --export artifacts/default/export --precision int8 \\
        --data data/images --output converted

Writes model.tflite, which takes uint8 pixels. int8 has weights per channel and 8-bit activations;
it is held against the exact network and the annotations of training photos. Where it does not hold,
the layers that round most stay in floating point, then all arithmetic. calibration.json says what
was tried and what came of it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

import garden.quiet  # noqa: F401  (before TensorFlow)
from atomic import atomic_write
from attempts import Attempt, Judge, best, detections, first_good
from console import run, say
from conversion import CalibrationSet, Request, calibration_set, finish, judging_set, request
from detection.detections import Detections

_JUDGED_PHOTOS = 16
_MEASURED_PHOTOS = 4
_FEWEST_LAYERS = 4


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
    judged = judging_set(asked, _JUDGED_PHOTOS)
    say(f"quantizing with {len(photos.pictures)} photos")

    def representative() -> Iterator[dict[str, np.ndarray]]:
        for picture in photos.pictures:
            yield {"images": picture}

    def converter(calibrated: bool) -> Any:
        made = tf.lite.TFLiteConverter.from_saved_model(network)
        made.optimizations = [tf.lite.Optimize.DEFAULT]
        if calibrated:
            made.representative_dataset = representative
        return made

    def but_the_worst() -> bytes:
        return first_good(_but_the_worst(converter(calibrated=True), photos), judge, detect)

    def detect(model: bytes) -> list[Detections]:
        runner = tf.lite.Interpreter(model_content=model).get_signature_runner("serving_default")

        def heads(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = runner(images=picture)
            return found["scores"][0], found["boxes"][0]

        return detections(heads, judged.pictures, asked.detector)

    exact = tf.lite.TFLiteConverter.from_saved_model(network).convert()
    judge = Judge(judged, detect(exact), asked)
    attempts = (
        Attempt("weights per channel, 8-bit activations", converter(calibrated=True).convert),
        Attempt("layers that round most in floating point", but_the_worst),
        Attempt("weights in 8 bits, arithmetic in floating point", converter(False).convert),
    )
    return best(attempts[: asked.attempts], judge, detect)


def _but_the_worst(converter: Any, photos: CalibrationSet) -> Iterator[bytes]:
    """Networks in which ever more of the layers compute in floating point that round most.

    How much a layer rounds is its error against the same layer in floating point, with the same
    input, in steps of its own scale.
    """
    import tensorflow as tf

    def measured() -> Iterator[list[np.ndarray]]:
        for picture in photos.pictures[:_MEASURED_PHOTOS]:
            yield [picture]

    lite = tf.lite.experimental
    debugger = lite.QuantizationDebugger(converter=converter, debug_dataset=measured)
    debugger.run()
    with io.StringIO() as file:
        debugger.layer_statistics_dump(file)
        layers = list(csv.DictReader(file.getvalue().splitlines()))
    layers.sort(key=lambda one: -float(one["mean_squared_error"]) / float(one["scale"]) ** 2)
    count = _FEWEST_LAYERS
    while count <= len(layers) // 2:
        say(f"{count} of {len(layers)} layers in floating point")
        names = [one["tensor_name"] for one in layers[:count]]
        debugger.options = lite.QuantizationDebugOptions(denylisted_nodes=names)
        yield debugger.get_nondebug_quantized_model()
        count *= 2


if __name__ == "__main__":
    run(main)

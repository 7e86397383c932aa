"""Convert an exported detector to OpenVINO's intermediate representation.

    python scripts/convert_openvino.py --export artifacts/default/export --precision int8 \\
        --data data/images --output converted

Writes model.xml and model.bin, which take uint8 pixels. int8 is quantized after training by nncf
and held against the exact network on calibration photos; where it differs too much, slower and less
compact ways are tried. calibration.json says what was tried and what came of it.
Of a two-stage detector, box_head.xml and box_head.bin are the second network, never in int8.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from attempts import COMPARED_PHOTOS, Attempt, closeness_of, closest, detections
from console import run, say
from conversion import CalibrationSet, Request, calibration_set, finish, request
from detection.detections import Detections
from detection.detector import ONE_STAGE, TWO_STAGE
from detection.runtimes import openvino as openvino_runtime

# Of merit (attempts.py), which is 1 where all detections are the same.
_MOST_LOST = 0.08
# Layers that go back to floating point at most: each is tried by itself, which takes its time.
_MOST_RESTORED = 20


def main() -> None:
    convert(request(__doc__, kinds=(ONE_STAGE, TWO_STAGE)))


def convert(asked: Request) -> None:
    """Write model.xml, model.bin and what goes with them into ``asked.output``."""
    import openvino

    model = openvino.convert_model(str(asked.export / "raw_heads"))
    calibration = None
    if asked.precision == "int8":
        photos = calibration_set(asked)
        model, method = quantize(model, photos, asked)
        calibration = {**method, "seed": asked.seed, "photos": list(photos.names)}
    openvino.save_model(
        model, asked.output / "model.xml", compress_to_fp16=asked.precision == "fp16"
    )
    if asked.detector.kind == TWO_STAGE:
        box_head = openvino.convert_model(str(asked.export / "box_head"))
        # Where it looks must not be rounded: int8 is for the first network alone.
        openvino.save_model(
            box_head, asked.output / "box_head.xml", compress_to_fp16=asked.precision != "fp32"
        )
    finish(asked, calibration)
    size = sum(path.stat().st_size for path in asked.output.glob("*.*"))
    say(f"OpenVINO {asked.precision}: {size / 1e6:.1f} MB")


def quantize(model: Any, photos: CalibrationSet, asked: Request) -> tuple[Any, dict[str, Any]]:
    """The model with int8 weights and activations, and how that was done."""
    import nncf
    import openvino
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    nncf.set_log_level(logging.ERROR)  # it warns of every layer that takes no histogram
    compared = photos.pictures[:COMPARED_PHOTOS]
    say(f"quantizing with {len(photos.pictures)} photos")
    exactly = {"INFERENCE_PRECISION_HINT": "f32"}
    settings = {
        "calibration_dataset": nncf.Dataset(photos.pictures),
        "preset": nncf.QuantizationPreset.MIXED,
        "subset_size": len(photos.pictures),
    }

    def compiled_detects(compiled: Any, pictures: Sequence[np.ndarray]) -> list[Detections]:
        return detections(openvino_runtime.network(compiled), pictures, asked.detector)

    def detect(candidate: Any) -> list[Detections]:
        return compiled_detects(openvino.compile_model(candidate, "CPU", exactly), compared)

    # Ranges that lose least of the histogram: half the differences in score of nncf's own default.
    ranges = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.HISTOGRAM
    )

    def plain() -> Any:
        return nncf.quantize(model.clone(), advanced_parameters=ranges, **settings)

    def but_the_last() -> Any:
        ignored = nncf.IgnoredScope(names=last_convolutions(model))
        return nncf.quantize(
            model.clone(),
            fast_bias_correction=False,
            ignored_scope=ignored,
            advanced_parameters=ranges,
            **settings,
        )

    def by_accuracy() -> Any:
        # Photos in pairs with what the exact network finds there; the network gets the photo.
        pairs = list(zip(compared, exact))

        def merit(compiled: Any, items: Iterable[Any]) -> tuple[float, list[float]]:
            each = [
                closeness_of([wanted], compiled_detects(compiled, [picture])).merit
                for picture, wanted in items
            ]
            return sum(each) / len(each), each

        return nncf.quantize_with_accuracy_control(
            model.clone(),
            validation_dataset=nncf.Dataset(pairs, lambda pair: pair[0]),
            validation_fn=merit,
            max_drop=_MOST_LOST,
            advanced_quantization_parameters=ranges,
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                max_num_iterations=_MOST_RESTORED, ranking_subset_size=2
            ),
            **settings,
        )

    if asked.detector.kind == TWO_STAGE:
        # Of the first network alone there are no detections to compare attempts by.
        return plain(), {"method": "weights per channel, mixed preset; box head in 16 bits"}
    exact = detect(model)
    attempts = (
        Attempt("weights per channel, ranges by histogram, fast bias correction", plain),
        Attempt("biases layer by layer, last layers of the heads in floating point", but_the_last),
        Attempt("layers that cost accuracy in floating point", by_accuracy),
    )
    return closest(attempts[: asked.attempts], exact, detect)


def last_convolutions(model: Any) -> list[str]:
    """The names of the convolutions that no other one stands behind."""
    found, seen, queue = [], set(), list(model.get_results())
    while queue:
        node = queue.pop()
        name = node.get_friendly_name()
        if name in seen:
            continue
        seen.add(name)
        if node.get_type_name() in ("Convolution", "GroupConvolution"):
            found.append(name)
        else:
            queue += [given.get_source_output().get_node() for given in node.inputs()]
    return sorted(found)


if __name__ == "__main__":
    run(main)

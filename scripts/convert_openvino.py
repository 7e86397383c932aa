"""Convert an exported detector to OpenVINO's intermediate representation.

    python scripts/convert_openvino.py --export artifacts/default/export --precision int8 \\
        --data data/images --output converted

Writes model.xml and model.bin, which take uint8 pixels. int8 is quantized after training by nncf
and held against the exact network and the annotations of training photos; where it does not hold,
slower and less compact ways are tried. calibration.json says what was tried and what came of it.
Of a two-stage detector, box_head.xml and box_head.bin are the second network, never in int8.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import mixed_precision
from attempts import Attempt, Judge, best, detections, first_good
from console import run, say
from conversion import CalibrationSet, Request, calibration_set, finish, judging_set, request
from detection.detections import Detections
from detection.detector import ONE_STAGE, TWO_STAGE
from detection.runtimes import openvino as openvino_runtime

_JUDGED_PHOTOS = 32


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
    judged = judging_set(asked, _JUDGED_PHOTOS)
    say(f"quantizing with {len(photos.pictures)} photos")
    exactly = {"INFERENCE_PRECISION_HINT": "f32"}
    settings = {
        "calibration_dataset": nncf.Dataset(photos.pictures),
        "preset": nncf.QuantizationPreset.MIXED,
        "subset_size": len(photos.pictures),
    }

    def detect(candidate: Any) -> list[Detections]:
        compiled = openvino.compile_model(candidate, "CPU", exactly)
        return detections(openvino_runtime.network(compiled), judged.pictures, asked.detector)

    # Ranges that lose least of the histogram: half the differences in score of nncf's own default.
    ranges = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.HISTOGRAM
    )

    @functools.cache
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

    def but_the_sensitive() -> Any:
        found = mixed_precision.candidates(plain(), model, lambda one: judge(detect(one)))
        return first_good(found, judge, detect)

    if asked.detector.kind == TWO_STAGE:
        # Of the first network alone there are no detections to compare attempts by.
        return plain(), {"method": "weights per channel, mixed preset; box head in 16 bits"}
    judge = Judge(judged, detect(model), asked)
    attempts = (
        Attempt("weights per channel, ranges by histogram, fast bias correction", plain),
        Attempt("biases layer by layer, last layers of the heads in floating point", but_the_last),
        Attempt("parts that cost accuracy in floating point", but_the_sensitive),
    )
    return best(attempts[: asked.attempts], judge, detect)


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

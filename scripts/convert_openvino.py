"""Convert an exported detector to OpenVINO's intermediate representation.

    python scripts/convert_openvino.py --export artifacts/default/export --precision int8 \\
        --data data/images --output converted

Writes model.xml and model.bin, which take uint8 pixels; int8 is quantized after training by nncf.
"""

from __future__ import annotations

from typing import Any

from console import run, say
from conversion import CalibrationSet, Request, calibration_set, finish, request


def main() -> None:
    convert(request(__doc__))


def convert(asked: Request) -> None:
    """Write model.xml, model.bin and what goes with them into ``asked.output``."""
    import openvino

    model = openvino.convert_model(str(asked.export / "raw_heads"))
    calibration = None
    if asked.precision == "int8":
        photos = calibration_set(asked)
        model, method = quantize(model, photos)
        calibration = {**method, "seed": asked.seed, "photos": list(photos.names)}
    openvino.save_model(
        model, asked.output / "model.xml", compress_to_fp16=asked.precision == "fp16"
    )
    finish(asked, calibration)
    size = sum(path.stat().st_size for path in asked.output.glob("model.*"))
    say(f"OpenVINO {asked.precision}: {size / 1e6:.1f} MB")


def quantize(model: Any, photos: CalibrationSet) -> tuple[Any, dict[str, Any]]:
    """The model with int8 weights and activations, and how that was done."""
    import nncf

    say(f"quantizing with {len(photos.pictures)} photos")
    quantized = nncf.quantize(
        model,
        nncf.Dataset(photos.pictures),
        preset=nncf.QuantizationPreset.MIXED,
        fast_bias_correction=True,
        subset_size=len(photos.pictures),
    )
    return quantized, {"method": "nncf post-training, mixed preset, fast bias correction"}


if __name__ == "__main__":
    run(main)

"""Convert an exported detector for Rockchip's NPUs with rknn-toolkit2.

    python scripts/convert_rknn.py --export artifacts/default/export \\
        --onnx artifacts/default/onnx --precision int8 --chip rk3588 --data data/images \\
        --output converted

Writes model.rknn, which takes uint8 pixels and gives the output of each head and level, and
simulation/, from which the simulator builds the same network: devices do not need it.

int8 is held against the exact network and the annotations of training photos. Where it does not
hold the last layers get 16 bits; then ranges are searched by their error, which takes minutes.
calibration.json says what was tried and what came out.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attempts import Attempt, Judge, best, detections
from console import InputError, StageError, run, say
from conversion import (
    CalibrationSet,
    Request,
    calibration_set,
    finish,
    judging_set,
    request,
)
from detection import rknn_toolkit
from detection.detections import Detections
from detection.detector import Detector
from detection.levels import join
from npu_network import for_npu, runner

# Ranges settle after a few dozen photos, and the toolkit keeps every layer's output of all of them.
_CALIBRATION_PHOTOS = 40
_SEARCHED_PHOTOS = 8  # the search takes minutes for each
_JUDGED_PHOTOS = 8  # the simulator takes about a second for each


@dataclass(frozen=True)
class Method:
    """A way to quantize: how ranges are found, and what the last layers compute in."""

    name: str
    algorithm: str
    ends: str = ""
    photos: int = _CALIBRATION_PHOTOS


METHODS = (
    Method("8 bits throughout, weights per channel", "normal"),
    Method("last layers in 16 bits", "normal", ends="float16"),
    Method("last layers in 16-bit integers", "normal", ends="int16"),  # for chips without floats
    Method("ranges of least squared error", "mmse", photos=_SEARCHED_PHOTOS),
)


def main() -> None:
    convert(request(__doc__, onnx=True))


def convert(asked: Request) -> None:
    """Write model.rknn and what goes with it into ``asked.output``."""
    import onnx

    if asked.precision == "fp32":
        raise InputError("--precision fp32: Rockchip's NPUs have fp16 and int8")
    if not asked.chip:
        raise InputError("--chip is missing: it is the chip on the board, such as rk3588")
    assert asked.onnx is not None
    network = for_npu(onnx.load(asked.onnx / "nchw.onnx"), asked.detector)
    simulation = asked.output.absolute() / rknn_toolkit.SIMULATION
    simulation.mkdir()
    rknn_toolkit.write_settings(simulation, asked.chip)
    calibration = None
    if asked.precision == "int8":
        photos = calibration_set(asked, _CALIBRATION_PHOTOS)
        calibration = {
            **quantize(network, photos, asked, simulation),
            "seed": asked.seed,
            "photos": list(photos.names),
        }
    else:
        onnx.save(network, simulation / rknn_toolkit.ONNX)
    model = asked.output.absolute() / "model.rknn"
    rknn_toolkit.export(simulation, asked.detector.input, len(network.graph.output), model)
    finish(asked, calibration)
    size = f"{model.stat().st_size / 1e6:.1f} MB"
    say(f"RKNN {asked.precision} for {asked.chip}: {size}, opened again by load_rknn")


def quantize(
    network: Any, photos: CalibrationSet, asked: Request, simulation: Path
) -> dict[str, Any]:
    """Leave in ``simulation`` the best quantized ``network``; what calibration.json says of it."""
    judged = judging_set(asked, _JUDGED_PHOTOS)
    exact = _detections(runner(network, asked.detector), judged.pictures, asked.detector)
    with tempfile.TemporaryDirectory() as temporary:

        def attempt(method: Method) -> Attempt:
            folder = Path(temporary, method.name)

            def make() -> tuple[Path, Any]:
                folder.mkdir()
                return folder, _try(network, method, photos, asked, folder)

            return Attempt(method.name, make)

        (chosen, _), about = best(
            [attempt(method) for method in METHODS[: asked.attempts]],
            Judge(judged, exact, asked),
            lambda made: _detections(made[1].infer, judged.pictures, asked.detector),
        )
        for name in rknn_toolkit.QUANTIZED:
            shutil.move(chosen / name, simulation / name)
    return about


def _try(
    network: Any,
    method: Method,
    photos: CalibrationSet,
    asked: Request,
    folder: Path,
) -> Any:
    """Quantize into ``folder``; the simulator of what is there."""
    import onnx

    given = asked.detector.input
    toolkit = rknn_toolkit.configured(asked.chip, given, quantized_algorithm=method.algorithm)
    onnx.save(network, toolkit.folder / "network.onnx")
    names = [f"{number}.npy" for number in range(len(photos.pictures[: method.photos]))]
    say(f"calibrating with {len(names)} photos")
    for name, picture in zip(names, photos.pictures):
        np.save(toolkit.folder / name, picture.transpose(0, 3, 1, 2))
    (toolkit.folder / "photos.txt").write_text("\n".join(names) + "\n", "utf-8")
    toolkit.do("load_onnx", "network.onnx")
    toolkit.do("hybrid_quantization_step1", dataset="photos.txt")
    for name in rknn_toolkit.QUANTIZED:
        shutil.move(toolkit.folder / name, folder / name)
    if method.ends:
        outputs = [output.name for output in network.graph.output]
        _set_type(folder / rknn_toolkit.QUANTIZED[2], outputs, method.ends)
    rknn_toolkit.write_settings(folder, asked.chip)
    candidate = rknn_toolkit.built(folder, given)
    candidate.do("init_runtime")
    return candidate


def _set_type(path: Path, outputs: list[str], kind: str) -> None:
    """Have the layers that make ``outputs`` compute in ``kind``: the toolkit's own file says so."""
    head = "custom_quantize_layers: {}"
    text = path.read_text("utf-8")
    if text.count(head) != 1:
        raise StageError(f"rknn-toolkit2 wrote a {path.name} without '{head}'")
    layers = "".join(f"\n    {name}: {kind}" for name in outputs)
    path.write_text(text.replace(head, f"custom_quantize_layers:{layers}"), "utf-8")


def _detections(
    network: Any, pictures: Sequence[np.ndarray], detector: Detector
) -> list[Detections]:
    return detections(
        lambda picture: join(network(picture), len(detector.classes)), pictures, detector
    )


if __name__ == "__main__":
    run(main)

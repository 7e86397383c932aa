"""Convert an exported detector for Rockchip's NPUs with rknn-toolkit2.

    python scripts/convert_rknn.py --export artifacts/default/export \\
        --onnx artifacts/default/onnx --precision int8 --chip rk3588 --data data/images \\
        --output converted

Writes model.rknn, which takes uint8 pixels and gives the output of each head and level, and
simulation/, from which the simulator builds the same network: devices do not need it.

int8 is held against the exact network on calibration photos. Where it differs too much the last
layers get 16 bits; then ranges are searched by their error, which takes minutes. calibration.json
says what was tried and what came out.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attempts import COMPARED_PHOTOS, Closeness, closeness_of
from console import InputError, StageError, run, say
from conversion import CalibrationSet, Request, calibration_set, finish, request
from detection import rknn_toolkit
from detection.decoding import decode
from detection.detections import Detections
from detection.detector import Detector
from detection.levels import join
from npu_network import for_npu, runner

# Ranges settle after a few dozen photos, and the toolkit keeps every layer's output of all of them.
_CALIBRATION_PHOTOS = 40
_SEARCHED_PHOTOS = 8  # the search takes minutes for each


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
    rknn_toolkit.export(simulation, asked.detector.input, model)
    finish(asked, calibration)
    say(f"RKNN {asked.precision} for {asked.chip}: {model.stat().st_size / 1e6:.1f} MB")


def quantize(
    network: Any, photos: CalibrationSet, asked: Request, simulation: Path
) -> dict[str, Any]:
    """Leave in ``simulation`` the quantized network that is closest to ``network``.

    Tries ``METHODS`` until one is close. Returns what calibration.json says of it.
    """
    compared = photos.pictures[:COMPARED_PHOTOS]
    reference = _detections(runner(network, asked.detector), compared, asked.detector)
    tried: list[tuple[Method, Closeness]] = []
    for method in METHODS[: asked.attempts]:
        used = min(len(photos.pictures), method.photos)
        say(f"quantizing with {used} photos: {method.name}")
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = _try(network, method, photos.pictures, asked, Path(folder))
            except StageError as error:
                if not tried:
                    raise
                say(f"{asked.chip} cannot do that ({error})")
                continue
            closeness = closeness_of(reference, found)
            if not tried or closeness.merit > max(one.merit for _, one in tried):
                for name in rknn_toolkit.QUANTIZED:
                    shutil.move(Path(folder, name), simulation / name)
        say(closeness.told(len(compared)))
        tried.append((method, closeness))
        if closeness.close:
            break
    method, _ = max(tried, key=lambda one: one[1].merit)
    return {
        "method": f"post-training, {method.name}",
        "tried": [{"method": one.name, **asdict(closeness)} for one, closeness in tried],
    }


def _try(
    network: Any, method: Method, photos: Sequence[np.ndarray], asked: Request, folder: Path
) -> list[Detections]:
    """Quantize into ``folder``; what the simulator then detects in the photos to compare by."""
    import onnx

    given = asked.detector.input
    toolkit = rknn_toolkit.configured(asked.chip, given, quantized_algorithm=method.algorithm)
    onnx.save(network, toolkit.folder / "network.onnx")
    names = [f"{number}.npy" for number in range(len(photos[: method.photos]))]
    for name, picture in zip(names, photos):
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
    return _detections(candidate.infer, photos[:COMPARED_PHOTOS], asked.detector)


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
    size = detector.input.width, detector.input.height
    return [
        decode(*join(network(picture), len(detector.classes)), detector, *size)
        for picture in pictures
    ]


if __name__ == "__main__":
    run(main)

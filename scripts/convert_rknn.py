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

from console import InputError, StageError, run, say
from conversion import CalibrationSet, Request, calibration_set, finish, request
from detection import rknn_toolkit
from detection.agreement import compare
from detection.decoding import decode
from detection.detections import Detections
from detection.detector import Detector
from detection.levels import join
from npu_network import for_npu, runner

# Ranges settle after a few dozen photos, and the toolkit keeps every layer's output of all of them.
_CALIBRATION_PHOTOS = 40
_COMPARED_PHOTOS = 8
_SEARCHED_PHOTOS = 8  # the search takes minutes for each
_SHOWN = 0.5


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


@dataclass(frozen=True)
class Closeness:
    """How a quantized network's detections agree with the exact one's on the same photos."""

    differing: float  # share of the detections that only one of them shows
    mean_iou: float
    mean_score_difference: float

    @property
    def close(self) -> bool:
        """Well inside what verify.py allows int8, so that it will pass on other photos too."""
        return (
            self.differing <= 0.05 and self.mean_iou >= 0.93 and self.mean_score_difference <= 0.03
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
    compared = photos.pictures[:_COMPARED_PHOTOS]
    reference = _detections(runner(network, asked.detector), compared, asked.detector)
    tried: list[tuple[Method, Closeness]] = []
    for method in METHODS:
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
            if not tried or _merit(closeness) > max(_merit(one) for _, one in tried):
                for name in rknn_toolkit.QUANTIZED:
                    shutil.move(Path(folder, name), simulation / name)
        say(
            f"on {len(compared)} of the photos {closeness.differing:.1%} of the detections differ, "
            f"mean IoU {closeness.mean_iou:.3f}, scores by {closeness.mean_score_difference:.3f}"
        )
        tried.append((method, closeness))
        if closeness.close:
            break
    method, _ = max(tried, key=lambda one: _merit(one[1]))
    return {
        "method": f"post-training, {method.name}",
        "tried": [{"method": one.name, **asdict(closeness)} for one, closeness in tried],
    }


def closeness_of(reference: list[Detections], found: list[Detections]) -> Closeness:
    """The agreement over all photos; where neither detects anything, there is nothing between."""
    each = [compare(one, other, _SHOWN) for one, other in zip(reference, found)]
    shown = sum(len(one.reference) + len(one.target) for one in each)
    ious = np.concatenate([one.ious for one in each])
    scores = np.concatenate([one.score_differences for one in each])
    return Closeness(
        differing=round(sum(one.disagreements for one in each) / max(shown, 1), 4),
        mean_iou=round(float(ious.mean()), 4) if len(ious) else float(not shown),
        mean_score_difference=round(float(np.abs(scores).mean()), 4) if len(scores) else 0.0,
    )


def _merit(closeness: Closeness) -> float:
    return closeness.mean_iou - closeness.differing - closeness.mean_score_difference


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
    return _detections(candidate.infer, photos[:_COMPARED_PHOTOS], asked.detector)


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

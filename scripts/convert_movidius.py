"""Convert an exported detector for the Myriad X: the Movidius stick and OAK cameras.

    python scripts/convert_movidius.py --export artifacts/default/export \\
        --onnx artifacts/default/onnx --precision fp16 --output converted

Writes model.xml and model.bin, which OpenVINO compiles for the stick that it finds, and
myriad_x.blob, compiled here, which OAK cameras take. Both take uint8 RGB, plane by plane;
normalisation is inside. No stick is needed; compiler.json says what the compilers found.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lxml import etree

from atomic import atomic_write
from console import InputError, StageError, run, say
from conversion import Request, finish, request
from detection.detector import Detector, NetworkInput

# Of the chip's sixteen vector processors: what an OAK camera leaves beside its own picture
# pipeline. Each has a slice of the on-chip memory.
_SHAVES = 6
_LINES_OF_A_FAILURE = 15


def main() -> None:
    convert(request(__doc__, onnx=True))


def convert(asked: Request) -> None:
    """Write model.xml, model.bin, myriad_x.blob and what goes with them into ``asked.output``."""
    if asked.precision != "fp16":
        raise InputError(f"--precision {asked.precision}: the Myriad X computes in fp16 only")
    assert asked.onnx is not None
    with tempfile.TemporaryDirectory() as scratch:
        model = optimize(asked.onnx / "nchw.onnx", asked.detector.input, Path(scratch))
        layers = supported_layers(model)
        blob = compile_blob(model)
        about = {"layers_on_myriad": layers, "blob": examine_blob(blob, asked.detector)}
        for path in (model, model.with_suffix(".bin"), blob):
            with atomic_write(asked.output / path.name) as output:
                shutil.copyfile(path, output)
    with atomic_write(asked.output / "compiler.json") as path:
        path.write_text(json.dumps(about, indent=2) + "\n", "utf-8")
    finish(asked)
    say(f"Myriad X {asked.precision}: all {layers} layers supported, {sizes(asked.output)}")


def optimize(network: Path, taken: NetworkInput, folder: Path) -> Path:
    """model.xml and model.bin of ``network``, normalised planes in, that take pixels; the xml."""
    command = [str(Path(sys.executable).with_name("mo")), "--silent", "--framework=onnx"]
    command += [f"--input_model={network}", "--data_type=FP16", "--model_name=model"]
    command += [f"--mean_values=images{_values(taken.mean)}", f"--output_dir={folder}"]
    _run("the model optimizer", [*command, f"--scale_values=images{_values(taken.std)}"])
    return folder / "model.xml"


def supported_layers(model: Path) -> int:
    """How many layers the network has, if the stick's plugin takes them all; StageError if not."""
    from detection.runtimes.openvino_2021 import MYRIAD, inference_engine

    core = inference_engine()
    network = core.read_network(str(model), str(model.with_suffix(".bin")))
    taken = core.query_network(network, MYRIAD)
    layers = {
        layer.attrib["name"]: layer.attrib["type"]
        for layer in etree.parse(str(model)).iter("layer")
        if layer.attrib["type"] != "Result"  # the end of an output, nothing that is computed
    }
    if missing := [f"{name} ({kind})" for name, kind in layers.items() if name not in taken]:
        raise StageError(
            f"the Myriad X cannot run {len(missing)} of {len(layers)} layers: "
            f"{', '.join(missing[:5])}. It runs those that are trained here (docs/TRAINING.md)."
        )
    return len(layers)


def compile_blob(model: Path) -> Path:
    """The network for the chip, compiled by the tool of the release before: myriad_x.blob."""
    import libusb_package

    blob = model.with_name("myriad_x.blob")
    libraries = Path(sys.prefix, "tools", "myriad", "openvino", "libs")
    # Through the loader: the package's program is not marked as one, and where its libraries are
    # it does not know. The plugin inside wants libusb, though no device is touched.
    command = ["/lib64/ld-linux-x86-64.so.2", "--library-path", str(libraries)]
    command += ["--preload", str(libusb_package.get_library_path())]
    command += [str(libraries / "myriad_compile"), "-m", str(model), "-o", str(blob)]
    command += ["-ip", "U8", "-op", "FP16"]
    command += ["-VPU_NUMBER_OF_SHAVES", str(_SHAVES), "-VPU_NUMBER_OF_CMX_SLICES", str(_SHAVES)]
    _run("myriad_compile", command)
    return blob


def examine_blob(blob: Path, detector: Detector) -> dict[str, Any]:
    """What a camera's own library reads from ``blob``; StageError for anything unexpected."""
    os.environ.setdefault("DEPTHAI_LEVEL", "off")  # it warns that there is no USB
    import depthai

    read = depthai.OpenVINO.Blob(blob)
    found = {
        name: [str(about.dataType).rpartition(".")[2], *about.dims]
        for name, about in [*read.networkInputs.items(), *read.networkOutputs.items()]
    }
    anchors = len(detector.anchors)
    expected = {
        "images": ["U8F", detector.input.width, detector.input.height, 3, 1],
        "scores": ["FP16", len(detector.classes), anchors, 1],
        "boxes": ["FP16", 4, anchors, 1],
    }
    if found != expected:
        raise StageError(f"the compiled blob has {found}; it should have {expected}")
    return {"shaves": read.numShaves, "stages": read.stageCount, "tensors": found}


def sizes(folder: Path) -> str:
    """For the user: what goes to a stick, what to a camera."""
    return ", ".join(
        f"{name} {(folder / name).stat().st_size / 1e6:.1f} MB"
        for name in ("model.bin", "myriad_x.blob")
    )


def _values(numbers: Iterable[float]) -> str:
    return f"[{','.join(map(str, numbers))}]"


def _run(name: str, command: list[str]) -> None:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        last = "\n".join(done.stdout.strip().splitlines()[-_LINES_OF_A_FAILURE:])
        raise StageError(f"{name} failed with exit code {done.returncode}:\n{last}")


if __name__ == "__main__":
    run(main)

"""Rockchip's rknn-toolkit2, which builds networks for NPUs and simulates what it has built.

It cannot simulate a finished .rknn file. A conversion therefore keeps, in ``simulation/`` beside
model.rknn, what the same network can be built from once more:

settings.json    the chip, and the sha256 of the model.rknn that was built
network.onnx     fp16: the network itself
network.model, network.data, network.quantization.cfg     int8: graph, weights and ranges
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import struct
import sys
import tempfile
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console import InputError, StageError
from detection.detector import NetworkInput

SIMULATION = "simulation"
QUANTIZED = ("network.model", "network.data", "network.quantization.cfg")
ONNX = "network.onnx"
_SETTINGS = "settings.json"
_LOG = "toolkit.log"
_HEAD = 64  # bytes of an .rknn file before the network


@dataclass(frozen=True)
class Toolkit:
    """One network in the toolkit: an ``RKNN`` object and a folder where it leaves files."""

    rknn: Any
    scratch: tempfile.TemporaryDirectory[str]

    @property
    def folder(self) -> Path:
        """Where the toolkit works; goes with this object."""
        return Path(self.scratch.name)

    def do(self, step: str, *arguments: Any, **options: Any) -> None:
        """Call a method of ``RKNN`` that returns 0 on success; StageError with what it said."""
        with _apart(self.folder):
            try:
                failed = getattr(self.rknn, step)(*arguments, **options)
                reason = ""
            except Exception as error:  # it raises whatever happened inside
                failed, reason = -1, _last_line(str(error))
        if failed:
            raise StageError(f"rknn-toolkit2: {step}: {reason or _last_error(self.folder)}")

    def infer(self, picture: Any) -> list[Any]:
        """The network's outputs for uint8 [1, H, W, 3], by the simulator, in 32 bits."""
        with _apart(self.folder):
            outputs = self.rknn.inference([picture], data_format=["nhwc"])
        if outputs is None:
            raise StageError(f"rknn-toolkit2: inference: {_last_error(self.folder)}")
        return outputs


def start() -> Toolkit:
    """The toolkit, with no network yet."""
    scratch = tempfile.TemporaryDirectory(prefix="rknn-")
    with _apart(Path(scratch.name)):
        return Toolkit(_rknn_class()(), scratch)


def configured(chip: str, given: NetworkInput, **options: Any) -> Toolkit:
    """A toolkit that builds for ``chip``, the normalisation of ``given`` folded into the network.

    ``options`` go to ``RKNN.config``. InputError for a chip that the toolkit does not know.
    """
    toolkit = start()
    mean, std = [list(given.mean)], [list(given.std)]
    try:
        toolkit.do("config", mean_values=mean, std_values=std, target_platform=chip, **options)
    except StageError as error:
        if "target" in str(error):
            raise InputError(f"--chip {chip}: {error}") from None
        raise
    return toolkit


def write_settings(folder: Path, chip: str) -> None:
    """Note in a ``simulation/`` folder for which chip its network is."""
    (folder / _SETTINGS).write_text(json.dumps({"chip": chip}) + "\n", "utf-8")


def export(simulation: Path, given: NetworkInput, outputs: int, model: Path) -> None:
    """Build what ``simulation`` describes, write ``model`` and note there which file that is.

    StageError where the file, opened again, is not one for that chip with one input like ``given``
    and so many ``outputs``.
    """
    built(simulation, given).do("export_rknn", str(model.absolute()))
    chip = _settings(simulation)["chip"]
    about = opened(model)
    size = sorted((1, given.height, given.width, 3))
    found = about["target_platform"], sorted(about["norm_tensor"][0]["size"]), about["output_num"]
    if about["input_num"] != 1 or found != ([chip], size, outputs):
        raise StageError(f"{model}: rknn-toolkit2 made it for something else: {found}")
    noted = {**_settings(simulation), "model_sha256": _sha256(model)}
    (simulation / _SETTINGS).write_text(json.dumps(noted) + "\n", "utf-8")


def opened(model: Path) -> dict[str, Any]:
    """What an .rknn file says of itself, once the toolkit has opened it: chip, inputs, outputs.

    ``load_rknn`` looks at the first bytes alone and takes a file that was cut off. So its parts are
    counted too: the network, whose length stands at byte 16, then a description in JSON behind its
    own length (seen in the files of rknn-toolkit2 2.5.0). StageError where they do not add up.
    """
    start().do("load_rknn", str(model.absolute()))
    content = model.read_bytes()
    try:
        network = struct.unpack_from("<Q", content, 16)[0]
        length = struct.unpack_from("<Q", content, _HEAD + network)[0]
        if len(content) != _HEAD + network + 8 + length:
            raise ValueError(f"it has {len(content)} bytes")
        about: dict[str, Any] = json.loads(content[-length:])
    except (struct.error, ValueError) as error:
        raise StageError(f"{model}: is not a whole .rknn file ({error})") from None
    return about


def simulator(folder: Path, given: NetworkInput) -> Toolkit:
    """The network of a conversion, built once more from ``folder/simulation`` and ready to infer.

    InputError where that is missing, StageError where model.rknn was not built from it. Building
    again and comparing would not tell: the toolkit leaves addresses of its memory in its files.
    """
    simulation = folder / SIMULATION
    if _settings(simulation).get("model_sha256") != _sha256(folder / "model.rknn"):
        raise StageError(
            f"{folder / 'model.rknn'} is not what {simulation} describes. Convert again."
        )
    toolkit = built(simulation, given)
    toolkit.do("init_runtime")
    return toolkit


def built(simulation: Path, given: NetworkInput) -> Toolkit:
    """A toolkit that has built the network which a ``simulation/`` folder describes."""
    chip = _settings(simulation)["chip"]
    simulation = simulation.absolute()
    if (simulation / ONNX).is_file():
        toolkit = configured(chip, given)
        toolkit.do("load_onnx", str(simulation / ONNX))
        toolkit.do("build", do_quantization=False)
    else:
        toolkit = start()  # chip and normalisation are in the files
        files = [str(simulation / name) for name in QUANTIZED]
        toolkit.do("hybrid_quantization_step2", *files)
    return toolkit


def _settings(simulation: Path) -> dict[str, str]:
    try:
        settings = json.loads((simulation / _SETTINGS).read_text("utf-8"))
        return {"chip": str(settings["chip"]), **settings}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{simulation / _SETTINGS}: cannot be read ({error}). The simulator needs what the "
            "converter left there; a packed detector runs on its board alone."
        ) from None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _rknn_class() -> Any:
    """The toolkit's ``RKNN``.

    Its modules import PyTorch, and of all they do with it nothing is needed here: reading PyTorch's
    own files, the quantization "gdq", and rewriting a concatenation of reshaped heads, which
    ``npu_network`` cuts off. So where PyTorch is not installed an empty module stands in for it
    while they are imported.
    """
    absent = "torch" not in sys.modules and importlib.util.find_spec("torch") is None
    if absent:
        sys.modules |= _no_torch()
    try:
        from rknn.api import RKNN
    finally:
        if absent:
            del sys.modules["torch"], sys.modules["torch.nn"]
    return RKNN


def _no_torch() -> dict[str, types.ModuleType]:
    torch, nn = types.ModuleType("torch"), types.ModuleType("torch.nn")
    nn.Module = object  # type: ignore[attr-defined]
    torch.nn = nn  # type: ignore[attr-defined]
    torch.no_grad = lambda: lambda function: function  # type: ignore[attr-defined]

    def missing(name: str) -> Any:
        raise AttributeError(f"this takes PyTorch's {name}, which is not in this environment")

    torch.__getattr__ = missing  # type: ignore[method-assign]
    return {"torch": torch, "torch.nn": nn}


@contextlib.contextmanager
def _apart(folder: Path) -> Iterator[None]:
    """Work in ``folder``, with all that is printed, by libraries in C too, in a file there.

    The toolkit prints hundreds of lines a network and leaves files wherever it is started.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    before, kept = Path.cwd(), (os.dup(1), os.dup(2))
    with (folder / _LOG).open("ab") as file:
        try:
            os.chdir(folder)
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, saved in enumerate(kept, start=1):
                os.dup2(saved, number)
                os.close(saved)
            os.chdir(before)


def _last_error(folder: Path) -> str:
    lines = (folder / _LOG).read_text("utf-8", "replace").splitlines()
    errors = [line for line in lines if "E RKNN" in line or "\x1b[1;31mE" in line]
    return _last_line("\n".join(errors or lines)) or "it gave no reason"


def _last_line(text: str) -> str:
    """The last line that says something, without colours."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return next((line.strip() for line in reversed(plain.splitlines()) if line.strip()), "")

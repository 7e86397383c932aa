"""Where a training starts from: weights by name, by path, or none.

``configs/weights.toml`` lists what is offered, with origin and licence. Weights from a package
are converted to a checkpoint of Model Garden's backbone; Model Garden then loads it as it loads
any (``task.init_checkpoint``).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras
import tomllib
from official.vision.modeling.backbones import factory

from console import InputError
from garden import backbone_weights

# name -> (reader, mean, deviation of the pixels that the network was trained on)
_FORMATS = {
    "efficientnet-lite0-torch": (backbone_weights.efficientnet_lite0, 127.0, 128.0),
    "mobilenetv2-frozen-graph": (backbone_weights.mobilenet_v2, 127.5, 127.5),
}


@dataclass(frozen=True)
class Weights:
    """An entry of ``configs/weights.toml``: a file in a package, or a URL that the host fetches."""

    name: str
    models: list[str]
    origin: str
    licence: str
    default: bool = False
    package: str = ""
    file: str = ""
    format: str = ""
    url: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Start:
    """The decision: a checkpoint and its modules, or nothing (random)."""

    name: str
    origin: str
    checkpoint: str | None = None
    modules: list[str] = field(default_factory=list)


def read_list(path: Path) -> dict[str, Weights]:
    """Read ``configs/weights.toml``. Raises InputError naming file and key."""
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise InputError(f"cannot read the list of weights {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not a TOML file: {error}") from error
    return {name: _entry(path, name, values) for name, values in tables.items()}


def _entry(path: Path, name: str, values: dict[str, Any]) -> Weights:
    try:
        return Weights(name=name, **values)
    except TypeError as error:
        raise InputError(f"{path}, [{name}]: {error}") from error


def choose(wanted: str, model: str, offered: dict[str, Weights]) -> Weights | Path | None:
    """What ``--weights`` means for a model: an entry, a path, or None for random weights.

    ``auto`` takes the model's default entry that is in a package, and random weights where there
    is none. Raises InputError for a name that does not suit the model and for a missing path.
    """
    # A variant such as retinanet_mobilenetv2_thorough starts from what its base starts from.
    suiting = [
        entry
        for entry in offered.values()
        if any(model == name or model.startswith(f"{name}_") for name in entry.models)
    ]
    if wanted == "random":
        return None
    if wanted == "auto":
        return next((entry for entry in suiting if entry.default and entry.package), None)
    if wanted in offered:
        entry = offered[wanted]
        if entry not in suiting:
            raise InputError(
                f"the weights {wanted} are for {', '.join(entry.models)}, not for {model}"
            )
        if entry.url:
            raise InputError(
                f"the weights {wanted} are fetched from {entry.url}; give --weights the path of "
                "the fetched file or folder"
            )
        return entry
    path = Path(wanted)
    if path.exists() or Path(f"{path}.index").exists():
        return path
    names = ", ".join(["auto", "random", *(entry.name for entry in suiting)])
    raise InputError(f"--weights {wanted}: no such path; the names for {model} are {names}")


def prepare(chosen: Weights | Path | None, experiment: Any, folder: Path) -> Start:
    """Make the checkpoint that Model Garden will load, in ``folder`` where it has to be made."""
    if chosen is None:
        return Start("random", "random initialisation")
    if isinstance(chosen, Path):
        return _from_path(chosen, folder)
    reader, mean, deviation = _FORMATS[chosen.format]
    source = package_file(chosen)
    units = backbone_weights.rescale_input(reader(source), mean, deviation)
    model = experiment.task.model
    backbone = factory.build_backbone(
        tf_keras.layers.InputSpec(shape=[None, *model.input_size]),
        model.backbone,
        model.norm_activation,
    )
    try:
        backbone_weights.assign(backbone, units)
    except ValueError as error:
        raise InputError(f"the weights {chosen.name} do not fit this model: {error}") from error
    prefix = tf.train.Checkpoint(backbone=backbone).write(str(folder / chosen.name))
    origin = f"{chosen.origin} (package {chosen.package}, {chosen.licence})"
    return Start(chosen.name, origin, prefix, ["backbone"])


def package_file(entry: Weights) -> Path:
    """The weights file inside an installed package, its checksum verified."""
    try:
        path = Path(importlib.metadata.distribution(entry.package).locate_file(entry.file))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (importlib.metadata.PackageNotFoundError, OSError) as error:
        raise InputError(
            f"the weights {entry.name} come with the package {entry.package}, which this "
            "environment lacks; --weights random starts without"
        ) from error
    if entry.sha256 and digest != entry.sha256:
        raise InputError(
            f"{path} is not the file that configs/weights.toml describes: sha256 {digest}"
        )
    return path


def _from_path(path: Path, folder: Path) -> Start:
    prefix = _checkpoint_prefix(_unpack(path, folder) if path.is_file() else path)
    try:
        names = {name.split("/")[0] for name, _ in tf.train.list_variables(prefix)}
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(f"{path} holds no TensorFlow checkpoint") from error
    modules = [module for module in ("backbone", "decoder") if module in names]
    if not modules:
        raise InputError(
            f"{path} is not a checkpoint of a Model Garden detector: no backbone in it"
        )
    return Start(str(path), f"checkpoint {path.name}", prefix, modules)


def _unpack(path: Path, folder: Path) -> Path:
    if path.suffix == ".index":
        return path.with_suffix("")
    try:
        with tarfile.open(path) as archive:
            archive.extractall(folder / "unpacked", filter="data")
    except (tarfile.TarError, OSError) as error:
        raise InputError(
            f"{path} is neither a checkpoint nor a tar archive of one: {error}"
        ) from error
    return folder / "unpacked"


def _checkpoint_prefix(path: Path) -> str:
    if not path.is_dir():
        return str(path)
    indexes = sorted(path.rglob("*.index"), key=lambda found: (len(found.parts), found.name))
    if not indexes:
        raise InputError(f"no TensorFlow checkpoint (*.index) in {path}")
    latest = tf.train.latest_checkpoint(str(indexes[0].parent))
    return latest or str(indexes[-1].with_suffix(""))

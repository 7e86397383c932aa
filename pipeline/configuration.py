"""The TOML files of ``configs/`` and ``docker/``, validated once into frozen objects.

Unknown keys are refused and every message names the file and the key. Names in these files are
literal: nothing is templated or inherited.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TypeVar

import msgspec

from pipeline.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"

# Inputs that no stage makes: the photos, the model's configuration, photos to detect on, and in an
# experiment whose detector was trained elsewhere, that detector.
GIVEN_INPUTS = ("data", "config", "images", "source")

Document = TypeVar("Document")


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One step: a script, the environment it runs in, what it reads and which options it takes."""

    name: str = ""  # the table's name; filled in by load_stages
    help: str
    script: str
    code: tuple[str, ...] = ()  # what it loads by name, unseen by who reads its imports
    environment: str
    inputs: tuple[str, ...] = ()  # names of stages or of GIVEN_INPUTS
    flags: dict[str, str] = {}  # an input's flag, where that is not its name
    bare: str = ""  # the input that is given without a flag
    arguments: dict[str, str] = {}  # further flags of the script, the same in every experiment
    after: tuple[str, ...] = ()  # stages that must have passed, but whose output is not read
    options: tuple[str, ...] = ()  # names of Settings fields
    ignores: dict[str, tuple[str, ...]] = {}  # per input: patterns of files that do not count
    hardware: tuple[str, ...] = ()  # of execution.HARDWARE: what of the host it is given
    resumable: bool = False  # what an interrupted run left is handed to the next one


# One of Model Garden's overrides: a name with dots, and a value, a list or a quoted text.
_OVERRIDE = r"""[A-Za-z][\w.]*(\[\d+\])?\s*=\s*([^,'"\[\]]*|\[[^\[\]]*\]|'[^']*'|"[^"]*")"""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a user chooses: ``configs/project.toml``, and the command line over it."""

    data: str
    model: str
    weights: str
    steps: int
    batch: int
    seed: int
    validation: str
    override: str
    qat: int
    score_threshold: float
    targets: tuple[str, ...]
    devices: dict[str, str] = {}  # per target: what it runs on, where that is not the target's own
    # A detector that was trained elsewhere: its file's name in the experiment's source/, and its
    # class names where no label map lies there.
    imported: str = ""
    labels: str = ""
    # Per variant ("openvino-cpu/int8"), why a loss beyond the tolerance was accepted.
    accepted_losses: dict[str, str] = {}
    # The variants whose int8 is made from what was trained on for it, and the digest of the export
    # whose own int8 did not hold.
    trained_on: dict[str, str] = {}

    def __post_init__(self) -> None:
        """Refuse values that no stage could work with."""
        for name in ("steps", "batch", "seed", "qat"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative")
        if not 0 <= self.score_threshold <= 1:
            raise ValueError("`score_threshold` must be between 0 and 1")
        # Model Garden would take what has no `=` for the name of a file.
        if self.override and not re.fullmatch(rf"({_OVERRIDE},\s*)*{_OVERRIDE}", self.override):
            raise ValueError("`override` must be like `trainer.validation_interval=100,...`")
        if self.validation != "auto":
            try:
                share = float(self.validation)
            except ValueError:
                raise ValueError("`validation` must be `auto` or a share such as 0.1") from None
            if not 0 <= share < 1:
                raise ValueError("`validation` must be at least 0 and below 1")


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Pretrained weights: from a package of the environment or from a URL with its checksum."""

    models: tuple[str, ...]
    origin: str
    licence: str
    package: str = ""
    file: str = ""  # within the package
    format: str = ""  # how the training script reads that file
    url: str = ""
    sha256: str = ""
    default: bool = False


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a device's image must be told when it runs there."""

    name: str  # for the runtime: CPU, GPU, CUDA; empty where there is no choice
    runtime: str = ""  # a module of scripts/detection/runtimes/, where not the target's own
    run: tuple[str, ...] = ()  # further options of `docker run`


class VendorWheel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A package that no registry has: fetched from its maker, or brought in a folder."""

    file: str  # the wheel's name
    md5: str  # of the wheel; what its maker publishes
    archive: str  # the URL of the archive that holds it


class EnvironmentFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``docker/<name>/environment.toml``, those of devices in ``docker/device/``."""

    description: str
    python: str  # "3.11"
    base: str = "base"  # the folder in docker/ that the image builds on
    builder: str = ""  # the folder whose builder makes it, where that is not the base's own
    gpu: bool = False  # can use an NVIDIA GPU
    variant_of: str = ""  # taken in place of that environment where there is an NVIDIA GPU
    platform: str = ""  # linux/arm64: what it is built for, where that is not the builder's own
    # Programs out of packages that do not fit this Python: docker/<environment>/<tool>/ has a lock
    # for the Python named here, and what it installs lies in the virtualenv's tools/<tool>/.
    tools: dict[str, str] = {}
    vendor: VendorWheel | None = None
    device: Device | None = None  # docker/device/: runs beside a detector, away from this host


def load_toml(path: Path, into: type[Document]) -> Document:
    """Read ``path`` as ``into``; raises InputError naming the file and the key."""
    try:
        text = path.read_bytes().decode("utf-8-sig")  # some editors begin with a mark
        return msgspec.toml.decode(text, type=into)
    except FileNotFoundError:
        raise InputError(f"{path}: this file is missing") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # ValidationError is one of these
        raise InputError(f"{path}: {error}") from None


@functools.cache
def load_stages(
    path: Path = CONFIGS / "pipeline.toml", *, imported: bool = False
) -> dict[str, Stage]:
    """The stages by name, in an order in which each comes after all it needs.

    ``imported``: those of an experiment whose detector was trained elsewhere.
    """

    class File(msgspec.Struct, forbid_unknown_fields=True):
        stages: dict[str, Stage]
        imported: dict[str, Stage]

    file = load_toml(path, File)
    listed = file.stages
    if imported:
        later = list(listed)[list(listed).index("export") + 1 :]
        listed = {**file.imported, **{name: listed[name] for name in later}}
    stages: dict[str, Stage] = {}
    for name, stage in listed.items():
        known = (*GIVEN_INPUTS, *stages)
        for needed in (*stage.inputs, *stage.after):
            if needed not in known:
                raise InputError(
                    f"{path}: stages.{name} needs '{needed}', which is neither a stage above it "
                    f"nor one of {', '.join(GIVEN_INPUTS)}"
                )
        for option in stage.options:
            if option not in Settings.__struct_fields__:
                raise InputError(f"{path}: stages.{name}.options: there is no setting '{option}'")
        for ignored in stage.ignores:
            if ignored not in stage.inputs:
                raise InputError(f"{path}: stages.{name}.ignores: '{ignored}' is not an input")
        stages[name] = msgspec.structs.replace(stage, name=name)
    return stages


@functools.cache
def load_settings(path: Path = CONFIGS / "project.toml") -> Settings:
    """The project's own settings, before the command line."""
    return load_toml(path, Settings)


@functools.cache
def load_weights(path: Path = CONFIGS / "weights.toml") -> dict[str, Weights]:
    """The pretrained weights by name."""
    weights = load_toml(path, dict[str, Weights])
    for name, entry in weights.items():
        if bool(entry.package) == bool(entry.url):
            raise InputError(f"{path}: {name} must have either a package or a url")
    return weights


# The experiments of scripts/garden/config.py, and the kind of detector that each trains.
_KINDS = {"drydock_retinanet": "one_stage", "drydock_fasterrcnn": "two_stage"}


def model_kind(model_file: str) -> str:
    """The kind of detector that a file of ``configs/models/`` trains, by its ``task.name``.

    One that names no task of ours is taken for a one-stage detector; training refuses it anyway.
    """
    named = re.search(r"^task:(?:\n(?:[ #].*)?)*?\n +name: *(\w+)", model_file, re.MULTILINE)
    return _KINDS.get(named.group(1), "one_stage") if named else "one_stage"


def models(root: Path = ROOT) -> list[str]:
    """The names that ``--model`` takes."""
    return sorted(path.stem for path in (root / "configs" / "models").glob("*.yaml"))

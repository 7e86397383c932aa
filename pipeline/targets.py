"""Targets: what carries a detector to a device, as stages of the pipeline.

A target and a precision have three stages, named after the folders their outputs take:
``openvino-cpu/int8/convert``, ``.../predict`` and ``.../verify``. They are planned, skipped and
recorded like all others. The target ``tensorflow`` is the export itself, against which the others
are held.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipeline import environments
from pipeline.configuration import CONFIGS, ROOT, Settings, Stage, load_stages, load_toml
from pipeline.errors import InputError
from pipeline.execution import HARDWARE

PRECISIONS = ("fp32", "fp16", "int8")
# Kinds of detectors, as in detector.json (docs/ARTIFACTS.md), in the words of a message.
KINDS = {
    "one_stage": "a one-stage detector",
    "two_stage": "a two-stage detector (Faster R-CNN)",
    "whole": "known only with its NMS inside",
}
REFERENCE = "tensorflow"


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A kind of device: what converts for it, what runs there, and how exact it must be."""

    name: str = ""  # the table's name; filled in by load_targets
    help: str
    environment: str  # where its runtime is
    runtime: str  # a module of scripts/detection/runtimes/
    precisions: tuple[str, ...]
    kinds: tuple[str, ...] = ("one_stage",)  # of detectors that it can be made for
    device: str = ""  # what the runtime is told to run on, here
    stand_in: str = ""  # what runs here in the device's place; empty where it is the real thing
    itself: str = ""  # what the runtime calls the device itself, for `--device` where there is one
    convert: str = ""  # the converter's script; empty where the export itself is the artifact
    converter: str = ""  # the environment it runs in; empty: the target's own
    chip: str = ""  # what the converter makes it for
    onnx: bool = False  # the converter starts from ONNX
    hardware: tuple[str, ...] = ()  # of execution.HARDWARE: what of the host its runtime is given
    package: str = ""  # the folder of docker/device/ that carries it; empty where none does
    unpacked: str = ""  # how the artifact gets where it runs, where no package carries it
    tolerance: dict[str, float] = {}  # per precision, where it is not the file's


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    tolerance: dict[str, float]
    targets: dict[str, Target]


@dataclass(frozen=True)
class Variant:
    """A target in one precision: what is converted, verified, benchmarked and packed."""

    target: Target
    precision: str
    optional: bool = False  # it came with `all`: left out where its environment cannot be had

    @property
    def name(self) -> str:
        """The folder of its artifacts below the experiment's."""
        return f"{self.target.name}/{self.precision}"

    @property
    def artifact(self) -> str:
        """The stage whose output the runtime loads."""
        return f"{self.name}/convert" if self.target.convert else "export"

    @property
    def predict(self) -> str:
        """The stage that runs it on the test photos."""
        return f"{self.name}/predict"

    @property
    def detect(self) -> str:
        """The stage that runs it on the user's photos."""
        return f"{self.name}/detect"

    @property
    def verify(self) -> str:
        """The stage that holds it against the reference."""
        return f"{self.name}/verify"


@functools.cache
def load_targets(path: Path = CONFIGS / "targets.toml") -> dict[str, Target]:
    """The targets by name, each with a tolerance for all its precisions."""
    file = load_toml(path, _File)
    targets = {}
    for name, target in file.targets.items():
        where = f"{path}: targets.{name}"
        tolerance = {**file.tolerance, **target.tolerance}
        for precision in target.precisions:
            if precision not in PRECISIONS or precision not in tolerance:
                raise InputError(f"{where}: there is no precision '{precision}' with a tolerance")
        if unknown := sorted(set(target.kinds) - KINDS.keys()):
            raise InputError(f"{where}: there is no kind of detector '{unknown[0]}'")
        for script in filter(None, (target.convert, _runtime_module(target))):
            if not (ROOT / script).is_file():
                raise InputError(f"{where}: there is no {script}")
        for environment in filter(None, (target.environment, target.converter)):
            if environment not in environments.names():
                raise InputError(f"{where}: there is no environment '{environment}' in docker/")
        for kind in target.hardware:
            if kind not in HARDWARE:
                raise InputError(f"{where}: hardware is of {', '.join(HARDWARE)}, not '{kind}'")
        if target.package and f"device/{target.package}" not in environments.devices():
            raise InputError(f"{where}: there is no docker/device/{target.package}")
        targets[name] = msgspec.structs.replace(target, name=name, tolerance=tolerance)
    if next(iter(targets), "") != REFERENCE or targets[REFERENCE].convert:
        raise InputError(f"{path}: targets.{REFERENCE}, the reference, comes first, unconverted")
    return targets


def _runtime_module(target: Target) -> str:
    return f"scripts/detection/runtimes/{target.runtime}.py"


def every() -> list[Variant]:
    """All that can be converted, in the order of the file: the reference left out."""
    return [
        Variant(target, precision)
        for target in load_targets().values()
        if target.convert
        for precision in target.precisions
    ]


def refusal(target: Target, kind: str) -> str:
    """Why a detector of this kind cannot go to ``target``, in one sentence; empty where it can."""
    if kind in target.kinds:
        return ""
    fitting = [one.name for one in load_targets().values() if one.convert and kind in one.kinds]
    where = f"goes to {', '.join(fitting)}" if fitting else f"runs in {REFERENCE} alone"
    return f"{target.name} cannot take this detector: it is {KINDS[kind]}, which {where}"


def variants(asked: Iterable[str], precisions: Iterable[str] = ()) -> list[Variant]:
    """The variants of the targets ``asked`` for, in the order of the file.

    ``precisions`` narrows them; ``all`` among ``asked`` stands for every target, and those that
    are not named beside it are optional. Raises InputError for a name that is not known and for a
    choice that leaves nothing.
    """
    known = load_targets()
    names, wanted = set(asked), set(precisions)
    if unknown := sorted(names - known.keys() - {"all"}):
        raise InputError(
            f"there is no target {', '.join(unknown)}; configs/targets.toml has {', '.join(known)}"
        )
    if unknown := sorted(wanted - set(PRECISIONS)):
        raise InputError(f"--precision {', '.join(unknown)}: it is one of {', '.join(PRECISIONS)}")
    found = [
        dataclasses.replace(variant, optional=variant.target.name not in names)
        for variant in every()
        if ("all" in names or variant.target.name in names)
        and (not wanted or variant.precision in wanted)
    ]
    if not found:
        raise InputError(
            f"nothing is converted for {', '.join(sorted(names)) or 'no target'} in "
            f"{', '.join(sorted(wanted)) or 'any precision'}; `inv targets` shows what there is"
        )
    return found


def reference() -> Variant:
    """The exported detector in TensorFlow."""
    return Variant(load_targets()[REFERENCE], "fp32")


def with_targets(settings: Settings) -> dict[str, Stage]:
    """All stages, those of every target and precision behind the pipeline's own."""
    stages = dict(load_stages(imported=bool(settings.imported)))
    for target in load_targets().values():
        for precision in target.precisions:
            variant = Variant(on_chosen_device(target, settings), precision)
            stages |= _stages(variant, settings)
    return stages


def on_chosen_device(target: Target, settings: Settings) -> Target:
    """The target as it runs where ``--device`` said; as it is where nothing was said of it."""
    device = settings.devices.get(target.name, target.device)
    stand_in = target.stand_in if device == target.device else ""
    return msgspec.structs.replace(target, device=device, stand_in=stand_in)


def _stages(variant: Variant, settings: Settings) -> dict[str, Stage]:
    target, artifact = variant.target, variant.artifact
    made = [
        Stage(
            name=variant.predict,
            help=f"run {variant.name} on the test photos",
            script="scripts/predict.py",
            code=(_runtime_module(target),),
            environment=target.environment,
            inputs=(artifact, "data"),
            flags={artifact: "artifact"},
            arguments={"runtime": target.runtime, "device": target.device},
            ignores={"data": ("train/*", "validation/*", "*.xml")},
            hardware=target.hardware,
        ),
        Stage(
            name=variant.detect,
            help=f"draw the boxes of {variant.name} on photos",
            script="scripts/detect.py",
            code=(_runtime_module(target),),
            environment=target.environment,
            inputs=(artifact, "images"),
            flags={artifact: "artifact"},
            bare="images",
            arguments={"runtime": target.runtime, "device": target.device},
            options=("score_threshold",),
            hardware=target.hardware,
        ),
    ]
    if not target.convert:
        return {stage.name: stage for stage in made}
    # A converter reads photos only to calibrate by, and never those that verify measures on.
    calibrates = variant.precision == "int8"
    # Its flag, by the stage that makes it. Trained for 8 bits, it is still held against the export.
    trained_on = settings.qat and variant.name in settings.trained_on
    taken = {"qat_export" if trained_on else "export": "export"}
    if target.onnx:
        taken["qat_onnx" if trained_on else "onnx"] = "onnx"
    made.insert(
        0,
        Stage(
            name=artifact,
            help=f"convert the detector for {target.name} in {variant.precision}",
            script=target.convert,
            environment=target.converter or target.environment,
            inputs=(
                *taken,
                *(["data"] if calibrates else []),
            ),
            flags=taken,
            arguments={
                "precision": variant.precision,
                "chip": target.chip,
                **({"tolerance": str(target.tolerance["int8"])} if calibrates else {}),
            },
            options=("seed",) if calibrates else (),
            ignores={"data": ("test/*",)} if calibrates else {},
        ),
    )
    held_against = reference().predict
    made.append(
        Stage(
            name=variant.verify,
            help=f"hold {variant.name} against the reference",
            script="scripts/verify.py",
            environment="train",
            inputs=("export", held_against, variant.predict, "data"),
            flags={held_against: "reference", variant.predict: "predictions"},
            arguments={
                "tolerance": str(target.tolerance[variant.precision]),
                "accept-loss": settings.accepted_losses.get(variant.name, ""),
            },
            ignores={"data": ("train/*", "validation/*")},
        )
    )
    return {stage.name: stage for stage in made}

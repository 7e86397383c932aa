"""The one table of an experiment: what came of each target and precision, and how fast it is.

Nothing is kept for it: it is made from the records, and a figure that belongs to something that has
changed since is left out. ``artifacts/<name>/devices.json`` is the same for programs.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pipeline import (
    environments,
    measurements,
    quantization,
    records,
    vendor,
    virtualenvs,
)
from pipeline.errors import DrydockError
from pipeline.execute import content_cache, survey
from pipeline.experiment import Experiment
from pipeline.plan import Step
from pipeline.screen import megabytes, say, shown, table
from pipeline.targets import Target, Variant, every, reference, refusal

FORMAT = 1
REFERENCE, VERIFIED, ACCEPTED = "reference", "verified", "loss accepted"
FAILED, STALE, UNVERIFIED = "failed", "stale", "not verified"
UNCONVERTED, IMPOSSIBLE = "not converted", "not possible"

_SHOWN_ANYWAY = (REFERENCE, VERIFIED, ACCEPTED, FAILED, STALE, UNVERIFIED)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A target in one precision. Figures are None where there are none that hold today."""

    target: str
    precision: str
    state: str
    why: str = ""  # of a state that is no success
    size_bytes: int | None = None  # of the network
    mAP: float | None = None
    difference: float | None = None  # of mAP to the reference's
    tolerance: float | None = None
    min_iou: float | None = None
    max_score_difference: float | None = None
    caution: str = ""
    accepted: str = ""  # the reason for accepting a loss
    checked_on: str = ""  # what ran in the device's place, where it was not the device
    tried: list[dict[str, Any]] = []  # ways to quantize, and how close each came
    measured: list[dict[str, Any]] = []  # benchmarks, the first that of this host

    @property
    def name(self) -> str:
        """The variant's."""
        return f"{self.target}/{self.precision}"


def rows(experiment: Experiment) -> list[Row]:
    """All targets in all precisions, the reference first."""
    variants = [reference(), *every()]
    wanted = ["evaluate", reference().predict, *(variant.verify for variant in variants[1:])]
    steps = {step.stage.name: step for step in survey(experiment, wanted)}
    cache = content_cache()
    made = []
    for variant in variants:
        measured = measurements.current(experiment, variant, steps[variant.artifact], cache)
        made.append(row(variant, steps, experiment.kind, measured))
    cache.save()
    return [_with_mean_ap(made[0], made[1:]), *made[1:]]


def _with_mean_ap(first: Row, others: Sequence[Row]) -> Row:
    """The reference's row; without an evaluation that holds, with the mAP others were held to."""
    if first.state != REFERENCE or first.mAP is not None:
        return first
    for judged in others:
        if judged.mAP is not None and judged.difference is not None:
            return msgspec.structs.replace(first, mAP=round(judged.mAP - judged.difference, 4))
    return first


def row(
    variant: Variant, steps: Mapping[str, Step], kind: str, measured: list[dict[str, Any]]
) -> Row:
    """What is known today of ``variant`` in an experiment whose stages stand like ``steps``."""
    artifact = steps[variant.artifact]
    if variant.name == reference().name:
        return _reference(steps, measured)
    state, why, judged = _verdict(variant, steps, kind)
    if state in (UNCONVERTED, IMPOSSIBLE):
        return _plain(variant, state, why)
    stand_in = variant.target.stand_in
    return Row(
        target=variant.target.name,
        precision=variant.precision,
        state=state,
        why=why,
        size_bytes=None if artifact.reasons else network_size(artifact.output),
        mAP=judged.get("mAP"),
        difference=judged.get("difference"),
        tolerance=variant.target.tolerance[variant.precision],
        min_iou=judged.get("min_iou"),
        max_score_difference=judged.get("max_score_difference"),
        caution=judged.get("caution") or "",
        accepted=judged.get("accepted") or "",
        checked_on=stand_in if judged else "",
        tried=[] if artifact.reasons else _tried(artifact.output),
        measured=measured,
    )


def _plain(variant: Variant, state: str, why: str = "") -> Row:
    return Row(target=variant.target.name, precision=variant.precision, state=state, why=why)


def _reference(steps: Mapping[str, Step], measured: list[dict[str, Any]]) -> Row:
    variant, export, evaluate = reference(), steps["export"], steps["evaluate"]
    if export.reasons:
        return _plain(variant, STALE if export.record else UNCONVERTED, export.reasons[0])
    metrics = {} if evaluate.reasons else records.json_object(evaluate.output / "metrics.json")
    return Row(
        target=variant.target.name,
        precision=variant.precision,
        state=REFERENCE,
        size_bytes=network_size(export.output),
        mAP=metrics.get("mAP"),
        caution=metrics.get("caution") or "",
        measured=measured,
    )


def _verdict(
    variant: Variant, steps: Mapping[str, Step], kind: str
) -> tuple[str, str, dict[str, Any]]:
    """State, reason, and the verify.json that the state rests on."""
    artifact, verify = steps[variant.artifact], steps[variant.verify]
    if why := refusal(variant.target, kind):
        return IMPOSSIBLE, why, {}
    if artifact.reasons:
        stale: tuple[str, str, dict[str, Any]] = (
            STALE,
            f"{variant.artifact}: {artifact.reasons[0]}",
            {},
        )
        return stale if artifact.record else (UNCONVERTED, _lacking(variant.target), {})
    if not verify.reasons:
        judged = records.json_object(verify.output / "verify.json")
        return ACCEPTED if judged.get("accepted") else VERIFIED, "", judged
    if judged := quantization.failed_verification(artifact.output, verify.output):
        return FAILED, "; ".join(judged.get("problems", ())) or "see its log", judged
    if verify.record is None:
        return UNVERIFIED, "", {}
    chain = (reference().predict, variant.predict, variant.verify)
    cause = next(step for name in chain if (step := steps[name]).reasons)
    return STALE, f"{cause.stage.name}: {cause.reasons[0]}", {}


def _lacking(target: Target) -> str:
    """What ``target`` needs that no package registry has, if that has not been fetched yet."""
    for name in dict.fromkeys([target.converter or target.environment, target.environment]):
        wheel = environments.load(name).file.vendor
        if wheel and not vendor.at_hand(wheel, virtualenvs.cache_folder()):
            return (
                f"{target.name} needs {wheel.file}, which no package registry has: ./inv convert "
                f"--target {target.name} fetches it from its maker or says how to bring it"
            )
    return ""


def network_size(artifact: Path) -> int:
    """Bytes of the network itself, of two stages both: what a converter named model.* and
    box_head.*, or an export's raw heads, which hold the weights of both stages."""
    files = [*artifact.glob("model.*"), *artifact.glob("box_head.*")]
    files = files or list((artifact / "raw_heads").rglob("*"))
    files = files or list((artifact / "saved_model").rglob("*"))  # known with its NMS inside alone
    return sum(path.stat().st_size for path in files if path.is_file())


def write(experiment: Experiment, found: list[Row]) -> Path:
    """Write devices.json, whole or not at all."""
    path = experiment.folder / "devices.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "experiment": experiment.name,
        "devices": [msgspec.to_builtins(one) for one in found],
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    partial.replace(path)
    return path


def refresh(experiment: Experiment) -> None:
    """Bring devices.json up to date, where there is one."""
    if (experiment.folder / "devices.json").exists():
        write(experiment, rows(experiment))


def show(experiment: Experiment, as_json: bool = False) -> None:
    """Write devices.json, and show it."""
    found = rows(experiment)
    path = write(experiment, found)
    if as_json:
        say(path.read_text("utf-8").rstrip())
        return
    table(HEAD, [line for one in found if one.state in _SHOWN_ANYWAY for line in lines(one)])
    for line in remarks(found):
        say(line)
    say(f"ms: the network alone, ratio: to TensorFlow's. In full: {shown(path)}")


def remarks(found: Sequence[Row]) -> list[str]:
    """What a table has no room for, a sentence each; what concerns several is said once."""
    said = [f"{one.name} failed: {one.why}" for one in found if one.state == FAILED]
    said += [f"{one.name}, loss accepted: {one.accepted}" for one in found if one.accepted]
    # How far figures may be trusted; the interval in brackets is of one target.
    judged = [one for one in found if one.state in (VERIFIED, ACCEPTED, FAILED) and one.caution]
    said += dict.fromkeys(f"note: {one.caution.partition(' (')[0]}" for one in judged)
    stale: dict[str, list[str]] = {}
    for one in found:
        if one.state == STALE:
            stale.setdefault(one.why.partition(": ")[2], []).append(one.name)
    said += [
        f"stale ({why}; inv verify brings it up to date): {', '.join(names)}"
        for why, names in stale.items()
    ]
    if left := [one for one in found if one.state == UNCONVERTED]:
        said.append(f"not converted: {', '.join(one.name for one in left)}")
        said += dict.fromkeys(one.why for one in left if one.why)
    return said


@contextlib.contextmanager
def shown_at_the_end(experiment: Experiment) -> Iterator[None]:
    """Show the table when the block has ended, be it with what did not pass."""
    try:
        yield
    except DrydockError:
        if (experiment.folder / "export").is_dir():
            show(experiment.reopened())
        raise
    show(experiment.reopened())


HEAD = (
    *("target", "precision", "size", "mAP", "lost", "verified"),
    *("ms p50", "p95", "p99", "whole p50", "ratio", "measured on"),
)


def lines(one: Row) -> list[tuple[str, ...]]:
    """A row as shown: a line for each place where it was measured."""
    first = (
        one.target,
        one.precision,
        "" if one.size_bytes is None else megabytes(one.size_bytes),
        "" if one.mAP is None else f"{one.mAP:.3f}",
        "" if one.difference is None else f"{0.0 - round(one.difference, 3):.3f}",
        f"{one.state} ({one.checked_on})" if one.checked_on else one.state,
    )
    if not one.measured:
        return [(*first, "", "", "", "", "", "")]
    blank = ("", "", "", "", "", "")
    return [
        (*(blank if number else first), *_latency(measured), measurements.place(measured))
        for number, measured in enumerate(one.measured)
    ]


def _latency(measured: Mapping[str, Any]) -> tuple[str, ...]:
    network, whole = measured["network_ms"], measured["end_to_end_ms"]
    ratio = network.get("ratio")
    return (
        *(f"{network[share]:.1f}" for share in ("p50", "p95", "p99")),
        f"{whole['p50']:.1f}",
        "" if ratio is None else f"{ratio:.2f}",
    )


def _tried(artifact: Path) -> list[dict[str, Any]]:
    calibration = records.json_object(artifact / "calibration.json")
    tried: list[dict[str, Any]] = calibration.get("tried", [])
    return tried

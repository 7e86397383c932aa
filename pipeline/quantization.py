"""The last way to an INT8 that holds: training the detector on for it, where it does not otherwise.

Converters try all other ways by themselves and say whether one of them holds (calibration.json);
verify says whether it did on the test photos. Which variants were not saved by either is kept with
the experiment's settings, together with the detector that it was found of: one that is trained anew
is given all the other ways again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from pipeline import records
from pipeline.experiment import Experiment
from pipeline.targets import Variant


def losing(experiment: Experiment, variants: Iterable[Variant]) -> list[Variant]:
    """Those of ``variants`` that may be trained on for, and whose INT8 as it is does not hold."""
    return [one for one in may_train_on(experiment, variants) if _loses(experiment, one)]


def may_train_on(experiment: Experiment, variants: Iterable[Variant]) -> list[Variant]:
    """Those of ``variants`` for which the detector can be trained on and was not yet.

    That is for one-stage detectors that were trained here, and never where somebody has accepted
    the loss.
    """
    settings = experiment.settings
    if not settings.qat or settings.imported or experiment.kind != "one_stage":
        return []
    return [
        one
        for one in variants
        if one.precision == "int8"
        and one.name not in settings.trained_on
        and one.name not in settings.accepted_losses
    ]


def training_on(experiment: Experiment, variants: Iterable[Variant]) -> Experiment:
    """The experiment in which ``variants`` are made from what was trained on for INT8."""
    exported = _exported(experiment)
    added = {variant.name: exported for variant in variants}
    return _with(experiment, {**experiment.settings.trained_on, **added})


def without_outdated(experiment: Experiment) -> Experiment:
    """The experiment without what was found of a detector that it no longer has."""
    kept = experiment.settings.trained_on
    exported = _exported(experiment)
    valid = {name: digest for name, digest in kept.items() if digest == exported}
    return experiment if valid == kept else _with(experiment, valid)


def failed_verification(artifact: Path, verify: Path) -> dict[str, Any]:
    """The verify.json of the artifact as it is now, where it did not pass; else nothing."""
    path = verify.with_name(f"{verify.name}.failed") / "verify.json"
    newer = _modified(path) >= _modified(artifact / "detector.json") > 0
    return records.json_object(path) if newer else {}


def _loses(experiment: Experiment, variant: Variant) -> bool:
    artifact = experiment.output(variant.artifact)
    if records.json_object(artifact / "calibration.json").get("holds") is False:
        return True
    return bool(failed_verification(artifact, experiment.output(variant.verify)).get("problems"))


def _exported(experiment: Experiment) -> str:
    record = records.read(experiment.output("export"))
    return record.digest if record else ""


def _with(experiment: Experiment, trained_on: dict[str, str]) -> Experiment:
    return dataclasses.replace(
        experiment,
        settings=msgspec.structs.replace(experiment.settings, trained_on=trained_on),
        chosen={**experiment.chosen, "trained_on": trained_on},
    )


def _modified(path: Path) -> float:
    """When, in seconds; 0 for what is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0

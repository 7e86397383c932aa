"""Packs a verified detector for its device: which precision, whether at all, and in what form.

The folder of `package_folder` is what every form starts from: an image is that folder on top of
the runtime of ``docker/device/``, the archive is that image saved.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipeline import (
    contents,
    docker_engine,
    environments,
    images,
    package_folder,
    provenance,
    records,
    sbom,
)
from pipeline.configuration import ROOT
from pipeline.download import sha256_of
from pipeline.environments import environment_digest
from pipeline.errors import HostError, InputError, StageFailed
from pipeline.execute import content_cache, survey
from pipeline.experiment import Experiment
from pipeline.model_card import Facts
from pipeline.plan import Step, needed
from pipeline.provenance import Provenance
from pipeline.screen import megabytes, say
from pipeline.targets import Target, Variant, every, with_targets

FORMATS = ("image", "tar", "folder")


@dataclass(frozen=True)
class Candidate:
    """A variant as it stands: ``reason`` says why it must not be packed, empty if it may."""

    variant: Variant
    size: int  # bytes of the artifact
    reason: str


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """What was packed; as JSON beside it."""

    target: str
    precision: str
    format: str
    folder: str
    detector: str  # sha256 over the artifact
    size: int  # bytes: of the image, or of the folder without a virtualenv
    archive: str = ""
    image: str = ""  # the tag
    platform: str = ""  # linux/arm64; of an image
    id: str = ""
    labels: dict[str, str] = {}


def check_format(form: str) -> None:
    """Raise InputError for a form that is none, HostError for one that takes a missing engine."""
    if form not in FORMATS:
        raise InputError(f"--format {form}: it is one of {', '.join(FORMATS)}")
    if form != "folder" and (reason := docker_engine.available()):
        raise HostError(
            f"--format {form} takes a container engine, and {reason}. --format folder needs none:"
            " it packs for boards without Docker, where a virtualenv takes the image's place."
        )


def package(
    experiment: Experiment,
    target: Target,
    precisions: Sequence[str],
    form: str,
    output: Path | None,
) -> Package:
    """Pack the detector of one target; without ``precisions`` the one that `choose` takes.

    Raises StageFailed where nothing that may be packed is there.
    """
    check_format(form)
    if not target.package:
        raise InputError(f"{target.name} is not packed: {not_packed(target)}")
    variants = [
        Variant(target, precision)
        for precision in target.precisions
        if not precisions or precision in precisions
    ]
    if not variants:
        raise InputError(f"{target.name} comes in {', '.join(target.precisions)} only")
    with experiment.locked():
        # The others, because the model card names all that hold today.
        begun = [one.verify for one in every() if experiment.output(one.verify).is_dir()]
        wanted = [experiment.figures, *(variant.verify for variant in variants), *begun]
        steps = {step.stage.name: step for step in survey(experiment, wanted)}
        found = [candidate(experiment, variant, steps) for variant in variants]
        chosen, why = choose(found, bool(precisions), experiment.name)
        say(f"{target.name}: packing {chosen.variant.precision} ({why})")
        return _pack(experiment, chosen.variant, steps, form, output)


def not_packed(target: Target) -> str:
    """Why no package carries a target, and how its artifact gets where it runs."""
    return target.unpacked or (
        "configs/targets.toml names no folder of docker/device/ for it; its artifact can be taken"
        " as it is"
    )


def candidate(experiment: Experiment, variant: Variant, steps: Mapping[str, Step]) -> Candidate:
    """How a variant stands with regard to packing."""
    artifact = steps[variant.artifact].output
    size = sum(path.stat().st_size for path in package_folder.artifact_files(artifact))
    rests_on = _needed(experiment, [variant.verify], steps)
    return Candidate(variant, size, refusal(steps[variant.verify], rests_on))


def _needed(experiment: Experiment, wanted: Iterable[str], steps: Mapping[str, Step]) -> list[Step]:
    """Of the steps of several variants ``wanted`` and what they need, in order."""
    return [steps[stage.name] for stage in needed(with_targets(experiment.settings), wanted)]


def refusal(verify: Step, rests_on: Iterable[Step]) -> str:
    """Why a variant whose verification stands like this is not packed; empty where it is.

    ``rests_on`` are the steps that the verification needs, in order, and it last.
    """
    if not verify.reasons:
        return ""
    if verify.output.with_name(f"{verify.output.name}.failed").is_dir():
        return "it did not pass verification"
    if verify.record is None:
        return "it was not verified"
    cause = next(step for step in rests_on if step.reasons)
    return f"its verification is out of date ({cause.stage.name}: {cause.reasons[0]})"


def choose(found: Sequence[Candidate], asked: bool, experiment: str) -> tuple[Candidate, str]:
    """Which of a target's candidates is packed, and why: the most compact of those that passed.

    Raises StageFailed, naming the command to run, when none passed, or not all that were ``asked``
    for by name.
    """
    refused = [one for one in found if one.reason]
    passed = sorted((one for one in found if not one.reason), key=lambda one: one.size)
    if not passed or (asked and refused):
        reasons = "; ".join(f"{one.variant.name}: {one.reason}" for one in refused)
        command = ["./inv", "verify", "--name", experiment]
        command += ["--target", found[0].variant.target.name]
        if asked:
            command += ["--precision", ",".join(one.variant.precision for one in refused)]
        raise StageFailed(f"not packed. {reasons}. First: {shlex.join(command)}")
    best, *larger = passed
    if len(found) == 1:
        return best, "as asked" if asked else "the only precision"
    others = [f"{one.variant.precision} takes {megabytes(one.size)}" for one in larger]
    others += [f"{one.variant.precision}: {one.reason}" for one in refused]
    return best, f"the most compact that passed, {megabytes(best.size)}; {', '.join(others)}"


def image_name(experiment: str, variant: Variant, detector: str) -> str:
    """The image's tag: the same detector, the same tag."""
    name = re.sub(r"[^a-z0-9]+", "-", experiment.lower()).strip("-")
    return f"drydock/{name}/{variant.target.name}:{variant.precision}-{detector[:12]}"


def labels(variant: Variant, origin: Provenance, mean_ap: float | None) -> dict[str, str]:
    """What an image says of itself, by the names of the OCI annotations where there are such."""
    found = {
        "org.opencontainers.image.title": f"{origin.experiment} for {variant.target.name}",
        "org.opencontainers.image.description": f"{variant.target.help}, {variant.precision}",
        "org.opencontainers.image.created": origin.made,
        "org.opencontainers.image.revision": origin.revision,
        "org.opencontainers.image.version": origin.detector[:12],
        "org.opencontainers.image.licenses": "MIT",
        "drydock.target": variant.target.name,
        "drydock.precision": variant.precision,
        "drydock.detector": f"sha256:{origin.detector}",
        "drydock.map": "" if mean_ap is None else f"{mean_ap:.4f}",
        "drydock.accepted-loss": origin.accepted_loss,
    }
    return {name: value for name, value in found.items() if value}


def _pack(
    experiment: Experiment,
    variant: Variant,
    steps: Mapping[str, Step],
    form: str,
    output: Path | None,
) -> Package:
    artifact = steps[variant.artifact].record
    assert artifact is not None  # it was verified
    told = [variant.verify]
    if not steps[experiment.figures].reasons:  # what it measured is in the model card, too
        told.append(experiment.figures)
    origin = provenance.gather(artifact, _needed(experiment, told, steps), records.revision(ROOT))
    place = output or experiment.output(f"{variant.name}/package")
    name = f"{experiment.name}-{variant.target.name}-{variant.precision}"
    folder = place / name
    environment = environments.load(f"device/{variant.target.package}")
    cache = content_cache()
    runtime = environment_digest(environment, cache)
    if form != "folder":
        images.ensure_image(environment.name, runtime, ROOT, say)
    inside = contents.of_environment(environment, cache)
    cache.save()
    facts = package_folder.gather_facts(variant, steps, origin, environment, inside)
    package_folder.write(folder, steps[variant.artifact].output, facts)
    files = {
        str(path.relative_to(folder)): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    made = Package(
        target=variant.target.name,
        precision=variant.precision,
        format=form,
        folder=str(folder),
        detector=origin.detector,
        size=sum((folder / path).stat().st_size for path in files),
        labels=labels(variant, origin, facts.mean_ap),
    )
    if form != "folder":
        made = _with_image(made, folder, facts, experiment.name, runtime)
    if form == "tar":
        archive = place / f"{name}.tar"
        images.save(made.image, archive)
        made = msgspec.structs.replace(made, archive=str(archive))
    materials = sbom.bill(name, origin.detector[:12], inside, contents.locked(environment), files)
    (place / f"{name}.cdx.json").write_text(materials)
    (place / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(made)))
    return made


def _with_image(
    made: Package, folder: Path, facts: Facts, experiment: str, runtime: str
) -> Package:
    tag = image_name(experiment, facts.variant, facts.origin.detector)
    identity, size = images.build_device_image(
        facts.environment.name,
        runtime,
        folder=folder,
        tag=tag,
        labels=made.labels,
        root=ROOT,
        say=say,
    )
    platform = facts.environment.file.platform
    return msgspec.structs.replace(made, image=tag, id=identity, size=size, platform=platform)

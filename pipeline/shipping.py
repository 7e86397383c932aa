"""Brings the stages of several targets up to date: one that fails does not stop the others."""

from __future__ import annotations

import collections
import dataclasses
import functools
import multiprocessing
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from pipeline import packaging, quantization
from pipeline.configuration import Stage
from pipeline.errors import DrydockError, HostError, InputError, NotAtHand, StageFailed
from pipeline.execute import bring_up_to_date
from pipeline.experiment import Experiment
from pipeline.local_runner import die_with_parent
from pipeline.packaging import Package
from pipeline.plan import needed
from pipeline.screen import say
from pipeline.targets import (
    Target,
    Variant,
    every,
    on_chosen_device,
    refusal,
    variants,
    with_targets,
)


def chosen(
    experiment: Experiment, targets: Iterable[str], precisions: Iterable[str]
) -> list[Variant]:
    """The variants that a command line means; without a target, those of the project's.

    InputError for a target that cannot take this kind of detector. Of ``all`` and of the project's
    own targets those are left out, and said to be.
    """
    named, kind = set(targets), experiment.kind
    found = variants(named or experiment.settings.targets, precisions)
    refused = {
        variant.target.name: why for variant in found if (why := refusal(variant.target, kind))
    }
    fitting = [
        dataclasses.replace(variant, target=on_chosen_device(variant.target, experiment.settings))
        for variant in found
        if variant.target.name not in refused
    ]
    if unwanted := [why for name, why in refused.items() if name in named or not fitting]:
        raise InputError("; ".join(unwanted) if named else unwanted[0])
    for why in refused.values():
        say(f"left out: {why}")
    return fitting


def begun(experiment: Experiment) -> list[str]:
    """What `inv status` shows: the detector, and the last stage of every variant begun."""
    return [experiment.figures] + [
        next(
            stage
            for stage in (variant.verify, variant.predict, variant.artifact)
            if experiment.output(stage).is_dir()
        )
        for variant in every()
        if experiment.output(variant.artifact).is_dir()
    ]


def running_on(experiment: Experiment, targets: Iterable[str], device: str) -> Experiment:
    """The experiment with ``device`` kept as what ``targets`` run on.

    InputError where one of them knows no such device: the stand-in or the device itself.
    """
    devices = dict(experiment.settings.devices)
    for target in {one.target.name: one.target for one in variants(targets)}.values():
        possible = [name for name in (target.device, target.itself) if name]
        if device not in possible:
            runs = f"runs on {' or '.join(possible)}" if possible else "leaves no choice"
            raise InputError(f"--device {device}: {target.name} {runs}")
        devices[target.name] = device
    return dataclasses.replace(
        experiment,
        settings=msgspec.structs.replace(experiment.settings, devices=devices),
        chosen={**experiment.chosen, "devices": devices},
    )


def accepting(experiment: Experiment, variants: Sequence[Variant], reason: str) -> Experiment:
    """The experiment with ``reason`` kept for letting ``variants`` pass below their tolerance."""
    accepted = {
        **experiment.settings.accepted_losses,
        **{variant.name: reason for variant in variants},
    }
    return dataclasses.replace(
        experiment,
        settings=msgspec.structs.replace(experiment.settings, accepted_losses=accepted),
        chosen={**experiment.chosen, "accepted_losses": accepted},
    )


def for_each(
    experiment: Experiment,
    variants: Sequence[Variant],
    stage: Callable[[Variant], str],
    runner: str,
    *,
    gpu: str = "auto",
    force: bool = False,
    jobs: int = 0,
    images: Path | None = None,
) -> list[Variant]:
    """Run ``stage(variant)`` and what it needs for all ``variants``, ``jobs`` at once (0: auto).

    Where an INT8 does not hold, the detector is trained on for it, and then it is made once more;
    ``experiment.reopened()`` knows of that. Returns those that it was done for: all but the
    optional ones whose environment needs what is not at hand, which are said to be left out. Each
    message is shown when it happens; an error at the end names those that failed, of their kind
    where they have one in common. An error of what all of them need (the dataset, the training)
    ends the command at once.
    """
    run = functools.partial(bring_up_to_date, runner=runner, gpu=gpu, held=True)
    with experiment.locked():
        run(experiment, ["export"])
        experiment = quantization.without_outdated(experiment)
        work = functools.partial(_made, run, stage, images=images, jobs=jobs)
        found = work(experiment, variants, force)
        made = [one for one in variants if isinstance(found[one.name], StageFailed | None)]
        if losing := quantization.losing(experiment, made):
            names = ", ".join(one.name for one in losing)
            say(f"{names}: 8 bits cost too much; training on for that (--qat 0: never)")
            experiment = quantization.training_on(experiment, losing)
            found |= work(experiment, losing, False)
    return _done([(one, found[one.name]) for one in variants])


def _made(
    run: Callable[..., object],
    stage: Callable[[Variant], str],
    experiment: Experiment,
    variants: Sequence[Variant],
    force: bool,
    *,
    images: Path | None,
    jobs: int,
) -> dict[str, DrydockError | None]:
    """Run ``stage`` of all ``variants``, first what they share; by name, what each failed with."""
    wanted = [stage(variant) for variant in variants]
    run(experiment, in_common(with_targets(experiment.settings), wanted))
    hopeful = {stage(variant) for variant in quantization.may_train_on(experiment, variants)}
    one = functools.partial(_one, functools.partial(run, experiment, images=images), force, hopeful)
    jobs = jobs or at_once(len(variants), _cores(), _free_memory())
    if jobs == 1:
        found = [one(name) for name in wanted]
    else:
        # Forked, so that each is the main program of its process: Ctrl-C and a polite kill
        # reach it, and its stage ends with it. Leaving early ends them all.
        with multiprocessing.get_context("fork").Pool(jobs, die_with_parent) as pool:
            found = pool.map(one, wanted, chunksize=1)
    return dict(zip((variant.name for variant in variants), found, strict=True))


def _done(outcomes: Sequence[tuple[Variant, DrydockError | None]]) -> list[Variant]:
    """The variants without an error; says which are left out, raises for those that failed."""
    absent = {
        one.target.name: error
        for one, error in outcomes
        if one.optional and isinstance(error, NotAtHand)
    }
    for name, why in absent.items():
        say(f"left out: {name}: {why}")
    failed = {one.name: error for one, error in outcomes if error and one.target.name not in absent}
    kinds = {type(error) for error in failed.values()}
    if kinds == {NotAtHand}:
        raise next(iter(failed.values()))
    for error in failed.values():
        if isinstance(error, NotAtHand):
            say(f"error: {error}")
    if failed:
        kind = kinds.pop() if len(kinds) == 1 else StageFailed
        raise kind(f"{', '.join(failed)} did not pass; each reason stands above")
    return [one for one, error in outcomes if error is None]


def pack(
    experiment: Experiment,
    variants: Sequence[Variant],
    precisions: Sequence[str],
    form: str,
    output: Path | None = None,
) -> tuple[list[Package], list[str]]:
    """Pack each target of ``variants``; what was made, and the targets that could not be.

    Each message is shown when it happens.
    """
    packaging.check_format(form)
    targets = {one.target.name: one.target for one in variants}
    bare = {
        one.target.name: one.target for one in variants if one.optional and not one.target.package
    }
    for name, target in bare.items():
        say(f"left out: {name} is not packed: {packaging.not_packed(target)}")
    packed = {
        name: _pack_one(experiment, target, precisions, form, output)
        for name, target in targets.items()
        if name not in bare
    }
    made = [package for package in packed.values() if package]
    return made, [f"{name} was not packed" for name, package in packed.items() if not package]


def packages(experiment: Experiment, variants: Sequence[Variant]) -> list[Path]:
    """Where `pack` leaves the packages of ``variants``, those that are there."""
    folders = (experiment.output(f"{variant.name}/package") for variant in variants)
    return [folder for folder in folders if folder.is_dir()]


def ship(
    experiment: Experiment,
    variants: Sequence[Variant],
    runner: str,
    form: str,
    measure: Callable[[Experiment, Sequence[Variant]], None],
) -> tuple[list[Package], list[str]]:
    """Convert, verify, ``measure`` and pack ``variants``; what was packed, and what failed."""
    packaging.check_format(form)
    bring_up_to_date(experiment, [experiment.figures], runner)  # the model card has them
    failed = []
    try:
        for_each(experiment, variants, lambda variant: variant.verify, runner)
    except StageFailed as error:
        failed.append(str(error))
    experiment = experiment.reopened()
    passed = [variant for variant in variants if experiment.output(variant.verify).is_dir()]
    try:
        if passed:
            measure(experiment, passed)
    except StageFailed as error:
        failed.append(str(error))
    made, not_packed = pack(experiment, variants, (), form)
    return made, failed + not_packed


def _pack_one(
    experiment: Experiment,
    target: Target,
    precisions: Sequence[str],
    form: str,
    output: Path | None,
) -> Package | None:
    try:
        return packaging.package(experiment, target, precisions, form, output)
    except HostError:  # what the host lacks, all lack
        raise
    except DrydockError as error:  # a build that fails, too
        say(f"error: {error}")
        return None


def in_common(stages: Mapping[str, Stage], wanted: Sequence[str]) -> list[str]:
    """What more than one of ``wanted`` needs, and the export in any case."""
    count = collections.Counter(
        stage.name for name in wanted for stage in needed(stages, [name]) if stage.name != name
    )
    return ["export", *(name for name, users in count.items() if users > 1)]


def at_once(variants: int, cores: int, memory: int) -> int:
    """How many to work on at a time: converters use about two cores and at most 4 GiB each."""
    return max(1, min(variants, cores // 2, memory // (4 * 1024**3)))


def _one(
    run: Callable[..., object], force: bool, hopeful: Collection[str], stage: str
) -> DrydockError | None:
    """What the stage failed with; its message has been shown, unless it lacks what is not here.

    A failed stage of ``hopeful`` is no error yet: there is another way.
    """
    try:
        run(wanted=[stage], force=[stage] if force else ())
    except NotAtHand as error:
        return error
    except (StageFailed, InputError, HostError) as error:
        again = stage in hopeful and isinstance(error, StageFailed)
        say(str(error) if again else f"error: {error}")
        return error
    return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _free_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError):  # macOS does not tell
        return 0

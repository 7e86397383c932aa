"""Brings the stages of several targets up to date: one that fails does not stop the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import msgspec

from pipeline.errors import InputError, StageFailed
from pipeline.execute import Outcome, bring_up_to_date
from pipeline.experiment import Experiment
from pipeline.screen import say
from pipeline.targets import Variant, every, variants


def chosen(
    experiment: Experiment, targets: Iterable[str], precisions: Iterable[str]
) -> list[Variant]:
    """The variants that a command line means; without a target, those of the project's."""
    return variants(list(targets) or experiment.settings.targets, precisions)


def begun(experiment: Experiment) -> list[str]:
    """The last stage of every variant of which the experiment has anything."""
    return [
        next(
            stage
            for stage in (variant.verify, variant.predict, variant.artifact)
            if experiment.output(stage).is_dir()
        )
        for variant in every()
        if experiment.output(variant.artifact).is_dir()
    ]


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
) -> list[Outcome]:
    """Run ``stage(variant)`` and what it needs for all ``variants``.

    Each message is shown when it happens; StageFailed at the end names those that failed. An
    error of what all of them need (the dataset, the training) ends the command at once.
    """
    outcomes, failed = [bring_up_to_date(experiment, ["export"], runner, gpu=gpu)], []
    for variant in variants:
        wanted = [stage(variant)]
        forced = wanted if force else ()
        try:
            outcomes.append(bring_up_to_date(experiment, wanted, runner, gpu=gpu, force=forced))
        except (StageFailed, InputError) as error:
            say(f"error: {error}")
            failed.append(variant.name)
    if failed:
        raise StageFailed(f"{', '.join(failed)} did not pass; each reason stands above")
    return outcomes

"""Fills in what a model file leaves open, from the data and the machine, and says why."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from garden import anchors
from garden.records import RecordSample


@dataclass(frozen=True)
class Choice:
    """An automatic choice: what was chosen and why."""

    value: Any
    why: str


@dataclass(frozen=True)
class Situation:
    """What the choices are made from."""

    photos: int
    classes: int
    validation_photos: int
    sample: RecordSample
    pretrained: bool
    backbone_blocks: int
    gpus: int


def fill(experiment: Any, situation: Situation) -> dict[str, Choice]:
    """Replace every "automatic" mark in ``experiment``; returns the choices made, by name."""
    task, trainer = experiment.task, experiment.trainer
    task.model.num_classes = situation.classes + 1  # Model Garden counts the background
    choices: dict[str, Choice] = {}
    if not task.train_data.global_batch_size:
        choices["batch"] = _batch(situation)
        task.train_data.global_batch_size = choices["batch"].value
    if not trainer.train_steps:
        choices["steps"] = _steps(situation, task)
        trainer.train_steps = choices["steps"].value
    if task.frozen_blocks < 0:
        choices["frozen_blocks"] = _frozen(situation)
        task.frozen_blocks = choices["frozen_blocks"].value
    if task.fit_anchors:
        choices["anchors"] = _anchors(situation, task.model)
    choices["selection"] = (
        Choice("best", f"on {situation.validation_photos} validation photos")
        if situation.validation_photos
        else Choice("last", "there are no validation photos")
    )
    _follow_steps(trainer)
    return choices


def as_json(choices: dict[str, Choice]) -> dict[str, dict[str, Any]]:
    """The choices as they stand in ``train.json``."""
    return {name: dataclasses.asdict(choice) for name, choice in choices.items()}


def _batch(situation: Situation) -> Choice:
    per_device, device = (8, "GPU") if situation.gpus else (4, "CPU")
    batch = per_device * max(1, situation.gpus)
    if situation.photos < batch:
        devices = max(1, situation.gpus)
        # Every replica gets as many photos as the others.
        batch = max(1, situation.photos // devices) * devices
        return Choice(batch, f"there are only {situation.photos} photos")
    return Choice(batch, f"{per_device} on each {device}")


def _steps(situation: Situation, task: Any) -> Choice:
    epoch = situation.photos / task.train_data.global_batch_size
    by_epochs = math.ceil(task.schedule.epochs * epoch)
    if by_epochs > task.schedule.steps:
        return Choice(by_epochs, f"{task.schedule.epochs:g} times over {situation.photos} photos")
    return Choice(
        task.schedule.steps,
        f"the model's schedule for small sets: {task.schedule.steps / epoch:.0f} times over "
        f"{situation.photos} photos",
    )


def _frozen(situation: Situation) -> Choice:
    if not situation.pretrained:
        return Choice(0, "random weights have to be trained throughout")
    if situation.photos >= 1000:
        return Choice(0, f"{situation.photos} photos are enough to train every layer")
    # A quarter: edges and textures are the same everywhere, and 1000 photos teach little of them.
    blocks = situation.backbone_blocks // 4
    return Choice(
        blocks, f"a quarter of {situation.backbone_blocks}, pretrained, {situation.photos} photos"
    )


def _anchors(situation: Situation, model: Any) -> Choice:
    height, width = model.input_size[:2]
    boxes = situation.sample.boxes
    sizes = np.stack(
        [(boxes[:, 2] - boxes[:, 0]) * height, (boxes[:, 3] - boxes[:, 1]) * width], axis=1
    )
    given = model.anchor
    levels = range(model.min_level, model.max_level + 1)
    fit = anchors.fit(sizes, list(given.aspect_ratios), given.anchor_size, given.num_scales, levels)
    value = {"aspect_ratios": list(given.aspect_ratios), "anchor_size": given.anchor_size}
    if fit is None:
        return Choice(value, f"as in the model file: {len(boxes)} boxes ask for no others")
    given.aspect_ratios = fit.aspect_ratios
    given.anchor_size = fit.anchor_size
    return Choice(
        {"aspect_ratios": fit.aspect_ratios, "anchor_size": fit.anchor_size},
        f"fitted to {len(boxes)} boxes: mean best IoU {fit.overlap:.2f} instead of "
        f"{fit.overlap_given:.2f}",
    )


def _follow_steps(trainer: Any) -> None:
    """Make what depends on the number of steps follow it, unless a file or the user set it."""
    steps = trainer.train_steps
    rate = trainer.optimizer_config.learning_rate
    if rate.type == "cosine" and not rate.cosine.decay_steps:
        rate.cosine.decay_steps = steps
    warmup = trainer.optimizer_config.warmup
    if warmup.type == "linear" and warmup.linear.warmup_steps > steps // 5:
        warmup.linear.warmup_steps = max(1, steps // 5)
    trainer.summary_interval = trainer.steps_per_loop
    if trainer.checkpoint_interval % trainer.steps_per_loop:
        trainer.checkpoint_interval = trainer.steps_per_loop * max(
            1, trainer.checkpoint_interval // trainer.steps_per_loop
        )

"""The experiments: Model Garden's own configuration classes with a few fields added.

``configs/models/*.yaml`` are files in Model Garden's schema. ``task.name`` says which of the
experiments registered here a file configures. A field whose value is its "automatic" mark (0, -1
or an empty list, see the comments) is filled in by ``automatic.py`` from the data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from official.core import config_definitions as cfg
from official.core import exp_factory
from official.modeling import hyperparams
from official.vision.configs import maskrcnn, retinanet

from console import InputError

RETINANET = "drydock_retinanet"
FASTERRCNN = "drydock_fasterrcnn"


@dataclasses.dataclass
class Augmentation(hyperparams.Config):
    """What is changed at random in a training photo. Geometry is in units of the input size."""

    scale_min: float = 0.6
    scale_max: float = 1.6
    aspect: float = 1.0  # the largest extra stretch of width against height; 1 is none
    flip_horizontal: bool = True
    flip_vertical: bool = False
    quarter_turns: bool = False  # rotation by 90 degrees; for photos taken from above
    brightness: float = 0.0  # largest shift, as a part of the full range
    contrast: float = 0.0  # largest relative change
    saturation: float = 0.0  # largest relative change
    hue: float = 0.0  # largest shift, as a part of the colour circle
    mosaic: float = 0.0  # how often four photos are put together into one
    keep_visible: float = 0.3  # a box of which less than this part is left in view is dropped


@dataclasses.dataclass
class Schedule(hyperparams.Config):
    """How long to train: ``steps`` for a small set, ``epochs`` over the photos for a large one."""

    steps: int = 300
    epochs: float = 12.0


@dataclasses.dataclass
class TaskFields(hyperparams.Config):
    """The fields that both experiments add to Model Garden's task."""

    frozen_blocks: int = -1  # stem and first blocks of the backbone; -1 is automatic, 0 none
    fit_anchors: bool = True
    schedule: Schedule = dataclasses.field(default_factory=Schedule)
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
    cache_megabytes: int = 1024  # decoded photos are kept in memory up to this size
    first_example: int = 0  # where in the stream of random examples a resumed training goes on


@dataclasses.dataclass
class RetinaNetTask(retinanet.RetinaNetTask, TaskFields):
    """Model Garden's RetinaNet task with the added fields."""


@dataclasses.dataclass
class FasterRCNNTask(maskrcnn.MaskRCNNTask, TaskFields):
    """Model Garden's Mask R-CNN task, used without masks, with the added fields."""


def _experiment(task: cfg.TaskConfig) -> cfg.ExperimentConfig:
    return cfg.ExperimentConfig(
        task=task,
        restrictions=["task.train_data.is_training != None"],
    )


@exp_factory.register_config_factory(RETINANET)
def drydock_retinanet() -> cfg.ExperimentConfig:
    """RetinaNet on a dataset of our own."""
    return _experiment(RetinaNetTask())


@exp_factory.register_config_factory(FASTERRCNN)
def drydock_fasterrcnn() -> cfg.ExperimentConfig:
    """Faster R-CNN on a dataset of our own."""
    return _experiment(FasterRCNNTask(model=maskrcnn.MaskRCNN(include_mask=False)))


def load_experiment(path: Path, override: str = "") -> cfg.ExperimentConfig:
    """Read a model file and apply Model Garden's override string ``'a.b=c,...'`` to it.

    Raises InputError for an unreadable file, an unknown experiment and an unknown field.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"cannot read the model file {path}: {error.strerror}; "
            "configs/models/ holds the ones that come with the project"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a YAML file: {error}") from error
    task = values.get("task") if isinstance(values, dict) else None
    name = task.get("name") if isinstance(task, dict) else None
    if name not in (RETINANET, FASTERRCNN):
        raise InputError(f"{path}: task.name must be {RETINANET} or {FASTERRCNN}, not {name!r}")
    experiment = exp_factory.get_exp_config(name)
    try:
        experiment.override(values, is_strict=True)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} does not fit Model Garden's schema: {_message(error)}") from error
    if override:
        plain = experiment.as_dict()
        try:
            experiment = hyperparams.override_params_dict(experiment, override, is_strict=True)
        except (KeyError, ValueError, TypeError, AttributeError, OSError) as error:
            raise InputError(
                f"--override {override!r}: {_message(error)}; write it as 'a.b=c,d.e=f' with the "
                f"names of {path}"
            ) from error
        if wrong := list(_misfits(plain, experiment.as_dict())):
            raise InputError(f"--override {override!r}: {'; '.join(wrong)}")
    return experiment


def _misfits(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """What was a number or a list and is none any more: Model Garden lets it pass until it
    computes with it."""
    for name, value in before.items():
        now = after[name]
        if isinstance(value, dict) and isinstance(now, dict):
            yield from (f"{name}.{wrong}" for wrong in _misfits(value, now))
        elif now is not None and not _fits(value, now):
            yield f"{name} is something like {value}, not {now!r}"


def _fits(value: Any, now: Any) -> bool:
    if isinstance(value, (int, float)):
        return isinstance(now, (int, float))
    if isinstance(value, (list, tuple)):
        return isinstance(now, (list, tuple)) and all(_fits(value[0], one) for one in now if value)
    return True


def _message(error: Exception) -> str:
    # str(KeyError) is the repr of its message.
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)

"""Detectors built from configurations, and trained ones loaded back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras
import yaml
from official.core import base_task, exp_factory, task_factory

from console import InputError
from garden import config, task  # noqa: F401  (importing registers experiments and tasks)


def build_task(experiment: Any) -> base_task.Task:
    """The Model Garden task of an experiment."""
    return task_factory.get_task(experiment.task)


def read_params(train_dir: Path) -> Any:
    """The resolved Model Garden configuration of a training, without its initial checkpoint."""
    path = train_dir / "params.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{train_dir} holds no finished training: {path.name} is missing"
        ) from error
    # The loader of Model Garden's own exporters builds models from such a configuration; where
    # the training started from is history by then.
    values["task"]["init_checkpoint"] = None
    experiment = exp_factory.get_exp_config(values["task"]["name"])
    experiment.override(values, is_strict=True)
    return experiment


def load_detector(train_dir: Path) -> tuple[Any, tf_keras.Model]:
    """The configuration (ExperimentConfig) and the model with the weights that training selected.

    Raises InputError where ``train_dir`` is not the output of a finished training.
    """
    experiment = read_params(train_dir)
    path = train_dir / "train.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{train_dir} holds no finished training: {path.name} is missing"
        ) from error
    model = build_task(experiment).build_model()
    prefix = train_dir / summary["checkpoint"]
    try:
        status = tf.train.Checkpoint(model=model).read(str(prefix))
    except (tf.errors.NotFoundError, tf.errors.DataLossError) as error:
        raise InputError(f"the checkpoint {prefix} is missing or damaged; train again") from error
    status.expect_partial().assert_existing_objects_matched()
    return experiment, model


def drop_background(head: Any, classes: int) -> None:
    """Cut Model Garden's class 0, the background, out of a RetinaNet head's last convolution.

    With a sigmoid for each class, nothing is decided by it. Before: [h, w, A * (1 + ``classes``)]
    logits of each level; after: [h, w, A * ``classes``].
    """
    shared = not isinstance(head._classifier, (list, tuple))
    whole = [head._classifier] if shared else list(head._classifier)
    cut = [_without_first_class(layer, classes) for layer in whole]
    head._classifier = cut[0] if shared else cut


def _without_first_class(layer: tf_keras.layers.Layer, classes: int) -> tf_keras.layers.Layer:
    anchors = layer.filters // (classes + 1)
    filters = anchors * classes
    slim = type(layer)(filters, layer.kernel_size, padding=layer.padding, name=layer.name)
    slim.build([None, None, None, layer.input_spec.axes[-1]])

    def kept(values: Any) -> Any:
        if values.shape[-1] != layer.filters:  # the depthwise kernel of a separable convolution
            return values
        by_class = values.reshape(*values.shape[:-1], anchors, classes + 1)
        return by_class[..., 1:].reshape(*values.shape[:-1], filters)

    slim.set_weights([kept(values) for values in layer.get_weights()])
    return slim

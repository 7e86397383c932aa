"""Folders as train.py and make_records.py leave them, with a network that has learned nothing.

Its heads are scaled so that it detects something everywhere, which is all that exporting needs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
import yaml
from official.core import exp_factory

from dataset import label_map
from garden import config
from garden.model import build_task

CLASSES = ["bolt", "nut", "washer"]
SIZE = 128


def write_records(folder: Path, classes: list[str] = CLASSES) -> Path:
    """The one file of the records that exporting reads."""
    folder.mkdir(parents=True, exist_ok=True)
    label_map.write(folder / "label_map.pbtxt", classes)
    return folder


def write_training(folder: Path, name: str = config.RETINANET) -> Path:
    """A training of the smallest MobileNetV2 that Model Garden builds."""
    folder.mkdir(parents=True)
    experiment = exp_factory.get_exp_config(name)
    model_fields: dict[str, Any] = {
        "num_classes": len(CLASSES) + 1,
        "input_size": [SIZE, SIZE, 3],
        "min_level": 3,
        "max_level": 6,
        "anchor": {"num_scales": 2, "aspect_ratios": [0.5, 1.0, 2.0], "anchor_size": 3.0},
        "backbone": {
            "type": "mobilenet",
            "mobilenet": {"model_id": "MobileNetV2", "filter_size_scale": 0.35},
        },
        "decoder": {"type": "fpn", "fpn": {"num_filters": 16, "use_separable_conv": True}},
        "norm_activation": {"activation": "relu6"},
    }
    if name == config.RETINANET:
        model_fields["head"] = {"num_convs": 1, "num_filters": 16, "use_separable_conv": True}
        model_fields["detection_generator"] = {"pre_nms_top_k": 500}
    else:
        model_fields["rpn_head"] = {"num_filters": 16}
        model_fields["detection_head"] = {"num_convs": 1, "num_filters": 16, "fc_dims": 32}
        model_fields["roi_generator"] = {"test_num_proposals": 40}
    experiment.override({"task": {"name": name, "model": model_fields}})
    tf_keras.utils.set_random_seed(7)  # the initialisers' too: the same network every time
    model = build_task(experiment).build_model()
    if name == config.RETINANET:
        _make_talkative(model)
    else:
        _tell_regions_apart(model)
    tf.train.Checkpoint(model=model).write(str(folder / "selected"))
    (folder / "params.yaml").write_text(yaml.dump(experiment.as_dict()), "utf-8")
    summary = {"model": "untrained", "classes": CLASSES, "checkpoint": "selected"}
    (folder / "train.json").write_text(json.dumps(summary), "utf-8")
    return folder


def _tell_regions_apart(model: Any) -> None:
    """Scale the last layers of both stages, so that scores and boxes depend on the place."""
    noise = tf.constant(np.random.default_rng(0).normal(size=[1, SIZE, SIZE, 3]), tf.float32)
    features = model.decoder(model.backbone(noise, training=False), training=False)
    corners = np.random.default_rng(1).uniform(0, SIZE / 2, (1, 40, 2))
    regions = np.concatenate([corners, corners + SIZE / 3], axis=-1).astype(np.float32)
    (head,) = model.detection_head
    # In more than one layer, because the whole factor in the last would be too much for 16 bits.
    for convolution in (model.rpn_head._convs[0], head._convs[0]):
        convolution.kernel.assign(convolution.kernel / tf.math.reduce_std(features["3"]))

    def proposed(output: int) -> Any:
        levels = model.rpn_head(features, training=False)[output].values()
        return tf.concat([tf.reshape(level, [-1]) for level in levels], axis=0)

    def looked_at(output: int) -> Any:
        values = head(model.roi_aligner(features, tf.constant(regions)), training=False)[output]
        return values - tf.reduce_mean(values, axis=1, keepdims=True)

    for layer, values, spread in (
        (model.rpn_head._classifier, lambda: proposed(0), 2.0),
        (model.rpn_head._box_regressor, lambda: proposed(1), 0.2),
        (head._classifier, lambda: looked_at(0), 1.5),
        (head._box_regressor, lambda: looked_at(1), 0.5),
    ):
        layer.kernel.assign(layer.kernel * spread / tf.math.reduce_std(values()))


def _make_talkative(model: Any) -> None:
    """Scale the last layers: about one score in a hundred above 0.05, boxes near their anchors."""
    noise = tf.constant(np.random.default_rng(0).normal(size=[1, SIZE, SIZE, 3]), tf.float32)
    features = model.decoder(model.backbone(noise, training=False), training=False)
    last_layers = ((model.head._classifier, 0, 1.2, -5.5), (model.head._box_regressor, 1, 0.1, 0.0))
    for layer, output, spread, bias in last_layers:
        layer.bias.assign(tf.zeros_like(layer.bias))
        levels = model.head(features, training=False)[output].values()
        values = tf.concat([tf.reshape(level, [-1]) for level in levels], axis=0)
        # Half of the factor in each kernel: in one it would be too much for 16 bits.
        factor = tf.sqrt(spread / tf.math.reduce_std(values))
        for kernel in (layer.depthwise_kernel, layer.pointwise_kernel):
            kernel.assign(kernel * factor)
        layer.bias.assign(tf.fill(layer.bias.shape, bias))

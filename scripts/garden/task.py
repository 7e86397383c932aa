"""Model Garden's detection tasks with our inputs and with early blocks frozen."""

from __future__ import annotations

from typing import Any, Optional

import tensorflow as tf
import tf_keras
from official.core import task_factory
from official.vision.dataloaders import maskrcnn_input, retinanet_input
from official.vision.tasks import maskrcnn, retinanet

from console import InputError
from garden import config, inputs

_BLOCKS = ("InvertedBottleneckBlock", "BottleneckBlock", "ResidualBlock")


def count_blocks(backbone: tf_keras.Model) -> int:
    """How many residual or inverted blocks a backbone is made of, the stem not counted."""
    return sum(type(layer).__name__ in _BLOCKS for layer in backbone.layers)


def freeze_blocks(backbone: tf_keras.Model, blocks: int) -> None:
    """Freeze the stem and the first ``blocks`` blocks, their BatchNorm in inference mode; 0: none.

    A frozen BatchNorm keeps the statistics of the data it was pretrained on, and the gradient
    stops there, which saves time. Raises InputError where the backbone has fewer blocks.
    """
    if blocks <= 0:
        return
    if blocks > count_blocks(backbone):
        raise InputError(
            f"task.frozen_blocks is {blocks}, but the backbone has {count_blocks(backbone)} blocks"
        )
    seen = 0
    for layer in backbone.layers:
        seen += type(layer).__name__ in _BLOCKS
        if seen > blocks:
            return
        layer.trainable = False


@task_factory.register_task_cls(config.RetinaNetTask)
class RetinaNetTask(retinanet.RetinaNetTask):
    """Model Garden's RetinaNet on our stream of photos."""

    def build_model(self) -> tf_keras.Model:
        """Build the detector and freeze its first blocks."""
        model = super().build_model()
        freeze_blocks(model.backbone, self.task_config.frozen_blocks)
        return model

    def build_inputs(
        self, params: Any, input_context: Optional[tf.distribute.InputContext] = None
    ) -> tf.data.Dataset:
        """The stream to train on; evaluation has its own (evaluation.py)."""
        model = self.task_config.model
        parser = retinanet_input.Parser(
            output_size=model.input_size[:2],
            min_level=model.min_level,
            max_level=model.max_level,
            num_scales=model.anchor.num_scales,
            aspect_ratios=model.anchor.aspect_ratios,
            anchor_size=model.anchor.anchor_size,
            match_threshold=params.parser.match_threshold,
            unmatched_threshold=params.parser.unmatched_threshold,
            box_coder_weights=model.detection_generator.box_coder_weights,
            max_num_instances=params.parser.max_num_instances,
            dtype=params.dtype,
            keep_aspect_ratio=False,
        )
        return inputs.training(
            list(params.input_path), self.task_config, parser.parse_fn(True), input_context
        )


@task_factory.register_task_cls(config.FasterRCNNTask)
class FasterRCNNTask(maskrcnn.MaskRCNNTask):
    """Model Garden's Faster R-CNN (Mask R-CNN without masks) on our stream of photos."""

    def build_model(self) -> tf_keras.Model:
        """Build the detector and freeze its first blocks."""
        model = super().build_model()
        freeze_blocks(model.backbone, self.task_config.frozen_blocks)
        return model

    def build_inputs(
        self, params: Any, input_context: Optional[tf.distribute.InputContext] = None
    ) -> tf.data.Dataset:
        """The stream to train on; evaluation has its own (evaluation.py)."""
        model = self.task_config.model
        parser = maskrcnn_input.Parser(
            output_size=model.input_size[:2],
            min_level=model.min_level,
            max_level=model.max_level,
            num_scales=model.anchor.num_scales,
            aspect_ratios=model.anchor.aspect_ratios,
            anchor_size=model.anchor.anchor_size,
            rpn_match_threshold=params.parser.rpn_match_threshold,
            rpn_unmatched_threshold=params.parser.rpn_unmatched_threshold,
            rpn_batch_size_per_im=params.parser.rpn_batch_size_per_im,
            rpn_fg_fraction=params.parser.rpn_fg_fraction,
            max_num_instances=params.parser.max_num_instances,
            dtype=params.dtype,
        )
        return inputs.training(
            list(params.input_path), self.task_config, parser.parse_fn(True), input_context
        )

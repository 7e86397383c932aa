"""Random changes to a training photo and its boxes, reproducible from a seed.

One resampling does scaling, cropping and shifting at once, with an antialiasing triangle filter:
the filter that Pillow's BILINEAR uses, so a detector sees in training what it will see deployed.
"""

from __future__ import annotations

import math
from typing import Union

import numpy as np
import tensorflow as tf

from garden.config import Augmentation

# image [h, w, 3], boxes [n, 4] (ymin, xmin, ymax, xmax in 0..1), classes [n]
Photo = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
# top, left, height, width in pixels of the input
Window = tuple[Union[int, tf.Tensor], ...]

# Shown where a changed photo does not cover the input: Model Garden's mean colour, which is zero
# after its normalisation.
FILL = (123.675, 116.28, 103.53)

# NTSC's luma and colour axes.
_TO_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], np.float32
)
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


def resize(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Stretch a photo [h, w, 3] to [height, width, 3] float32, antialiased."""
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    scale = tf.constant([height, width], tf.float32) / size
    return place(tf.cast(image, tf.float32), scale, tf.zeros([2]), height, width)


def place(
    image: tf.Tensor,
    scale: tf.Tensor,
    shift: tf.Tensor,
    height: Union[int, tf.Tensor],
    width: Union[int, tf.Tensor],
) -> tf.Tensor:
    """Scale a float photo by (y, x) factors, move it by (y, x) pixels and cut out the input."""
    fill = tf.constant(FILL)
    moved = tf.raw_ops.ScaleAndTranslate(
        images=(image - fill)[tf.newaxis],
        size=[height, width],
        scale=scale,
        translation=shift,
        kernel_type="triangle",
        antialias=True,
    )
    return moved[0] + fill


class Augment:
    """Changes photos at random. All randomness comes from the seed given with each photo."""

    def __init__(self, settings: Augmentation, height: int, width: int) -> None:
        self._settings = settings
        self._height = height
        self._width = width

    def one(self, photo: Photo, seed: tf.Tensor) -> Photo:
        """Change a photo to one of the input's size, float32 in 0..255."""
        image, boxes, classes = self._change(photo, seed, (0, 0, self._height, self._width))
        return tf.ensure_shape(image, [self._height, self._width, 3]), boxes, classes

    def mosaic(self, photos: list[Photo], seed: tf.Tensor) -> Photo:
        """Put four changed photos together, with a random crossing, to one of the input's size.

        Each keeps its own quarter of the input, and of its boxes what lies in that quarter. The
        idea is that of YOLOv4 (Bochkovskiy et al., 2020).
        """
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 5))
        draws = tf.random.stateless_uniform([2], seeds[4], 0.3, 0.7)
        row = tf.cast(draws[0] * self._height, tf.int32)
        column = tf.cast(draws[1] * self._width, tf.int32)
        quarters = [
            (0, 0, row, column),
            (0, column, row, self._width - column),
            (row, 0, self._height - row, column),
            (row, column, self._height - row, self._width - column),
        ]
        images, boxes, classes = [], [], []
        for photo, photo_seed, quarter in zip(photos, seeds, quarters):
            image, kept_boxes, kept_classes = self._change(photo, photo_seed, quarter)
            images.append(image)
            boxes.append(kept_boxes)
            classes.append(kept_classes)
        top, bottom = tf.concat(images[:2], axis=1), tf.concat(images[2:], axis=1)
        image = tf.ensure_shape(tf.concat([top, bottom], 0), [self._height, self._width, 3])
        return image, tf.concat(boxes, axis=0), tf.concat(classes, axis=0)

    def _change(self, photo: Photo, seed: tf.Tensor, window: Window) -> Photo:
        """Change a photo and show a window of the input; boxes in 0..1 of the whole input."""
        image, boxes, classes = photo
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
        image, boxes = self._turn(tf.cast(image, tf.float32), boxes, seeds[0])
        image, boxes, classes = self._move(image, boxes, classes, seeds[1], window)
        return self._colour(image, seeds[2]), boxes, classes

    def _turn(
        self, image: tf.Tensor, boxes: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        settings = self._settings
        chances = tf.random.stateless_uniform([3], seed)
        if settings.flip_horizontal:
            image, boxes = tf.cond(
                chances[0] < 0.5,
                lambda: (image[:, ::-1], flip_horizontal(boxes)),
                lambda: (image, boxes),
            )
        if settings.flip_vertical:
            image, boxes = tf.cond(
                chances[1] < 0.5,
                lambda: (image[::-1], flip_vertical(boxes)),
                lambda: (image, boxes),
            )
        if settings.quarter_turns:
            image, boxes = tf.cond(
                chances[2] < 0.5,
                lambda: (tf.transpose(image, [1, 0, 2]), tf.gather(boxes, [1, 0, 3, 2], axis=1)),
                lambda: (image, boxes),
            )
        return image, boxes

    def _move(
        self,
        image: tf.Tensor,
        boxes: tf.Tensor,
        classes: tf.Tensor,
        seed: tf.Tensor,
        window: Window,
    ) -> Photo:
        settings = self._settings
        draws = tf.random.stateless_uniform([4], seed)
        output = tf.constant([self._height, self._width], tf.float32)
        size = tf.cast(tf.shape(image)[:2], tf.float32)
        # Scales are drawn evenly in the logarithm, so that halving is as likely as doubling.
        low, high = tf.math.log(settings.scale_min), tf.math.log(settings.scale_max)
        factor = tf.exp(low + draws[0] * (high - low))
        stretch = tf.exp((draws[1] - 0.5) * tf.math.log(settings.aspect))
        scaled = output * factor * tf.stack([1.0 / stretch, stretch])
        shift = (output - scaled) * draws[2:4]
        origin = tf.cast(tf.stack(window[:2]), tf.float32)
        shown = place(image, scaled / size, shift - origin, *window[2:])
        corners = boxes * tf.tile(scaled / output, [2]) + tf.tile(shift / output, [2])
        first = tf.tile(origin / output, [2])
        last = first + tf.tile(tf.cast(tf.stack(window[2:]), tf.float32) / output, [2])
        seen = tf.minimum(tf.maximum(corners, first), last)
        keep = area(seen) > settings.keep_visible * area(corners)
        return shown, tf.boolean_mask(seen, keep), tf.boolean_mask(classes, keep)

    def _colour(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """All changes of colour are one 3x3 matrix and one shift, which is quick."""
        settings = self._settings
        draws = tf.random.stateless_uniform([4], seed, -1.0, 1.0)
        angle = 2.0 * math.pi * settings.hue * draws[0]
        vividness = 1.0 + settings.saturation * draws[1]
        cosine, sine = vividness * tf.cos(angle), vividness * tf.sin(angle)
        # In YIQ, I and Q are the plane of colours: turning it is hue, stretching it saturation.
        turn = tf.reshape(tf.stack([1.0, 0.0, 0.0, 0.0, cosine, -sine, 0.0, sine, cosine]), [3, 3])
        contrast = 1.0 + settings.contrast * draws[2]
        matrix = contrast * (_FROM_YIQ @ turn @ _TO_YIQ)
        grey = tf.reduce_mean(image)
        shift = (1.0 - contrast) * grey + 255.0 * settings.brightness * draws[3]
        flat = tf.matmul(tf.reshape(image, [-1, 3]), matrix, transpose_b=True) + shift
        return tf.clip_by_value(tf.reshape(flat, tf.shape(image)), 0.0, 255.0)


def flip_horizontal(boxes: tf.Tensor) -> tf.Tensor:
    """Mirror boxes [n, 4] (ymin, xmin, ymax, xmax, 0..1) left to right."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=1)
    return tf.stack([ymin, 1.0 - xmax, ymax, 1.0 - xmin], axis=1)


def flip_vertical(boxes: tf.Tensor) -> tf.Tensor:
    """Mirror boxes [n, 4] (ymin, xmin, ymax, xmax, 0..1) top to bottom."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=1)
    return tf.stack([1.0 - ymax, xmin, 1.0 - ymin, xmax], axis=1)


def area(boxes: tf.Tensor) -> tf.Tensor:
    """Areas [n] of boxes [n, 4]."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

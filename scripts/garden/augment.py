"""Random changes to a training photo and its boxes, reproducible from a seed.

One resampling does scaling, cropping and shifting at once, with an antialiasing triangle filter:
the filter that Pillow's BILINEAR uses, so a detector sees in training what it will see deployed.
"""

from __future__ import annotations

import tensorflow as tf

from garden.config import Augmentation

# Shown where a changed photo does not cover the input: Model Garden's mean colour, which is zero
# after its normalisation.
FILL = (123.675, 116.28, 103.53)


def resize(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Stretch a photo [h, w, 3] to [height, width, 3] float32, antialiased."""
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    scale = tf.constant([height, width], tf.float32) / size
    return place(tf.cast(image, tf.float32), scale, tf.zeros([2]), height, width)


def place(
    image: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor, height: int, width: int
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

    def __call__(self, image: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor, seed: tf.Tensor):
        """Photo uint8 [h, w, 3], boxes [n, 4] (ymin, xmin, ymax, xmax, 0..1), classes [n].

        Returns the photo as float32 [height, width, 3] in 0..255 and the boxes left in view,
        again in 0..1 of it, with their classes.
        """
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
        image, boxes = self._turn(tf.cast(image, tf.float32), boxes, seeds[0])
        image, boxes, classes = self._move(image, boxes, classes, seeds[1])
        return self._colour(image, seeds[2]), boxes, classes

    def _turn(self, image, boxes, seed):
        chances = tf.random.stateless_uniform([3], seed)
        if self._settings.flip_horizontal:
            image, boxes = tf.cond(
                chances[0] < 0.5,
                lambda: (image[:, ::-1], flip_horizontal(boxes)),
                lambda: (image, boxes),
            )
        if self._settings.flip_vertical:
            image, boxes = tf.cond(
                chances[1] < 0.5,
                lambda: (image[::-1], flip_vertical(boxes)),
                lambda: (image, boxes),
            )
        if self._settings.quarter_turns:
            image, boxes = tf.cond(
                chances[2] < 0.5,
                lambda: (tf.transpose(image, [1, 0, 2]), tf.gather(boxes, [1, 0, 3, 2], axis=1)),
                lambda: (image, boxes),
            )
        return image, boxes

    def _move(self, image, boxes, classes, seed):
        settings = self._settings
        draws = tf.random.stateless_uniform([4], seed)
        output = tf.constant([self._height, self._width], tf.float32)
        size = tf.cast(tf.shape(image)[:2], tf.float32)
        # Scales are drawn evenly in the logarithm, so that halving is as likely as doubling.
        low, high = tf.math.log(settings.scale_min), tf.math.log(settings.scale_max)
        factor = tf.exp(low + draws[0] * (high - low))
        stretch = tf.exp((draws[1] - 0.5) * tf.math.log(settings.aspect))
        scaled = output * factor * tf.stack([1.0 / stretch, stretch])
        room = output - scaled
        shift = room * draws[2:4]
        image = place(image, scaled / size, shift, self._height, self._width)
        corners = boxes * tf.tile(scaled / output, [2]) + tf.tile(shift / output, [2])
        seen = tf.clip_by_value(corners, 0.0, 1.0)
        keep = area(seen) > settings.keep_visible * area(corners)
        return image, tf.boolean_mask(seen, keep), tf.boolean_mask(classes, keep)

    def _colour(self, image, seed):
        settings = self._settings
        draws = tf.random.stateless_uniform([4], seed, -1.0, 1.0)
        image = image / 255.0
        if settings.hue:
            image = tf.image.adjust_hue(tf.clip_by_value(image, 0, 1), draws[0] * settings.hue)
        if settings.saturation:
            grey = tf.image.rgb_to_grayscale(image)
            image = grey + (image - grey) * (1.0 + draws[1] * settings.saturation)
        if settings.contrast:
            mean = tf.reduce_mean(image, [0, 1], keepdims=True)
            image = mean + (image - mean) * (1.0 + draws[2] * settings.contrast)
        if settings.brightness:
            image = image + draws[3] * settings.brightness
        return tf.clip_by_value(image, 0.0, 1.0) * 255.0


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


def mosaic(photos: list, keep_visible: float, seed: tf.Tensor):
    """Put four changed photos (image, boxes, classes) together, with a random crossing.

    Each photo keeps its own quarter of the input, and of its boxes what lies in that quarter.
    The idea is that of YOLOv4 (Bochkovskiy et al., 2020).
    """
    height, width = photos[0][0].shape[:2]
    draws = tf.random.stateless_uniform([2], seed, 0.3, 0.7)
    row = tf.cast(draws[0] * height, tf.int32)
    column = tf.cast(draws[1] * width, tf.int32)
    images = [photo[0] for photo in photos]
    top = tf.concat([images[0][:row, :column], images[1][:row, column:]], axis=1)
    bottom = tf.concat([images[2][row:, :column], images[3][row:, column:]], axis=1)
    image = tf.ensure_shape(tf.concat([top, bottom], axis=0), [height, width, 3])
    y = tf.cast(row, tf.float32) / height
    x = tf.cast(column, tf.float32) / width
    quarters = [(0.0, 0.0, y, x), (0.0, x, y, 1.0), (y, 0.0, 1.0, x), (y, x, 1.0, 1.0)]
    kept_boxes, kept_classes = [], []
    for (_, boxes, classes), (ymin, xmin, ymax, xmax) in zip(photos, quarters):
        low = tf.stack([ymin, xmin, ymin, xmin])
        high = tf.stack([ymax, xmax, ymax, xmax])
        seen = tf.minimum(tf.maximum(boxes, low), high)
        keep = area(seen) > keep_visible * area(boxes)
        kept_boxes.append(tf.boolean_mask(seen, keep))
        kept_classes.append(tf.boolean_mask(classes, keep))
    return image, tf.concat(kept_boxes, axis=0), tf.concat(kept_classes, axis=0)

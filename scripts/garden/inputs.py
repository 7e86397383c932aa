"""Photos out of records: an endless, randomly changed stream to train on, and one plain pass.

Model Garden's parser still normalises and assigns boxes to anchors. What comes before it is ours,
because its own reader decodes every JPEG again in each epoch, resizes without antialiasing and
cannot change colours or go on where an interrupted training stopped.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import tensorflow as tf
from official.vision.dataloaders import tf_example_decoder
from official.vision.ops import preprocess_ops

from garden.augment import Augment, Photo, resize
from garden.records import read_sample

_PARALLEL = tf.data.AUTOTUNE
# Photos held to draw the next from. Each is in memory up to four times, as JPEG where the set is
# too large to keep decoded.
_SHUFFLED = 256


def training(
    files: list[str],
    config: Any,
    parse: Callable[[dict[str, tf.Tensor]], Any],
    context: Optional[tf.distribute.InputContext],
) -> tf.data.Dataset:
    """Endless batches of what ``parse`` (a Model Garden parser) makes of changed photos.

    ``config`` is the task's configuration; the stream depends only on it and on the records.
    """
    data, settings = config.train_data, config.augmentation
    height, width = config.model.input_size[:2]
    start = data.seed or 0
    photos = _records(files, start)
    if context and context.num_input_pipelines > 1:
        photos = photos.shard(context.num_input_pipelines, context.input_pipeline_id)
    decode = _decoder(height, width)
    streams_needed = 4 if settings.mosaic else 1
    # Each stream keeps a copy of its own.
    decoded = streams_needed * _decoded_bytes(files, height, width)
    cached = decoded <= config.cache_megabytes * 2**20
    if cached:
        photos = photos.map(decode, _PARALLEL).cache()

    def stream(offset: int) -> tf.data.Dataset:
        shuffled = photos.shuffle(
            min(data.shuffle_buffer_size, _SHUFFLED), start + offset, reshuffle_each_iteration=True
        )
        return shuffled.repeat()

    augment = Augment(settings, height, width)

    def change(number: tf.Tensor, *streams: Any) -> Any:
        numbered = tf.random.experimental.stateless_fold_in([start, 0], number)
        seed, chance = tf.unstack(tf.random.experimental.stateless_split(numbered, 2))

        def photo(index: int) -> Photo:
            # Decoded here, a photo that no mosaic takes costs nothing.
            example = streams[index] if cached else decode(streams[index])
            return example["image"], example["boxes"], example["classes"]

        if settings.mosaic:
            image, boxes, classes = tf.cond(
                tf.random.stateless_uniform([], chance) < settings.mosaic,
                lambda: augment.mosaic([photo(index) for index in range(4)], seed),
                lambda: augment.one(photo(0), seed),
            )
        else:
            image, boxes, classes = augment.one(photo(0), seed)
        return parse(_for_parser(image, boxes, classes))

    streams = [stream(offset) for offset in range(streams_needed)]
    numbers = tf.data.Dataset.counter(config.first_example)
    batch = context.get_per_replica_batch_size(data.global_batch_size) if context else None
    return (
        tf.data.Dataset.zip(numbers, *streams)
        .map(change, _PARALLEL)
        .batch(batch or data.global_batch_size, drop_remainder=True)
        .prefetch(2)
    )


def evaluation(files: list[str], height: int, width: int) -> tf.data.Dataset:
    """Each photo once: uint8 [height, width, 3], boxes [n, 4] in its pixels, classes [n]."""

    def prepare(serialized: tf.Tensor):
        example = tf_example_decoder.TfExampleDecoder().decode(serialized)
        image = _to_uint8(resize(example["image"], height, width))
        scale = tf.constant([height, width, height, width], tf.float32)
        return image, example["groundtruth_boxes"] * scale, example["groundtruth_classes"]

    return tf.data.TFRecordDataset(files).map(prepare, _PARALLEL).prefetch(2)


def normalise(images: tf.Tensor) -> tf.Tensor:
    """What Model Garden's models take: uint8 photos less the mean, over the deviation, float32."""
    offset = tf.constant(preprocess_ops.MEAN_RGB)
    return (tf.cast(images, tf.float32) - offset) / tf.constant(preprocess_ops.STDDEV_RGB)


def _records(files: list[str], seed: int) -> tf.data.Dataset:
    """The serialized photos of all files, several files at a time, in an order of their own."""
    if len(files) == 1:
        return tf.data.TFRecordDataset(files)
    shuffled = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files), seed)
    return shuffled.interleave(tf.data.TFRecordDataset, cycle_length=min(8, len(files)))


def _decoder(height: int, width: int) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    def decode(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        example = tf_example_decoder.TfExampleDecoder().decode(serialized)
        image = example["image"]
        size = tf.shape(image)[:2]
        # Twice the input is all that the largest magnification uses.
        factor = tf.reduce_max([2 * height, 2 * width] / size)
        image = tf.cond(
            factor < 1.0,
            lambda: _to_uint8(_shrink(image, factor)),
            lambda: image,
        )
        return {
            "image": tf.ensure_shape(image, [None, None, 3]),
            "boxes": example["groundtruth_boxes"],
            "classes": example["groundtruth_classes"],
        }

    return decode


def _shrink(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    size = tf.cast(tf.math.round(tf.cast(tf.shape(image)[:2], tf.float64) * factor), tf.int32)
    return tf.image.resize(image, size, antialias=True)


def _decoded_bytes(files: list[str], height: int, width: int) -> float:
    sample = read_sample(files)
    pixels = [min(h * w, 4.0 * max(height, width) ** 2) for h, w in sample.sizes]
    # A sample stands for more than itself when it is as large as samples get.
    return 3.0 * sum(pixels) if len(pixels) < 2000 else float("inf")


def _to_uint8(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(tf.math.round(image), 0.0, 255.0), tf.uint8)


def _for_parser(image: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor) -> dict[str, tf.Tensor]:
    """The names under which Model Garden's parsers expect a decoded photo."""
    count = tf.shape(classes)[0]
    return {
        "image": _to_uint8(image),
        "groundtruth_boxes": boxes,
        "groundtruth_classes": classes,
        "groundtruth_is_crowd": tf.zeros([count], tf.bool),
        "groundtruth_area": tf.zeros([count]),
        "source_id": tf.constant("0"),
        "height": tf.cast(tf.shape(image)[0], tf.int64),
        "width": tf.cast(tf.shape(image)[1], tf.int64),
    }

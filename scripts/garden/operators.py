"""What ``detection`` does in NumPy, in TensorFlow's operators, for graphs that go from a photo to
detections. Tests hold the two against each other."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from detection.decoding import LARGEST_LOG_SCALE
from detection.detector import Detector

Outputs = dict[str, tf.Tensor]


def resized(photo: tf.Tensor, detector: Detector) -> tf.Tensor:
    """The picture, uint8 [1, H, W, 3], of a photo, uint8 [1, h, w, 3].

    The same as ``detection.preprocess.network_input`` gives, to the last bit.

    tf.image.resize rounds otherwise; near a tie of two scores that changes the detections.
    """
    across = _resampled(photo[0], 1, detector.input.width)
    picture = _resampled(across, 0, detector.input.height)[None]
    # The loop over neighbours has lost what two-stage models build their graph by.
    return tf.ensure_shape(picture, [1, detector.input.height, detector.input.width, 3])


def _resampled(picture: tf.Tensor, axis: int, size: int) -> tf.Tensor:
    """One axis of a uint8 [h, w, 3] picture to ``size`` pixels, as Pillow's Resample.c does it.

    Bilinear: each new pixel is the mean of old ones, weighted by a triangle around its centre; the
    weights are fixed-point numbers of 22 bits.
    """
    length = tf.shape(picture)[axis]
    scale = tf.cast(length, tf.float64) / size
    reach = tf.maximum(scale, 1.0)
    centres = (tf.range(size, dtype=tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(centres - reach + 0.5, tf.int32), 0)
    end = tf.minimum(tf.cast(centres + reach + 0.5, tf.int32), length)
    places = first + tf.range(2 * tf.cast(tf.math.ceil(reach), tf.int32) + 1)[:, None]
    distances = tf.abs(tf.cast(places, tf.float64) - centres + 0.5) / reach
    weights = tf.where(places < end, tf.maximum(1.0 - distances, 0.0), 0.0)
    weights /= tf.reduce_sum(weights, axis=0)
    weights = tf.cast(weights * 2**22 + 0.5, tf.int32)
    places = tf.minimum(places, length - 1)
    across = [1, size, 1] if axis == 1 else [size, 1, 1]

    # Neighbour by neighbour: all at once would take gigabytes for a photo of 50 million pixels.
    def add(index: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = tf.cast(tf.gather(picture, places[index], axis=axis), tf.int32)
        return index + 1, sums + pixels * tf.reshape(weights[index], across)

    shape = tf.concat([tf.shape(picture)[:axis], [size], tf.shape(picture)[axis + 1 :]], axis=0)
    loop = (tf.constant(0), tf.fill(shape, 2**21))
    unknown = tf.TensorShape([None, size, 3] if axis == 1 else [size, None, 3])
    _, sums = tf.while_loop(
        lambda index, _: index < tf.shape(weights)[0],
        add,
        loop,
        shape_invariants=(tf.TensorShape([]), unknown),
    )
    return tf.cast(tf.minimum(sums // 2**22, 255), tf.uint8)


def normalised(images: tf.Tensor, detector: Detector) -> tf.Tensor:
    """float32 of the same shape, [1, H, W, 3]: what the network was trained on."""
    given = detector.input
    # A row of pixels at a time: by three channels, runtimes would compute three numbers at a time.
    mean, std = (tf.constant(np.tile(v, given.width), tf.float32) for v in (given.mean, given.std))
    rows = tf.reshape(tf.cast(images, tf.float32), [-1, given.height, given.width * 3])
    return tf.reshape((rows - mean) / std, [-1, given.height, given.width, 3])


def decoded(codes: tf.Tensor, detector: Detector) -> tf.Tensor:
    """[N, 4] boxes normalised to 0..1; the same formula as ``detection.decoding.decode_boxes``."""
    codes /= tf.constant(detector.box_coder_scale, tf.float32)
    anchors = detector.anchors
    sizes = tf.constant(anchors[:, 2:] - anchors[:, :2])
    middles = tf.constant(anchors[:, :2]) + 0.5 * sizes
    centres = codes[:, :2] * sizes + middles
    decoded_sizes = tf.exp(tf.minimum(codes[:, 2:], LARGEST_LOG_SCALE)) * sizes
    corners = centres - 0.5 * decoded_sizes
    boxes = tf.concat([corners, corners + decoded_sizes], axis=1)
    limits = tf.constant([detector.input.height, detector.input.width] * 2, tf.float32)
    return tf.clip_by_value(boxes, 0.0, limits)


def class_wise_nms(boxes: tf.Tensor, scores: tf.Tensor, detector: Detector) -> Outputs:
    """``boxes`` [N, 4] in pixels of the input and ``scores`` [N, C] -> detections, padded."""
    limits = tf.constant([detector.input.height, detector.input.width] * 2, tf.float32)
    scores = tf.where(scores > detector.score_threshold, scores, 0.0)  # NaN becomes 0 as well
    candidates = min(detector.pre_nms_top_k, len(detector.anchors))
    found = []
    for index in range(len(detector.classes)):
        best, rows = tf.math.top_k(scores[:, index], candidates)
        near = tf.gather(boxes, rows)
        best = tf.where(tf.reduce_all(near[:, 2:] > near[:, :2], axis=1), best, 0.0)
        kept = tf.image.non_max_suppression(
            near, best, detector.max_detections, detector.iou_threshold, detector.score_threshold
        )
        classes = tf.fill(tf.shape(kept), float(index + 1))
        found.append((tf.gather(near, kept), tf.gather(best, kept), classes))
    all_boxes, all_scores, all_classes = (tf.concat(parts, axis=0) for parts in zip(*found))
    count = tf.minimum(tf.size(all_scores), detector.max_detections)
    best, rows = tf.math.top_k(all_scores, count)
    missing = detector.max_detections - count

    def padded(values: tf.Tensor, filling: float) -> tf.Tensor:
        paddings = [[0, missing]] + [[0, 0]] * (values.shape.rank - 1)
        full = tf.pad(values, paddings, constant_values=filling)
        return tf.ensure_shape(full, [detector.max_detections, *values.shape[1:]])[None]

    return {
        "detection_boxes": padded(tf.gather(all_boxes, rows) / limits, 0.0),
        "detection_scores": padded(best, 0.0),
        # Empty slots are class 1, as from the Object Detection API, so that looking up their name
        # does not fail.
        "detection_classes": padded(tf.gather(all_classes, rows), 1.0),
        "num_detections": tf.cast(count, tf.float32)[None],
    }

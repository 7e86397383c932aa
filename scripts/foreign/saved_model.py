"""SavedModels of detectors: Model Garden's own exports, with NMS inside, and ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from console import InputError
from foreign.object_detection_api import OUTPUTS

Outputs = dict[str, tf.Tensor]


def load(folder: Path) -> Any:
    """The SavedModel in ``folder``; InputError where TensorFlow cannot load it."""
    try:
        return tf.saved_model.load(str(folder))
    except (OSError, ValueError, KeyError, IndexError, tf.errors.OpError) as error:
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{folder.name}: TensorFlow cannot load this SavedModel ({told[:200]}). Copy the whole "
            "folder again, variables/ included."
        ) from None


def photo_signature(model: Any, name: str) -> Callable[[tf.Tensor], Outputs]:
    """``model``'s way from photos, uint8 [1, height, width, 3], to detections.

    InputError where its signature ``serving_default`` takes or gives something else.
    """
    signature = model.signatures.get("serving_default")
    if signature is None:
        raise InputError(
            f"{name}: has no signature serving_default, but {', '.join(model.signatures) or 'none'}"
        )
    inputs = signature.structured_input_signature[1]
    if missing := [output for output in OUTPUTS if output not in signature.structured_outputs]:
        raise InputError(
            f"{name}: is a SavedModel, but gives no {', '.join(missing)}; it gives "
            f"{', '.join(sorted(signature.structured_outputs))}. A detector with NMS inside is "
            "wanted (Model Garden: --input_type=image_tensor), or the folder that export.py wrote."
        )
    ((key, spec),) = inputs.items() if len(inputs) == 1 else [("", None)]
    if spec is None or spec.dtype != tf.uint8 or not spec.shape.is_compatible_with([1, 9, 9, 3]):
        given = ", ".join(f"{one.dtype.name} {one.shape}" for one in inputs.values())
        raise InputError(
            f"{name}: takes {given}; a photo is wanted, uint8 [1, height, width, 3] of any size. "
            "Export it again with --input_type=image_tensor and a batch size of 1."
        )

    def find(photo: tf.Tensor) -> Outputs:
        return signature(**{key: photo})

    return find


def normalised(find: Callable[[tf.Tensor], Outputs], pixels: bool) -> Callable[..., Outputs]:
    """``find`` with boxes as parts of the photo, and the four outputs of docs/ARTIFACTS.md alone.

    ``pixels``: it gives boxes in pixels of the picture that it resizes to, and image_info, as
    Model Garden's exporter does unless told to normalise.
    """

    def found(photo: tf.Tensor) -> Outputs:
        outputs = find(photo)
        boxes = tf.cast(outputs["detection_boxes"], tf.float32)
        if pixels:
            # image_info: size of the photo, size wanted, scale, offset; each of height and width.
            info = outputs["image_info"]
            boxes = boxes / tf.tile(info[:, 2:3], [1, 1, 2]) / tf.tile(info[:, 0:1], [1, 1, 2])
        return {
            "detection_boxes": tf.clip_by_value(boxes, 0.0, 1.0),
            "detection_scores": outputs["detection_scores"],
            "detection_classes": tf.cast(outputs["detection_classes"], tf.float32),
            "num_detections": tf.cast(outputs["num_detections"], tf.float32),
        }

    return found


def gives_pixels(find: Callable[[tf.Tensor], Outputs], pictures: list[np.ndarray]) -> bool:
    """Whether boxes are pixels of the network's picture instead of parts of the photo."""
    found = [find(tf.constant(picture[None])) for picture in pictures]
    if "image_info" not in found[0]:
        return False
    largest = [float(tf.reduce_max(one["detection_boxes"])) for one in found]
    # Nothing found: Model Garden's default.
    return not any(largest) or max(largest) > 2

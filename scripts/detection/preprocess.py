"""From a photo to the picture a network takes, and back for boxes.

export.py builds the same arithmetic into the SavedModel with TensorFlow's operators; a test holds
the two against each other.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from detection.detector import STRETCH_TF1, NetworkInput


def network_input(photo: np.ndarray, wanted: NetworkInput) -> np.ndarray:
    """uint8 [1, wanted.height, wanted.width, 3] from ``photo``, uint8 [height, width, 3], RGB.

    Width and height are scaled each on its own. "stretch": bilinear, with the filter widened by the
    reduction factor so that nothing aliases, Pillow's BILINEAR. "stretch_tensorflow1": between the
    four nearest pixels whatever the reduction, as detectors from TensorFlow 1 were trained.
    """
    if wanted.resize == STRETCH_TF1:
        return np.rint(between_pixels(photo, wanted.height, wanted.width)).astype(np.uint8)[None]
    image = Image.fromarray(photo)
    # Across, then down, in two calls: which comes first, and thus how the result is rounded,
    # changed between versions of Pillow, and not every environment has the same.
    for size in ((wanted.width, image.height), (wanted.width, wanted.height)):
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image)[None]


def between_pixels(photo: np.ndarray, height: int, width: int) -> np.ndarray:
    """float32 [height, width, 3]: ``tf.compat.v1.image.resize_bilinear`` with its defaults.

    Pixel i of the result lies at i * old size / new size of the photo: corners are not aligned, and
    pixels have no middle.
    """
    (top, bottom, down), (left, right, across) = (
        _neighbours(*sizes) for sizes in ((photo.shape[0], height), (photo.shape[1], width))
    )
    across = across[None, :, None]

    def between(rows: np.ndarray) -> np.ndarray:
        first, second = (rows.take(columns, axis=1).astype(np.float32) for columns in (left, right))
        return first + (second - first) * across

    upper, lower = between(photo.take(top, axis=0)), between(photo.take(bottom, axis=0))
    return upper + (lower - upper) * down[:, None, None]


def _neighbours(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each new pixel the old ones before and behind it, and how far it lies between them."""
    places = np.arange(new, dtype=np.float32) * np.float32(old / new)
    before = np.floor(places).astype(np.intp)
    return before, np.minimum(before + 1, old - 1), places - before


def to_photo(boxes: np.ndarray, wanted: NetworkInput, width: int, height: int) -> np.ndarray:
    """Boxes of the network's input as boxes of the photo.

    ``boxes``: float32 [N, 4], ymin, xmin, ymax, xmax in pixels of the network's input. Returns
    float32 [N, 4], xmin, ymin, xmax, ymax in pixels of the photo of the given width and height.
    """
    scale = np.array([width / wanted.width, height / wanted.height] * 2, np.float32)
    return boxes[:, [1, 0, 3, 2]] * scale

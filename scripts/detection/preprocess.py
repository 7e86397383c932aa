"""From a photo to the picture a network takes, and back for boxes.

export.py builds the same arithmetic into the SavedModel with TensorFlow's operators; a test holds
the two against each other.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from detection.detector import NetworkInput


def network_input(photo: np.ndarray, wanted: NetworkInput) -> np.ndarray:
    """uint8 [1, wanted.height, wanted.width, 3] from ``photo``, uint8 [height, width, 3], RGB.

    Width and height are scaled each on its own ("stretch"), bilinear, with the filter widened by
    the reduction factor so that nothing aliases: Pillow's BILINEAR.
    """
    image = Image.fromarray(photo)
    # Across, then down, in two calls: which comes first, and thus how the result is rounded,
    # changed between versions of Pillow, and not every environment has the same.
    for size in ((wanted.width, image.height), (wanted.width, wanted.height)):
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image)[None]


def to_photo(boxes: np.ndarray, wanted: NetworkInput, width: int, height: int) -> np.ndarray:
    """Boxes of the network's input as boxes of the photo.

    ``boxes``: float32 [N, 4], ymin, xmin, ymax, xmax in pixels of the network's input. Returns
    float32 [N, 4], xmin, ymin, xmax, ymax in pixels of the photo of the given width and height.
    """
    scale = np.array([width / wanted.width, height / wanted.height] * 2, np.float32)
    return boxes[:, [1, 0, 3, 2]] * scale

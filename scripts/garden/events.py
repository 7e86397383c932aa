"""TensorBoard's event files, for stages other than training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Optional

import numpy as np
from PIL import Image


def write_events(
    folder: Path,
    figures: Mapping[str, Optional[float]],
    pictures: Iterable[tuple[str, Image.Image]],
) -> None:
    """Write scalars and named RGB pictures into ``folder``; a figure that is None is left out."""
    import tensorflow as tf  # imported late: it takes seconds, and a caller may fail before

    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=0):
        for name, value in figures.items():
            if value is not None:
                tf.summary.scalar(name, value)
        for name, picture in pictures:
            tf.summary.image(name, np.asarray(picture)[np.newaxis])
    writer.close()

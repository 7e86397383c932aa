"""What is in a folder of records, as far as training has to know before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from console import InputError

# Enough to fit anchors and to estimate sizes; a large set need not be read through for that.
_SAMPLE = 2000


@dataclass(frozen=True)
class RecordSample:
    """Up to 2000 photos of a split: their sizes and boxes."""

    sizes: np.ndarray  # [photos, 2] height, width in pixels
    boxes: np.ndarray  # [boxes, 4] ymin, xmin, ymax, xmax in 0..1


def record_files(folder: Path, split: str) -> list[str]:
    """The record file of a split, or its shards; an empty list where there is none."""
    whole = folder / f"{split}.record"
    if whole.is_file():
        return [str(whole)]
    return sorted(str(path) for path in folder.glob(f"{split}.record-*-of-*"))


def read_sample(files: list[str]) -> RecordSample:
    """Read sizes and boxes of the first photos. Raises InputError where there is none."""
    features = {
        "image/height": tf.io.FixedLenFeature([], tf.int64),
        "image/width": tf.io.FixedLenFeature([], tf.int64),
        **{
            f"image/object/bbox/{side}": tf.io.VarLenFeature(tf.float32)
            for side in ("ymin", "xmin", "ymax", "xmax")
        },
    }
    sizes, boxes = [], []
    try:
        for serialized in tf.data.TFRecordDataset(files).take(_SAMPLE):
            example = tf.io.parse_single_example(serialized, features)
            sizes.append((int(example["image/height"]), int(example["image/width"])))
            sides = [
                tf.sparse.to_dense(example[f"image/object/bbox/{side}"]).numpy()
                for side in ("ymin", "xmin", "ymax", "xmax")
            ]
            boxes.append(np.stack(sides, axis=1))
    except tf.errors.OpError as error:
        raise InputError(
            f"cannot read {files[0]}: {error.message}; make the records anew"
        ) from error
    if not sizes:
        raise InputError(f"{files[0]} holds no photo; training needs at least one")
    return RecordSample(np.array(sizes), np.concatenate(boxes).reshape(-1, 4))

"""Records of a few drawn pictures: enough to train on for some steps."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

CLASSES = ["disc", "plate"]


def write_records(folder: Path, splits: dict[str, int], size: tuple[int, int] = (160, 120)) -> None:
    """Write ``{split}.record`` with that many pictures (width, height ``size``), records.json."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {}
    random = np.random.default_rng(5)
    for split, photos in splits.items():
        boxes = 0
        with tf.io.TFRecordWriter(str(folder / f"{split}.record")) as writer:
            for number in range(1, photos + 1):
                example, drawn = _example(random, size, number)
                writer.write(example.SerializeToString())
                boxes += drawn
        about[split] = {"photos": photos, "boxes": boxes, "shards": 1}
    text = json.dumps({"classes": CLASSES, "splits": about})
    (folder / "records.json").write_text(text, encoding="utf-8")


def _example(
    random: np.random.Generator, size: tuple[int, int], number: int
) -> tuple[tf.train.Example, int]:
    width, height = size
    picture = Image.new("RGB", size, tuple(random.integers(60, 120, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    rows, labels = [], []
    for index in range(4):
        side = int(random.integers(20, 40))
        x = 10 + index * (width - 20) // 4
        y = int(random.integers(0, height - side))
        label = int(random.integers(1, 3))
        shape = draw.ellipse if label == 1 else draw.rectangle
        shape((x, y, x + side, y + side), fill=(230, 200, 40) if label == 1 else (40, 60, 220))
        rows.append((y / height, x / width, (y + side) / height, min(1.0, (x + side) / width)))
        labels.append(label)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=90)
    ymin, xmin, ymax, xmax = zip(*rows)
    features = {
        "image/encoded": _bytes(data.getvalue()),
        "image/source_id": _bytes(str(number).encode()),
        "image/height": _integers([height]),
        "image/width": _integers([width]),
        "image/object/bbox/ymin": _floats(ymin),
        "image/object/bbox/xmin": _floats(xmin),
        "image/object/bbox/ymax": _floats(ymax),
        "image/object/bbox/xmax": _floats(xmax),
        "image/object/class/label": _integers(labels),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)), len(rows)


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _floats(values: tuple[float, ...]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _integers(values: list[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

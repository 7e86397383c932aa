"""mAP and pictures of a detector while it trains, from records."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from PIL import Image, ImageDraw
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detection.drawing import in_ascii
from garden import inputs

_PREDICTED = (230, 60, 40)
_TRUE = (40, 160, 60)
_SHOWN_SCORE = 0.5
_OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")


@dataclass(frozen=True)
class Evaluation:
    """COCO metrics (AP, AP50, AP75), and photos with predicted beside true boxes [n, h, 2w, 3]."""

    metrics: dict[str, float]
    pictures: np.ndarray


@dataclass(frozen=True)
class _Found:
    boxes: np.ndarray  # [n, 4] ymin, xmin, ymax, xmax in input pixels
    scores: np.ndarray
    classes: np.ndarray  # numbers, from 1


class Evaluator:
    """Runs a detector over records. The graph is traced once, whichever records come."""

    def __init__(self, model: tf_keras.Model, height: int, width: int, classes: list[str]) -> None:
        self._height = height
        self._width = width
        self._classes = classes

        def detect(image: tf.Tensor) -> dict[str, tf.Tensor]:
            shape = tf.constant([[height, width]], tf.float32)
            output = model(inputs.normalise(image[tf.newaxis]), image_shape=shape, training=False)
            return {name: output[name] for name in _OUTPUTS}

        self._detect = tf.function(
            detect, input_signature=[tf.TensorSpec([height, width, 3], tf.uint8)]
        )

    def run(self, files: list[str], pictures: int = 0) -> Evaluation:
        """Evaluate on all photos of ``files``; the first ``pictures`` of them are drawn.

        Overlaps of boxes do not change when a photo is stretched, so AP, AP50 and AP75 are those
        of the original photos. (AP by object size would not be, and is left out.)
        """
        truth, found, drawn = [], [], []
        photos = inputs.evaluation(files, self._height, self._width)
        for number, example in enumerate(photos.as_numpy_iterator(), start=1):
            image, boxes, classes = example
            output = self._detections(image)
            truth += [_annotation(number, *pair) for pair in zip(boxes, classes)]
            found += [
                {**_annotation(number, box, label), "score": float(score)}
                for box, label, score in zip(output.boxes, output.classes, output.scores)
            ]
            if number <= pictures:
                drawn.append(self._draw(image, output, boxes, classes))
        return Evaluation(_coco_metrics(truth, found), np.array(drawn))

    def _detections(self, image: np.ndarray) -> _Found:
        output = {name: value.numpy()[0] for name, value in self._detect(image).items()}
        valid = slice(int(output["num_detections"]))
        return _Found(
            output["detection_boxes"][valid],
            output["detection_scores"][valid],
            output["detection_classes"][valid],
        )

    def _draw(
        self, image: np.ndarray, output: _Found, boxes: np.ndarray, classes: np.ndarray
    ) -> np.ndarray:
        shown = output.scores >= _SHOWN_SCORE
        predicted = Image.fromarray(image)
        true = predicted.copy()
        labels = [
            f"{self._name(number)} {score:.2f}"
            for number, score in zip(output.classes[shown], output.scores[shown])
        ]
        _boxes(predicted, output.boxes[shown], labels, _PREDICTED)
        _boxes(true, boxes, [self._name(number) for number in classes], _TRUE)
        return np.concatenate([np.asarray(predicted), np.asarray(true)], axis=1)

    def _name(self, number: float) -> str:
        index = int(number) - 1
        return self._classes[index] if 0 <= index < len(self._classes) else str(int(number))


def _boxes(image: Image.Image, boxes: np.ndarray, labels: list[str], colour: tuple) -> None:
    draw = ImageDraw.Draw(image)
    for (ymin, xmin, ymax, xmax), label in zip(boxes.tolist(), labels):
        draw.rectangle((xmin, ymin, max(xmin, xmax), max(ymin, ymax)), outline=colour, width=2)
        draw.text((xmin + 3, ymin + 1), in_ascii(label), fill=colour)


def _annotation(photo: int, box: np.ndarray, label: float) -> dict[str, Any]:
    ymin, xmin, ymax, xmax = (float(value) for value in box)
    return {
        "image_id": photo,
        "category_id": int(label),
        "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
        "area": (xmax - xmin) * (ymax - ymin),
        "iscrowd": 0,
    }


def _coco_metrics(truth: list[dict], found: list[dict]) -> dict[str, float]:
    """AP, AP50 and AP75 as COCO defines them, by pycocotools."""
    if not truth or not found:
        return {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints tables
        coco = COCO()
        coco.dataset = {
            "images": [
                {"id": photo} for photo in sorted({one["image_id"] for one in truth + found})
            ],
            "categories": [
                {"id": label} for label in sorted({one["category_id"] for one in truth})
            ],
            "annotations": [{**one, "id": number} for number, one in enumerate(truth, start=1)],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(("AP", "AP50", "AP75"), (float(value) for value in evaluation.stats[:3])))

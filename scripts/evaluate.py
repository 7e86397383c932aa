"""Measure an exported detector on the test photos.

    python scripts/evaluate.py --export artifacts/default/export --data data/images \\
        --output artifacts/default/evaluate

Writes metrics.json (COCO average precision overall and for each class, an interval over photos,
the confusion matrix, the errors in each photo), pr_curves.png, confusion_matrix.png and, in
worst/, the photos with the most errors; tensorboard/ shows the figures and photos there. Average
precision counts all detections; --score-threshold is for the confusion matrix and the photos,
which show what a user of the detector would see.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
from PIL import Image

import garden.quiet  # noqa: F401  (before TensorFlow)
from atomic import atomic_write
from console import InputError, progress, run, say, warn
from dataset import folder, voc
from dataset.image import load_photo
from detection import metrics, plots
from detection.detections import Detections
from detection.detector import Detector
from detection.metrics import Truth
from detection.runtimes import tensorflow
from garden.events import write_events

_WORST = 8
_IN_TENSORBOARD = 8
# Below either, another handful of photos could have given quite another figure.
_FEW_PHOTOS = 30
_FEW_OBJECTS = 100


@dataclass(frozen=True)
class Tested:
    """A test photo with what is in it and what was found."""

    photo: folder.Photo
    truth: Truth
    found: Detections


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--export", type=Path, required=True, help="folder that export.py wrote")
    parser.add_argument("--data", type=Path, required=True, help="dataset; its test/ is used")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    parser.add_argument("--score-threshold", type=float, default=0.5, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="for the interval; default: 0")
    arguments = parser.parse_args()
    if not 0 <= arguments.score_threshold <= 1:
        raise InputError("--score-threshold must be from 0 to 1")
    evaluate(
        arguments.export,
        arguments.data / "test",
        arguments.output,
        arguments.score_threshold,
        arguments.seed,
    )


def evaluate(
    export: Path, test: Path, output: Path, score_threshold: float, seed: int = 0
) -> dict[str, Any]:
    """Evaluate on the annotated photos in ``test``; writes into ``output``, returns metrics.json.

    InputError when there is no annotated photo or an annotation names an unknown class.
    """
    runtime = tensorflow.load(export)
    detector = runtime.detector
    annotated = _annotated(test, detector)
    tested = [
        Tested(photo, truth, runtime.detect(load_photo(photo.path)))
        for photo, truth in progress(annotated, len(annotated), "evaluate")
    ]
    truths, found = [one.truth for one in tested], [one.found for one in tested]
    result = metrics.coco(truths, found, len(detector.classes))
    confusion = metrics.confusion(truths, found, len(detector.classes), score_threshold)
    errors = [metrics.photo_errors(t, f, score_threshold) for t, f in zip(truths, found)]
    figures = _figures(detector, result, tested, seed)
    figures["score_threshold"] = score_threshold
    figures["errors"] = {
        kind: sum(len(getattr(one, kind)) for one in errors) for kind in ("missed", "false", "poor")
    }
    figures["photos"] = [
        {
            "file": one.photo.name,
            "boxes": len(one.truth.classes),
            "detections": int((one.found.scores >= score_threshold).sum()),
            "missed": len(wrong.missed),
            "false": len(wrong.false),
            "poor": len(wrong.poor),
            "mean_iou": round(float(wrong.ious.mean()), 4) if len(wrong.ious) else None,
        }
        for one, wrong in zip(tested, errors)
    ]
    figures["confusion_matrix"] = {
        "rows": "annotated",
        "columns": "detected",
        "classes": [*detector.classes, None],
        "counts": confusion.tolist(),
    }

    output.mkdir(parents=True, exist_ok=True)
    plots.precision_recall(output / "pr_curves.png", result, detector.classes)
    plots.confusion_matrix(
        output / "confusion_matrix.png", confusion, detector.classes, score_threshold
    )
    _write_worst(output / "worst", tested, errors, detector, score_threshold)
    write_events(
        output / "tensorboard",
        {name: figures[name] for name in ("mAP", "AP50", "AP75")},
        (
            (f"annotated, detected/{one.photo.name}", _compared(one, detector, score_threshold))
            for one in tested[:_IN_TENSORBOARD]
        ),
    )
    with atomic_write(output / "metrics.json") as path:
        path.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", "utf-8")
    lines = table(figures)
    with atomic_write(output / "summary.txt") as path:
        path.write_text("\n".join(lines) + "\n", "utf-8")
    say(f"mAP {_shown(figures['mAP'])} on {len(tested)} photos: {output / 'summary.txt'}")
    return figures


def table(figures: dict[str, Any]) -> list[str]:
    """The figures in metrics.json as lines for people."""

    def row(name: str, values: dict[str, Any], first: str, boxes: int) -> str:
        numbers = (values[first], values["AP50"], values["AP75"])
        cells = "".join(f"{_shown(v):>8}" for v in numbers)
        return f"{name:<{width}}{cells}{boxes:>8}"

    classes = figures["per_class"]
    width = max(len(name) for name in [*classes, "all classes"]) + 1
    lines = [f"{'':<{width}}{'mAP':>8}{'AP50':>8}{'AP75':>8}{'boxes':>8}"]
    lines += [row(name, values, "AP", values["boxes"]) for name, values in classes.items()]
    lines += [row("all classes", figures, "mAP", figures["boxes"])]
    if figures["interval"]:
        low, high = figures["interval"]
        lines.append(f"95 % interval of mAP over test photos: {low:.3f} to {high:.3f}")
    if figures["caution"]:
        lines.append(f"note: {figures['caution']}")
    return lines


def _shown(figure: Optional[float]) -> str:
    return "-" if figure is None else f"{figure:.3f}"


def _annotated(test: Path, detector: Detector) -> list[tuple[folder.Photo, Truth]]:
    ids = {name: index for index, name in enumerate(detector.classes)}
    photos = folder.photos(test)
    annotated = []
    for photo in photos:
        if photo.xml is None:
            continue
        boxes = voc.read(photo.xml).boxes
        unknown = sorted({box.name for box in boxes} - set(ids))
        if unknown:
            raise InputError(
                f"{photo.xml}: the detector does not know {', '.join(map(repr, unknown))}; it "
                f"knows {', '.join(detector.classes)}. Correct the annotation or train again."
            )
        corners = np.array([box[1:5] for box in boxes], np.float32).reshape(-1, 4)
        annotated.append((photo, Truth(corners, np.array([ids[b.name] for b in boxes], int))))
    if not annotated:
        raise InputError(
            f"{test}: no photo here has an annotation (.xml) beside it. Annotate the photos with "
            "labelImg, or split the dataset with split_dataset.py."
        )
    if len(annotated) < len(photos):
        warn(f"{test}: photos without annotation, left out: {len(photos) - len(annotated)}")
    return annotated


def _figures(
    detector: Detector,
    result: metrics.CocoResult,
    tested: list[Tested],
    seed: int,
) -> dict[str, Any]:
    objects = [int(one.objects.sum()) for one in result.matches]
    detections = sum(len(one.scores) for one in result.matches)
    # 1000 rounds take about a second for a hundred photos; a large set is content with fewer.
    rounds = int(np.clip(3e7 / (1 + detections), 100, 1000))
    best = metrics.best_threshold(result.matches)
    return {
        **_rounded(result.mean()),
        "per_class": {
            name: {**_rounded(result.of_class(index)), "boxes": objects[index]}
            for index, name in enumerate(detector.classes)
        },
        "images": len(tested),
        "boxes": sum(objects),
        "detector": detector.name,
        "interval": _pair(metrics.interval(result.matches, seed, rounds)),
        "caution": _caution(len(tested), objects, detector.classes),
        "best_f1": None if best is None else {"score": round(best[0], 4), "f1": round(best[1], 4)},
    }


def _caution(photos: int, objects: list[int], classes: tuple[str, ...]) -> Optional[str]:
    """What the reader of the figures must know, or None."""
    told = []
    if photos < _FEW_PHOTOS or sum(objects) < _FEW_OBJECTS:
        told.append(
            f"{photos} test photos with {sum(objects)} boxes are few: other photos could give "
            "clearly other figures"
        )
    absent = [name for name, count in zip(classes, objects) if not count]
    if absent:
        told.append(f"not in the test photos and not counted: {', '.join(absent)}")
    return "; ".join(told) or None


def _write_worst(
    worst: Path,
    tested: list[Tested],
    errors: list[metrics.PhotoErrors],
    detector: Detector,
    score_threshold: float,
) -> None:
    if worst.exists():
        shutil.rmtree(worst)
    order = sorted(range(len(tested)), key=lambda index: -errors[index].badness)
    wrong = [i for i in order if errors[i].badness >= 0.5][:_WORST]
    for rank, index in enumerate(wrong, start=1):
        name = Path(tested[index].photo.name).stem
        with atomic_write(worst / f"{rank}_{name}.jpg") as path:
            _compared(tested[index], detector, score_threshold).save(path, quality=88)


def _compared(one: Tested, detector: Detector, score_threshold: float) -> Image.Image:
    shown = one.found.above(score_threshold)
    return plots.compared(
        load_photo(one.photo.path),
        truth=one.truth,
        found=shown,
        errors=metrics.photo_errors(one.truth, shown, score_threshold),
        classes=detector.classes,
        name=one.photo.name,
    )


def _rounded(values: dict[str, Optional[float]]) -> dict[str, Optional[float]]:
    return {key: None if value is None else round(value, 6) for key, value in values.items()}


def _pair(values: Optional[tuple[float, float]]) -> Optional[list[float]]:
    return None if values is None else [round(value, 6) for value in values]


if __name__ == "__main__":
    run(main)

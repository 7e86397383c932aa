"""Hold a converted detector against the trained one, photo by photo; pass or fail.

    python scripts/verify.py --export artifacts/default/export \\
        --reference artifacts/default/tensorflow/fp32/predict \\
        --predictions artifacts/default/openvino-cpu/int8/predict \\
        --data data/images --tolerance 0.02 --output verified

Both predictions come from predict.py. Passes only when, on the test photos,

- both sides are complete and sound: the same photos and classes, finite boxes, scores from 0 to 1;
- mAP is at most --tolerance lower;
- no class loses more than five times that;
- of the detections that a user would see, at most five times that share differs, and the scores
  of the others differ by no more than that on average;
- with a tolerance of 0.001 or less: every detection is the same, scores to the tolerance.

Where no test photo is annotated, or only with classes that the detector does not know (one that
was trained elsewhere), there is no mAP: agreement alone is judged, the mean overlap of boxes with
it, and verify.json says so.

Writes verify.json and, in worst/, the photos that differ most: the reference left, the target
right. --accept-loss REASON lets the rest pass and keeps the reason; unsound predictions never pass.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from atomic import atomic_write
from console import InputError, StageError, run, say
from dataset import folder, voc
from dataset.image import load_photo
from detection import metrics, plots
from detection.agreement import Agreement, compare
from detection.detections import Detections
from detection.detector import Detector, read_detector
from detection.metrics import PhotoErrors, Truth

_EXACT = 0.001  # a tolerance up to this asks for the very same detections
_EXACT_IOU = 0.99
_WIDER = 5  # for one class, and for detections one by one: they vary more than the mean
_USUALLY_SHOWN = 0.5
_FAINTEST = 0.05  # below it a score is noise, and agreement on it says nothing
_WORST = 8
_ROUNDS = 1000
_FEW_PHOTOS = 30


@dataclass(frozen=True)
class Photo:
    """A test photo: what is in it, what the reference found and what the target found.

    ``truth`` is None where the test set is not annotated for this detector.
    """

    path: Path
    truth: Optional[Truth]
    reference: Detections
    target: Detections


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--export", type=Path, required=True, help="folder that export.py wrote")
    parser.add_argument(
        "--reference", type=Path, required=True, help="what predict.py wrote for TensorFlow"
    )
    parser.add_argument(
        "--predictions", type=Path, required=True, help="what predict.py wrote for the target"
    )
    parser.add_argument("--data", type=Path, required=True, help="dataset; its test/ is used")
    parser.add_argument("--tolerance", type=float, required=True, help="mAP that may be lost")
    parser.add_argument("--accept-loss", default="", metavar="REASON", help="let a loss pass")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    given = parser.parse_args()
    if not 0 <= given.tolerance < 1:
        raise InputError("--tolerance must be at least 0 and below 1")
    detector = read_detector(given.export)
    photos = read_photos(given.data / "test", detector, given.reference, given.predictions)
    result = judge(photos, detector, given.tolerance)
    result["accepted"] = given.accept_loss if result["problems"] else ""
    result["passed"] = not result["problems"] or bool(given.accept_loss)
    given.output.mkdir(parents=True, exist_ok=True)
    worst = _write_worst(given.output / "worst", photos, detector, result["shown_from"])
    with atomic_write(given.output / "verify.json") as path:
        path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
    for line in told(result):
        say(line)
    if not result["passed"]:
        where = f"It differs most in {_named(worst)}, drawn in worst/. " if worst else ""
        raise StageError(
            "it does not detect what the trained detector detects: "
            + "; ".join(result["problems"])
            + f". {where}--accept-loss REASON lets it pass all the same."
        )


def read_photos(test: Path, detector: Detector, reference: Path, predictions: Path) -> list[Photo]:
    """Both predictions for every annotated photo of ``test``; for all of them where none is.

    StageError when one of the predictions lacks a photo, has one too many, or holds what no
    detector can have found; InputError when an annotation is wrong.
    """
    found = folder.photos(test)
    expected = [photo.name for photo in found]
    sides = [
        read_predictions(side / "predictions.json", detector, expected)
        for side in (reference, predictions)
    ]
    truths = read_truths(found, detector)
    return [
        Photo(photo.path, truths.get(photo.name), *(side[photo.name] for side in sides))
        for photo in found
        if not truths or photo.name in truths
    ]


def read_truths(photos: list[folder.Photo], detector: Detector) -> dict[str, Truth]:
    """What the annotated ones of ``photos`` show, by name; empty: nothing says what is right.

    That is so where no photo is annotated, or where the detector knows none of the annotated
    classes. InputError where it knows some and not others: that is a misspelling.
    """
    ids = {name: index for index, name in enumerate(detector.classes)}
    annotated = {
        photo.name: (photo.xml, voc.read(photo.xml).boxes) for photo in photos if photo.xml
    }
    named = {box.name for _, boxes in annotated.values() for box in boxes}
    if named and not named & ids.keys():
        return {}
    for xml, boxes in annotated.values():
        if unknown := {box.name for box in boxes} - ids.keys():
            raise InputError(
                f"{xml}: the detector does not know {sorted(unknown)[0]!r}. Correct it; "
                "photos without annotations let agreement alone be judged."
            )
    return {
        name: Truth(
            np.array([box[1:5] for box in boxes], np.float32).reshape(-1, 4),
            np.array([ids[box.name] for box in boxes], int),
        )
        for name, (_, boxes) in annotated.items()
    }


def read_predictions(path: Path, detector: Detector, expected: list[str]) -> dict[str, Detections]:
    """The detections in a predictions.json by photo; StageError where they are not sound."""
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["format"] != 1 or content["classes"] != list(detector.classes):
            raise StageError(f"{path}: is not of this detector, its classes or format differ")
        entries = {entry["file"]: entry for entry in content["photos"]}
        if sorted(entries) != sorted(expected) or len(content["photos"]) != len(expected):
            raise StageError(f"{path}: its photos are not those of the test set")
        return {name: _sound(path, entry, detector) for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageError(f"{path}: cannot be read as predictions ({error!r})") from None


def _sound(path: Path, entry: dict[str, Any], detector: Detector) -> Detections:
    boxes = np.array(entry["boxes"], np.float32).reshape(-1, 4)
    classes = np.array(entry["classes"], np.int32)
    scores = np.array(entry["scores"], np.float32)
    found = Detections(boxes, classes, scores)
    width, height = entry["width"], entry["height"]
    slack = 0.01  # of a pixel, for rounding
    sound = (
        len(found) <= detector.max_detections
        and bool(np.isfinite(boxes).all())
        and bool(((scores >= 0) & (scores <= 1)).all())  # false for NaN too
        and bool(((classes >= 0) & (classes < len(detector.classes))).all())
        and bool((boxes[:, 2:] > boxes[:, :2]).all())
        and bool((boxes >= -slack).all())
        and bool((boxes <= np.array([width, height] * 2) + slack).all())
    )
    if not sound:
        raise StageError(f"{path}: {entry['file']} has boxes or scores that cannot be detections")
    return found


def judge(photos: list[Photo], detector: Detector, tolerance: float) -> dict[str, Any]:
    """What verify.json holds but the verdict: all figures, and ``problems`` in sentences."""
    truths = [photo.truth for photo in photos if photo.truth is not None]
    if truths:
        accuracy, shown = _accuracy(photos, truths, detector)
    else:
        accuracy, shown = dict(_NO_ACCURACY), shown_without_truth([one.reference for one in photos])
    agreements = [compare(photo.reference, photo.target, shown) for photo in photos]
    ious = np.concatenate([one.ious for one in agreements])
    scores = np.concatenate([one.score_differences for one in agreements])
    seen = sum(len(one.reference) + len(one.target) for one in agreements)
    differing = sum(one.disagreements for one in agreements)
    result = {
        "tolerance": tolerance,
        **accuracy,
        "shown_from": _rounded(shown),
        "matched": len(ious),
        "missing": sum(len(one.missing) for one in agreements),
        "extra": sum(len(one.extra) for one in agreements),
        "min_iou": _rounded(ious.min()) if len(ious) else None,
        "mean_iou": _rounded(ious.mean()) if len(ious) else None,
        "max_score_difference": _rounded(np.abs(scores).max()) if len(scores) else None,
        "mean_score_difference": _rounded(np.abs(scores).mean()) if len(scores) else None,
        "images": len(photos),
        "differing_photos": [
            photo.path.name for photo, one in zip(photos, agreements) if one.disagreements
        ],
    }
    result["problems"] = problems(result, differing / max(seen, 1), agreements, photos)
    result["caution"] = _caution(result)
    return result


_NO_ACCURACY = {
    "mAP": None,
    "reference_mAP": None,
    "difference": None,
    "interval": None,
    "per_class": {},
}


def _accuracy(
    photos: list[Photo], truths: list[Truth], detector: Detector
) -> tuple[dict[str, Any], float]:
    """mAP and the like of both sides, and the score from which on a user would show detections."""
    names = detector.classes
    reference = metrics.coco(truths, [photo.reference for photo in photos], len(names))
    target = metrics.coco(truths, [photo.target for photo in photos], len(names))
    before, after = reference.mean()["mAP"], target.mean()["mAP"]
    best = metrics.best_threshold(reference.matches)
    if before is None or best is None or not reference.mean()["AP50"]:
        raise StageError(
            "the trained detector finds none of the objects in the test photos: there is nothing "
            "to hold a conversion against. Train longer, or annotate test photos."
        )
    assert after is not None
    per_class = {
        name: {
            "AP": _rounded(new),
            "reference_AP": _rounded(old),
            "difference": _rounded(new - old),
        }
        for index, name in enumerate(names)
        if (old := reference.of_class(index)["AP"]) is not None
        and (new := target.of_class(index)["AP"]) is not None
    }
    figures = {
        "mAP": _rounded(after),
        "reference_mAP": _rounded(before),
        "difference": _rounded(after - before),
        "interval": paired_interval(reference.matches, target.matches),
        "per_class": per_class,
    }
    return figures, min(_USUALLY_SHOWN, best[0])


def shown_without_truth(references: list[Detections]) -> float:
    """From which score on detections are compared where nothing says which are right.

    The usual one, or the highest that still gives as many detections as there are photos.
    """
    scores = np.sort(np.concatenate([one.scores for one in references]))[::-1]
    scores = scores[scores >= _FAINTEST]
    if not len(scores):
        raise StageError(
            "the detector finds nothing in the test photos, with a score of "
            f"{_FAINTEST:g} or more: there is nothing to compare. Give --data with a test/ of "
            "photos that show what it knows."
        )
    return min(_USUALLY_SHOWN, float(scores[: len(references)][-1]))


def problems(
    result: dict[str, Any], share: float, agreements: list[Agreement], photos: list[Photo]
) -> list[str]:
    """Why a target does not pass, a sentence each; ``share`` of the shown detections differs."""
    tolerance, wider = result["tolerance"], _WIDER * result["tolerance"]
    found = []
    if result["difference"] is not None and -result["difference"] > tolerance:
        found.append(
            f"mAP is {result['mAP']:.4f} instead of {result['reference_mAP']:.4f}, "
            f"{-result['difference']:.4f} lower where {tolerance:g} is allowed"
        )
    for name, values in result["per_class"].items():
        if -values["difference"] > wider:
            found.append(
                f"{name} has AP {values['AP']:.3f} instead of {values['reference_AP']:.3f}"
            )
    where = _named([photo.path.name for photo, one in zip(photos, agreements) if one.disagreements])
    if share > wider:
        found.append(
            f"{result['missing']} detections are missing and {result['extra']} new: {where}"
        )
    if result["mean_score_difference"] is None:
        found.append("not one detection is the same")
    elif result["mean_score_difference"] > wider:
        found.append(f"scores differ by {result['mean_score_difference']:.3f} on average")
    if result["mAP"] is None and (result["mean_iou"] or 0) < 1 - wider:
        # Otherwise mAP tells: it counts boxes that overlap by less than 0.95 for less.
        found.append(f"boxes overlap by {result['mean_iou'] or 0:.3f} on average")
    if tolerance <= _EXACT and result["mean_score_difference"] is not None:
        differing = [
            photo.path.name
            for photo, one in zip(photos, agreements)
            if (len(one.ious) and one.ious.min() < _EXACT_IOU)
            or (len(one.ious) and np.abs(one.score_differences).max() > tolerance)
            or one.disagreements
        ]
        if differing:
            found.append(f"detections are not the same as the reference's: {_named(differing)}")
    return found


def paired_interval(
    reference: tuple[metrics.ClassMatches, ...], target: tuple[metrics.ClassMatches, ...]
) -> Optional[list[float]]:
    """Where 95 % of the mAP differences lie when the test photos are drawn anew, the same for both.

    None with a single photo, of which there is only one draw.
    """
    photos = len(reference[0].objects)
    if photos < 2:
        return None
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(_ROUNDS):
        drawn = np.bincount(rng.integers(0, photos, photos), minlength=photos)
        each = [
            metrics.weighted_precision(new, drawn).mean()
            - metrics.weighted_precision(old, drawn).mean()
            for old, new in zip(reference, target)
            if drawn @ old.objects
        ]
        if each:
            differences.append(np.mean(each))
    low, high = np.percentile(differences, [2.5, 97.5])
    return [_rounded(low), _rounded(high)]


def told(result: dict[str, Any]) -> list[str]:
    """The result in lines for people."""
    judged = (
        f"agreement alone, on {result['images']} photos, from a score of "
        f"{result['shown_from']:.2f} (tolerance {result['tolerance']:g})"
        if result["mAP"] is None
        else f"mAP {result['mAP']:.4f}, reference {result['reference_mAP']:.4f} "
        f"({result['difference']:+.4f}, tolerance {result['tolerance']:g})"
    )
    lines = [
        judged,
        f"{result['matched']} detections match, {result['missing']} missing, "
        f"{result['extra']} extra"
        + (
            f"; IoU at least {result['min_iou']:.3f}, "
            f"scores within {result['max_score_difference']:.4f}"
            if result["matched"]
            else ""
        ),
    ]
    if result["caution"]:
        lines.append(f"note: {result['caution']}")
    if result["accepted"]:
        lines.append(f"loss accepted: {result['accepted']} ({'; '.join(result['problems'])})")
    return lines


def _caution(result: dict[str, Any]) -> Optional[str]:
    if result["mAP"] is None:
        return (
            "no test photo is annotated with a class that the detector knows: that the conversion "
            "agrees with it was judged, not whether either is right"
        )
    if result["images"] < _FEW_PHOTOS:
        among = result["interval"]
        range_ = (
            f" (95 % of redrawn test sets: {among[0]:+.3f} to {among[1]:+.3f})" if among else ""
        )
        return f"{result['images']} test photos are few for a difference in mAP{range_}"
    return None


def _write_worst(path: Path, photos: list[Photo], detector: Detector, shown: float) -> list[str]:
    """Draw the photos that differ most, the worst first; their names."""
    compared = [(photo, compare(photo.reference, photo.target, shown)) for photo in photos]
    compared.sort(key=lambda pair: -pair[1].badness)
    worst = [pair for pair in compared[:_WORST] if pair[1].badness >= 0.01]
    for rank, (photo, one) in enumerate(worst, start=1):
        picture = plots.compared(
            load_photo(photo.path),
            truth=Truth(one.reference.boxes, one.reference.classes),
            found=one.target,
            errors=PhotoErrors(one.missing, one.extra, one.loose, one.ious),
            classes=detector.classes,
            name=photo.path.name,
            sides=("reference", "target"),
        )
        with atomic_write(path / f"{rank}_{photo.path.stem}.jpg") as temporary:
            picture.save(temporary, "JPEG", quality=88)
    return [photo.path.name for photo, _ in worst]


def _named(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _rounded(value: float) -> float:
    return round(float(value), 6)


if __name__ == "__main__":
    run(main)

"""detector.json: all that a runtime must know about a detector besides its weights.

docs/ARTIFACTS.md describes each field.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from atomic import atomic_write
from console import InputError

FORMAT = 1
ONE_STAGE = "one_stage"
TWO_STAGE = "two_stage"
WHOLE = "whole"  # known only from a photo to detections, with NMS inside
STRETCH = "stretch"
STRETCH_TF1 = "stretch_tensorflow1"

_FILE = "detector.json"


@dataclass(frozen=True)
class NetworkInput:
    """The picture a network takes: its size in pixels and how a photo becomes one.

    Width and height are scaled each on its own; ``resize`` says how (`preprocess`). ``mean`` and
    ``std`` (R, G, B, 0 to 255) are applied inside the exported networks; they are here for
    converters that fold normalisation into something else.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: str = STRETCH


@dataclass(frozen=True)
class Proposals:
    """How the first network of two stages proposes where the second one looks.

    ``levels``: how many anchors each level of the pyramid has, in the order of the anchors; NMS
    with ``iou_threshold`` runs level by level, on the ``pre_nms_top_k`` best of each. ``count``
    are kept.
    """

    levels: tuple[int, ...]
    pre_nms_top_k: int
    iou_threshold: float
    count: int


@dataclass(frozen=True)
class Detector:
    """A detector.json. Of a detector known only as a whole, what follows ``pre_nms_top_k`` is None.

    ``anchors``: float32 [N, 4], ymin, xmin, ymax, xmax in pixels of the network's input;
    ``box_coder_scale`` belongs to the boxes of detections (two stages: those of the second).
    ``score_threshold`` and ``pre_nms_top_k`` (per class) say what reaches NMS; ``clip``, whether
    boxes are cut off at the picture's border before it or after.
    """

    kind: str
    name: str
    classes: tuple[str, ...]
    input: NetworkInput
    score_threshold: float
    iou_threshold: float
    max_detections: int
    pre_nms_top_k: int
    anchors: Optional[np.ndarray] = None
    box_coder_scale: Optional[tuple[float, float, float, float]] = None
    clip: str = "before_nms"
    scores: str = "sigmoid"
    proposals: Optional[Proposals] = None


def write_detector(folder: Path, detector: Detector) -> None:
    """Write ``detector.json`` and, where there are anchors, ``anchors.npy`` into ``folder``."""
    fields: dict[str, Any] = {
        "format": FORMAT,
        "kind": detector.kind,
        "name": detector.name,
        "classes": list(detector.classes),
        "input": {
            "height": detector.input.height,
            "width": detector.input.width,
            "resize": detector.input.resize,
            "mean": list(detector.input.mean),
            "std": list(detector.input.std),
        },
        "score_threshold": detector.score_threshold,
        "iou_threshold": detector.iou_threshold,
        "max_detections": detector.max_detections,
        "pre_nms_top_k": detector.pre_nms_top_k,
    }
    if detector.proposals is not None:
        fields["proposals"] = {
            **dataclasses.asdict(detector.proposals),
            "levels": list(detector.proposals.levels),
        }
    if detector.kind != WHOLE:
        fields["anchors"] = "anchors.npy"
        fields["box_coder"] = {"scale": list(detector.box_coder_scale)}
        fields["clip"] = detector.clip
        fields["scores"] = detector.scores
        with atomic_write(folder / "anchors.npy") as path, path.open("wb") as file:
            np.save(file, detector.anchors.astype(np.float32))
    with atomic_write(folder / _FILE) as path:
        path.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", "utf-8")


def read_detector(folder: Path) -> Detector:
    """Read ``folder/detector.json`` and the anchors it names.

    Raises InputError, naming file and field, for anything missing, malformed or contradictory.
    """
    path = Path(folder) / _FILE
    try:
        fields = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path}: there is no such file. Give a folder that export.py or a converter wrote."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}). Export the detector again.") from None
    reader = _Reader(path)
    if not isinstance(fields, dict):
        reader.fail("the file", "must hold one JSON object", fields)
    if fields.get("format") != FORMAT:
        raise InputError(
            f"{path}: format is {fields.get('format')!r}, this version reads {FORMAT}. "
            "Export the detector with the same version of the project."
        )
    kind = reader.field(
        fields,
        "kind",
        lambda v: v in (ONE_STAGE, TWO_STAGE, WHOLE),
        f'"{ONE_STAGE}", "{TWO_STAGE}" or "{WHOLE}"',
    )
    common = {
        "kind": kind,
        "name": reader.field(fields, "name", _is_text, "a text"),
        "classes": tuple(reader.field(fields, "classes", _is_classes, "a list of different texts")),
        "input": _read_input(reader, fields),
        "score_threshold": reader.field(fields, "score_threshold", _is_share, "from 0 to 1"),
        "iou_threshold": reader.field(fields, "iou_threshold", _is_share, "from 0 to 1"),
        "max_detections": reader.field(fields, "max_detections", _is_count, "a count"),
        "pre_nms_top_k": reader.field(fields, "pre_nms_top_k", _is_count, "a count"),
    }
    if kind == WHOLE:
        return Detector(**common)
    activations = ("sigmoid", "softmax")
    scores = reader.field(fields, "scores", lambda v: v in activations, '"sigmoid" or "softmax"')
    # Exports of earlier versions do not say: there it was always before.
    clip = reader.field(
        {"clip": "before_nms", **fields},
        "clip",
        lambda v: v in ("before_nms", "after_nms"),
        '"before_nms" or "after_nms"',
    )
    coder = reader.field(fields, "box_coder", lambda v: isinstance(v, dict), "an object")
    scale = reader.field(coder, "scale", lambda v: _is_numbers(v, 4, above=0), "4 numbers above 0")
    name = reader.field(fields, "anchors", _is_file_name, "the name of a file beside this one")
    anchors = _read_anchors(path.parent / name)
    return Detector(
        **common,
        proposals=_read_proposals(reader, fields, len(anchors)) if kind == TWO_STAGE else None,
        anchors=anchors,
        box_coder_scale=(*scale,),
        clip=clip,
        scores=scores,
    )


def _read_input(reader: _Reader, fields: dict) -> NetworkInput:
    given = reader.field(fields, "input", lambda v: isinstance(v, dict), "an object")
    ways = (STRETCH, STRETCH_TF1)
    return NetworkInput(
        resize=reader.field(given, "resize", lambda v: v in ways, '" or "'.join(ways).join('""')),
        height=reader.field(given, "height", _is_count, "a count of pixels"),
        width=reader.field(given, "width", _is_count, "a count of pixels"),
        mean=(*reader.field(given, "mean", lambda v: _is_numbers(v, 3), "3 numbers"),),
        std=(
            *reader.field(given, "std", lambda v: _is_numbers(v, 3, above=0), "3 numbers above 0"),
        ),
    )


def _read_proposals(reader: _Reader, fields: dict, anchors: int) -> Proposals:
    given = reader.field(fields, "proposals", lambda v: isinstance(v, dict), "an object")

    def are_levels(value: Any) -> bool:
        counts = isinstance(value, list) and all(_is_count(one) for one in value)
        return counts and sum(value) == anchors

    return Proposals(
        levels=(*reader.field(given, "levels", are_levels, f"counts that add up to {anchors}"),),
        pre_nms_top_k=reader.field(given, "pre_nms_top_k", _is_count, "a count"),
        iou_threshold=reader.field(given, "iou_threshold", _is_share, "from 0 to 1"),
        count=reader.field(given, "count", _is_count, "a count"),
    )


def _read_anchors(path: Path) -> np.ndarray:
    try:
        anchors = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file, but detector.json names it.") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error}). Export again.") from None
    sound = (
        isinstance(anchors, np.ndarray)
        and anchors.dtype == np.float32
        and anchors.ndim == 2
        and anchors.shape[1] == 4
        and len(anchors) > 0
        and bool(np.isfinite(anchors).all())
        and bool((anchors[:, 2:] > anchors[:, :2]).all())
    )
    if not sound:
        raise InputError(
            f"{path}: must be float32 [N, 4], each row ymin, xmin, ymax, xmax with a positive "
            "size. Export again."
        )
    return anchors


@dataclass(frozen=True)
class _Reader:
    path: Path

    def field(self, fields: dict, name: str, is_right: Callable[[Any], bool], expected: str) -> Any:
        if name not in fields:
            raise InputError(f"{self.path}: the field {name!r} is missing (expected {expected}).")
        if not is_right(fields[name]):
            self.fail(f"the field {name!r}", f"must be {expected}", fields[name])
        return fields[name]

    def fail(self, what: str, rule: str, found: object) -> None:
        raise InputError(f"{self.path}: {what} {rule}, found {json.dumps(found)[:80]}.")


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and -1e9 < value < 1e9  # NaN and infinity fail the comparison


def _is_numbers(value: Any, count: int, above: float = -1e9) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(_is_number(v) and v > above for v in value)
    )


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_classes(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(_is_text(v) for v in value)
        and len(set(value)) == len(value)
    )


def _is_file_name(value: Any) -> bool:
    return _is_text(value) and Path(value).name == value

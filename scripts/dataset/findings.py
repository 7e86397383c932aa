"""What is wrong with a dataset: in one photo, and among all of them.

Errors are what training or the figures would silently be wrong by; warnings may be meant so.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

import numpy as np
from PIL import Image

from dataset import likeness, voc
from dataset.annotations import in_short
from dataset.folder import Photo, annotation_names, is_photo, names
from dataset.image import PhotoError, open_upright, read_header, shown

# Photos are decoded to at least this size (width, height), which is enough to look at them.
LOOKED_AT = (800, 800)

ERROR, WARNING = "error", "warning"

_LEAST_SIDE = 32
_LONGEST_SHAPE = 8.0
# Larger photos only cost time: detectors look at some hundred pixels.
_LARGE_PIXELS = 30_000_000
# Thinner than this share of the photo's longer side, a box is a few pixels to the detector.
_TINY_SHARE = 0.015
_FEW_BOXES = 10
_OTHER_PICTURES = (".gif", ".avif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".jxl")


Find = Callable[..., None]
"""Notes a finding of the photo at hand: level, reason, remedy, and the xml's name if it is that."""


@dataclass(frozen=True)
class Finding:
    """One thing to look at. ``file`` is relative to the dataset; the texts have no full stop."""

    level: str
    file: str
    reason: str
    remedy: str

    def line(self) -> str:
        return f"{self.file}: {self.reason}. {self.remedy}."


@dataclass
class Inspection:
    """What one photo and its annotation showed. ``signature`` is None for an unreadable photo."""

    split: str
    name: str
    has_xml: bool
    findings: list[Finding] = field(default_factory=list)
    stated_name: str = ""
    boxes: tuple[voc.Box, ...] = ()
    digest: str = ""
    signature: Optional[np.ndarray] = None
    size: tuple[int, int] = (0, 0)  # width and height, upright

    @property
    def file(self) -> str:
        return shown(f"{self.split}/{self.name}")


def inspect(photo: Photo) -> tuple[Inspection, Optional[Image.Image]]:
    """Everything that can be said of one photo alone, and the photo if it is readable.

    The photo is upright and at least ``LOOKED_AT`` in size, unless it is smaller itself.
    """
    split = photo.folder.name
    result = Inspection(split, photo.name, photo.xml is not None)

    def find(level: str, reason: str, remedy: str, name: str = photo.name) -> None:
        result.findings.append(Finding(level, shown(f"{split}/{name}"), reason, remedy))

    if shown(photo.name) != photo.name:
        find(ERROR, "its name is not UTF-8", "Rename it with plain letters and digits")
    image = None
    try:
        header = read_header(photo.path)
        # At a part of its size, a JPEG is read to its end all the same, four times faster.
        image = open_upright(photo.path, at_least=LOOKED_AT)
        result.size = (header.width, header.height)
        result.digest = hashlib.sha256(photo.path.read_bytes()).hexdigest()
        result.signature = likeness.signature(image)
        _look_at_size(header.width, header.height, find)
    except PhotoError as error:
        find(ERROR, error.reason, error.remedy)
    if photo.xml is None:
        find(
            WARNING,
            "it has no xml and is left out",
            "Annotate it in labelImg; if it shows nothing of interest, save an xml without boxes",
        )
        return result, image

    reading = voc.parse(photo.xml)
    for fault in reading.faults:
        find(ERROR, fault.reason, fault.remedy, photo.xml.name)
    if reading.annotation is None:
        return result, image
    result.boxes = reading.annotation.boxes
    result.stated_name = reading.annotation.filename
    if image is not None:
        stated = (reading.annotation.width, reading.annotation.height)
        if all(stated) and stated != result.size:
            _look_at_mismatch(stated, result.size, header.stored_size, photo, find)
        else:
            for fault in voc.box_faults(reading.annotation, *result.size):
                find(ERROR, fault.reason, fault.remedy, photo.xml.name)
            _look_at_boxes(reading.annotation.boxes, result.size, photo.xml.name, find)
    return result, image


def among(inspections: Sequence[Inspection], folders: Iterable[Path]) -> Iterator[Finding]:
    """What only shows when all photos of the splits in ``folders`` are seen together."""
    for folder in folders:
        members = [i for i in inspections if i.split == folder.name]
        yield from _empty(folder, members)
        yield from _strays(folder, members)
        yield from _names(members)
    yield from _classes(inspections)
    yield from _twins(inspections)


def _look_at_size(width: int, height: int, find: Find) -> None:
    if min(width, height) < _LEAST_SIDE:
        find(ERROR, f"it has only {width}x{height} pixels", "Replace or remove it")
    elif max(width, height) > _LONGEST_SHAPE * min(width, height):
        find(WARNING, f"its shape is unusual: {width}x{height} pixels", "Check whether it is right")
    elif width * height > _LARGE_PIXELS:
        find(
            WARNING,
            f"it is large ({width}x{height} pixels), which slows training",
            "Make the photos smaller with resize_images.py, boxes included",
        )


def _look_at_mismatch(
    stated: tuple[int, int],
    size: tuple[int, int],
    stored: tuple[int, int],
    photo: Photo,
    find: Find,
) -> None:
    told = f"its boxes were drawn on {stated[0]}x{stated[1]} pixels, but the photo has "
    if stated == stored:
        find(
            ERROR,
            told + f"{size[0]}x{size[1]} once it is turned upright (EXIF orientation)",
            "resize_images.py turns photo and boxes upright together",
            photo.xml_name,
        )
    else:
        find(
            ERROR,
            told + f"{size[0]}x{size[1]}",
            "The photo was resized or exchanged after annotating: take the photo that the boxes "
            "belong to, and resize with resize_images.py, which scales the boxes along",
            photo.xml_name,
        )


def _look_at_boxes(
    boxes: tuple[voc.Box, ...], size: tuple[int, int], xml_name: str, find: Find
) -> None:
    least = _TINY_SHARE * max(size)
    thin = [
        f"{b.name} {b.xmin:g}, {b.ymin:g}, {b.xmax:g}, {b.ymax:g}"
        for b in boxes
        if voc.THINNEST <= min(b.xmax - b.xmin, b.ymax - b.ymin) < least
    ]
    if thin:
        find(
            WARNING,
            f"{len(thin)} boxes are tiny for a photo of this size ({in_short(thin, 2)})",
            "Check that they are meant; a detector hardly sees them",
            xml_name,
        )
    twice = [box.name for box, count in Counter(boxes).items() if count > 1]
    if twice:
        find(WARNING, f"a box of {in_short(twice)} is there twice", "Delete one", xml_name)


def _empty(folder: Path, members: Sequence[Inspection]) -> Iterator[Finding]:
    if not members:
        yield Finding(ERROR, f"{folder.name}/", "there is no photo in it", "Put photos there")
    elif not any(member.has_xml for member in members):
        yield Finding(
            ERROR, f"{folder.name}/", "no photo in it is annotated", "Draw boxes in labelImg"
        )


def _strays(folder: Path, members: Sequence[Inspection]) -> Iterator[Finding]:
    """Files of the folder that belong to no photo, or to several."""
    stems = Counter(Path(member.name).stem for member in members)
    listed = names(folder)
    for xml in annotation_names(listed):
        if stems[Path(xml).stem] == 0:
            yield Finding(
                ERROR,
                shown(f"{folder.name}/{xml}"),
                "no photo of that name lies beside it",
                "Put the photo back or name it like the xml; or remove the xml",
            )
        elif stems[Path(xml).stem] > 1:
            yield Finding(
                ERROR,
                shown(f"{folder.name}/{xml}"),
                "several photos share it, differing only in their endings",
                "Rename all but one of them",
            )
    others = [name for name in listed if Path(name).suffix.lower() in _OTHER_PICTURES]
    if others:
        yield Finding(
            WARNING,
            f"{folder.name}/",
            f"{len(others)} pictures have a format that is not read ({in_short(others)})",
            "Export them as JPEG",
        )
    for name in listed:
        path = folder / name
        if path.is_dir() and not path.is_symlink() and any(is_photo(n) for n in names(path)):
            yield Finding(
                WARNING,
                shown(f"{folder.name}/{name}/"),
                "photos in folders below are not used",
                f"Move photos and xml to {folder.name}/ itself",
            )


def _names(members: Sequence[Inspection]) -> Iterator[Finding]:
    """Photos whose xml states another name."""
    there = {_normal(member.name) for member in members}
    for member in members:
        stated = _normal(re.split(r"[\\/]", member.stated_name)[-1])
        own = _normal(member.name)
        if not stated or stated == own:
            continue
        told = f"its xml says that it belongs to {shown(member.stated_name)}"
        if stated in there:
            yield Finding(
                ERROR,
                member.file,
                told + ", which is another photo here",
                "Find out whose boxes they are, and give the xml that photo's name",
            )
        elif Path(stated).stem != Path(own).stem:
            yield Finding(
                WARNING,
                member.file,
                told + "; the file's own name counts",
                "Nothing if the photo was renamed; otherwise put the right xml beside it",
            )


def _classes(inspections: Sequence[Inspection]) -> Iterator[Finding]:
    boxes: dict[str, Counter[str]] = {}  # class -> split -> boxes
    example: dict[str, str] = {}
    for inspection in inspections:
        for box in inspection.boxes:
            boxes.setdefault(box.name, Counter())[inspection.split] += 1
            example.setdefault(box.name, inspection.file)
    spellings: dict[str, list[str]] = {}
    for name in sorted(boxes):
        spellings.setdefault(re.sub(r"[\s_-]+", "", name).casefold(), []).append(name)
    for same in spellings.values():
        if len(same) > 1:
            same.sort(key=lambda name: -sum(boxes[name].values()))
            told = ", ".join(
                f"'{name}' ({sum(boxes[name].values())} boxes, {example[name]})" for name in same
            )
            yield Finding(
                ERROR,
                example[same[-1]],
                f"one class is spelled in {len(same)} ways: {told}",
                f"Use one spelling in all xml, for instance '{same[0].strip()}'",
            )
        elif same[0] != same[0].strip():
            yield Finding(
                WARNING,
                example[same[0]],
                f"the class '{same[0]}' has spaces around its name",
                "Remove them in all xml",
            )
    for name, counts in boxes.items():
        if not counts["train"]:
            where = " and ".join(split for split in counts if counts[split])
            yield Finding(
                ERROR,
                example[name],
                f"the class '{name}' is only in {where}, so it cannot be learned",
                "Move some of its photos to train/, or remove the class",
            )
        elif not counts["test"]:
            yield Finding(
                WARNING,
                example[name],
                f"the class '{name}' is not in test, so its quality is not measured",
                "Move some of its photos to test/",
            )
        if 0 < counts["train"] < _FEW_BOXES:
            yield Finding(
                WARNING,
                example[name],
                f"the class '{name}' has only {counts['train']} boxes to learn from",
                "Add photos of it",
            )


def _twins(inspections: Sequence[Inspection]) -> Iterator[Finding]:
    """The same photo twice: it makes the test easy, or counts double in training."""
    seen = [i for i in inspections if i.signature is not None]
    first_with: dict[str, Inspection] = {}
    for inspection in seen:
        first = first_with.setdefault(inspection.digest, inspection)
        if first is not inspection:
            yield _twin(first, inspection, "the same file", certain=True)
    signatures = np.array([i.signature for i in seen], np.uint8).reshape(-1, *(likeness.SIDE,) * 2)
    splits = np.array([i.split for i in seen])
    # One finding for a photo is enough, however long the burst.
    told = np.array([first_with[i.digest] is not i for i in seen], bool)
    for index, others, correlations in likeness.alike(signatures):
        certain = likeness.copies(signatures, index, others, correlations)
        twins = (certain | (splits[others] != splits[index])) & ~told[others]
        told[others[twins]] = True
        for other, sure in zip(others[twins].tolist(), certain[twins].tolist()):
            what = "the same photo, saved again," if sure else "almost the same photo"
            yield _twin(seen[index], seen[other], what, certain=sure)


def _twin(first: Inspection, second: Inspection, what: str, certain: bool) -> Finding:
    if first.split == second.split:
        return Finding(WARNING, second.file, f"{what} as {first.file}", "Remove one of them")
    return Finding(
        ERROR if certain else WARNING,
        second.file,
        f"{what} as {first.file}: what was seen in {first.split} says nothing in {second.split}",
        "Remove one of them, or move both to one side",
    )


def _normal(name: str) -> str:
    """For comparing names: macOS stores accents in another way, Windows ignores case."""
    return unicodedata.normalize("NFC", name).casefold()

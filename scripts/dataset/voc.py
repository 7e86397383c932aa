"""Pascal VOC annotations as labelImg writes them: one xml per photo, boxes in whole pixels.

Elements are found by name, never by position. Files are untrusted: no entity is expanded, nothing
is fetched, and what is wrong is collected in words instead of raised as a parser's exception.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Optional

from lxml import etree

from atomic import atomic_write
from console import InputError
from dataset.image import shown

# A box may stick out by this many pixels: labelImg rounds, and it is clipped without a word.
OUTSIDE_TOLERANCE = 1.0
# Nobody means a box that is thinner than this; it comes from a slip of the mouse.
THINNEST = 3.0

_BROKEN = "Save it again in labelImg, or remove it"
_MAX_BYTES = 32 * 1024 * 1024
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


class Box(NamedTuple):
    """A class name and its rectangle in pixels of the upright photo; the maxima are exclusive."""

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    truncated: bool = False
    difficult: bool = False


@dataclass(frozen=True)
class Annotation:
    """The photo's name and size as the xml states them, and the boxes. No box: a negative."""

    filename: str
    width: int
    height: int
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Fault:
    """Something wrong, and what to do about it; both are sentences without a full stop."""

    reason: str
    remedy: str


@dataclass
class Reading:
    """What could be read of a file, and what was wrong with it."""

    annotation: Optional[Annotation] = None
    faults: list[Fault] = field(default_factory=list)


def read(path: Path) -> Annotation:
    """The annotation in ``path``; InputError naming everything that is wrong with the file."""
    reading = parse(path)
    if reading.faults or reading.annotation is None:
        told = "; ".join(f"{fault.reason}. {fault.remedy}" for fault in reading.faults)
        raise InputError(f"{shown(path)}: {told}.")
    return reading.annotation


def parse(path: Path) -> Reading:
    """Read ``path`` as far as it makes sense; unreadable boxes are left out, each with a fault.

    ``annotation`` is None when the file is no annotation at all.
    """
    root, fault = _root(path)
    if root is None:
        return Reading(faults=[fault] if fault else [])
    faults: list[Fault] = []
    width, height = (_dimension(root, name) for name in ("width", "height"))
    if not width or not height:
        faults.append(
            Fault(
                "it does not state the photo's width and height",
                "Open the photo in labelImg, change a box and save",
            )
        )
    boxes = []
    for number, element in enumerate(root.iterfind("object"), start=1):
        box = _box(element)
        if isinstance(box, Box):
            boxes.append(box)
        else:
            faults.append(Fault(f"box {number} {box}", "Delete the box in labelImg, draw it again"))
    filename = (root.findtext("filename") or "").strip()
    return Reading(Annotation(filename, width or 0, height or 0, tuple(boxes)), faults)


def box_faults(annotation: Annotation, width: int, height: int) -> list[Fault]:
    """What makes boxes unusable in a photo of ``width`` x ``height`` pixels."""
    redraw = "Correct or delete the box in labelImg"
    faults = []
    for number, box in enumerate(annotation.boxes, start=1):
        name, xmin, ymin, xmax, ymax = box[:5]
        place = f"box {number} ({name} {xmin:g}, {ymin:g}, {xmax:g}, {ymax:g})"
        reason = None
        if xmax < xmin or ymax < ymin:
            reason = "is inverted: a maximum is smaller than its minimum"
        elif xmax == xmin or ymax == ymin:
            reason = "has no area"
        elif (
            min(xmin, ymin) < -OUTSIDE_TOLERANCE
            or xmax > width + OUTSIDE_TOLERANCE
            or ymax > height + OUTSIDE_TOLERANCE
        ):
            reason = f"lies outside the photo, which has {width}x{height} pixels"
        elif min(xmax - xmin, ymax - ymin) < THINNEST:
            reason = f"is thinner than {THINNEST:g} pixels"
        if reason:
            faults.append(Fault(f"{place} {reason}", redraw))
    return faults


def write(path: Path, annotation: Annotation) -> None:
    """Write ``annotation`` as labelImg would; coordinates are rounded, as it reads whole pixels."""
    root = etree.Element("annotation")

    def add(parent: etree._Element, name: str, text: object) -> None:
        etree.SubElement(parent, name).text = str(text)

    add(root, "folder", path.parent.name)
    add(root, "filename", annotation.filename)
    add(etree.SubElement(root, "source"), "database", "Unknown")
    size = etree.SubElement(root, "size")
    for name, value in (("width", annotation.width), ("height", annotation.height), ("depth", 3)):
        add(size, name, value)
    add(root, "segmented", 0)
    for box in annotation.boxes:
        element = etree.SubElement(root, "object")
        add(element, "name", box.name)
        add(element, "pose", "Unspecified")
        add(element, "truncated", int(box.truncated))
        add(element, "difficult", int(box.difficult))
        corners = etree.SubElement(element, "bndbox")
        for name in ("xmin", "ymin", "xmax", "ymax"):
            add(corners, name, round(getattr(box, name)))
    etree.indent(root, space="\t")
    with atomic_write(path) as temporary:
        temporary.write_bytes(etree.tostring(root, encoding="utf-8") + b"\n")


def _content(path: Path) -> tuple[bytes, Optional[Fault]]:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            return b"", Fault("it is not an ordinary file", _BROKEN)
        if status.st_size > _MAX_BYTES:
            return b"", Fault("it is far too large for an annotation", _BROKEN)
        return path.read_bytes(), None
    except OSError as error:
        return b"", Fault(f"it cannot be read ({error.strerror})", "Check the file")


def _root(path: Path) -> tuple[Optional[etree._Element], Optional[Fault]]:
    content, fault = _content(path)
    if fault:
        return None, fault
    # No entity is expanded and no document type read: both are how xml attacks its readers.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=False
    )
    try:
        root = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        return None, Fault(f"it is not well-formed xml: {str(error) or 'empty'}", _BROKEN)
    if root.getroottree().docinfo.doctype:
        return None, Fault("it declares a document type, which no annotation needs", _BROKEN)
    if root.tag != "annotation":
        told = f"it is not Pascal VOC: its root is <{root.tag}>, not <annotation>"
        return None, Fault(told, "In labelImg choose PascalVOC and save again")
    return root, None


def _dimension(root: etree._Element, name: str) -> Optional[int]:
    text = (root.findtext(f"size/{name}") or "").strip()
    return int(text) if re.fullmatch(r"\d{1,6}", text, re.ASCII) else None


def _box(element: etree._Element) -> Box | str:
    """The box of an <object>, or the rest of a sentence on what is wrong with it."""
    # Spaces around a name are kept: the tutorial's table keeps them, and the check reports them.
    name = element.findtext("name") or ""
    if not name.strip():
        return "has no class name"
    values = []
    for corner in ("xmin", "ymin", "xmax", "ymax"):
        text = (element.findtext(f"bndbox/{corner}") or "").strip()
        if not _NUMBER.fullmatch(text) or abs(float(text)) > 1e6:
            said = f"'{text[:20]}', which is not a sensible number" if text else "missing"
            return f"({name}) is unusable: {corner} is {said}"
        values.append(float(text))
    flags = ((element.findtext(flag) or "").strip() == "1" for flag in ("truncated", "difficult"))
    xmin, ymin, xmax, ymax = values
    return Box(name, xmin, ymin, xmax, ymax, *flags)

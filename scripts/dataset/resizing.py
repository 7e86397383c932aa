"""Fitting a photo and its boxes to a target size: the arithmetic, apart from files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional

from PIL import Image

from dataset.voc import THINNEST, Annotation, Box

FITS = ("inside", "pad", "crop", "stretch")

# A box of which less than this share survives cropping no longer shows its object.
_LEAST_VISIBLE = 0.3
_PADDING = (114, 114, 114)


@dataclass(frozen=True)
class Plan:
    """How a photo becomes its target: scaled to ``scaled``, then put at ``offset`` on ``canvas``.

    All are (x, y) in pixels; negative offsets cut off.
    """

    source: tuple[int, int]
    scaled: tuple[int, int]
    offset: tuple[int, int]
    canvas: tuple[int, int]


def plan(source: tuple[int, int], target: tuple[int, int], fit: str) -> Plan:
    """How to bring ``source`` (width, height) to ``target``.

    inside: keep the aspect, at most the target, never larger than the photo; pad: keep the aspect,
    grey bars fill the target; crop: keep the aspect, the middle fills the target; stretch: exactly
    the target, the aspect is lost.
    """
    ratios = (target[0] / source[0], target[1] / source[1])
    if fit == "stretch":
        return Plan(source, target, (0, 0), target)
    ratio = max(ratios) if fit == "crop" else min(ratios)
    if fit == "inside":
        ratio = min(ratio, 1.0)
    scaled = (max(1, round(source[0] * ratio)), max(1, round(source[1] * ratio)))
    if fit == "inside":
        return Plan(source, scaled, (0, 0), scaled)
    offset = ((target[0] - scaled[0]) // 2, (target[1] - scaled[1]) // 2)
    return Plan(source, scaled, offset, target)


def apply(plan: Plan, image: Image.Image) -> Image.Image:
    """The RGB ``image``, decoded at any scale, as planned."""
    scaled = image
    if image.size != plan.scaled:
        scaled = image.resize(plan.scaled, Image.Resampling.LANCZOS)
    if plan.scaled == plan.canvas:
        return scaled
    canvas = Image.new("RGB", plan.canvas, _PADDING)
    canvas.paste(scaled, plan.offset)
    return canvas


def move(plan: Plan, annotation: Annotation, filename: str) -> Annotation:
    """The boxes where their objects are afterwards; those that are cut away are gone."""
    boxes = (_move(plan, box) for box in annotation.boxes)
    return Annotation(filename, *plan.canvas, tuple(box for box in boxes if box is not None))


def upright(annotation: Annotation, orientation: int) -> Annotation:
    """Boxes drawn on the pixels as stored, on the photo turned by its EXIF ``orientation``.

    Orientations as in the EXIF 2.3 standard, tag 0x0112.
    """
    width, height = annotation.width, annotation.height
    mirrored = orientation in (2, 4, 5, 7)
    quarter_turns = {3: 2, 4: 2, 5: 3, 6: 1, 7: 1, 8: 3}.get(orientation, 0)  # clockwise
    boxes = annotation.boxes
    if mirrored:
        boxes = tuple(b._replace(xmin=width - b.xmax, xmax=width - b.xmin) for b in boxes)
    for _ in range(quarter_turns):
        boxes = tuple(
            b._replace(xmin=height - b.ymax, ymin=b.xmin, xmax=height - b.ymin, ymax=b.xmax)
            for b in boxes
        )
        width, height = height, width
    return replace(annotation, width=width, height=height, boxes=boxes)


def _move(plan: Plan, box: Box) -> Optional[Box]:
    x, y = plan.scaled[0] / plan.source[0], plan.scaled[1] / plan.source[1]
    left, right = (value * x + plan.offset[0] for value in (box.xmin, box.xmax))
    top, bottom = (value * y + plan.offset[1] for value in (box.ymin, box.ymax))
    whole = (right - left) * (bottom - top)
    inside = (
        max(left, 0.0),
        max(top, 0.0),
        min(right, plan.canvas[0]),
        min(bottom, plan.canvas[1]),
    )
    width, height = inside[2] - inside[0], inside[3] - inside[1]
    if min(width, height) < THINNEST or width * height < _LEAST_VISIBLE * whole:
        return None
    cut = width * height < 0.99 * whole
    return Box(box.name, *inside, truncated=box.truncated or cut, difficult=box.difficult)

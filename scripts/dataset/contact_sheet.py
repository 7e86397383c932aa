"""One picture of many small photos with their boxes, to see at a glance what was annotated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataset.voc import Box
from detection.drawing import colour, draw_boxes, in_ascii

TILE = (400, 300)

_COLUMNS = 4
_CAPTION = 22
_BACKGROUND = (40, 40, 40)


@dataclass(frozen=True)
class Tile:
    """A photo at the size of a tile, the boxes in its pixels."""

    caption: str
    image: Image.Image
    boxes: tuple[Box, ...]


def tile(caption: str, image: Image.Image, boxes: Sequence[Box], size: tuple[int, int]) -> Tile:
    """Shrink ``image`` to a tile; ``boxes`` are in pixels of the photo, ``size`` (w, h) large."""
    small = image.copy()
    small.thumbnail(TILE)
    x, y = small.width / size[0], small.height / size[1]
    scaled = tuple(
        box._replace(xmin=box.xmin * x, ymin=box.ymin * y, xmax=box.xmax * x, ymax=box.ymax * y)
        for box in boxes
    )
    return Tile(caption, small, scaled)


def draw(tiles: Sequence[Tile], classes: Sequence[str], title: str) -> Image.Image:
    """The tiles in rows under a title and a legend of the classes' colours."""
    index = {name: number for number, name in enumerate(classes)}
    columns = min(_COLUMNS, max(1, len(tiles)))
    rows = -(-len(tiles) // columns)
    cell = (TILE[0] + 8, TILE[1] + _CAPTION + 8)
    head = 2 * _CAPTION + 8
    sheet = Image.new("RGB", (max(640, columns * cell[0] + 8), head + rows * cell[1]), _BACKGROUND)
    canvas = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=15)
    canvas.text((10, 4), in_ascii(title), fill="white", font=font)
    x = 10.0
    for name in classes:
        text = in_ascii(name)
        width = canvas.textlength(text, font=font)
        if x + 22 + width > sheet.width:
            break  # some hundred classes: the labels on the boxes still name them
        canvas.rectangle((x, _CAPTION + 9, x + 12, _CAPTION + 21), fill=colour(index[name]))
        canvas.text((x + 18, _CAPTION + 5), text, fill="white", font=font)
        x += width + 36
    for number, one in enumerate(tiles):
        left, top = 8 + number % columns * cell[0], head + number // columns * cell[1]
        corners = np.array([box[1:5] for box in one.boxes], np.float64).reshape(-1, 4)
        names = [box.name for box in one.boxes]
        drawn = draw_boxes(one.image, corners, names, [index[name] for name in names])
        canvas.text((left, top), in_ascii(one.caption), fill=(200, 200, 200), font=font)
        sheet.paste(drawn, (left, top + _CAPTION))
    return sheet

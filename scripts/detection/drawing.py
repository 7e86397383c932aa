"""Boxes with names on photos, in a colour that each class keeps."""

from __future__ import annotations

import colorsys
import unicodedata
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# What has no accent to lose; the font that comes with Pillow has ASCII alone.
_SPELLED = str.maketrans(
    {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O"}
    | {"ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i"}
    | dict.fromkeys("‐‑–—−", "-")
    | dict.fromkeys("‘’‚", "'")
    | dict.fromkeys("“”„", '"')
    | {"×": "x", "…": "..."}
)
_GOLDEN = 0.618034  # steps of this share of the colour circle never come close to an earlier one


def colour(index: int) -> tuple[int, int, int]:
    """The RGB colour of class ``index``; neighbours differ clearly, and it never changes."""
    hue = (0.33 + index * _GOLDEN) % 1.0
    # Every eighth class repeats nearly the same hue: make it darker.
    value = 1.0 if (index // 8) % 2 == 0 else 0.72
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def in_ascii(text: str) -> str:
    """``text`` in letters that can be drawn: accents left out (``grosser``), others as ``?``."""
    plain = unicodedata.normalize("NFKD", text.translate(_SPELLED))
    kept = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return kept.encode("ascii", "replace").decode("ascii")


def draw_boxes(
    image: Image.Image, boxes: np.ndarray, labels: Sequence[str], colours: Sequence[int]
) -> Image.Image:
    """A copy of ``image`` in RGB with ``boxes`` drawn on it.

    ``boxes`` is float [N, 4], ``xmin, ymin, xmax, ymax`` in pixels; ``labels`` has the N texts (an
    empty one draws no text), ``colours`` the N class indices. Line and text grow with the image.
    """
    drawn = image.convert("RGB")
    if drawn is image:
        drawn = image.copy()
    canvas = ImageDraw.Draw(drawn)
    # Readable on a screen that shows the whole picture.
    side = max(drawn.size)
    line = max(2, round(side / 400))
    font = ImageFont.load_default(size=max(11, round(side / 45)))
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    for box, index in zip(corners, colours):
        left, top, right, bottom = _inside(box, drawn.size)
        canvas.rectangle((left, top, right, bottom), outline=colour(index), width=line)
    # Texts last, so that no box crosses one.
    for box, text, index in zip(corners, labels, colours):
        if text:
            left, top, _, _ = _inside(box, drawn.size)
            _draw_label(canvas, (left, top), text, index, font)
    return drawn


def _inside(box: np.ndarray, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The corners in order and within the picture, since Pillow refuses inverted rectangles."""
    xs, ys = (
        sorted(min(max(float(box[i]), 0.0), limit - 1.0) for i in pair)
        for pair, limit in (((0, 2), size[0]), ((1, 3), size[1]))
    )
    return xs[0], ys[0], xs[1], ys[1]


def _draw_label(
    canvas: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    index: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Text above the corner, or below it where there is no room, never outside the picture."""
    left, top = corner
    text = in_ascii(text.replace("\n", " "))
    x0, y0, x1, y1 = canvas.textbbox((0, 0), text, font=font)
    width, height = x1 - x0 + 4, y1 - y0 + 4
    left = max(0.0, min(left, canvas.im.size[0] - width))
    top = top - height if top >= height else top
    red, green, blue = colour(index)
    canvas.rectangle((left, top, left + width - 1, top + height - 1), fill=(red, green, blue))
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 140
    canvas.text((left + 2 - x0, top + 2 - y0), text, fill="white" if dark else "black", font=font)

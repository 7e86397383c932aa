"""Photos: opening them safely, upright and in RGB, whatever their extension claims.

"Upright" means that the EXIF orientation has been applied to the pixels, as every viewer does.
All sizes and boxes in this project refer to the upright photo.
"""

from __future__ import annotations

import io
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from console import InputError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".bmp", ".tif", ".tiff")
"""Lower-case endings of what counts as a photo in a folder; the content decides the format."""

# The largest phone cameras make 200 million pixels; more is a mistake or a decompression bomb.
MAX_PIXELS = 210_000_000

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")  # JPEG with phones' multi-picture files
_TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


class PhotoError(InputError):
    """A photo that cannot be used; ``reason`` and ``remedy`` are sentences for the user."""

    def __init__(self, path: Path, reason: str, remedy: str) -> None:
        super().__init__(f"{shown(path)}: {reason}. {remedy}.")
        self.path = path
        self.reason = reason
        self.remedy = remedy

    def __reduce__(
        self,
    ) -> tuple:  # an exception with three arguments does not survive a process pool
        return (PhotoError, (self.path, self.reason, self.remedy))


@dataclass(frozen=True)
class Header:
    """What the first bytes of a photo tell, without decoding it.

    ``width`` and ``height`` are those of the upright photo in pixels. ``format`` is Pillow's name
    ("JPEG" also for the multi-picture JPEGs of phones), ``mode`` Pillow's pixel mode and
    ``orientation`` the EXIF value, 1 to 8, 1 being upright.
    """

    width: int
    height: int
    format: str
    mode: str
    orientation: int

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height of the pixels as stored, before the orientation is applied."""
        if self.orientation in _TURNED:
            return self.height, self.width
        return self.width, self.height


def shown(path: object) -> str:
    """``path`` as printable text, also where its name is not UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def read_header(path: Path) -> Header:
    """The ``Header`` of the photo at ``path``; PhotoError when it is not a photo."""
    with _opened(path) as image:
        orientation = _orientation(image)
        width, height = image.size
        if orientation in _TURNED:
            width, height = height, width
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        return Header(width, height, kind, image.mode, orientation)


def open_upright(path: Path, at_least: Optional[tuple[int, int]] = None) -> Image.Image:
    """Decode the photo at ``path`` completely: RGB, upright.

    With ``at_least`` (width, height of the upright photo) a JPEG may be decoded at 1/2, 1/4 or 1/8
    of its size, never smaller than that; this is several times faster. PhotoError when the file is
    no photo, damaged or absurdly large.
    """
    with _opened(path) as image:
        orientation = _orientation(image)
        if at_least is not None:
            width, height = at_least
            image.draft(None, (height, width) if orientation in _TURNED else (width, height))
        image.load()
        return _upright(image)


def load_photo(path: Path) -> np.ndarray:
    """The photo at ``path`` as uint8 [height, width, 3], RGB, upright, not to be written to;
    PhotoError as above."""
    return _pixels(open_upright(Path(path)))


def decode_photo(content: bytes, formats: Sequence[str], max_pixels: int) -> np.ndarray:
    """A photo that somebody sent, as `load_photo` gives one.

    PhotoError also when it is in none of Pillow's ``formats`` or has more than ``max_pixels``.
    """
    with _opened(Path("photo"), io.BytesIO(content), formats, max_pixels) as image:
        image.load()
        return _pixels(_upright(image))


@contextmanager
def _opened(
    path: Path,
    content: Optional[io.BytesIO] = None,
    formats: Optional[Sequence[str]] = None,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Image.Image]:
    """Pillow's image, not yet decoded; everything that goes wrong in the block is a PhotoError.

    With ``content`` that is read, and ``path`` only names it.
    """
    # Pillow's own limit is lower than what phones make; ours is checked below, before decoding.
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken EXIF and the like: the decoding tells
            with Image.open(content or path, formats=formats or _formats_for(path)) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise PhotoError(
                        path,
                        f"it claims {width}x{height} pixels, more than {max_pixels:,}",
                        "Make it smaller, or remove it if that size is not true",
                    )
                yield image
    except PhotoError:
        raise
    except Image.DecompressionBombError:
        raise PhotoError(
            path,
            f"it claims more than {MAX_PIXELS:,} pixels",
            "Make it smaller, or remove it if that size is not true",
        ) from None
    except UnidentifiedImageError:
        known = ", ".join(formats or ("JPEG", "PNG", "WebP", "HEIC", "BMP", "TIFF"))
        raise PhotoError(
            path,
            f"it is not a photo in a format that can be read ({known})",
            "Export it as JPEG, or remove it",
        ) from None
    except FileNotFoundError:
        raise PhotoError(path, "there is no such file", "Check the path") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error ...
        raise PhotoError(
            path,
            f"it cannot be read: {str(error) or type(error).__name__}",
            "The file is damaged or cut off: copy it again from the camera, or remove it",
        ) from error


def _formats_for(path: Path) -> tuple[str, ...]:
    """HEIC is known by its content: phones and converters also name it .jpg."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise OSError("it is not an ordinary file")  # opening a pipe would wait for ever
    with Path(path).open("rb") as file:
        start = file.read(12)
    if start[4:8] != b"ftyp":
        return _FORMATS
    try:
        from pillow_heif import register_heif_opener  # not every environment reads HEIC
    except ImportError:
        raise PhotoError(
            path, "HEIC needs the package pillow-heif, which is not installed", "Convert it to JPEG"
        ) from None
    register_heif_opener()
    return ("HEIF",)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block does not make the photo unusable
        return 1
    return value if value in range(1, 9) else 1


def _upright(image: Image.Image) -> Image.Image:
    """The decoded ``image``, turned where it has to be; of large ones each copy counts."""
    ImageOps.exif_transpose(image, in_place=True)
    return _rgb(image)


def _pixels(image: Image.Image) -> np.ndarray:
    """The pixels of an RGB ``image``, which is given up."""
    pixels = np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, 3)
    image.close()  # Its memory is free now, not when Python's collector comes by.
    return pixels


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow clips 16 bits at 255 where every viewer scales them.
        scaled = np.asarray(image).astype(np.float32) / 257.0
        image = Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")

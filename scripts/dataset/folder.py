"""Folders of photos: which photos there are, in which order, and which annotation is whose."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple, Optional

from console import InputError
from dataset.image import EXTENSIONS, shown

SPLITS = ("train", "validation", "test")


class Photo(NamedTuple):
    """A photo and the Pascal VOC file with the same stem beside it, or None.

    Names instead of paths: a set of 200,000 photos then takes tens of megabytes, not hundreds.
    """

    folder: Path
    name: str
    xml_name: Optional[str]

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def xml(self) -> Optional[Path]:
        return None if self.xml_name is None else self.folder / self.xml_name


def natural_key(name: str) -> tuple:
    """Sorts ``2.jpg`` before ``10.jpg``, and the same way on every machine."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return ([int(part) if index % 2 else part for index, part in enumerate(parts)], name)


def is_photo(name: str) -> bool:
    """By its ending. Hidden files are none: macOS leaves ``._photo.jpg`` beside photos."""
    return not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS


def names(folder: Path) -> list[str]:
    """What lies directly in ``folder``, in natural order; InputError when it cannot be listed."""
    try:
        return sorted((entry.name for entry in Path(folder).iterdir()), key=natural_key)
    except FileNotFoundError:
        raise InputError(f"{shown(folder)}: there is no such folder. Check the path.") from None
    except NotADirectoryError:
        raise InputError(f"{shown(folder)}: this is a file. Give the folder it is in.") from None
    except OSError as error:
        raise InputError(f"{shown(folder)}: cannot be listed ({error.strerror}).") from None


def photos(folder: Path) -> list[Photo]:
    """The photos directly in ``folder``, in natural order, each with its annotation if it has one.

    Nothing is opened. Photos in subfolders are not part of the folder.
    """
    folder = Path(folder)
    listed = names(folder)
    annotations = {Path(name).stem: name for name in annotation_names(listed)}
    return [
        Photo(folder, name, annotations.get(Path(name).stem)) for name in listed if is_photo(name)
    ]


def annotation_names(listed: list[str]) -> list[str]:
    """Those of the names that are annotation files."""
    return [n for n in listed if not n.startswith(".") and Path(n).suffix.lower() == ".xml"]


def splits(data: Path) -> dict[str, list[Photo]]:
    """The photos of ``data/train``, ``data/test`` and, where it is there, ``data/validation``.

    InputError when train or test is missing.
    """
    data = Path(data)
    missing = [name for name in ("train", "test") if not (data / name).is_dir()]
    if missing:
        raise InputError(
            f"{shown(data)}: there is no folder {' and no folder '.join(missing)} in it. "
            f"Put photos into {shown(data / 'train')} and {shown(data / 'test')}; "
            "scripts/split_dataset.py does it."
        )
    return {name: photos(data / name) for name in SPLITS if (data / name).is_dir()}

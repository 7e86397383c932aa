"""The tutorial's table of boxes: CSV with filename,width,height,class,xmin,ymin,xmax,ymax."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from atomic import atomic_write
from console import InputError
from dataset.image import shown
from dataset.voc import Annotation, Box

COLUMNS = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)


@dataclass
class Table:
    """A table in memory: about 100 bytes for a photo and 40 for a box, so millions fit.

    ``photos`` gives, in the order of the table, the width, the height and the rows of each photo;
    a row is five numbers: the class's place in ``classes`` and the four corners.
    """

    photos: dict[str, tuple[int, int, array[float]]] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)

    def add(self, filename: str, width: int, height: int, box: Box) -> None:
        rows = self.photos.setdefault(filename, (width, height, array("d")))[2]
        rows.extend((self.classes.setdefault(box.name, len(self.classes)), *box[1:5]))

    def annotation(self, filename: str) -> Annotation:
        """The boxes of a photo in the order of the table."""
        names = list(self.classes)
        width, height, rows = self.photos[filename]
        fives = zip(*(rows[part::5] for part in range(5)))
        boxes = (Box(names[int(index)], a, b, c, d) for index, a, b, c, d in fives)
        return Annotation(filename, width, height, tuple(boxes))


def write(path: Path, annotations: Iterable[Annotation]) -> int:
    """Write a row for each box, in the order given; returns the number of rows."""
    rows = 0
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for annotation in annotations:
            start = (annotation.filename, annotation.width, annotation.height)
            for box in annotation.boxes:
                writer.writerow((*start, box.name, *(_plain(value) for value in box[1:5])))
                rows += 1
    return rows


def read(path: Path) -> Table:
    """The table at ``path``; InputError naming the line that is wrong."""
    table = Table()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            absent = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if absent:
                raise InputError(
                    f"{shown(path)}: the column {absent[0]} is missing. The first line must be "
                    f"{','.join(COLUMNS)}; xml_to_csv.py writes such a table."
                )
            for row in reader:
                _add(table, row, f"{shown(path)}, line {reader.line_num}")
    except FileNotFoundError:
        raise InputError(
            f"{shown(path)}: there is no such table; xml_to_csv.py writes it."
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{shown(path)}: is not a table that can be read: {error}.") from None
    return table


def _add(table: Table, row: dict[str, str], place: str) -> None:
    if not (row["filename"] or "").strip() or not (row["class"] or "").strip():
        raise InputError(f"{place}: the filename or the class is empty.")
    values = []
    for name in ("width", "height", "xmin", "ymin", "xmax", "ymax"):
        text = (row[name] or "").strip()
        if not _NUMBER.fullmatch(text) or abs(float(text)) > 1e6:
            raise InputError(f"{place}: {name} is '{text[:20]}', which is not a sensible number.")
        values.append(float(text))
    width, height, xmin, ymin, xmax, ymax = values
    table.add(row["filename"], int(width), int(height), Box(row["class"], xmin, ymin, xmax, ymax))


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)

"""Photos with boxes as TFRecord files of the TensorFlow Object Detection API's tf.Example.

Keys as in object_detection/g3doc/using_your_own_dataset.md and the tutorial: ``image/encoded``,
``image/format``, ``image/height``, ``image/width``, ``image/filename``, ``image/source_id``,
``image/object/bbox/{xmin,xmax,ymin,ymax}`` (0..1) and ``image/object/class/{text,label}``.
Model Garden's ``TfExampleDecoder`` reads them. The same photos and boxes give the same bytes.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from console import InputError, progress, warn
from dataset import voc
from dataset.annotations import in_short, listed
from dataset.folder import Photo
from dataset.image import PhotoError, open_upright, read_header, shown
from dataset.parallel import ordered
from dataset.table import Table
from dataset.tfrecord import example, write_record

# One file up to here; TensorFlow reads several big files faster than one huge one.
SHARD_BYTES = 128 * 1024 * 1024
SHARD_PHOTOS = 1000

# What TensorFlow's own decoders turn into the same RGB pixels as Pillow. The rest (16 bits, CMYK,
# other formats, EXIF orientation, which TensorFlow ignores) is decoded here and encoded again.
_AS_THEY_ARE = {
    "JPEG": ("RGB", "L"),
    "PNG": ("1", "L", "LA", "P", "PA", "RGB", "RGBA"),
}


@dataclass(frozen=True)
class Entry:
    """A photo with its boxes, and the number that COCO evaluation knows it by."""

    photo: Path
    annotation: voc.Annotation
    source_id: int


@dataclass(frozen=True)
class Summary:
    """What was written for one split; ``negatives`` are the photos without a box."""

    photos: int
    boxes: int
    negatives: int
    shards: int


@dataclass(frozen=True)
class _Shard:
    path: Path
    entries: list[Entry]
    ids: Mapping[str, int]


def write_split(
    output: Path, photos: Sequence[Photo], table: Table, ids: Mapping[str, int], workers: int = 0
) -> Summary:
    """Write the records of ``photos``, in their order, to ``output``.

    A photo's boxes are its rows of the table. A photo without a row is a negative when its xml has
    no object; otherwise it is left out with a warning. Big sets go to ``output-00000-of-00008`` and
    so on, and records of an earlier call under the same name are removed. InputError when the
    table names photos or classes that are not there, or boxes do not fit their photo; nothing is
    then written.
    """
    unknown = [name for name in table.classes if name not in ids]
    if unknown:
        raise InputError(
            f"the label map has no class {in_short(unknown)}; it has {in_short(list(ids))}. "
            "Write the label map again with xml_to_csv.py -l."
        )
    included = list(_included(photos, table))
    size = sum(_file_size(photo) for photo in included)
    shards = max(1, -(-size // SHARD_BYTES), -(-len(included) // SHARD_PHOTOS))
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as temporary:
        names = [output.name]
        if shards > 1:
            names = [f"{output.name}-{i:05d}-of-{shards:05d}" for i in range(shards)]
        boxes = negatives = 0
        jobs = _jobs(Path(temporary), names, included, table, ids)
        written = progress(ordered(_write_shard, jobs, workers), shards, output.name)
        problems: list[str] = []
        for shard_boxes, shard_negatives, shard_problems in written:
            boxes += shard_boxes
            negatives += shard_negatives
            problems += shard_problems
        if problems:
            raise InputError(listed(f"{len(problems)} photos cannot be used", problems))
        for path in files(output):
            path.unlink()
        for name in names:
            (Path(temporary) / name).replace(output.parent / name)
    return Summary(len(included), boxes, negatives, shards)


def files(output: Path) -> list[Path]:
    """The record files of ``output``: itself, or its shards."""
    found = [output] if output.is_file() else []
    return found + sorted(output.parent.glob(f"{output.name}-[0-9]*-of-[0-9]*"))


def example_of(entry: Entry, ids: Mapping[str, int]) -> bytes:
    """The serialised tf.Example; InputError when the photo cannot be used or a box not fit it."""
    encoded, kind, width, height = encode(entry.photo)
    stated = (entry.annotation.width, entry.annotation.height)
    if stated != (width, height):
        raise InputError(
            f"{shown(entry.photo)}: its boxes were drawn on {stated[0]}x{stated[1]} pixels, but "
            f"upright it has {width}x{height}. check_dataset.py says what to do."
        )
    faults = voc.box_faults(entry.annotation, width, height)
    if faults:
        raise InputError(f"{shown(entry.photo)}: {faults[0].reason}. {faults[0].remedy}.")
    boxes = entry.annotation.boxes
    corners = np.array([box[1:5] for box in boxes], np.float64).reshape(-1, 4)
    corners = np.clip(corners / [width, height, width, height], 0.0, 1.0).astype(np.float32)
    return example(
        {
            "image/encoded": [encoded],
            "image/format": [kind.encode()],
            "image/height": [height],
            "image/width": [width],
            "image/filename": [entry.annotation.filename.encode()],
            "image/source_id": [str(entry.source_id).encode()],
            "image/object/bbox/xmin": corners[:, 0],
            "image/object/bbox/ymin": corners[:, 1],
            "image/object/bbox/xmax": corners[:, 2],
            "image/object/bbox/ymax": corners[:, 3],
            "image/object/class/text": [box.name.encode() for box in boxes],
            "image/object/class/label": [ids[box.name] for box in boxes],
        }
    )


def encode(path: Path) -> tuple[bytes, str, int, int]:
    """Bytes that TensorFlow decodes upright, their format ("jpeg" or "png"), width and height.

    The file as it is wherever TensorFlow sees what everybody sees.
    """
    header = read_header(path)
    kind = "png" if header.format == "PNG" else "jpeg"
    if header.orientation == 1 and header.mode in _AS_THEY_ARE.get(header.format, ()):
        return path.read_bytes(), kind, header.width, header.height
    image = open_upright(path)
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=95, subsampling=0)
    return buffer.getvalue(), kind, image.width, image.height


def _included(photos: Sequence[Photo], table: Table) -> Iterator[Photo]:
    """The photos to write: those with rows, and the negatives."""
    absent = set(table.photos).difference(photo.name for photo in photos)
    if absent:
        place = shown(photos[0].folder) if photos else "the folder, which has no photo"
        raise InputError(
            f"the table names {len(absent)} photos that are not in {place}: "
            f"{in_short(sorted(absent))}. Add them, or write the table again with xml_to_csv.py."
        )
    outdated = []
    for photo in photos:
        if photo.name in table.photos:
            yield photo
        elif photo.xml is not None:
            if voc.read(photo.xml).boxes:
                outdated.append(photo.name)
            else:
                yield photo
    if outdated:
        warn(
            f"{len(outdated)} photos are left out because their xml has boxes but the table has no "
            f"row of them: {in_short(outdated)}. Write the table again with xml_to_csv.py."
        )


def _jobs(
    folder: Path,
    names: Sequence[str],
    included: Sequence[Photo],
    table: Table,
    ids: Mapping[str, int],
) -> Iterator[_Shard]:
    """The shards with their entries, made one by one so that few are in memory."""
    entries = (_entry(photo, table, number) for number, photo in enumerate(included, start=1))
    for index, name in enumerate(names):
        # As equal as can be, and the photos in their order from the first shard to the last.
        end, start = (len(included) * i // len(names) for i in (index + 1, index))
        yield _Shard(folder / name, list(islice(entries, end - start)), ids)


def _entry(photo: Photo, table: Table, source_id: int) -> Entry:
    if photo.name in table.photos:
        return Entry(photo.path, table.annotation(photo.name), source_id)
    assert photo.xml is not None  # _included lets no other pass
    return Entry(photo.path, replace(voc.read(photo.xml), filename=photo.name), source_id)


def _write_shard(shard: _Shard) -> tuple[int, int, list[str]]:
    """Write one file; numbers of boxes and negatives, and what is wrong with photos of it."""
    boxes = negatives = 0
    problems = []
    with shard.path.open("wb") as file:
        for entry in shard.entries:
            try:
                write_record(file, example_of(entry, shard.ids))
            except (InputError, PhotoError) as error:
                problems.append(str(error))
            boxes += len(entry.annotation.boxes)
            negatives += not entry.annotation.boxes
    return boxes, negatives, problems


def _file_size(photo: Photo) -> int:
    try:
        return photo.path.stat().st_size
    except OSError:  # told when it is read
        return 0

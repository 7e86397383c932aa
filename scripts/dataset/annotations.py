"""Reading many annotations in their order, with one message for all that is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Optional, Union

from console import InputError, warn
from dataset import voc
from dataset.folder import Photo
from dataset.image import shown
from dataset.parallel import ordered

_SHOWN = 10
_CHUNK = 256  # an xml is read in a fraction of a millisecond: too little for a task of its own


class Source(NamedTuple):
    """An annotation file, and the name of the photo beside it if there is one."""

    xml: Path
    photo_name: Optional[str]


def sources(photos: Iterable[Photo]) -> list[Source]:
    """The annotations of the photos that have one."""
    return [Source(photo.xml, photo.name) for photo in photos if photo.xml is not None]


def read_all(sources: Sequence[Source], workers: int = 0) -> Iterator[voc.Annotation]:
    """The annotations of ``sources`` in their order.

    ``filename`` is the name of the photo beside the xml, whatever the xml says: photos get renamed.
    After the last one, InputError names the files that could not be read.
    """
    iterator = iter(sources)
    chunks = iter(lambda: list(islice(iterator, _CHUNK)), [])
    problems: list[str] = []
    for chunk in ordered(_read_chunk, chunks, workers):
        for result in chunk:
            if isinstance(result, str):
                problems.append(result)
            else:
                yield result
    if problems:
        raise InputError(listed(f"{len(problems)} annotations cannot be used", problems))


def warn_unannotated(photos: Iterable[Photo], place: Path) -> None:
    """Say which photos have no xml, in one line."""
    without = [photo.name for photo in photos if photo.xml is None]
    if without:
        warn(
            f"{shown(place)}: {len(without)} photos without xml are left out: "
            f"{in_short(without)}. Annotate them in labelImg; "
            "a photo that shows nothing of interest needs an xml without boxes."
        )


def listed(title: str, lines: Sequence[str]) -> str:
    """A message of a title and the first lines, with the number of those not shown."""
    if len(lines) == 1:
        return lines[0]
    told = [f"  {line}" for line in lines[:_SHOWN]]
    if len(lines) > _SHOWN:
        told.append(f"  and {len(lines) - _SHOWN} more")
    return "\n".join([f"{title}:", *told])


def in_short(names: Sequence[str], most: int = 5) -> str:
    """The first names in one line."""
    text = ", ".join(shown(name) for name in names[:most])
    return text + (f" and {len(names) - most} more" if len(names) > most else "")


def _read_chunk(chunk: list[Source]) -> list[Union[voc.Annotation, str]]:
    return [_read(source) for source in chunk]


def _read(source: Source) -> Union[voc.Annotation, str]:
    try:
        annotation = voc.read(source.xml)
    except InputError as error:
        return str(error)
    if not source.photo_name and not annotation.filename:
        return (
            f"{shown(source.xml)}: no photo lies beside it and it names none. "
            "Put the photo beside it, or remove it."
        )
    name = source.photo_name or annotation.filename
    if shown(name) != name:
        return f"{shown(source.xml.parent / name)}: its name is not UTF-8. Rename photo and xml."
    return replace(annotation, filename=name)

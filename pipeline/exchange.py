"""A folder takes another's place as a whole, and what a stop at any moment leaves is mended."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path


def arriving(folder: Path) -> Path:
    """Where what is to be ``folder`` is put together, if it has no better place."""
    return folder.with_name(f".{folder.name}.arriving")


def put_in_place(new: Path, folder: Path) -> None:
    """Make ``new`` be ``folder``, on one file system; `recover` mends what a stop leaves."""
    leaving = _leaving(folder)
    if folder.exists():
        shutil.rmtree(leaving, ignore_errors=True)
        folder.rename(leaving)
    new.rename(folder)
    shutil.rmtree(leaving, ignore_errors=True)


def recover(folder: Path) -> None:
    """Give ``folder`` back what it held, if a stop came in between; clear away what is left."""
    leaving = _leaving(folder)
    if leaving.exists():
        with contextlib.suppress(OSError):
            folder.rmdir()  # made anew since then, as a place to write to: it is empty
        if not folder.exists():
            leaving.rename(folder)
    for leftover in (leaving, arriving(folder)):
        shutil.rmtree(leftover, ignore_errors=True)


def _leaving(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.leaving")

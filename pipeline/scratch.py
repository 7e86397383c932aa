"""Temporary folders that do not outlive the command, however it ends.

Each is held as long as it is used. What a killed command left is held by nobody: the next one that
makes such a folder clears it away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "drydock-scratch-"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder, for the caller alone, that is gone when the block ends."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if (descriptor := _held(left, fcntl.LOCK_NB)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(descriptor)
    descriptor = None
    while descriptor is None:  # it was new, and another command took it for a left one
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        descriptor = _held(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _held(folder: Path, further: int = 0) -> int | None:
    """A descriptor that holds the folder; None where it is another's, in use, or gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | further)
        if os.fstat(descriptor).st_uid == os.getuid() and folder.exists():
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None

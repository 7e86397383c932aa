"""Paths as people type them."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import InputError


def expanded(text: str) -> Path:
    """The path with ``~`` and ``~user`` resolved; InputError where there is no such home."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InputError(f"{text}: there is no user with such a home folder here") from None


def typed(text: str) -> Path:
    """The absolute path that is meant by ``text``, typed in the current folder."""
    return expanded(text).absolute()


def home() -> Path:
    """The user's home folder; ``~`` itself, which is nowhere, for a user who has none."""
    return Path(os.path.expanduser("~"))  # noqa: PTH111  # Path.home() would raise

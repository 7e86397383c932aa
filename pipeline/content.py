"""What files contain, by sha256, without reading again what has not changed.

A stat cache remembers the hash of a file together with its size, times and inode; a file that
was only touched is read once more and found the same.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pipeline.errors import InputError

# A file this young may change again within the file system's time resolution, unseen by stat.
_TOO_YOUNG_NS = 50_000_000


class ContentCache:
    """sha256 of files, kept in one SQLite file; safe to share between processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._fresh: list[tuple[str, str, str]] = []

    def file(self, path: Path) -> str:
        """The sha256 of a file, in hexadecimal."""
        stat = path.stat()
        return self._hash(str(path), stat)

    def tree(self, path: Path) -> dict[str, str]:
        """sha256 by path relative to ``path``, sorted; a single file stands under its own name.

        Hidden files (``.DS_Store``, half-written outputs) do not count. Raises InputError for a
        name that is not UTF-8.
        """
        _must_be_text(str(path))
        if path.is_file():
            return {path.name: self.file(path)}
        return {
            name: self._hash(f"{path}/{name}", stat) for name, stat in sorted(_walk(str(path), ""))
        }

    def save(self) -> None:
        """Write what was learnt. Losing it costs time only, so a full disk is not an error."""
        if not self._fresh:
            return
        try:
            with self._connection() as database:
                database.executemany("INSERT OR REPLACE INTO content VALUES (?, ?, ?)", self._fresh)
        except (sqlite3.Error, OSError):
            return
        self._fresh.clear()

    def _hash(self, name: str, stat: os.stat_result) -> str:
        seen = f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"
        row = self._lookup(name)
        if row is not None and row[0] == seen:
            return row[1]
        with Path(name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - stat.st_mtime_ns > _TOO_YOUNG_NS:
            self._fresh.append((name, seen, digest))
        return digest

    def _lookup(self, name: str) -> tuple[str, str] | None:
        try:
            row = self._connection().execute(
                "SELECT stat, sha256 FROM content WHERE path = ?", (name,)
            )
            return row.fetchone()
        except (sqlite3.Error, OSError):
            return None

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path, timeout=10)
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS content (path TEXT PRIMARY KEY, stat TEXT, sha256 TEXT)"
            )
        return self._database


def _walk(
    folder: str, prefix: str, above: tuple[tuple[int, int], ...] = ()
) -> Iterator[tuple[str, os.stat_result]]:
    """Files with their stat. Links are followed, as a stage does that reads them."""
    about = Path(folder).stat()
    here = (about.st_dev, about.st_ino)
    if here in above:  # a link to a folder that it lies in
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            _must_be_text(entry.path)
            if entry.is_dir():
                yield from _walk(entry.path, f"{prefix}{entry.name}/", (*above, here))
            elif entry.is_file():
                yield f"{prefix}{entry.name}", entry.stat()


def linked_folders(folder: Path) -> set[Path]:
    """The folders that links below ``folder`` lead to, or lead into where they name a file."""
    found: set[Path] = set()
    queue = [folder] if folder.is_dir() else []
    while queue:
        with os.scandir(queue.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink():
                    target = Path(entry.path).resolve()
                    target = target if target.is_dir() else target.parent
                    if target not in found:
                        found.add(target)
                        queue += [target] if entry.is_dir() else []
                elif entry.is_dir(follow_symlinks=False):
                    queue.append(Path(entry.path))
    return {path for path in found if path.is_dir()}


def _must_be_text(path: str) -> None:
    """Refuse a name that no record could hold: bytes that are not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InputError(f"{path!a}: this name is not in UTF-8, so rename it") from None


def digest(files: Mapping[str, str]) -> str:
    """One sha256 for a set of named contents."""
    lines = "".join(f"{files[name]}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def without(files: Mapping[str, str], patterns: Iterable[str]) -> dict[str, str]:
    """``files`` less those that match one of ``patterns`` (``*`` also spans folders)."""
    patterns = tuple(patterns)
    return {
        name: sha256
        for name, sha256 in files.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }

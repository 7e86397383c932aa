"""Datasets that others publish: fetched by pinned commit, every file checked by sha256."""

from __future__ import annotations

import functools
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipeline import download, screen
from pipeline.configuration import CONFIGS, load_toml
from pipeline.errors import HostError, InputError

_LARGEST_FILE = 64 << 20  # bytes; a photo is far smaller
_LARGEST_DATASET = 4 << 30


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file must be."""

    sha256: str
    size: int  # bytes


class Dataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of configs/datasets.toml."""

    title: str
    repository: str
    commit: str
    licence: str
    base_url: str  # ends in a slash; a file's path follows
    prefix: str  # what train/ and test/ follow in the paths
    files: dict[str, Published]

    def __post_init__(self) -> None:
        """Refuse what would write outside the destination or fetch something unpinned."""
        if not re.fullmatch(r"[0-9a-f]{40}", self.commit) or self.commit not in self.base_url:
            raise ValueError("`base_url` must hold the full `commit` of 40 digits")
        for path, published in self.files.items():
            inside = path.removeprefix(self.prefix)
            if inside == path or not re.fullmatch(r"(train|validation|test)/[\w.-]+", inside):
                raise ValueError(
                    f"`files`: {path} is not {self.prefix}(train|validation|test)/NAME"
                )
            if not re.fullmatch(r"[0-9a-f]{64}", published.sha256):
                raise ValueError(f"`files`: the sha256 of {path} is not 64 hexadecimal digits")
            if not 0 < published.size <= _LARGEST_FILE:
                raise ValueError(f"`files`: the size of {path} is not in 1..{_LARGEST_FILE}")
        if sum(published.size for published in self.files.values()) > _LARGEST_DATASET:
            raise ValueError(f"`files`: more than {_LARGEST_DATASET} bytes together")


@dataclass(frozen=True)
class _File:
    """A published file: its path in the repository and in the dataset's folder."""

    path: str
    inside: str
    published: Published


@functools.cache
def load_datasets(path: Path = CONFIGS / "datasets.toml") -> dict[str, Dataset]:
    """All known datasets. Raises InputError naming the file and the key."""
    return load_toml(path, dict[str, Dataset])


def fetch_dataset(name: str, destination: Path, source_folder: Path | None = None) -> None:
    """Bring a known dataset to ``destination`` (train/ and test/ in it) and say so.

    ``source_folder`` replaces the network: laid out as the repository, or with train/ and test/
    directly or under images/. Every file is checked, and the folder appears whole or not at all.
    An existing folder is never changed. Raises InputError (unknown name, a wrong file in the
    source or the destination) or HostError (network, disk).
    """
    known = load_datasets()
    if name not in known:
        raise InputError(f"unknown dataset {name}; known are: {', '.join(sorted(known))}")
    dataset = known[name]
    files = [_File(p, p.removeprefix(dataset.prefix), f) for p, f in dataset.files.items()]
    if destination.exists():
        _check_present(files, destination)
        screen.say(f"{screen.shown(destination)}: already there, all {len(files)} files intact")
        return
    source = _source_layout(dataset, files, source_folder) if source_folder else None
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name}."))
    except OSError as error:
        raise HostError(f"{destination.parent}: cannot be written: {error.strerror}") from error
    try:
        for number, file in enumerate(files, start=1):
            target = beside / file.inside
            if source:
                _copy(source / file.inside, target, file.published)
            else:
                url = dataset.base_url + file.path
                download.fetch_file(url, target, file.published.sha256, file.published.size)
            if number % 12 == 0 and number < len(files):
                screen.say(f"{number} of {len(files)} files")
        # mkdtemp makes folders that only their owner can enter; data follows the umask.
        umask = os.umask(0)
        os.umask(umask)
        beside.chmod(0o777 & ~umask)
        beside.rename(destination)
    except OSError as error:
        raise HostError(f"{destination}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    where = source_folder or f"{dataset.repository} at {dataset.commit[:7]}"
    screen.say(
        f"{screen.shown(destination)}: {len(files)} files from {where}, each with the right sha256"
        f" ({dataset.licence} licence)"
    )


def _problem(path: Path, published: Published) -> str | None:
    """What is wrong with a file, or None."""
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != published.size:
        return f"has {size} bytes, expected {published.size}"
    found = download.sha256_of(path)
    return None if found == published.sha256 else f"has sha256 {found}, not {published.sha256}"


def _check_present(files: list[_File], destination: Path) -> None:
    for file in files:
        problem = _problem(destination / file.inside, file.published)
        if problem:
            raise InputError(
                f"{destination / file.inside}: {problem}; move or delete {destination}, then fetch "
                "again (an existing folder is never changed)"
            )


def _source_layout(dataset: Dataset, files: list[_File], folder: Path) -> Path:
    """The folder in ``folder`` that holds train/ and test/."""
    if not folder.is_dir():
        raise InputError(f"--from {folder}: is not a folder")
    layouts = [folder / dataset.prefix, folder / "images", folder]
    for layout in layouts:
        if (layout / files[0].inside).parent.is_dir():
            return layout
    tried = ", ".join(str(layout) for layout in layouts)
    raise InputError(f"--from {folder}: no train/ folder found (looked in {tried})")


def _copy(source: Path, target: Path, published: Published) -> None:
    problem = _problem(source, published)
    if problem:
        raise InputError(f"{source}: {problem}; nothing was kept")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    # What counts is what was written: the source may have changed after the look at it.
    problem = _problem(target, published)
    if problem:
        raise InputError(f"{source}: changed while it was copied ({problem}); nothing was kept")

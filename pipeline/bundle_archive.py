"""The archive of `inv bundle`: a tar whose first member, manifest.json, names all others.

Read with the standard library alone, because a host without network has nothing else yet: `./inv`
takes its own packages out with

    python -m pipeline.bundle_archive ARCHIVE FOLDER

An archive is checked as a whole before anything of it is used, and nothing in it decides where a
file goes but a path that `_problem_of_path` finds harmless.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import re
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pipeline.errors import DrydockError, HostError, InputError

MANIFEST = "manifest.json"
FORMAT = 2
HOST, WHEELS, IMAGES, WEIGHTS, DATA = KINDS = ("host", "wheels", "images", "weights", "data")

_LARGEST_MANIFEST = 64 << 20
_CHUNK = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")

Progress = Callable[[int, "int | None"], None]  # bytes so far, bytes in all


@dataclasses.dataclass(frozen=True)
class File:
    """A file of the archive; its path begins with one of KINDS."""

    path: str
    size: int
    sha256: str

    @property
    def kind(self) -> str:
        """What it is, and where it goes."""
        return self.path.partition("/")[0]


@dataclasses.dataclass(frozen=True)
class Packed:
    """An environment in the archive."""

    python: str
    lock: str  # sha256 of its requirements.txt
    image: str  # tag; empty where no image was packed


@dataclasses.dataclass(frozen=True)
class Image:
    """A container image in the archive."""

    tag: str
    content: str  # as `docker_engine.image_content` has it


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What an archive holds, and what it was made for."""

    revision: str
    machine: str  # as of `uname -m`
    python: str  # of the host's own packages
    environments: Mapping[str, Packed]
    files: Mapping[str, File]
    images: Mapping[str, Image] = dataclasses.field(default_factory=dict)  # by path in the archive

    def of(self, *kinds: str) -> list[File]:
        """The files of these kinds."""
        return [file for file in self.files.values() if file.kind in kinds]


def write(
    archive: Path, manifest: Manifest, sources: Mapping[str, Path], progress: Progress | None
) -> None:
    """Write ``archive`` from ``sources``, by path in it; whole or not at all.

    Raises OSError; where the disk is full too, nothing is left.
    """
    partial = archive.with_name(f".{archive.name}.partial")
    text = json.dumps(
        {
            **{"format": FORMAT, "revision": manifest.revision, "machine": manifest.machine},
            "python": manifest.python,
            "environments": {n: vars(one) for n, one in manifest.environments.items()},
            "files": {f.path: [f.size, f.sha256] for f in manifest.files.values()},
            "images": {path: vars(one) for path, one in manifest.images.items()},
        },
        indent=1,
    ).encode()
    total, done = sum(file.size for file in manifest.files.values()), 0
    try:
        with tarfile.open(partial, "x", format=tarfile.GNU_FORMAT) as tar:
            tar.addfile(_header(MANIFEST, len(text)), io.BytesIO(text))
            for file in manifest.files.values():
                with sources[file.path].open("rb") as content:
                    tar.addfile(_header(file.path, file.size), content)
                done += file.size
                if progress:
                    progress(done, total)
        partial.replace(archive)
    finally:
        partial.unlink(missing_ok=True)


def _header(path: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(path)
    header.size = size
    header.mode = 0o644
    return header


def read_manifest(archive: Path) -> Manifest:
    """What the archive says of itself, held to the rules of the format.

    Raises InputError, in one sentence, for what is no bundle or breaks a rule.
    """
    with _opened(archive) as tar:
        first = tar.next()
        if first is None or first.name != MANIFEST or not _is_file(first):
            raise InputError(f"{archive} is not a bundle: it does not begin with {MANIFEST}")
        if first.size > _LARGEST_MANIFEST:
            raise InputError(f"{archive}: its {MANIFEST} has {first.size} bytes, too many for one")
        text = _content(tar, first).read()
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise InputError(
                f"{archive} has format {document['format']}, this version reads {FORMAT}"
            )
        manifest = _from(document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{archive}: its {MANIFEST} is damaged ({error!r:.200})") from None
    for file in manifest.files.values():
        if problem := _problem_of_path(file.path):
            raise InputError(f"{archive} would write to {file.path!r}: {problem}")
        if file.size < 0 or not _SHA256.fullmatch(file.sha256):
            raise InputError(f"{archive}: size or sha256 of {file.path!r} is none")
    if {file.path for file in manifest.of(IMAGES)} != manifest.images.keys():
        raise InputError(f"{archive}: its {MANIFEST} does not say which images are in which files")
    if sum(file.size for file in manifest.files.values()) > archive.stat().st_size:
        raise InputError(f"{archive} is shorter than what it says to hold; copy it again")
    return manifest


def _from(document: Any) -> Manifest:
    """The manifest from its JSON; raises what a wrong type happens to raise."""
    return Manifest(
        revision=_text(document["revision"]),
        machine=_text(document["machine"]),
        python=_text(document["python"]),
        environments={
            _text(name): Packed(**{key: _text(value) for key, value in one.items()})
            for name, one in document["environments"].items()
        },
        files={
            path: File(_text(path), _number(size), _text(sha256))
            for path, (size, sha256) in document["files"].items()
        },
        images={
            path: Image(**{key: _text(value) for key, value in one.items()})
            for path, one in document["images"].items()
        },
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError(f"{value!r:.60} is no text")
    return value


def _number(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r:.60} is no number")
    return value


def _problem_of_path(path: str) -> str:
    """Why a path may not be written to; empty where it may."""
    kind, *parts = path.split("/")
    if kind not in KINDS or not parts:
        return f"only files in {', '.join(KINDS)} are taken"
    if any(part in ("", ".", "..") or "\\" in part or part.startswith(".") for part in parts):
        return "it leaves its folder, or is hidden"
    if kind != DATA and len(parts) > 1:
        return "there are folders in data only"
    return ""


def members(archive: Path, manifest: Manifest) -> Iterator[tuple[File, IO[bytes]]]:
    """All files of the archive, in order, each a plain file that the manifest names once.

    Raises InputError for anything else, and at the end if one is missing.
    """
    missing = dict(manifest.files)
    with _opened(archive) as tar:
        tar.next()  # the manifest
        while (member := tar.next()) is not None:
            file = missing.pop(member.name, None)
            if file is None:
                raise InputError(f"{archive} holds {member.name!r}, which its manifest does not")
            if not _is_file(member):
                raise InputError(f"{archive}: {member.name!r} is a link or a device, not a file")
            if member.size != file.size:
                raise InputError(
                    f"{archive}: {member.name!r} has {member.size} bytes, not {file.size}"
                )
            yield file, _content(tar, member)
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
    if missing:
        raise InputError(f"{archive} lacks {next(iter(missing))!r} and is cut short; copy it again")


def verify(archive: Path, manifest: Manifest, progress: Progress | None = None) -> None:
    """Read everything once and hold it against the manifest; raises InputError."""
    done, total = 0, sum(file.size for file in manifest.files.values())
    for file, content in members(archive, manifest):
        for chunk in checked(archive, file, content):
            done += len(chunk)
            if progress:
                progress(done, total)


def checked(archive: Path, file: File, content: IO[bytes]) -> Iterator[bytes]:
    """The content in pieces; InputError after the last one if it was not what it should be."""
    hasher = hashlib.sha256()
    with _readable(archive):
        while chunk := content.read(_CHUNK):
            hasher.update(chunk)
            yield chunk
    if hasher.hexdigest() != file.sha256:
        raise InputError(f"{archive}: {file.path!r} has another sha256 than its manifest says")


def extract(archive: Path, file: File, content: IO[bytes], destination: Path) -> None:
    """Put a file where it belongs, whole or not at all, and only with the right sha256."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    try:
        with partial.open("xb") as output:
            for chunk in checked(archive, file, content):
                output.write(chunk)
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    with _readable(archive):
        try:
            tar = tarfile.open(archive, "r:")  # noqa: SIM115
        except OSError as error:
            raise InputError(f"{archive} cannot be read: {error.strerror}") from None
        with tar:
            yield tar


@contextlib.contextmanager
def _readable(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, OverflowError) as error:
        raise InputError(f"{archive} is damaged or no bundle ({error}); copy it again") from None


def _is_file(member: tarfile.TarInfo) -> bool:
    return member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    assert content is not None  # of a plain file there is one
    return content


def host_packages(archive: Path, folder: Path) -> None:
    """Bring the host's own packages to ``folder``, where pip looks for them."""
    manifest = read_manifest(archive)
    python = "{}.{}".format(*sys.version_info)
    if manifest.python != python:
        raise HostError(
            f"{archive} was made with Python {manifest.python}, this is {python}: install that one,"
            " or make the bundle with this one"
        )
    # Each file is checked, by pip once more against the clone's own lock; the rest is not read.
    left = len(manifest.of(HOST))
    for file, content in members(archive, manifest):
        if file.kind == HOST:
            extract(archive, file, content, folder / PurePosixPath(file.path).name)
            left -= 1
        if not left:
            return


if __name__ == "__main__":
    try:
        host_packages(Path(sys.argv[1]), Path(sys.argv[2]))
    except DrydockError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)

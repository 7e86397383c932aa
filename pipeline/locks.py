"""The hash-locked requirements: `inv lock` refreshes them, `inv lock --check` proves them whole."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import environments, screen
from pipeline.configuration import ROOT
from pipeline.errors import HostError, InputError

_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?==[^\s;\\]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FROM = re.compile(r"^FROM\s+(?:--platform=\S+\s+)?(\S+)", re.MULTILINE)
_NAMED = ("base", "builder", "runtime")  # images of ours, which who builds puts in
# Digests that look like pins and are none, by how they begin: published by mistake, or of a single
# platform where others would fetch nothing.
_TRAPS = {
    "eb37f58646a901dc": "this index is empty",
    "0bb88834": "this is the amd64 image alone, not the index of all platforms",
    "59e0e437": "this is the amd64 image alone, not the index of all platforms",
    "f3034a6ec3c12053": "this is the amd64 image alone, not the index of all platforms",
    "0c8bbb8e987a035f": "this is the arm64 image alone, not the index of all platforms",
}
_URL = re.compile(r"https?://|--(?:extra-)?index-url|--find-links")


@dataclass(frozen=True)
class Locked:
    """A package of a lock: the sha256 of each of its files, and the packages that need it."""

    name: str
    version: str
    hashes: tuple[str, ...]
    needed_by: tuple[str, ...]


def _folders(name: str | None) -> list[tuple[Path, str]]:
    """The folders that hold a lock, and the Python each is for."""
    if name:
        environment = environments.load(name)
        return [(environment.folder, environment.file.python)]
    found = [(ROOT, "3.11"), (ROOT / "docker" / "base", "3.11")]
    for known in [*environments.names(), *environments.devices()]:
        environment = environments.load(known)
        found.append((environment.folder, environment.file.python))
    return [(folder, python) for folder, python in found if (folder / "requirements.in").exists()]


def refresh(name: str | None) -> None:
    """Resolve requirements.in anew, for one environment or for all and the host."""
    import uv  # imported late, as in virtualenvs

    for folder, python in _folders(name):
        screen.say(f"locking {folder.relative_to(ROOT) / 'requirements.txt'}")
        overrides = folder / "overrides.txt"
        arguments = ["--override", overrides.name] if overrides.exists() else []
        arguments += ["--universal"] if folder == ROOT else []
        done = subprocess.run(
            [
                *(uv.find_uv_bin(), "pip", "compile", "--quiet", "--upgrade", "--generate-hashes"),
                *("--no-emit-index-url", "--no-header", "--python-version", python, *arguments),
                *("requirements.in", "--output-file", "requirements.txt"),
            ],
            cwd=folder,
            check=False,
        )
        if done.returncode:
            raise HostError(f"{folder / 'requirements.in'} could not be locked, see above")


def check() -> None:
    """Raise InputError listing every pin that is not one."""
    problems = [problem for folder, _ in _folders(None) for problem in lock_problems(folder)]
    for dockerfile in sorted((ROOT / "docker").glob("**/Dockerfile")):
        problems += [
            f"{dockerfile.relative_to(ROOT)}: {problem}"
            for problem in image_problems(dockerfile.read_text())
        ]
    if problems:
        raise InputError("these pins are not whole:\n  " + "\n  ".join(problems))
    screen.say("all pins are whole")


def lock_problems(folder: Path) -> Iterator[str]:
    """What is wrong with a folder's requirements.txt against its requirements.in."""
    lock = folder / "requirements.txt"
    shown = lock.relative_to(ROOT) if lock.is_relative_to(ROOT) else lock
    if not lock.exists():
        yield f"{shown}: missing; make it with inv lock"
        return
    locked = {}
    for entry in _entries(lock.read_text()):
        pinned = _PINNED.match(entry)
        if not pinned:
            yield f"{shown}: '{entry.split()[0]}' is not pinned to one version"
            continue
        locked[canonical(pinned[1])] = entry
        if "--hash=sha256:" not in entry:
            yield f"{shown}: {pinned[1]} has no hash"
    if _URL.search(lock.read_text()):
        yield f"{shown}: names an address; locks must not"
    for entry in _entries((folder / "requirements.in").read_text()):
        name = re.split(r"[\[=<>!~; ]", entry, maxsplit=1)[0]
        exact = re.search(r"==([^\s;,*]+)", entry)  # of 4.5.* the 4.5. counts
        if canonical(name) not in locked:
            yield f"{shown}: {name} of requirements.in is missing; run inv lock"
        elif exact and not _satisfied(exact[1], locked[canonical(name)]):
            yield f"{shown}: {name} is not at {exact[1]} as requirements.in wants; run inv lock"


def pinned(lock: Path) -> list[tuple[str, str]]:
    """The packages of a lock, name and version."""
    return [(one.name, one.version) for one in locked(lock).values()]


def locked(lock: Path) -> dict[str, Locked]:
    """The packages of a lock, by canonical name."""
    found = {}
    # A package's lines end where the next one begins: hashes, then comments that say who needs it.
    for part in re.split(r"^(?=[A-Za-z0-9])", lock.read_text(), flags=re.MULTILINE):
        if pin := _PINNED.match(part):
            comments = re.sub(r"^ *#( via)?", "", part.partition("# via")[2], flags=re.MULTILINE)
            found[canonical(pin[1])] = Locked(
                pin[1],
                pin[0].partition("==")[2],
                tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", part)),
                tuple(canonical(name) for name in comments.split() if _NAME.fullmatch(name)),
            )
    return found


def _satisfied(wanted: str, entry: str) -> bool:
    version = entry.partition("==")[2].split()[0]
    return version.startswith(wanted) if wanted.endswith(".") else version == wanted


def image_problems(dockerfile: str) -> Iterator[str]:
    """FROM lines of a Dockerfile that float."""
    stages = set(re.findall(r"\bAS\s+(\S+)", dockerfile))
    for image in _FROM.findall(dockerfile):
        if image in stages or image in ("scratch", *_NAMED):
            continue
        digest = re.search(r"@sha256:([0-9a-f]{64})$", image)
        if not digest:
            yield f"FROM {image} has no digest"
        elif reason := next(
            (why for start, why in _TRAPS.items() if digest[1].startswith(start)), ""
        ):
            yield f"FROM {image}: {reason}"


def _entries(text: str) -> Iterator[str]:
    """The requirements of a file, continuation lines joined, comments left out."""
    for line in text.replace("\\\n", " ").splitlines():
        entry = line.partition(" #")[0].strip()
        if entry and not entry.startswith("#"):
            yield entry


def canonical(name: str) -> str:
    """A package's name as indexes spell it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()

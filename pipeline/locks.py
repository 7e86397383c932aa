"""The hash-locked requirements: `inv lock` refreshes them, `inv lock --check` proves them whole."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import environments, screen
from pipeline.configuration import ROOT
from pipeline.errors import HostError, InputError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?==[^\s;\\]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_URL = re.compile(r"https?://|--(?:extra-)?index-url|--find-links")


@dataclass(frozen=True)
class Locked:
    """A package of a lock: the sha256 of each of its files, and the packages that need it."""

    name: str
    version: str
    hashes: tuple[str, ...]
    needed_by: tuple[str, ...]


ALL = "all"


def folders(name: str = ALL) -> list[tuple[Path, str, Path | None]]:
    """The folders that hold a lock, the Python each is for, and whose lock it must contain."""
    further = {"host": ROOT, "base": ROOT / "docker" / "base"}
    found: list[tuple[Path, str, Path | None]] = [
        (folder, "3.11", None) for key, folder in further.items() if name in (key, ALL)
    ]
    if found and name != ALL:
        return found
    known = [name]
    if name == ALL:
        known = [*environments.names(), *environments.devices(), environments.SERVING_TESTS]
    for environment in map(environments.load, known):
        file = environment.file
        of = environments.load(file.variant_of).folder if file.variant_of else None
        if (environment.folder / "requirements.in").exists():
            found.append((environment.folder, file.python, of))
        found += [(environment.folder / tool, python, None) for tool, python in file.tools.items()]
    # A variant takes over the versions that the lock of the other has by then.
    return sorted(found, key=lambda one: one[2] is not None)


def refresh(name: str) -> None:
    """Resolve requirements.in anew, for one environment, `host`, `base` or `all`.

    With all of them, or `base`, the base images move on as well, where a registry answers.
    """
    for folder, python, of in folders(name):
        screen.say(f"locking {folder.relative_to(ROOT) / 'requirements.txt'}")
        arguments = ["--universal"] if folder == ROOT else []
        if of:
            arguments.append(f"--constraint={os.path.relpath(of, folder)}/requirements.txt")
        if overrides := _overrides(folder, of):
            arguments.append(f"--override={os.path.relpath(overrides, folder)}")
        _resolve(folder, python, arguments)
    if name in (ALL, "base"):
        from pipeline import image_registry

        image_registry.refresh(ROOT)


def _resolve(folder: Path, python: str, arguments: Sequence[str]) -> None:
    """Write the folder's requirements.txt; raises HostError where that does not succeed."""
    import uv  # imported late, as in virtualenvs

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


def check(registry: bool = False) -> None:
    """Raise InputError listing every pin that is not one; ``registry``: asked about images too."""
    from pipeline import image_pins, image_registry  # late: other commands only read locks

    problems = [problem for one in folders() for problem in lock_problems(*one)]
    problems += image_pins.problems(ROOT)
    if registry:
        problems += image_registry.problems(ROOT)
    if problems:
        raise InputError("these pins are not whole:\n  " + "\n  ".join(problems))
    screen.say("all pins are whole")


def lock_problems(folder: Path, python: str = "3.11", of: Path | None = None) -> Iterator[str]:
    """What is wrong with a folder's requirements.txt, and where it is not of its requirements.in.

    ``of``: the folder whose lock it must contain, as a variant does.
    """
    lock = folder / "requirements.txt"
    shown = lock.relative_to(ROOT) if lock.is_relative_to(ROOT) else lock
    if not lock.exists():
        yield f"{shown}: missing; make it with inv lock"
        return
    text = lock.read_text()
    for entry in _entries(text):
        pinned = _PINNED.match(entry)
        if not pinned:
            yield f"{shown}: '{entry.split()[0]}' is not pinned to one version"
        elif "--hash=sha256:" not in entry:
            yield f"{shown}: {pinned[1]} has no hash"
    if _URL.search(text):
        yield f"{shown}: names an address; locks must not"
    found = locked(lock)
    for problem in [
        *_unlike(found, wanted(folder), _wanted_by(_overrides(folder, of)), python),
        *(_other_versions(found, locked(of / "requirements.txt")) if of else ()),
    ]:
        yield f"{shown}: {problem}; run inv lock"


def _unlike(
    found: Mapping[str, Locked],
    asked_for: Sequence[Requirement],
    overrides: Sequence[Requirement],
    python: str,
) -> Iterator[str]:
    """Where a lock is not what its inputs ask for."""
    overridden = {canonical(one.name): one for one in overrides}
    for name, override in overridden.items():
        if not _applies(override, python):
            if name in found:
                yield f"{override.name} is there, which overrides.txt leaves out"
        elif name in found and not override.specifier.contains(found[name].version, True):
            yield f"{override.name} is not at {override.specifier} as overrides.txt wants"
    for one in asked_for:
        name = canonical(one.name)
        if not _applies(one, python) or name in overridden:
            continue
        if name not in found:
            yield f"{one.name} of requirements.in is missing"
        elif not one.specifier.contains(found[name].version, True):
            yield f"{one.name} is not at {one.specifier} as requirements.in wants"
    asked = {canonical(one.name) for one in asked_for}
    for name, one_locked in found.items():
        if name not in asked and not found.keys() & set(one_locked.needed_by):
            yield f"{one_locked.name} is there, and nothing in requirements.in needs it"


def _other_versions(found: Mapping[str, Locked], plain: Mapping[str, Locked]) -> Iterator[str]:
    for name, one in plain.items():
        if name not in found or found[name].version != one.version:
            yield f"{one.name} is not at {one.version}, as in the environment it is a variant of"


def wanted(folder: Path) -> list[Requirement]:
    """The requirements of requirements.in, those of files that it names included."""
    return _wanted_by(folder / "requirements.in")


def _wanted_by(file: Path | None) -> list[Requirement]:
    from packaging.requirements import Requirement  # imported late: other commands need none

    found: list[Requirement] = []
    for entry in _entries(file.read_text()) if file else ():
        if entry.startswith("-r "):
            assert file is not None
            found += _wanted_by(file.parent / entry.removeprefix("-r ").strip())
        else:
            found.append(Requirement(entry))
    return found


def _applies(requirement: Requirement, python: str) -> bool:
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    return requirement.marker is None or requirement.marker.evaluate(environment)


def _overrides(folder: Path, of: Path | None) -> Path | None:
    files = (where / "overrides.txt" for where in (folder, of) if where)
    return next((file for file in files if file.exists()), None)


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


def _entries(text: str) -> Iterator[str]:
    """The requirements of a file, continuation lines joined, comments left out."""
    for line in text.replace("\\\n", " ").splitlines():
        entry = line.partition(" #")[0].strip()
        if entry and not entry.startswith("#"):
            yield entry


def canonical(name: str) -> str:
    """A package's name as indexes spell it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()

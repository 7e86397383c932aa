"""What is installed in an image or a virtualenv: Python and Debian packages, and their licences.

Read from what the packages themselves left (``METADATA`` of each ``dist-info``, dpkg's status),
so that it is what is there and not what was asked for. Nothing of an image is run, so it may be
for another processor.
"""

from __future__ import annotations

import email.parser
import email.policy
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import docker_engine, image_files, images, locks, virtualenvs
from pipeline.content import ContentCache
from pipeline.environments import Environment, environment_digest

_VENV = "/opt/venv"
_DPKG = "/var/lib/dpkg"  # `status`, or a file for each package in `status.d` where dpkg is not
_SYSTEM = "/usr/lib/os-release"
_LONGEST_LICENCE = 100  # characters: longer ones are the licence's text


@dataclass(frozen=True, order=True)
class PythonPackage:
    """An installed distribution; ``licence`` is empty where its metadata do not tell."""

    name: str
    version: str
    licence: str = ""


@dataclass(frozen=True, order=True)
class DebianPackage:
    """An installed Debian package; ``source`` is what it was built from, ``name`` or
    ``name@version``, empty where that is its own name and version."""

    name: str
    version: str
    architecture: str
    source: str = ""


@dataclass(frozen=True)
class Contents:
    """What is installed, and what told so: an image's id, ``virtualenv`` or ``lock``."""

    source: str
    python: tuple[PythonPackage, ...]
    debian: tuple[DebianPackage, ...] | None = None  # None: nobody could look
    system: str = ""  # debian-12


def of_environment(environment: Environment, cache: ContentCache) -> Contents:
    """What the environment holds, from the best witness there is: image, virtualenv, lock."""
    if docker_engine.available() is None:
        tag = images.image_tag(environment.name, environment_digest(environment, cache))
        if image := docker_engine.image_id(tag):
            return of_image(image)
    virtualenv = virtualenvs.location(environment)
    if virtualenv.is_dir():
        return of_virtualenv(virtualenv)
    packages = {PythonPackage(name, one.version) for name, one in locked(environment)}
    return Contents("lock", tuple(sorted(packages)))


def locked(environment: Environment) -> list[tuple[str, locks.Locked]]:
    """The packages of the environment's locks, its tools' included, with their names."""
    tools = map(environment.tool_lock, environment.file.tools)
    return [one for lock in (environment.lock, *tools) for one in locks.locked(lock).items()]


def of_image(image: str) -> Contents:
    """What an image of ours holds."""
    metadata = image_files.read_files(image, _VENV, is_metadata)
    status = image_files.read_files(
        image, _DPKG, lambda name: name == "dpkg/status" or name.startswith("dpkg/status.d/")
    )
    release = image_files.read_files(image, _SYSTEM, lambda _: True)
    return Contents(
        image,
        python_packages(metadata.values()),
        debian_packages(b"\n\n".join(status[name] for name in sorted(status)).decode()),
        system_name(b"".join(release.values()).decode()),
    )


def of_virtualenv(folder: Path) -> Contents:
    """What a virtualenv of this host holds."""
    found = (
        path
        for place in ("lib/python*/site-packages", "tools/*")
        for path in folder.glob(f"{place}/*.dist-info/METADATA")
    )
    return Contents("virtualenv", python_packages(path.read_bytes() for path in found))


def is_metadata(name: str) -> bool:
    """Whether a file of a virtualenv describes an installed distribution."""
    return re.search(r"/(site-packages|tools/[^/]+)/[^/]+\.dist-info/METADATA$", name) is not None


def python_packages(metadata: Iterable[bytes]) -> tuple[PythonPackage, ...]:
    """The distributions that these ``METADATA`` files describe, sorted."""
    # Of headers alone: the body is the package's whole description.
    parser = email.parser.BytesHeaderParser(policy=email.policy.compat32)
    found = set()
    for content in metadata:
        fields = parser.parsebytes(content)
        name, version = (str(fields[field]) for field in ("Name", "Version"))
        found.add(PythonPackage(locks.canonical(name), version, _licence(fields)))
    return tuple(sorted(found))


def _licence(fields: email.message.Message) -> str:
    """What the metadata say, the most exact first; https://peps.python.org/pep-0639/ has why."""
    text = str(fields["License"] or "").strip()
    classified = [
        value.rpartition(" :: ")[2]
        for value in map(str, fields.get_all("Classifier", []))
        if value.startswith("License :: ") and not value.endswith(":: OSI Approved")
    ]
    short = text if len(text) <= _LONGEST_LICENCE and "\n" not in text else ""
    candidates = (str(fields["License-Expression"] or "").strip(), short, " and ".join(classified))
    return next((one for one in candidates if one and one != "UNKNOWN"), "")


def debian_packages(status: str) -> tuple[DebianPackage, ...]:
    """The installed packages of a file in the form of dpkg's ``status``, sorted."""
    found = []
    for paragraph in re.split(r"\n{2,}", status.strip()):
        fields: Mapping[str, str] = dict(
            re.findall(
                r"^(Package|Version|Architecture|Status|Source): (.*)$", paragraph, re.MULTILINE
            )
        )
        # In status.d there is no Status: all that is there was unpacked.
        if fields.get("Status", "install ok installed").endswith(" installed") and fields:
            source = fields.get("Source", "").replace(" (", "@").rstrip(")")
            names = (fields["Package"], fields["Version"], fields["Architecture"])
            found.append(DebianPackage(*names, source))
    return tuple(sorted(found))


def system_name(release: str) -> str:
    """``debian-12`` from the text of an os-release file; empty where it does not tell."""
    fields = dict(line.partition("=")[::2] for line in release.splitlines())
    values = ["".join(shlex.split(fields.get(key, ""))) for key in ("ID", "VERSION_ID")]
    return "-".join(filter(None, values))

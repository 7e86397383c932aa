"""Packed detectors in a registry: their names there, one image of all platforms, signatures.

    REGISTRY/<experiment>/<target>:<precision>-<detector>    each target's image; also as :TAG
    REGISTRY/<experiment>:TAG                                one name for all platforms

Signed, attested and verified with cosign (https://docs.sigstore.dev/cosign/), which finds out by
itself who signs: a CI job by its identity, a person in the browser.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pipeline import docker_engine, image_transfer
from pipeline.errors import HostError, InputError, StageFailed
from pipeline.packaging import Package
from pipeline.screen import say, shown

# Of the distribution specification: a host with an optional port, then lower-case folders.
_REGISTRY = re.compile(r"[a-z0-9][a-z0-9.-]*(:\d+)?(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


@dataclass(frozen=True)
class Packed:
    """A package as `inv package` left it: its description and where that lies."""

    package: Package
    path: Path

    def beside(self, ending: str) -> Path:
        """What lies beside the description, under the same name."""
        return self.path.with_name(self.path.name.removesuffix(".json") + ending)


def find(folders: Sequence[Path]) -> list[Packed]:
    """The packages with an image in ``folders``; InputError when there is none."""
    found = []
    for path in sorted(path for folder in folders for path in folder.glob("*.json")):
        if path.name.endswith((".cdx.json", ".slsa.json")):
            continue
        try:
            package = msgspec.json.decode(path.read_bytes(), type=Package)
        except msgspec.DecodeError as error:
            raise InputError(f"{path}: this describes no package ({error})") from None
        if package.image:
            found.append(Packed(package, path))
    if not found:
        places = ", ".join(map(shown, folders)) or "artifacts/"
        raise InputError(f"no image is packed in {places}; first: ./inv package --format tar")
    of_image: dict[str, Packed] = {}
    for one in found:
        other = of_image.setdefault(one.package.image.partition(":")[0], one)
        if other is not one:
            raise InputError(
                f"{shown(other.path)} and {shown(one.path)} are both of {one.package.target}, and "
                "one tag can stand for one only: choose with --precision, or remove one"
            )
    return found


def publish(packed: Sequence[Packed], registry: str, tag: str, sign: bool) -> None:
    """Push all, join those of one detector under one name, and sign them if asked to."""
    registry = registry_name(registry)
    check_tag(tag)
    if sign and not shutil.which("cosign"):
        raise HostError("--sign takes cosign, which is not on the PATH: install it or leave it out")
    if reason := docker_engine.available():
        raise HostError(f"pushing takes a container engine, and {reason}")
    for one in packed:
        _into_engine(one)
    pushed: dict[str, dict[str, str]] = {}  # name of all platforms -> platform -> reference
    for one in packed:
        repository, version = repository_of(one.package, registry)
        for name in (version, tag):
            digest = image_transfer.push(one.package.id, f"{repository}:{name}")
        reference = f"{repository}@{digest}"
        if sign:
            _sign(reference)
            _attest(reference, "cyclonedx", one.beside(".cdx.json"))
            made_by = one.beside(".slsa.json")
            made_by.write_bytes(msgspec.json.encode(statement(one.package, os.environ)))
            _attest(reference, "slsaprovenance1", made_by)
        say(f"{one.package.target}: {reference}")
        platforms = pushed.setdefault(repository.rpartition("/")[0], {})
        if platforms.setdefault(one.package.platform, reference) != reference:
            say(f"  not under the common name: another one is for {one.package.platform}, too")
    for experiment, platforms in pushed.items():
        digest = image_transfer.join(f"{experiment}:{tag}", list(platforms.values()))
        if sign:
            _sign(f"{experiment}@{digest}")
        say(f"{', '.join(platforms)}: {experiment}:{tag}, {digest}")


def registry_name(given: str) -> str:
    """``given`` in lower case, as images are named; InputError for what cannot be a registry."""
    lower = given.rstrip("/").lower()
    if not _REGISTRY.fullmatch(lower):
        raise InputError(f"{given}: a registry is a host and folders, as in ghcr.io/me/drydock")
    return lower


def check_tag(tag: str) -> None:
    """Raise InputError for what cannot be the tag of an image."""
    if not _TAG.fullmatch(tag):
        raise InputError(f"--tag {tag}: letters, digits, '.', '-' and '_' only, at most 128")


def repository_of(package: Package, registry: str) -> tuple[str, str]:
    """The image's name in a registry, and its tag there."""
    name, _, version = package.image.partition(":")
    return f"{registry}/{name.removeprefix('drydock/')}", version


def statement(package: Package, environ: Mapping[str, str]) -> dict[str, Any]:
    """What made an image, from what: a predicate of https://slsa.dev/spec/v1.0/provenance.

    ``environ`` tells which CI job this is. Where each part of the detector came from stands in the
    image itself, ``/opt/drydock/detector/provenance.json``.
    """
    server, repository = environ.get("GITHUB_SERVER_URL"), environ.get("GITHUB_REPOSITORY")
    source = f"{server}/{repository}" if server and repository else environ.get("CI_PROJECT_URL")
    builder = source or "urn:drydock:local"
    if workflow := environ.get("GITHUB_WORKFLOW_REF"):
        builder = f"{server}/{workflow}"
    revision = package.labels.get("org.opencontainers.image.revision", "")
    return {
        "buildDefinition": {
            "buildType": "urn:drydock:package",
            "externalParameters": {"target": package.target, "precision": package.precision},
            "resolvedDependencies": [
                {
                    "name": "source",
                    **({"uri": f"git+{source}"} if source else {}),
                    "digest": {"gitCommit": revision.partition("-")[0]},
                },
                {"name": "detector", "digest": {"sha256": package.detector}},
            ],
        },
        "runDetails": {
            "builder": {"id": builder},
            "metadata": {
                "invocationId": environ.get("GITHUB_RUN_ID") or environ.get("CI_JOB_URL", "")
            },
        },
    }


def _into_engine(packed: Packed) -> None:
    """Have the engine hold the very image that the description names."""
    package = packed.package
    archive = packed.beside(".tar")
    if docker_engine.image_id(package.image) != package.id and archive.is_file():
        say(f"loading {shown(archive)}")
        image_transfer.load(archive)
    found = docker_engine.image_id(package.image)
    if found != package.id:
        what = f"holds another one ({found})" if found else "does not have it"
        raise StageFailed(
            f"{package.image} is not the image that {shown(packed.path)} describes: the engine "
            f"{what}; pack it again: ./inv package --target {package.target}"
        )


def _sign(reference: str) -> None:
    _cosign("sign", "--yes", reference)


def _attest(reference: str, kind: str, predicate: Path) -> None:
    _cosign("attest", "--yes", f"--type={kind}", f"--predicate={predicate}", reference)


def _cosign(*arguments: str) -> None:
    if subprocess.run(["cosign", *arguments], check=False).returncode:
        raise StageFailed(f"cosign {arguments[0]} {arguments[-1]} failed, see above")

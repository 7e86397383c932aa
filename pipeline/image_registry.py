"""What the registry says of the base images: `inv lock` moves them on, `--check --registry` asks.

It is asked through the docker command, which knows the user's registry, mirror, proxy and login.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import image_pins, images, screen
from pipeline.errors import HostError, InputError

PLATFORMS = ("linux/amd64", "linux/arm64")  # what the images are built for, bases included


@dataclass(frozen=True)
class Found:
    """An image in the registry: its digest, and why that is no pin (empty where it is one)."""

    digest: str
    problem: str


def judge(content: bytes) -> Found:
    """The digest of an index, and what it lacks; ``content`` as the registry serves it."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    document = json.loads(content)
    if "manifests" not in document:
        return Found(digest, "is a single platform's image, not the index of all platforms")
    there = {_platform(one.get("platform") or {}) for one in document["manifests"]}
    if not there - {"unknown/unknown"}:
        return Found(digest, "is an empty index")
    missing = [platform for platform in PLATFORMS if platform not in there]
    return Found(digest, f"has nothing for {' and '.join(missing)}" if missing else "")


def problems(root: Path) -> Iterator[str]:
    """Every pinned image that the registry does not have, or not for all platforms."""
    for path in image_pins.dockerfiles(root):
        for image in image_pins.external_images(path.read_text()):
            found = judge(_ask(image))
            if found.problem:
                yield f"{path.relative_to(root)}: {image} {found.problem}"
            elif not image.endswith(found.digest):
                yield f"{path.relative_to(root)}: {image} is {found.digest} in the registry"


def refresh(root: Path) -> None:
    """Move the base images on to what their tags stand for today, and the date of all files.

    Where no registry answers they stay, and the user is told.
    """
    for path in image_pins.dockerfiles(root):
        for image in image_pins.external_images(path.read_text()):
            tagged = image.partition("@")[0]
            try:
                found = judge(_ask(tagged))
            except HostError as error:
                screen.say(f"{path.relative_to(root)}: {tagged} stays as it is: {error}")
                continue
            if found.problem:
                raise InputError(f"{path.relative_to(root)}: {tagged} {found.problem}")
            epoch = _made(tagged)
            _rewrite(path, moved(path.read_text(), image, f"{tagged}@{found.digest}", epoch))
            if path == root / image_pins.BASE:
                matrix = root / image_pins.MATRIX
                _rewrite(matrix, dated(matrix.read_text(), epoch))
            new = "as before" if image.endswith(found.digest) else found.digest
            screen.say(f"{path.relative_to(root)}: {tagged} of {image_pins.day(epoch)}, {new}")


def moved(dockerfile: str, image: str, new: str, epoch: int) -> str:
    """A Dockerfile with another base, whose day its comment names."""
    dockerfile = re.sub(
        r"^(# \w+-)\d{8}(-slim\b)", rf"\g<1>{image_pins.day(epoch)}\2", dockerfile, flags=re.M
    )
    return dockerfile.replace(image, new)


def dated(matrix: str, epoch: int) -> str:
    """The matrix with another date for all files: that day's beginning in UTC."""
    start = epoch - epoch % 86400
    matrix = re.sub(
        r'^(variable "SOURCE_DATE_EPOCH".*?")\d+(")', rf"\g<1>{start}\2", matrix, flags=re.M
    )
    day = image_pins.day(epoch)
    return re.sub(
        r"(Debian snapshot \()\d{4}-\d{2}-\d{2}", rf"\g<1>{day[:4]}-{day[4:6]}-{day[6:]}", matrix
    )


def _platform(platform: Mapping[str, Any]) -> str:
    return f"{platform.get('os')}/{platform.get('architecture')}"


def _made(image: str) -> int:
    """When an image was made, as its first platform's configuration says; seconds since 1970."""
    described = json.loads(_ask(image, "--format", "{{json .Image}}"))
    created = described.get("created") or next(iter(described.values()))["created"]
    return int(datetime.datetime.fromisoformat(created.replace("Z", "+00:00")).timestamp())


def _ask(image: str, *how: str) -> bytes:
    """What the docker command prints of an image in its registry, the index itself by default."""
    command = ["docker", "buildx", "imagetools", "inspect", image, *(how or ("--raw",))]
    try:
        done = subprocess.run(
            command,
            env=images.builder_environment(os.environ),
            capture_output=True,
            check=False,
            timeout=120,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"the registry could not be asked: {error}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no answer"]
        raise HostError(f"the registry could not be asked: {said[-1]}")
    return done.stdout


def _rewrite(path: Path, text: str) -> None:
    if path.read_text() != text:
        path.write_text(text)

"""What of the images is pinned, and whether the matrix and the environments agree; asks nobody."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import environments
from pipeline.environments import Environment

MATRIX = Path("docker", "docker-bake.hcl")
BASE = Path("docker", "base", "Dockerfile")

_FROM = re.compile(r"^FROM\s+(?:--platform=\S+\s+)?(\S+)", re.MULTILINE | re.IGNORECASE)
# Where else an instruction names an image: COPY --from=, RUN --mount=type=bind,from=
_ALSO_FROM = re.compile(r"^(?:COPY|ADD|RUN)\b.*?(?:--|,)from=([^\s,]+)", re.MULTILINE)
# Put in by who builds, or nothing at all.
_NAMED = ("scratch", "base", "builder", "runtime", "tools", "vendor")
# Digests that look like pins and are none, by how they begin: published by mistake, or of a single
# platform where others would fetch nothing.
_TRAPS = {
    "eb37f58646a901dc": "this index is empty",
    "0bb88834": "this is the amd64 image alone, not the index of all platforms",
    "59e0e437": "this is the amd64 image alone, not the index of all platforms",
    "f3034a6ec3c12053": "this is the amd64 image alone, not the index of all platforms",
    "0c8bbb8e987a035f": "this is the arm64 image alone, not the index of all platforms",
}


@dataclass(frozen=True)
class Target:
    """A target of the matrix, as far as it can drift from the environments."""

    context: str
    dockerfile: str
    platforms: tuple[str, ...]


def problems(root: Path) -> list[str]:
    """Every image pin below ``root`` that is none, one line each."""
    found = [
        f"{path.relative_to(root)}: {problem}"
        for path in dockerfiles(root)
        for problem in dockerfile_problems(path.read_text())
    ]
    text = (root / MATRIX).read_text()
    known = [
        environments.load(name, root)
        for name in (*environments.names(root), *environments.devices(root))
    ]
    drift = [*matrix_problems(text, known), *date_problems((root / BASE).read_text(), text)]
    return [*found, *(f"{MATRIX}: {problem}" for problem in drift)]


def dockerfiles(root: Path) -> list[Path]:
    """All Dockerfiles of the project."""
    return sorted((root / "docker").rglob("Dockerfile"))


def external_images(dockerfile: str) -> list[str]:
    """The images of others that a Dockerfile names, each once, as it names them."""
    joined = dockerfile.replace("\\\n", " ")
    stages = set(re.findall(r"^FROM\b.*\bAS\s+(\S+)", joined, re.MULTILINE | re.IGNORECASE))
    named = [*_FROM.findall(joined), *_ALSO_FROM.findall(joined)]
    return [image for image in dict.fromkeys(named) if image not in (*stages, *_NAMED)]


def dockerfile_problems(dockerfile: str) -> Iterator[str]:
    """What a Dockerfile takes from elsewhere without a pin."""
    for image in external_images(dockerfile):
        digest = re.search(r"@sha256:([0-9a-f]{64})$", image)
        if not digest:
            yield f"{image} has no digest"
        elif reason := next(
            (why for start, why in _TRAPS.items() if digest[1].startswith(start)), ""
        ):
            yield f"{image}: {reason}"
    if re.match(r"#\s*syntax\s*=", dockerfile):
        yield "its `# syntax=` line names an image; the builder's own syntax does"
    for line in re.findall(r"^ADD\s.*https?://.*$", dockerfile, re.MULTILINE):
        if "--checksum=sha256:" not in line:
            yield f"`{line}` has no --checksum"


def matrix(text: str) -> dict[str, Target]:
    """The targets of docker-bake.hcl by name; as much of HCL as that file uses."""
    found = {}
    for name, body in re.findall(r'^target "([^"]+)" \{$(.*?)^\}$', text, re.MULTILINE | re.DOTALL):
        fields = dict(re.findall(r'^  (\w+) += +"?([^"\n]*)"?$', body, re.MULTILINE))
        if "context" in fields:
            platforms = tuple(re.findall(r'"([^"]+)"', "".join(_list(body, "platforms"))))
            dockerfile = fields.get("dockerfile", "Dockerfile")
            found[name] = Target(fields["context"], dockerfile, platforms)
    return found


def matrix_problems(text: str, known: list[Environment]) -> Iterator[str]:
    """Where the matrix and the environments (docker/*/environment.toml) say different things."""
    targets = matrix(text)
    grouped = set(re.findall(r'"([^"]+)"', "".join(_list(text, "targets"))))
    for environment in known:
        name = environment.name.replace("/", "-")
        if name not in targets:
            yield f"the environment {environment.name} has no target"
            continue
        target, file = targets.pop(name), environment.file
        if target.context != f"docker/{environment.name}":
            yield f"target {name} is built from {target.context}, not docker/{environment.name}"
        wanted = f"../{file.variant_of}/Dockerfile" if file.variant_of else "Dockerfile"
        if target.dockerfile != wanted:
            yield f"target {name} is built by {target.dockerfile}, not {wanted}"
        if target.platforms != ((file.platform,) if file.platform else ()):
            yield f"target {name} is for {target.platforms}, environment.toml says {file.platform}"
        if name not in grouped:
            yield f"target {name} is in no group"
    for name in sorted(grouped - matrix(text).keys()):
        yield f"a group names {name}, which is no target"


def _list(text: str, name: str) -> list[str]:
    return re.findall(rf"\b{name} += +\[(.*?)\]", text, re.DOTALL)


def date_problems(dockerfile: str, matrix_text: str) -> Iterator[str]:
    """Whether all files are dated with the day of the base image, which stands in a comment."""
    named = re.search(r"^# \w+-(\d{8})-slim\b", dockerfile, re.MULTILINE)
    epoch = re.search(r'^variable "SOURCE_DATE_EPOCH" \{ default = "(\d+)" \}', matrix_text, re.M)
    if not named or not epoch:
        yield f"{BASE} or SOURCE_DATE_EPOCH does not say of which day the base image is"
    elif day(int(epoch[1])) != named[1]:
        yield f"SOURCE_DATE_EPOCH is {day(int(epoch[1]))}, and {BASE} of {named[1]}"


def day(epoch: int) -> str:
    """A time in seconds since 1970 as the day in UTC, like 20260918."""
    return datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y%m%d")

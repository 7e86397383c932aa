"""What the images weigh, how long they take to build, and whether a build can be repeated.

    .venv/bin/python benchmarks/images.py [NAME ...]    (default: all that this computer uses)

Builds each image twice from nothing and once more after a change of its pins, and writes its row of
the table in docs/IMAGES.md. NAME is an environment (train, device/arm64 ...) or a base (base,
bullseye). `--existing` takes the image that is there for the first build, for those that are large.
What needs a wheel that is on no registry, and not here, gets a row that says so.

cold  nothing cached, base image and builder included: the mean of the builds
warm  a pin changed, the packages of the last build still cached
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
import zlib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from pipeline import (  # noqa: E402
    docker_engine,
    environments,
    hardware,
    image_pins,
    images,
    locks,
    reproduction,
)
from pipeline.content import ContentCache  # noqa: E402
from pipeline.errors import HostError  # noqa: E402

PAGE = REPOSITORY / "docs" / "IMAGES.md"
BEGIN, END = "<!-- written by benchmarks/images.py -->", "<!-- end -->"
HEAD = (
    "| image | base | Python | main packages | size | compressed | cold | warm | same ID twice |\n"
    "|---|---|---|---|---|---|---|---|---|"
)
# What others are built on, which are no environments: their Python.
BASES = {"base": "3.11", "bullseye": "3.9"}


def row(name: str, existing: bool) -> list[str]:
    """The cells of an image's row."""
    python = BASES.get(name) or environments.load(name).file.python
    facts = [f"`{name}`", base_of(name), python, main_packages(name)]
    try:
        return [*facts, *measure(name, existing)]
    except HostError as error:
        wheel = None if name in BASES else environments.load(name).file.vendor
        if not wheel:
            raise
        say(str(error))
        return [*facts, "not built: its wheel was not to be had", *[""] * 4]


def measure(name: str, existing: bool) -> list[str]:
    """What comes of building an image: the last five cells of its row."""
    tags: list[str] = []
    try:
        return _measure(name, existing, tags)
    finally:
        for tag in tags:  # the bases' too
            docker_engine.remove_images(tag)


def _measure(name: str, existing: bool, tags: list[str]) -> list[str]:
    seconds, identities = [], []
    if existing:
        environment = environments.load(name)
        with tempfile.TemporaryDirectory() as scratch:
            cache = ContentCache(Path(scratch, "content.sqlite"))
            digest = environments.environment_digest(environment, cache)
            identities.append(images.ensure_image(name, digest, REPOSITORY, say))
    while len(identities) < 2:
        tags.append(f"measure-{uuid.uuid4().hex[:8]}")
        start = time.monotonic()
        identities.append(images.build_from_nothing(name, tags[-1], REPOSITORY, say))
        seconds.append(time.monotonic() - start)
    size, compressed = docker_engine.image_size(identities[0]), compressed_size(identities[0])
    same = identities[0] == identities[1]
    if not same:
        say("\n".join(reproduction.differing_files(*identities)[:50]))
    warm = ""
    if name not in BASES:  # which have no lock
        digest = uuid.uuid4().hex
        tags.append(digest[:12])
        warm = duration(warm_build(name, digest))
    return [
        megabytes(size),
        megabytes(compressed),
        duration(sum(seconds) / len(seconds)),
        warm,
        "yes" if same else "**no**",
    ]


def warm_build(name: str, digest: str) -> float:
    """Seconds that a build takes after a change of the lock that changes no package."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        shutil.copytree(REPOSITORY / "docker", root / "docker")
        with (root / "docker" / name / "requirements.txt").open("a") as lock:
            lock.write(f"# {digest}\n")
        start = time.monotonic()
        images.ensure_image(name, digest, root, say)
        return time.monotonic() - start


def compressed_size(image: str) -> int:
    """Bytes of an image as a registry keeps it: its layers through gzip."""
    command = ["docker", "save", image]
    packed, total = zlib.compressobj(6, wbits=31), 0
    with subprocess.Popen(
        command, env=images.builder_environment(os.environ), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        while chunk := process.stdout.read(1 << 20):
            total += len(packed.compress(chunk))
    if process.returncode:
        sys.exit(f"{image} could not be read")
    return total + len(packed.flush())


def base_of(name: str) -> str:
    """The image of others that all begins with; `scratch` where it is Debian's packages alone."""
    matrix = (REPOSITORY / image_pins.MATRIX).read_text()
    targets, name = image_pins.matrix(matrix), name.replace("/", "-")
    while True:
        target = targets[name]
        dockerfile = REPOSITORY / target.context / target.dockerfile
        if found := image_pins.external_images(dockerfile.read_text()):
            return found[0].partition("@")[0]
        body = re.search(rf'^target "{name}" \{{(.*?)^\}}', matrix, re.M | re.S)
        assert body is not None
        below = re.findall(r'\bbase += +"target:([^"]+)"', body[1])
        if not below:
            return "scratch"
        (name,) = below


def main_packages(name: str) -> str:
    """The first three packages that an environment asks for, as they are locked."""
    if name in BASES:
        return "Debian's python3 and ca-certificates"
    folder = environments.load(name).folder
    found = locks.locked(folder / "requirements.txt")
    asked = dict.fromkeys(locks.canonical(one.name) for one in locks.wanted(folder))
    first = [one for one in asked if one in found][:3]
    return ", ".join(f"{one} {found[one].version}" for one in first)


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def duration(seconds: float) -> str:
    return (
        f"{seconds // 60:.0f} min {seconds % 60:02.0f} s" if seconds >= 60 else f"{seconds:.0f} s"
    )


def say(line: str) -> None:
    print(line, flush=True)


def write(rows: dict[str, str]) -> None:
    """Put rows into the table, over those of the same images; the others stay."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    table, _, after = rest.partition(END)
    kept = {line.split("|")[1].strip(): line for line in table.splitlines() if line[:3] == "| `"}
    lines = [row for _, row in sorted({**kept, **rows}.items())]
    PAGE.write_text("\n".join([f"{before}{BEGIN}", HEAD, *lines, f"{END}{after}"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: what this host uses")
    parser.add_argument("--existing", action="store_true", help="compare with what is there")
    arguments = parser.parse_args()
    for name in arguments.names or environments.used(gpu=hardware.nvidia_driver()):
        cells = row(name, arguments.existing)
        say(" | ".join(cells))
        write({cells[0]: f"| {' | '.join(cells)} |"})


if __name__ == "__main__":
    main()

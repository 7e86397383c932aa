"""The matrix built by `docker buildx bake` itself, and which images a change makes anew."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from rooms import REPOSITORY

from pipeline import docker_engine, environments, image_pins, images, reproduction, vendor
from pipeline.content import ContentCache
from pipeline.errors import DrydockError

MATRIX = """
target "%s" {
  context  = "docker/%s"
  contexts = { base = "docker-image://drydock/test:setuid" }
}
"""
ENVIRONMENT = 'description = "a test"\npython = "3.11"\n'
DOCKERFILE = """FROM base
USER 0:0
RUN --mount=type=bind,target=/mnt cp /mnt/requirements.txt /etc/
"""


def bake(target: str, tag: str, folder: Path) -> None:
    """Bake a target as it stands in the matrix; only what this host is like is added."""
    command = ["docker", "buildx", "bake", f"--file={image_pins.MATRIX}"]
    overrides = os.environ.get("DRYDOCK_BUILD_CONTEXTS", "").split()
    command += [f"--set=*.contexts.{override}" for override in overrides]
    if network := os.environ.get("DRYDOCK_BUILD_NETWORK"):
        # Bake knows no such setting; a compose file beside the matrix does.
        known = image_pins.matrix((REPOSITORY / image_pins.MATRIX).read_text())
        services = {
            name: {"build": {"context": one.context, "network": network}}
            for name, one in known.items()
        }
        (folder / "network.yml").write_text(json.dumps({"services": services}))
        command.append(f"--file={folder / 'network.yml'}")
    # Newer versions would ask whether the host's certificates may be read.
    settings = {"TAG": tag, "BUILDX_BAKE_ENTITLEMENTS_FS": "0"}
    done = subprocess.run(
        [*command, target],
        cwd=REPOSITORY,
        env={**images.builder_environment(os.environ), **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def remove(tag: str) -> None:
    with docker_engine.connected() as client:
        for name in docker_engine.image_tags():
            if name.rpartition(":")[2] == tag:
                client.images.remove(name)


def test_bake_by_itself_makes_the_image_that_stages_run_in(tmp_path: Path) -> None:
    tag = f"bake-{uuid.uuid4().hex[:8]}"
    digest = environments.environment_digest(
        environments.load("litert"), ContentCache(tmp_path / "cache.sqlite")
    )
    ours = images.ensure_image("litert", digest, REPOSITORY, print)
    try:
        bake("litert", tag, tmp_path)
        baked = docker_engine.image_id(f"drydock/litert:{tag}")
        assert baked
        # By its files: where the engine has the base from elsewhere, it writes down the same
        # layers in another order.
        assert baked == ours or reproduction.differing_files(baked, ours) == []
    finally:
        remove(tag)


@pytest.mark.parametrize("brought", [None, b"another wheel"], ids=["no wheel", "another wheel"])
def test_the_build_itself_says_in_one_sentence_that_its_makers_wheel_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brought: bytes | None
) -> None:
    """As with bake, which does not look for the wheel first, the way `inv` does."""
    wheel = environments.load("rk3399pro").file.vendor
    assert wheel
    if brought:
        (tmp_path / wheel.file).write_bytes(brought)
    monkeypatch.setattr(vendor, "ensure", lambda *_: tmp_path / wheel.file)
    tag = uuid.uuid4().hex
    said: list[str] = []
    try:
        with pytest.raises(DrydockError) as caught:
            images.ensure_image("rk3399pro", tag, REPOSITORY, said.append)
    finally:
        remove(tag[:12])

    sentence = (
        f"{wheel.file} with the MD5 {wheel.md5} is missing: take it out of {wheel.archive} and"
        " set DRYDOCK_VENDOR to the folder that it is in"
    )
    assert any(line.endswith(sentence) for line in str(caught.value).splitlines())
    assert said[-1].endswith("check-wheel")  # at once, before anything is downloaded


class Two:
    """A repository with two environments, `small` and `other`, and a script."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said: list[str] = []
        (root / "scripts").mkdir()
        (root / "scripts" / "detect.py").write_text("print(1)\n")
        for name in ("small", "other"):
            folder = root / "docker" / name
            folder.mkdir(parents=True)
            (folder / "environment.toml").write_text(ENVIRONMENT)
            (folder / "Dockerfile").write_text(DOCKERFILE)
            (folder / "requirements.txt").write_text(f"# {uuid.uuid4()}\n")
        matrix = "".join(MATRIX % (name, name) for name in ("small", "other"))
        (root / image_pins.MATRIX).write_text(matrix)

    def images(self) -> dict[str, str]:
        """The ids of both, built where they are missing; `said` tells what was."""
        cache, self.said = ContentCache(self.root / "cache.sqlite"), []
        found = {}
        for name in ("small", "other"):
            digest = environments.environment_digest(environments.load(name, self.root), cache)
            found[name] = images.ensure_image(name, digest, self.root, self.said.append)
        return found


@pytest.fixture
def two(tmp_path: Path, image: str) -> Iterator[Two]:
    assert image  # the test image is there
    yield Two(tmp_path)
    with docker_engine.connected() as client:
        for name in ("small", "other"):
            for made in client.images.list(f"drydock/{name}"):
                client.images.remove(made.id, force=True)


def test_a_changed_script_builds_nothing_and_a_changed_pin_one_image(two: Two) -> None:
    first = two.images()
    assert [line for line in two.said if line.startswith("building")] == [
        "building the image of small",
        "building the image of other",
    ]

    (two.root / "scripts" / "detect.py").write_text("print(2)\n")
    assert two.images() == first
    assert two.said == []

    with (two.root / "docker" / "other" / "requirements.txt").open("a") as lock:
        lock.write("# changed\n")
    second = two.images()
    assert two.said[0] == "building the image of other"
    assert second["small"] == first["small"]
    assert second["other"] != first["other"]

"""A bill of materials read from an image, of which nothing is run."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from pipeline import contents, images
from pipeline.contents import DebianPackage, PythonPackage
from pipeline.errors import DrydockError

# As in a device's image: no shell, no dpkg, nothing that could be started.
DOCKERFILE = """\
FROM scratch
COPY status.d /var/lib/dpkg/status.d
COPY os-release /usr/lib/os-release
COPY site-packages /opt/venv/lib/python3.11/site-packages
"""


@pytest.fixture
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    context = tmp_path_factory.mktemp("context")
    for name, text in (
        ("Dockerfile", DOCKERFILE),
        ("status.d/libc6", "Package: libc6\nVersion: 2.36\nArchitecture: arm64\n"),
        ("status.d/dash", "Package: dash\nVersion: 0.5\nArchitecture: arm64\n"),
        ("os-release", "ID=debian\nVERSION_ID=12\n"),
        (
            "site-packages/thing-1.0.dist-info/METADATA",
            "Name: thing\nVersion: 1.0\nLicense-Expression: MIT\n",
        ),
        ("site-packages/thing/data.bin", "x" * (3 << 20)),
    ):
        path = context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    tag = f"drydock/test-sbom:{uuid.uuid4().hex}"
    environ = images.builder_environment(os.environ)
    subprocess.run(
        [*("docker", "buildx", "build", "--load", "--quiet", f"--tag={tag}"), str(context)],
        env=environ,
        check=True,
        capture_output=True,
    )
    yield tag
    subprocess.run(["docker", "image", "rm", tag], env=environ, check=True, capture_output=True)


def test_an_image_without_any_program_is_read(image: str) -> None:
    found = contents.of_image(image)

    assert found.python == (PythonPackage("thing", "1.0", "MIT"),)
    assert found.debian == (
        DebianPackage("dash", "0.5", "arm64"),
        DebianPackage("libc6", "2.36", "arm64"),
    )
    assert found.system == "debian-12"


def test_no_container_is_left_behind(image: str) -> None:
    contents.of_image(image)

    left = subprocess.run(
        ["docker", "ps", "--all", "--quiet", f"--filter=ancestor={image}"],
        env=images.builder_environment(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert left.stdout == ""


def test_an_image_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DrydockError, match="could not be read"):
        contents.of_image("drydock/test-sbom:nowhere")

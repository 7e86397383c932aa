"""An image goes through a bundle into an engine that lacks it."""

from __future__ import annotations

import gzip
import os
import platform
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import bundle, bundle_archive, docker_engine, environments, image_transfer, images
from pipeline.bundle_archive import File, Manifest, Packed
from pipeline.download import sha256_of
from pipeline.errors import DrydockError, InputError


def docker(*arguments: str, text: str | None = None) -> None:
    environ = images.builder_environment(os.environ)
    subprocess.run(
        ["docker", *arguments], env=environ, input=text, text=True, check=True, capture_output=True
    )


@pytest.fixture
def image(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A tag and an id."""
    tag = f"drydock/test-bundle:{uuid.uuid4().hex}"
    (tmp_path / "mark").write_text(tag)
    docker(
        *("buildx", "build", "--load", "--provenance=false", f"--tag={tag}", "--file=-"),
        str(tmp_path),
        text="FROM scratch\nCOPY mark /mark\n",
    )
    identity = docker_engine.image_id(tag)
    assert identity
    yield tag, identity
    if docker_engine.image_id(tag):
        docker("image", "rm", tag)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DRYDOCK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def packed(folder: Path, tag: str, identity: str) -> Path:
    """A bundle that holds the image as that of an environment."""
    source = folder / "image.tar.gz"
    with gzip.open(source, "wb", compresslevel=1) as output:
        image_transfer.save_stream(tag, output.write)
    name = "images/litert.tar.gz"
    lock = sha256_of(environments.load("litert").lock)
    manifest = Manifest(
        "abc",
        platform.machine(),
        "{}.{}".format(*sys.version_info),
        {"litert": Packed("3.11", lock, tag, identity)},
        {name: File(name, source.stat().st_size, sha256_of(source))},
    )
    bundle_archive.write(folder / "image.bundle", manifest, {name: source}, None)
    return folder / "image.bundle"


def test_an_image_is_there_again_after_loading(
    image: tuple[str, str], cache: Path, tmp_path: Path
) -> None:
    tag, identity = image
    archive = packed(tmp_path, tag, identity)
    docker("image", "rm", tag)

    bundle.load(archive)

    assert docker_engine.image_id(tag) == identity


def test_another_image_than_the_manifest_names_is_an_error(
    image: tuple[str, str], cache: Path, tmp_path: Path
) -> None:
    archive = packed(tmp_path, image[0], f"sha256:{'0' * 64}")

    with pytest.raises(InputError, match="is not"):
        bundle.load(archive)


def test_what_is_no_image_is_refused_by_the_engine() -> None:
    with pytest.raises(DrydockError, match="could not be loaded"):
        image_transfer.load_stream([b"no image" * 1000])


def test_an_image_that_is_not_there_cannot_be_saved() -> None:
    with pytest.raises(DrydockError, match="could not be saved"):
        image_transfer.save_stream("drydock/test-bundle:nowhere", lambda _: None)

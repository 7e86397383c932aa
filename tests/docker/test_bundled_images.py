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
from pipeline.bundle_archive import File, Image, Manifest, Packed
from pipeline.download import sha256_of
from pipeline.errors import DrydockError, HostError, InputError


def docker(*arguments: str, text: str | None = None) -> None:
    environ = images.builder_environment(os.environ)
    subprocess.run(
        ["docker", *arguments], env=environ, input=text, text=True, check=True, capture_output=True
    )


@pytest.fixture
def image(tmp_path: Path) -> Iterator[str]:
    """The tag of a small image."""
    tag = f"drydock/test-bundle:{uuid.uuid4().hex}"
    (tmp_path / "mark").write_text(tag)
    docker(
        *("buildx", "build", "--load", "--provenance=false", f"--tag={tag}", "--file=-"),
        str(tmp_path),
        text="FROM scratch\nCOPY mark /mark\n",
    )
    yield tag
    if docker_engine.image_id(tag):
        docker("image", "rm", tag)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DRYDOCK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def packed(folder: Path, tag: str, content: str) -> Path:
    """A bundle that holds the image as that of an environment."""
    with gzip.open(folder / "image.tar.gz", "wb", compresslevel=1) as output:
        image_transfer.save_stream(tag, output.write)
    return bundled(folder / "image.tar.gz", tag, content)


def bundled(source: Path, tag: str, content: str) -> Path:
    """A bundle with ``source`` as the archive of an image."""
    name = "images/litert.tar.gz"
    lock = sha256_of(environments.load("litert").lock)
    manifest = Manifest(
        "abc",
        platform.machine(),
        "{}.{}".format(*sys.version_info),
        {"litert": Packed("3.11", lock, tag)},
        {name: File(name, source.stat().st_size, sha256_of(source))},
        {name: Image(tag, content)},
    )
    archive = source.with_name("image.bundle")
    bundle_archive.write(archive, manifest, {name: source}, None)
    return archive


def content_of(tag: str) -> str:
    content = docker_engine.image_content(tag)
    assert content
    return content


def test_an_image_is_there_again_after_loading(image: str, cache: Path, tmp_path: Path) -> None:
    content, identity = content_of(image), docker_engine.image_id(image)
    archive = packed(tmp_path, image, content)
    docker("image", "rm", image)

    bundle.load(archive)

    assert (content_of(image), docker_engine.image_id(image)) == (content, identity)


def test_an_image_that_is_there_is_not_loaded_again(
    image: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(tmp_path, image, content_of(image))
    monkeypatch.setattr(image_transfer, "load_stream", lambda _: pytest.fail("it was loaded"))

    bundle.load(archive)


def test_another_image_than_the_manifest_names_is_an_error(
    image: str, cache: Path, tmp_path: Path
) -> None:
    archive = packed(tmp_path, image, "0" * 64)

    with pytest.raises(InputError, match="is not"):
        bundle.load(archive)


def test_an_engine_that_does_not_take_an_image_is_the_hosts_trouble(
    cache: Path, tmp_path: Path
) -> None:
    source = tmp_path / "image.tar.gz"
    source.write_bytes(gzip.compress(b"no image" * 1000))
    archive = bundled(source, f"drydock/test-bundle:{uuid.uuid4().hex}", "0" * 64)

    with pytest.raises(HostError, match=r"nothing is installed.*--load goes on"):
        bundle.load(archive)


def test_what_is_no_image_is_refused_by_the_engine() -> None:
    with pytest.raises(DrydockError, match="could not be loaded"):
        image_transfer.load_stream([b"no image" * 1000])


def test_an_image_that_is_not_there_cannot_be_saved() -> None:
    with pytest.raises(DrydockError, match="could not be saved"):
        image_transfer.save_stream("drydock/test-bundle:nowhere", lambda _: None)

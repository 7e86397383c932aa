"""Packed images in a registry, which is a real one on loopback; who signs is a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import docker_engine, image_transfer, images, publishing
from pipeline.errors import HostError, InputError, StageFailed
from pipeline.packaging import Package
from pipeline.publishing import Packed

EXPERIMENT = f"drydock/test-{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Packed]]:
    """Two packages as `inv package` leaves them, for two platforms."""
    folder = tmp_path_factory.mktemp("packages")
    environ = images.builder_environment(os.environ)
    for target, platform in (("box", "linux/amd64"), ("board", "linux/arm64")):
        context = folder / target
        context.mkdir()
        (context / "Dockerfile").write_text(f"FROM scratch\nCOPY mark /{uuid.uuid4().hex}\n")
        (context / "mark").write_text(target)
        tag = f"{EXPERIMENT}/{target}:int8-0123456789ab"
        subprocess.run(
            [
                *("docker", "buildx", "build", "--load", "--quiet", "--provenance=false"),
                *(f"--platform={platform}", f"--tag={tag}", str(context)),
            ],
            env=environ,
            check=True,
            capture_output=True,
        )
        package = Package(
            target=target,
            precision="int8",
            format="tar",
            folder=str(context),
            detector="d" * 64,
            size=1,
            image=tag,
            id=docker_engine.image_id(tag) or "",
            platform=platform,
            labels={"org.opencontainers.image.revision": "abc-dirty"},
        )
        (folder / f"test-{target}-int8.json").write_bytes(msgspec.json.encode(package))
        (folder / f"test-{target}-int8.cdx.json").write_text("{}")
    yield publishing.find([folder])
    for one in docker_engine.image_tags():
        if one.startswith(EXPERIMENT):
            subprocess.run(["docker", "image", "rm", "--force", one], env=environ, check=True)


@pytest.fixture
def signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts a stand-in for cosign on the PATH, which writes down what it was told to do."""
    log = tmp_path / "signed"
    program = tmp_path / "bin" / "cosign"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nfor last; do :; done\necho "$1 $3 $last" >>{log}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return log


def manifest(registry: str, name: str, reference: str) -> dict[str, Any]:
    host, _, path = registry.partition("/")
    request = urllib.request.Request(f"http://{host}/v2/{path}/{name}/manifests/{reference}")
    kinds = ("oci.image.index.v1", "oci.image.manifest.v1")
    kinds += ("docker.distribution.manifest.list.v2", "docker.distribution.manifest.v2")
    request.add_header("Accept", ", ".join(f"application/vnd.{kind}+json" for kind in kinds))
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def test_each_target_has_its_name_and_all_platforms_have_one(
    registry: str, packed: list[Packed], signed: Path
) -> None:
    publishing.publish(packed, registry, "v1.2", sign=True)

    experiment = EXPERIMENT.removeprefix("drydock/")
    for one in packed:
        for tag in ("v1.2", "int8-0123456789ab"):
            found = manifest(registry, f"{experiment}/{one.package.target}", tag)
            assert found["config"]["digest"] == one.package.id
    joined = manifest(registry, experiment, "v1.2")["manifests"]
    assert [one["platform"]["architecture"] for one in joined] == ["arm64", "amd64"]
    lines = signed.read_text().splitlines()
    # Signed is what a digest names, not a tag that may move.
    assert [line.split()[0] for line in lines] == ["sign", "attest", "attest"] * 2 + ["sign"]
    assert all("@sha256:" in line for line in lines)
    assert [line.split()[1] for line in lines if line.startswith("attest")] == [
        *("--type=cyclonedx", "--type=slsaprovenance1")
    ] * 2


def test_an_archive_is_loaded_where_the_engine_lacks_the_image(
    registry: str, packed: list[Packed]
) -> None:
    one = packed[0]
    archive = one.beside(".tar")
    images.save(one.package.image, archive)
    environ = images.builder_environment(os.environ)
    subprocess.run(["docker", "image", "rm", "--force", one.package.id], env=environ, check=True)

    publishing.publish([one], registry, "again", sign=False)

    assert docker_engine.image_id(one.package.image) == one.package.id
    archive.unlink()


def test_another_image_under_the_same_name_is_not_pushed(
    registry: str, packed: list[Packed]
) -> None:
    other = Packed(
        msgspec.structs.replace(packed[0].package, id=packed[1].package.id), packed[0].path
    )

    with pytest.raises(StageFailed, match="holds another one"):
        publishing.publish([other], registry, "wrong", sign=False)


def test_without_cosign_nothing_is_pushed_unsigned(
    packed: list[Packed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(HostError, match="--sign takes cosign"):
        publishing.publish(packed, "127.0.0.1:9/x", "v1", sign=True)


def test_a_registry_that_does_not_answer_is_an_error_of_the_host(packed: list[Packed]) -> None:
    with pytest.raises(HostError, match="`docker login"):
        image_transfer.push(packed[0].package.id, "127.0.0.1:9/x:v1")


def test_a_folder_without_packages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\./inv package --format tar"):
        publishing.find([tmp_path])
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InputError, match=r"other\.json: this describes no package"):
        publishing.find([tmp_path])

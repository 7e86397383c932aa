"""What of the images is a pin, and where matrix and environments drift apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import REPOSITORY

from pipeline import environments
from pipeline.configuration import EnvironmentFile
from pipeline.environments import Environment
from pipeline.image_pins import (
    date_problems,
    dockerfile_problems,
    external_images,
    matrix,
    matrix_problems,
)

PINNED = "debian:bookworm@sha256:" + "b" * 64


def problems(dockerfile: str) -> list[str]:
    return list(dockerfile_problems(dockerfile))


@pytest.mark.parametrize("image", ["debian:bookworm", "debian:bookworm@sha256:abc", "python", "$X"])
@pytest.mark.parametrize(
    "line",
    [
        "FROM {} AS build",
        "from --platform=linux/amd64 {}",
        "FROM base\nCOPY --from={} /a /b",
        "FROM base\nRUN --mount=type=bind,from={},target=/mnt true",
        "FROM base\nRUN --mount=type=cache,target=/x \\\n    --mount=type=bind,from={} true",
    ],
)
def test_a_floating_image_is_named_wherever_it_stands(image: str, line: str) -> None:
    (found,) = problems(line.format(image))

    assert found == f"{image} has no digest"


def test_pinned_images_and_own_stages_pass() -> None:
    text = f"FROM {PINNED} AS build\nFROM base AS rest\nFROM build\nCOPY --from=rest /a /b\n"

    assert problems(text) == []
    assert external_images(text) == [PINNED]


@pytest.mark.parametrize(
    ("digest", "problem"),
    [
        ("eb37f58646a901dc" + "0" * 48, "empty"),
        ("0bb88834" + "0" * 56, "amd64 image alone"),
        ("0c8bbb8e987a035f" + "0" * 48, "arm64 image alone"),
    ],
)
def test_a_digest_that_is_no_pin_is_named(digest: str, problem: str) -> None:
    (found,) = problems(f"FROM debian:bookworm-slim@sha256:{digest} AS base\n")

    assert problem in found


def test_downloads_and_syntax_that_float_are_named() -> None:
    assert "syntax" in problems("# syntax=docker/dockerfile:1\nFROM base\n")[0]
    assert "no --checksum" in problems("FROM base\nADD https://example.org/a /a\n")[0]
    assert problems(f"FROM base\nADD --checksum=sha256:{'a' * 64} https://example.org/a /a\n") == []


MATRIX = """
variable "SOURCE_DATE_EPOCH" { default = "1789689600" }
group "default" { targets = ["box"] }
target "base" {
  context = "docker/base"
}
target "box" {
  inherits  = ["_common"]
  context   = "docker/box"
  contexts  = { base = "target:base" }
  platforms = ["linux/arm64"]
}
"""
BOX = EnvironmentFile(description="x", python="3.11", platform="linux/arm64")


def drift(text: str, file: EnvironmentFile = BOX, name: str = "box") -> list[str]:
    return list(matrix_problems(text, [Environment(name, Path("docker", name), file)]))


def test_a_matrix_that_agrees_passes() -> None:
    assert drift(MATRIX) == []
    assert set(matrix(MATRIX)) == {"base", "box"}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('target "box"', 'target "bax"', "the environment box has no target"),
        ("docker/box", "docker/fox", "built from docker/fox"),
        ('["linux/arm64"]', '["linux/amd64"]', "environment.toml says linux/arm64"),
        ('targets = ["box"]', "targets = []", "in no group"),
        ('["box"]', '["box", "fox"]', "a group names fox"),
        ('docker/box"', 'docker/box"\n  dockerfile = "Other"', "built by Other"),
    ],
)
def test_drift_is_named(old: str, new: str, problem: str) -> None:
    assert any(problem in line for line in drift(MATRIX.replace(old, new)))


def test_a_variant_is_built_by_the_dockerfile_of_the_other() -> None:
    variant = EnvironmentFile(
        description="x", python="3.11", platform="linux/arm64", variant_of="plain"
    )

    assert "not ../plain/Dockerfile" in drift(MATRIX, variant)[0]
    line = 'docker/box"\n  dockerfile = "../plain/Dockerfile'
    assert drift(MATRIX.replace("docker/box", line), variant) == []


@pytest.mark.parametrize(
    ("dockerfile", "problem"),
    [
        ("# bookworm-20260918-slim, the index\n", None),
        ("# bookworm-20260919-slim, the index\n", "SOURCE_DATE_EPOCH is 20260918"),
        ("FROM x\n", "does not say of which day"),
    ],
)
def test_files_are_dated_with_the_day_of_the_base(dockerfile: str, problem: str | None) -> None:
    found = list(date_problems(dockerfile, MATRIX))

    assert found == [] if problem is None else problem in found[0]


def test_a_changed_pin_is_another_image_for_its_environment_only(tmp_path: Path) -> None:
    import shutil

    from pipeline.content import ContentCache

    shutil.copytree(REPOSITORY / "docker", tmp_path / "docker")
    cache = ContentCache(tmp_path / "content.sqlite")

    def digests() -> dict[str, str]:
        known = [*environments.names(tmp_path), *environments.devices(tmp_path)]
        return {
            name: environments.environment_digest(environments.load(name, tmp_path), cache)
            for name in known
        }

    def changed(file: str) -> set[str]:
        before = digests()
        with (tmp_path / "docker" / file).open("a") as lock:
            lock.write("# changed\n")
        return {name for name, digest in digests().items() if before[name] != digest}

    assert changed("openvino/requirements.txt") == {"openvino"}
    assert changed("train-cuda/requirements.txt") == {"train-cuda"}
    # The variant is made by the same Dockerfile and holds the same packages.
    assert changed("train/requirements.txt") == {"train", "train-cuda"}
    assert changed("docker-bake.hcl") == set()


def test_a_changed_script_is_another_image_for_none() -> None:
    """Nothing of scripts/ is in the context of an image, so no build can depend on it."""
    for target in matrix((REPOSITORY / "docker" / "docker-bake.hcl").read_text()).values():
        assert target.context.startswith("docker/")

"""`inv lock --check` tells whole pins from floating ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import environments
from pipeline.locks import _folders, image_problems, lock_problems

HASH = "--hash=sha256:" + "a" * 64
DIGEST = "sha256:" + "b" * 64


def problems(folder: Path, wanted: str, locked: str) -> list[str]:
    (folder / "requirements.in").write_text(wanted)
    (folder / "requirements.txt").write_text(locked)
    return list(lock_problems(folder))


@pytest.mark.parametrize("wanted", ["Some_Thing==1.2  # why", "some-thing==1.*", "some-thing"])
def test_a_whole_lock_passes(tmp_path: Path, wanted: str) -> None:
    assert problems(tmp_path, f"{wanted}\n", f"some-thing==1.2 \\\n    {HASH}\n") == []


@pytest.mark.parametrize(
    ("wanted", "locked", "problem"),
    [
        ("thing", "thing==1.2\n", "has no hash"),
        ("thing", f"thing>=1.2 \\\n    {HASH}\n", "is not pinned"),
        ("thing\nother", f"thing==1.2 \\\n    {HASH}\n", "other of requirements.in is missing"),
        ("thing==1.3", f"thing==1.2 \\\n    {HASH}\n", "is not at 1.3"),
        ("thing", f"--index-url https://example.org\nthing==1 {HASH}\n", "names an address"),
    ],
)
def test_a_floating_lock_is_named(tmp_path: Path, wanted: str, locked: str, problem: str) -> None:
    assert any(problem in line for line in problems(tmp_path, wanted, locked))


@pytest.mark.parametrize("image", ["debian:bookworm", "debian:bookworm@sha256:abc", "python"])
def test_a_floating_image_is_named(image: str) -> None:
    assert list(image_problems(f"FROM {image} AS build\nRUN true\n"))


@pytest.mark.parametrize(
    ("digest", "problem"),
    [
        ("eb37f58646a901dc" + "0" * 48, "empty"),
        ("0bb88834" + "0" * 56, "amd64 image alone"),
        ("0c8bbb8e987a035f" + "0" * 48, "arm64 image alone"),
    ],
)
def test_a_digest_that_is_no_pin_is_named(digest: str, problem: str) -> None:
    (found,) = image_problems(f"FROM debian:bookworm-slim@sha256:{digest} AS base\n")

    assert problem in found


def test_the_builders_own_lock_is_checked_too() -> None:
    assert any(folder.name == "base" for folder, _ in _folders(None))


def test_pinned_images_and_own_stages_pass() -> None:
    text = f"FROM debian:bookworm@{DIGEST} AS build\nFROM base AS rest\nFROM build\n"

    assert list(image_problems(text)) == []


def test_devices_have_locks_too() -> None:
    folders = {folder.name for folder, _ in _folders(None)}

    assert {"train", *(name.removeprefix("device/") for name in environments.devices())} <= folders

"""Hashes of files: right, and not computed twice."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from pipeline.content import ContentCache, digest, without


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return ContentCache(tmp_path / "cache" / "content.sqlite")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "train").mkdir(parents=True)
    for name in ("train/b.jpg", "train/a.jpg", "readme"):
        path = folder / name
        path.write_text(name)
        _age(path)
    return folder


def _age(path: Path) -> None:
    past = time.time() - 60
    os.utime(path, (past, past))


def test_a_folder_is_its_files_by_relative_path(cache: ContentCache, photos: Path) -> None:
    tree = cache.tree(photos)

    assert list(tree) == ["readme", "train/a.jpg", "train/b.jpg"]
    assert tree["readme"] == hashlib.sha256(b"readme").hexdigest()


def test_hidden_files_do_not_count(cache: ContentCache, photos: Path) -> None:
    before = cache.tree(photos)
    (photos / ".DS_Store").write_text("x")

    assert cache.tree(photos) == before


def test_unchanged_files_are_not_read_again(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ContentCache(tmp_path / "content.sqlite")
    before = first.tree(photos)
    first.save()
    monkeypatch.setattr(hashlib, "file_digest", _must_not_read)

    assert ContentCache(tmp_path / "content.sqlite").tree(photos) == before


def _must_not_read(*_: object) -> None:
    raise AssertionError("an unchanged file was read")


def test_a_change_of_the_same_size_is_seen(tmp_path: Path, photos: Path) -> None:
    first = ContentCache(tmp_path / "content.sqlite")
    before = first.tree(photos)
    first.save()
    (photos / "train" / "a.jpg").write_text("train/A.jpg")
    _age(photos / "train" / "a.jpg")  # even with the old time stamp: the change time tells

    after = ContentCache(tmp_path / "content.sqlite").tree(photos)

    assert after["train/a.jpg"] != before["train/a.jpg"]
    assert after["train/b.jpg"] == before["train/b.jpg"]


def test_a_damaged_cache_costs_time_only(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "content.sqlite").write_bytes(b"this is no database" * 100)
    cache = ContentCache(tmp_path / "content.sqlite")

    assert "readme" in cache.tree(photos)
    cache.save()


def test_a_link_is_what_it_points_to(cache: ContentCache, photos: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.jpg"
    outside.write_text("outside")
    (photos / "linked.jpg").symlink_to(outside)
    (photos / "loop").symlink_to(photos)

    tree = cache.tree(photos)

    assert tree["linked.jpg"] == hashlib.sha256(b"outside").hexdigest()
    assert not any(name.startswith("loop") for name in tree)


def test_a_digest_depends_on_names_and_contents_not_on_order() -> None:
    assert digest({"a": "1", "b": "2"}) == digest({"b": "2", "a": "1"})
    assert digest({"a": "1", "b": "2"}) != digest({"a": "2", "b": "1"})


def test_patterns_leave_files_out() -> None:
    files = {"train/a.jpg": "1", "test/b.jpg": "2", "test.record": "3", "train.record": "4"}

    assert without(files, ["test*"]) == {"train/a.jpg": "1", "train.record": "4"}

"""A wheel that no registry has: from a folder, from its maker's archive, or one clear sentence."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import msgspec
import pytest

from pipeline import vendor
from pipeline.configuration import VendorWheel
from pipeline.errors import HostError

CONTENT = b"a wheel"
WHEEL = VendorWheel(
    file="tool-1.0-cp38-cp38-linux_x86_64.whl",
    md5=hashlib.md5(CONTENT).hexdigest(),
    archive="http://127.0.0.1:9/tool-packages.tar.gz",  # nobody answers there
)


def archive(path: Path, content: bytes = CONTENT, name: str = WHEEL.file) -> None:
    with tarfile.open(path, "w:gz") as file:
        member = tarfile.TarInfo(f"packages/{name}")
        member.size = len(content)
        file.addfile(member, io.BytesIO(content))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    brought = tmp_path / "brought"
    brought.mkdir()
    monkeypatch.setenv(vendor.SETTING, str(brought))
    return brought


def test_the_wheel_is_taken_from_the_folder_and_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / WHEEL.file).write_bytes(CONTENT)

    kept = vendor.ensure(WHEEL, tmp_path / "cache", print)

    assert kept.read_bytes() == CONTENT and kept.name == WHEEL.file
    monkeypatch.delenv(vendor.SETTING)
    assert vendor.ensure(WHEEL, tmp_path / "cache", print) == kept


def test_the_makers_archive_in_the_folder_will_do(folder: Path, tmp_path: Path) -> None:
    archive(folder / "tool-packages.tar.gz")

    assert vendor.ensure(WHEEL, tmp_path / "cache", print).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["wheel", "archive", "other archive", "no archive", "nothing"])
def test_what_is_not_it_is_refused_in_one_sentence(
    folder: Path, tmp_path: Path, nothing_there: str, kind: str
) -> None:
    wheel = msgspec.structs.replace(WHEEL, archive=f"{nothing_there}/tool-packages.tar.gz")
    packages = folder / "tool-packages.tar.gz"
    if kind == "wheel":
        (folder / WHEEL.file).write_bytes(b"another")
    elif kind == "archive":
        archive(packages, b"another")
    elif kind == "other archive":
        archive(packages, name="other.whl")
    elif kind == "no archive":
        packages.write_bytes(b"<html>")

    with pytest.raises(HostError) as raised:
        vendor.ensure(wheel, tmp_path / "cache", print)

    message = str(raised.value)
    assert message.startswith(f"{WHEEL.file} is on no package registry and could not be had")
    assert message.endswith(f"set {vendor.SETTING} to that folder")
    assert not list((tmp_path / "cache" / "vendor").glob("*.whl"))

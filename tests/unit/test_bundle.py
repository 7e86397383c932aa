"""Bundles for hosts without network: what is refused, and that a load gives what was packed."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, Project
from wheels import wheel

from pipeline import bundle_archive
from pipeline.bundle_archive import File, Manifest
from pipeline.errors import HostError, InputError

PYTHON = "{}.{}".format(*sys.version_info)
CONTENTS = {
    "host/tool-1.0-py3-none-any.whl": b"tool",
    "wheels/thing-1.0-py3-none-any.whl": b"thing" * 100_000,
    "data/mine/train/photo one.jpg": b"photo",
}


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A small, good archive."""
    return pack(tmp_path, CONTENTS)


def pack(folder: Path, contents: dict[str, bytes]) -> Path:
    sources = {}
    for number, (name, content) in enumerate(contents.items()):
        sources[name] = folder / f"source-{number}"
        sources[name].write_bytes(content)
    files = {
        name: File(name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for name, path in sources.items()
    }
    archive = folder / "good.bundle"
    manifest = Manifest("abc", platform.machine(), PYTHON, {}, files)
    bundle_archive.write(archive, manifest, sources, None)
    return archive


def check(archive: Path) -> None:
    bundle_archive.verify(archive, bundle_archive.read_manifest(archive))


def rebuilt(
    archive: Path,
    folder: Path,
    manifest: Callable[[dict[str, Any]], object] = lambda _: None,
    members: Callable[[list[tuple[tarfile.TarInfo, bytes]]], object] = lambda _: None,
) -> Path:
    """The archive with its manifest or its members changed."""
    with tarfile.open(archive) as tar:
        found = [(one, tar.extractfile(one).read()) for one in tar]  # type: ignore[union-attr]
    document = json.loads(found[0][1])
    manifest(document)
    text = json.dumps(document).encode()
    found[0][0].size = len(text)
    found[0] = (found[0][0], text)
    members(found)
    result = folder / "hostile.bundle"
    with tarfile.open(result, "w", format=tarfile.GNU_FORMAT) as tar:
        for header, content in found:
            tar.addfile(header, io.BytesIO(content))
    return result


def test_what_was_packed_is_read_again(packed: Path, tmp_path: Path) -> None:
    check(packed)

    manifest = bundle_archive.read_manifest(packed)
    for file, content in bundle_archive.members(packed, manifest):
        bundle_archive.extract(packed, file, content, tmp_path / "out" / file.path)
    for name, content in CONTENTS.items():
        assert (tmp_path / "out" / name).read_bytes() == content


def named(path: str) -> Callable[[dict[str, Any]], None]:
    """A manifest in which a file has this path."""

    def change(document: dict[str, Any]) -> None:
        document["files"][path] = document["files"].pop("data/mine/train/photo one.jpg")

    return change


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "data/../../x",
        "data/mine//x",
        "data/mine/.hidden",
        "data/mine\\..\\x",
        "wheels/folder/x.whl",
        "wheels",
        "elsewhere/x",
        "",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(packed: Path, path: str) -> None:
    with pytest.raises(InputError, match="would write to"):
        check(rebuilt(packed, packed.parent, manifest=named(path)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=1), "has format 1"),
        (lambda d: d.update(images={"images/x": {"tag": "x", "content": "0"}}), "which images"),
        (lambda d: d.update(files={"images/x": [1, "a" * 64]}), "which images"),
        (lambda d: d.update(files=[]), "damaged"),
        (lambda d: d.update(files={"wheels/x": ["1", "a" * 64]}), "is no number"),
        (lambda d: d.update(files={"wheels/x": [-1, "a" * 64]}), "size or sha256"),
        (lambda d: d.update(files={"wheels/x": [1, "../x"]}), "size or sha256"),
        (lambda d: d.update(files={"wheels/x": [10**18, "a" * 64]}), "shorter than what it says"),
        (lambda d: d.pop("machine"), "damaged"),
        (lambda d: d.update(environments={"x": {"python": "3"}}), "damaged"),
        (lambda d: d.update(revision="a\x1b[31m"), "damaged"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused(
    packed: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check(rebuilt(packed, packed.parent, manifest=change))


def link(kind: bytes) -> Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[2][0].type = kind
        members[2][0].linkname = "/etc/passwd"

    return change


def other_content(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[1] = (members[1][0], b"x" * len(members[1][1]))


def longer(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[1][0].size = 9
    members[1] = (members[1][0], b"123456789")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (link(tarfile.SYMTYPE), "is a link or a device"),
        (link(tarfile.LNKTYPE), "is a link or a device"),
        (link(tarfile.CHRTYPE), "is a link or a device"),
        (link(tarfile.DIRTYPE), "is a link or a device"),
        (other_content, "has another sha256"),
        (longer, "has 9 bytes, not 4"),
        (lambda members: members.append(members[1]), "which its manifest does not"),
        (lambda members: members.pop(), "cut short"),
        (lambda members: members.pop(0), "does not begin with manifest.json"),
    ],
)
def test_members_that_are_not_as_the_manifest_says_are_refused(
    packed: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check(rebuilt(packed, packed.parent, members=change))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_an_archive_cut_short_is_refused(packed: Path, share: float) -> None:
    whole = packed.read_bytes()
    packed.write_bytes(whole[: int(len(whole) * share)])

    with pytest.raises(InputError):
        check(packed)


@pytest.mark.parametrize(
    "content", [b"", b"no archive" * 100, b"\x1f\x8b" + b"x" * 1000, b"\0" * 4096]
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)

    with pytest.raises(InputError):
        check(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        check(tmp_path / "nowhere")


def test_a_wrong_file_never_reaches_its_place(packed: Path, tmp_path: Path) -> None:
    hostile = rebuilt(packed, packed.parent, members=other_content)
    manifest = bundle_archive.read_manifest(hostile)
    members = bundle_archive.members(hostile, manifest)
    file, content = next(members)

    with pytest.raises(InputError):
        bundle_archive.extract(hostile, file, content, tmp_path / "place" / "tool.whl")

    assert list((tmp_path / "place").iterdir()) == []


def test_the_hosts_packages_want_the_python_they_are_for(packed: Path, tmp_path: Path) -> None:
    other = rebuilt(packed, packed.parent, manifest=lambda document: document.update(python="2.7"))

    with pytest.raises(HostError, match=r"made with Python 2\.7"):
        bundle_archive.host_packages(other, tmp_path / "out")
    bundle_archive.host_packages(packed, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tool-1.0-py3-none-any.whl"]


# --- The commands ---------------------------------------------------------------------------------


NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


class Site:
    """A project with its own packages, packed where they can be had and loaded where not."""

    def __init__(self, project: Project, index: Path, archive: Path, cache: Path) -> None:
        self.project = project
        self.index = index
        self.archive = archive
        self.cache = cache

    def pack(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.index)}
        return self.project.invoke(
            "bundle", f"--output={self.archive}", *arguments, **index, **NO_ENGINE
        )

    def load(self, archive: Path | None = None) -> subprocess.CompletedProcess[str]:
        """As on another host: nothing in the cache, no index that answers."""
        return self.project.invoke(
            "bundle", f"--load={archive or self.archive}", **self.offline, **NO_ENGINE
        )

    def inv(self, archive: Path) -> subprocess.CompletedProcess[str]:
        """The same by `./inv`, which has no tools yet."""
        return subprocess.run(
            [self.project.folder / "inv", "bundle", "--load", archive],
            env={**os.environ, **self.offline},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def photo(self) -> Path:
        return self.project.folder / "data" / "mine" / "train" / "a photo.jpg"

    @property
    def offline(self) -> dict[str, str]:
        nowhere = "http://127.0.0.1:9/simple"
        return {
            **{"DRYDOCK_CACHE": str(self.cache), "PIP_INDEX_URL": nowhere, "PIP_FIND_LINKS": ""},
            **{"UV_DEFAULT_INDEX": nowhere, "PIP_RETRIES": "0", "PIP_EXTRA_INDEX_URL": ""},
        }


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Where the bundle is packed, once for all tests."""
    folder = tmp_path_factory.mktemp("origin")
    project = Project(folder / "project", folder / "cache")
    site = Site(project, folder / "index", folder / "site.bundle", folder / "cache")
    shutil.copy(REPOSITORY / "inv", project.folder / "inv")
    for lock, name in (("requirements.txt", "tool"), ("docker/box/requirements.txt", "thing")):
        (project.folder / lock).write_text(f"{name}==1.0 --hash=sha256:{wheel(site.index, name)}\n")
    site.photo.parent.mkdir(parents=True)
    site.photo.write_text("photo")
    done = site.pack("--only=box", "--datasets=data/mine")
    assert done.returncode == 0, done.stderr
    assert "no images are packed, because no engine is running" in done.stdout
    return site


@pytest.fixture
def site(origin: Site, tmp_path: Path) -> Site:
    """Another host with a clone, without the dataset."""
    folder = tmp_path / "clone"
    shutil.copytree(origin.project.folder, folder, ignore=shutil.ignore_patterns("mine"))
    project = copy.copy(origin.project)
    project.folder = folder
    return Site(project, origin.index, origin.archive, tmp_path / "cache")


def test_an_environment_is_made_from_a_bundle_without_any_index(site: Site) -> None:
    loaded = site.load()

    assert loaded.returncode == 0, loaded.stderr
    assert "1 packages of the host, 1 of environments, 1 files of datasets" in loaded.stdout
    assert site.photo.read_text() == "photo"
    done = site.project.invoke(
        *(
            "shell",
            "box",
            "--runner=local",
            "--",
            "python",
            "-c",
            "import thing; print(thing.NAME)",
        ),
        **site.offline,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "thing"


def test_a_fresh_clone_gets_its_own_tools_from_the_bundle(site: Site) -> None:
    done = site.inv(site.archive)  # fails at the end: of the real tools none is in the archive

    assert "installing the host tools" in done.stderr
    assert (site.project.folder / ".venv" / "installed-requirements.txt").exists()
    assert list(site.project.folder.glob(".venv/lib/python*/site-packages/tool.py"))


def test_a_hostile_bundle_changes_nothing_in_a_fresh_clone(site: Site, tmp_path: Path) -> None:
    done = site.inv(rebuilt(site.archive, tmp_path, members=other_content))

    assert done.returncode == 2
    assert "has another sha256" in done.stderr
    assert not (site.project.folder / ".venv").exists()


def test_nothing_is_installed_of_an_archive_whose_last_file_is_wrong(
    site: Site, tmp_path: Path
) -> None:
    def last_wrong(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[-1] = (members[-1][0], b"evil!")

    done = site.load(rebuilt(site.archive, tmp_path, members=last_wrong))

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not site.cache.exists()
    assert not site.photo.exists()


def test_a_bundle_for_other_locks_names_the_revision(site: Site) -> None:
    (site.project.folder / "docker" / "box" / "requirements.txt").write_text("")

    done = site.load()

    assert done.returncode == 2
    assert "check that revision out" in done.stderr


def test_a_dataset_of_the_same_name_is_not_changed(site: Site) -> None:
    site.photo.parent.mkdir(parents=True)
    site.photo.write_text("mine")

    done = site.load()

    assert done.returncode == 2
    assert "an existing folder is never changed" in done.stderr
    assert site.photo.read_text() == "mine"
    assert not site.cache.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--datasets=configs",), 2, "a folder in"),
        (("--only=nowhere",), 2, "there is no environment 'nowhere'"),
        (("--only=device/box",), 3, "device/box is carried as an image"),
    ],
)
def test_what_cannot_be_packed_is_refused_before_any_work(
    site: Site, arguments: tuple[str, ...], code: int, message: str
) -> None:
    site.archive = site.cache / "new.bundle"

    done = site.pack(*arguments)

    assert done.returncode == code
    assert message in done.stderr
    assert not site.archive.exists()

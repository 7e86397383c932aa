"""labelImg in a browser, driven as a person drives it: a real browser, real mouse events."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
from npm_tools import LOCK, installed
from rooms import REPOSITORY

from pipeline import docker_engine, environments, images
from pipeline.content import ContentCache

NAME = "tests-annotate"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.slow


class Page(NamedTuple):
    process: subprocess.Popen[str]
    address: str
    port: int
    password: str


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    cache = ContentCache(tmp_path_factory.mktemp("cache") / "cache.sqlite")
    digest = environments.environment_digest(environments.load("annotate"), cache)
    return images.ensure_image("annotate", digest, REPOSITORY, print)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A dataset in which one photo waits for its boxes."""
    for name in ("test/photo_30", "train/photo_01"):
        for ending in (".jpg", ".xml"):
            copy(name + ending, tmp_path)
    copy("test/photo_29.jpg", tmp_path)  # which comes first
    return tmp_path / "data"


def copy(name: str, folder: Path) -> None:
    target = folder / "data" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(REPOSITORY / "data/images" / name, target)


def invoke(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "invoke", "--search-root", str(REPOSITORY), *arguments]


@pytest.fixture
def page(image: str, data: Path) -> Iterator[Page]:
    command = invoke("annotate", f"--images={data}", "--browser", "--runner=docker")
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = ""
        while "password:" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        address = re.search(r"http://127\.0\.0\.1:(\d+)/\S+", said)
        password = re.search(r"password: (\S+)", said)
        assert address and password
        yield Page(process, address[0], int(address[1]), password[1])
        process.send_signal(signal.SIGINT)


def containers() -> str:
    done = subprocess.run(
        ["docker", "ps", "--all", "--quiet", "--filter=label=drydock.environment=annotate"],
        env={**os.environ, "DOCKER_HOST": docker_engine.endpoint()},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def command_lines() -> str:
    """What every user of this machine may read of its processes."""
    done = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return done.stdout


def draw(page: Page, password: str, folder: Path) -> subprocess.CompletedProcess[str]:
    modules = installed(folder)
    program = ["node", str(LOCK / "draw.mjs"), page.address, password, "bolt"]
    return subprocess.run(
        [*program, str(folder / "end.png")],
        env={**os.environ, "NODE_MODULES": str(modules), "CHROMIUM": CHROMIUM},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.skipif(not CHROMIUM, reason="there is no chromium to drive")
def test_a_box_drawn_in_a_browser_is_annotation_that_passes_the_check(
    page: Page, data: Path, tmp_path: Path
) -> None:
    assert page.password not in command_lines()

    refused = draw(page, "mistaken", tmp_path)
    assert refused.returncode, "a wrong password must not open the page"
    drawn = draw(page, page.password, tmp_path)
    assert drawn.returncode == 0, drawn.stderr

    xml = data / "test" / "photo_29.xml"
    (box,) = ElementTree.parse(xml).findall("object")
    assert box.findtext("name") == "bolt"
    left, top, right, bottom = (
        int(box.findtext(f"bndbox/{corner}") or "") for corner in ("xmin", "ymin", "xmax", "ymax")
    )
    assert 1 <= left < right <= 800 and 1 <= top < bottom <= 600
    # 180 x 120 pixels of a page on which the photo is a little larger than it is.
    assert (right - left) / (bottom - top) == pytest.approx(1.5, abs=0.05)
    assert (xml.stat().st_uid, xml.stat().st_gid) == (os.getuid(), os.getgid())
    assert sorted(path.name for path in data.rglob("*")) == sorted(
        [
            *("train", "test", "photo_29.jpg", "photo_29.xml"),
            *("photo_30.jpg", "photo_30.xml", "photo_01.jpg", "photo_01.xml"),
        ]
    )

    try:
        checked = subprocess.run(
            invoke("check", f"--name={NAME}", f"--data={data}", "--runner=local"),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(REPOSITORY / "artifacts" / NAME, ignore_errors=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "photo_29" not in checked.stdout, "nothing is wrong with what was drawn"


def test_ctrl_c_ends_it_and_leaves_nothing(page: Page) -> None:
    assert containers()
    private = {path.name for path in Path(tempfile.gettempdir()).glob("drydock-*/page")}
    assert private

    page.process.send_signal(signal.SIGINT)
    assert page.process.wait(30) == 0

    assert containers() == ""
    assert not list(Path(tempfile.gettempdir()).glob("drydock-*/page"))
    with (
        pytest.raises(ConnectionRefusedError),
        socket.create_connection(("127.0.0.1", page.port), timeout=5),
    ):
        pass


def test_the_container_has_no_network(page: Page) -> None:
    with docker_engine.connected() as client:
        (container,) = client.containers.list(filters={"label": "drydock.environment=annotate"})
        settings = container.attrs["HostConfig"]
    assert settings["NetworkMode"] == "none"
    assert settings["ReadonlyRootfs"] and settings["CapDrop"] == ["ALL"]
    assert not settings["PortBindings"]

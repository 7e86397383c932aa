"""`inv data.fetch`: what arrives, what is refused, and that nothing half-made stays."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline import datasets
from pipeline.errors import HostError, InputError

COMMIT = "c" * 40
FILES = {
    "train/0.jpg": b"photo zero",
    "train/0.xml": b"<annotation/>",
    "test/1.jpg": b"photo one",
    "test/1.xml": b"<annotation>1</annotation>",
}


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """No lines between the test's own."""


def write(folder: Path) -> Path:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def configuration(base: str, **changes: str) -> str:
    entries = {
        "title": "a test", "repository": "a/b", "commit": COMMIT, "licence": "MIT",
        "base_url": f"{base}/{COMMIT}/", "prefix": "data/images/",
    } | changes  # fmt: skip
    lines = [
        "[little]",
        *(f'{key} = "{value}"' for key, value in entries.items()),
        "[little.files]",
    ]
    for name, content in FILES.items():
        digest = hashlib.sha256(content).hexdigest()
        lines.append(f'"data/images/{name}" = {{ sha256 = "{digest}", size = {len(content)} }}')
    return "\n".join(lines)


@pytest.fixture(name="published")
def _published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a server on this machine serves as the repository's files."""
    folder = write(tmp_path / "server" / COMMIT / "data" / "images")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = partial(QuietHandler, directory=str(tmp_path / "server"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        toml = tmp_path / "datasets.toml"
        toml.write_text(configuration(f"http://127.0.0.1:{server.server_address[1]}"))
        known = datasets.load_datasets(toml)
        monkeypatch.setattr(datasets, "load_datasets", lambda: known)
        yield folder
        server.shutdown()
        thread.join()


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_dataset_arrives_and_is_recognised_the_second_time(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    destination = tmp_path / "data" / "little"
    datasets.fetch_dataset("little", destination)
    assert content(destination) == FILES
    assert [path.name for path in destination.parent.iterdir()] == ["little"]
    assert "4 files from a/b at ccccccc" in capsys.readouterr().out
    (published / "train" / "0.jpg").unlink()  # it need not be asked for again
    datasets.fetch_dataset("little", destination)
    assert "already there, all 4 files intact" in capsys.readouterr().out


def test_a_wrong_file_of_the_server_is_named_and_nothing_stays(
    published: Path, tmp_path: Path
) -> None:
    (published / "test" / "1.jpg").write_bytes(b"photo two")
    with pytest.raises(HostError, match=r"test/1\.jpg: the file's sha256"):
        datasets.fetch_dataset("little", tmp_path / "data" / "little")
    assert not list((tmp_path / "data").iterdir())


def test_a_missing_file_of_the_server_is_named(published: Path, tmp_path: Path) -> None:
    (published / "test" / "1.jpg").unlink()
    with pytest.raises(HostError, match=r"test/1\.jpg: the server answered 404"):
        datasets.fetch_dataset("little", tmp_path / "little")
    assert not (tmp_path / "little").exists()


@pytest.mark.parametrize("layout", ["data/images", "images", "."])
@pytest.mark.usefixtures("published")
def test_a_local_folder_serves_in_three_layouts(tmp_path: Path, layout: str) -> None:
    source = tmp_path / "source"
    write(source / layout)
    (source / layout / "train" / "extra.jpg").write_bytes(b"not part of it")
    datasets.fetch_dataset("little", tmp_path / "little", source)
    assert content(tmp_path / "little") == FILES


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b"photo 0ero", "0.jpg: has sha256"),
        (b"photo", "0.jpg: has 5 bytes, expected 10"),
        (None, "0.jpg: is missing"),
    ],
)
@pytest.mark.usefixtures("published")
def test_a_wrong_local_file_is_named_and_nothing_stays(
    tmp_path: Path, damage: bytes | None, message: str
) -> None:
    source = write(tmp_path / "source")
    (source / "train" / "0.jpg").unlink()
    if damage is not None:
        (source / "train" / "0.jpg").write_bytes(damage)
    with pytest.raises(InputError, match=message):
        datasets.fetch_dataset("little", tmp_path / "data" / "little", source)
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.usefixtures("published")
def test_a_folder_without_the_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        datasets.fetch_dataset("little", tmp_path / "little", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no train/ folder found"):
        datasets.fetch_dataset("little", tmp_path / "little", tmp_path / "empty")


@pytest.mark.usefixtures("published")
def test_a_changed_folder_is_neither_trusted_nor_overwritten(tmp_path: Path) -> None:
    destination = write(tmp_path / "little")
    (destination / "test" / "1.xml").write_bytes(b"<annotation>mine</annotation>")
    with pytest.raises(InputError, match=r"test/1\.xml: has .* move or delete"):
        datasets.fetch_dataset("little", destination)
    assert (destination / "test" / "1.xml").read_bytes() == b"<annotation>mine</annotation>"


def test_an_unknown_dataset_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown dataset frutis; known are: fruits"):
        datasets.fetch_dataset("frutis", tmp_path / "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (configuration("http://x", commit="88a0707"), "full `commit`"),
        (configuration("http://x").replace("train/0.jpg", "../../0.jpg"), "is not data/images/"),
        (configuration("http://x").replace("size = 10", "size = 99999999999"), "size of data"),
        (configuration("http://x").replace("title", "titel"), "titel"),
        ("[little", "datasets.toml"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "datasets.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        datasets.load_datasets(path)


def test_the_fruits_are_18_photos_with_boxes() -> None:
    fruits = datasets.load_datasets()["fruits"]
    names = {path.removeprefix(fruits.prefix) for path in fruits.files}
    assert len(names) == 36
    assert {n for n in names if n.startswith("test/")} == {
        "test/10.jpg", "test/10.xml", "test/15.jpg", "test/15.xml",
    }  # fmt: skip
    assert {n[:-4] for n in names if n.endswith("jpg")} == {
        n[:-4] for n in names if n.endswith("xml")
    }

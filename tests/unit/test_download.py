"""Downloads from a server on this machine that behaves well, badly, and not at all."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline import download
from pipeline.errors import HostError, InputError

BODY = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Answers by path; remembers the Range header of every request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.ranges: list[str | None] = []
        self.failures = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        """No lines between the test's own."""

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        kind = self.path.split("/")[1]
        body, status, headers = self.server.body, 200, {}
        if kind == "missing":
            self.send_error(404)
            return
        if kind == "flaky" and self.server.failures > 0:
            self.server.failures -= 1
            self.send_error(503)
            return
        if asked and kind != "plain":
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
            shift = 1 if kind == "shifted" else 0
            headers["Content-Range"] = f"bytes {start + shift}-{len(body) - 1}/{len(body)}"
            body, status = body[start:], 206
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if kind != "endless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "short" and self.server.failures > 0:
            self.server.failures -= 1
            self.wfile.write(body[: len(body) // 3])
            return
        if kind == "slow":
            time.sleep(0.2)
        try:
            for _ in range(1000 if kind == "endless" else 1):
                self.wfile.write(body)
        except OSError:
            pass  # the client has seen enough


@pytest.fixture(name="server")
def _server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(url: str, path: Path, sha256: str | None = SHA256, size: int | None = None) -> str:
    return download.fetch_file(url, path, sha256, size, attempts=3, pause=0.01)


def test_a_good_file_arrives_whole(server: Server, tmp_path: Path) -> None:
    path, seen = tmp_path / "new" / "file.bin", []
    found = download.fetch_file(
        server.url("good/file.bin"), path, SHA256, len(BODY),
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert found == SHA256
    assert path.read_bytes() == BODY
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_wrong_checksum_is_refused_and_the_old_file_stays(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with pytest.raises(HostError, match=rf"(?s)good/file.bin.*{SHA256}.*{'0' * 64}"):
        fetch(server.url("good/file.bin"), path, sha256="0" * 64)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_a_body_cut_short_goes_on_where_it_ended(server: Server, tmp_path: Path) -> None:
    server.failures = 1
    fetch(server.url("short/file.bin"), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert server.ranges == [None, f"bytes={len(BODY) // 3}-"]


def test_a_body_of_unknown_checksum_starts_over(server: Server, tmp_path: Path) -> None:
    server.failures = 1
    assert fetch(server.url("short/file.bin"), tmp_path / "file.bin", sha256=None) == SHA256
    assert server.ranges == [None, None]


def test_a_body_always_cut_short_fails_and_is_resumed_by_the_next_call(
    server: Server, tmp_path: Path
) -> None:
    server.failures = 3
    path = tmp_path / "file.bin"
    with pytest.raises(HostError, match=r"ended after \d+ of \d+ bytes \(3 attempts\)"):
        fetch(server.url("short/file.bin"), path)
    assert not path.exists()
    kept = (tmp_path / "file.bin.part").stat().st_size
    fetch(server.url("good/file.bin"), path)
    assert path.read_bytes() == BODY
    assert server.ranges[-1] == f"bytes={kept}-"


@pytest.mark.parametrize("kind", ["plain", "shifted"])
def test_a_server_that_cannot_continue_sends_everything(
    server: Server, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "file.bin.part").write_bytes(BODY[:1000])
    fetch(server.url(f"{kind}/file.bin"), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_foreign_partial_file_does_not_survive(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "file.bin.part"
    part.write_bytes(b"x" * 1000)
    with pytest.raises(HostError, match="sha256"):
        fetch(server.url("good/file.bin"), tmp_path / "file.bin")
    assert not part.exists()
    fetch(server.url("good/file.bin"), tmp_path / "file.bin")
    part.write_bytes(b"x" * (len(BODY) + 5))
    fetch(server.url("good/again.bin"), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_not_found_is_said_at_once(server: Server, tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"missing/file.bin: the server answered 404"):
        fetch(server.url("missing/file.bin"), tmp_path / "file.bin")
    assert len(server.ranges) == 1
    assert not list(tmp_path.iterdir())


def test_a_passing_server_error_is_tried_again(server: Server, tmp_path: Path) -> None:
    server.failures = 2
    fetch(server.url("flaky/file.bin"), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert len(server.ranges) == 3


def test_a_lasting_server_error_is_told(server: Server, tmp_path: Path) -> None:
    server.failures = 3
    with pytest.raises(HostError, match=r"503.*3 attempts"):
        fetch(server.url("flaky/file.bin"), tmp_path / "file.bin")


@pytest.mark.parametrize("kind", ["good", "endless"])
def test_a_body_beyond_its_size_is_refused(server: Server, tmp_path: Path, kind: str) -> None:
    with pytest.raises(HostError, match="5000"):
        fetch(server.url(f"{kind}/file.bin"), tmp_path / "file.bin", size=5000)
    assert not list(tmp_path.iterdir())


def test_no_network_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(HostError, match=r"no connection.*check the network and the proxy"):
            fetch(f"http://127.0.0.1:{port}/file.bin", tmp_path / "file.bin")


def test_a_file_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only http"):
        fetch("file:///etc/hostname", tmp_path / "file.bin")


def test_a_destination_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "flat").write_text("a file, no folder")
    with pytest.raises(HostError, match=r"flat/file.bin: cannot be written"):
        fetch(server.url("good/file.bin"), tmp_path / "flat" / "file.bin")


def test_the_first_checksum_is_recorded_and_binding(server: Server, tmp_path: Path) -> None:
    url = server.url("good/weights.tar.gz")
    path = download.fetch_pinned(url, tmp_path)
    assert path == tmp_path / "weights.tar.gz"
    assert json.loads((tmp_path / download.CHECKSUMS).read_text()) == {url: SHA256}
    assert download.fetch_pinned(url, tmp_path) == path
    assert len(server.ranges) == 1  # the second came from the folder
    path.unlink()
    server.body = b"somebody else's weights"
    with pytest.raises(HostError, match=SHA256):
        download.fetch_pinned(url, tmp_path)
    assert not path.exists()


@pytest.mark.parametrize("sha256", [SHA256, None], ids=["pinned", "first use"])
def test_two_at_once_fetch_a_file_once(server: Server, tmp_path: Path, sha256: str | None) -> None:
    url = server.url("slow/model.tar.gz")
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: download.fetch_pinned(url, tmp_path, sha256), range(4)))

    assert {path.read_bytes() for path in paths} == {BODY}
    assert len(server.ranges) == 1


def test_a_damaged_file_in_the_cache_is_fetched_again(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "weights.tar.gz"
    path.write_bytes(b"half")
    download.fetch_pinned(server.url("good/weights.tar.gz"), tmp_path, SHA256)
    assert path.read_bytes() == BODY
    assert not (tmp_path / download.CHECKSUMS).exists()


def test_a_damaged_list_of_checksums_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / download.CHECKSUMS).write_text("{")
    with pytest.raises(HostError, match=r"checksums.json: damaged"):
        download.fetch_pinned(server.url("good/weights.tar.gz"), tmp_path)


@pytest.mark.parametrize("name", ["", "..", "%2e%2e", download.CHECKSUMS])
def test_a_url_without_a_usable_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="file name"):
        download.fetch_pinned(f"http://127.0.0.1/{name}", tmp_path)

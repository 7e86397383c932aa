"""Where labelImg's window goes, and how a browser reaches it."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import desktop
from pipeline.annotation import annotate
from pipeline.errors import HostError
from pipeline.experiment import open_experiment
from pipeline.relay import relay


@pytest.mark.parametrize(
    ("environ", "there", "socket_found"),
    [
        ({"DISPLAY": ":0"}, {"/tmp/.X11-unix/X0"}, "/tmp/.X11-unix/X0"),
        ({"DISPLAY": ":1.0"}, {"/tmp/.X11-unix/X1"}, "/tmp/.X11-unix/X1"),
        ({"DISPLAY": ":0"}, set(), None),  # left over from a session that is gone
        ({"DISPLAY": "localhost:10.0"}, {"/tmp/.X11-unix/X10"}, None),  # ssh -X
        ({"DISPLAY": "elsewhere:0"}, {"/tmp/.X11-unix/X0"}, None),
        (
            {"WAYLAND_DISPLAY": "wayland-0", "XDG_RUNTIME_DIR": "/run/user/7"},
            {"/run/user/7/wayland-0"},
            "/run/user/7/wayland-0",
        ),
        ({"WAYLAND_DISPLAY": "/run/w"}, {"/run/w"}, "/run/w"),
        (
            {"DISPLAY": ":0", "WAYLAND_DISPLAY": "/run/w"},
            {"/run/w", "/tmp/.X11-unix/X0"},
            "/tmp/.X11-unix/X0",
        ),
        ({}, {"/tmp/.X11-unix/X0"}, None),
    ],
)
def test_a_desktop_is_used_where_a_container_can_reach_it(
    environ: dict[str, str], there: set[str], socket_found: str | None
) -> None:
    found = desktop.find(environ, lambda path: str(path) in there)

    assert (str(found.socket) if found else None) == socket_found


def test_xs_secrets_are_found_where_the_session_keeps_them() -> None:
    there = {"/tmp/.X11-unix/X0", "/home/her/.Xauthority", "/run/secrets"}

    def cookies(**environ: str) -> str:
        found = desktop.find({"DISPLAY": ":0", **environ}, lambda path: str(path) in there)
        assert found is not None
        return str(found.cookies)

    assert cookies(HOME="/home/her") == "/home/her/.Xauthority"
    assert cookies(HOME="/home/her", XAUTHORITY="/run/secrets") == "/run/secrets"
    assert cookies(HOME="/home/him") == "None"


def cookie(family: int, *fields: bytes) -> bytes:
    counted = (struct.pack(">H", len(field)) + field for field in fields)
    return struct.pack(">H", family) + b"".join(counted)


def test_xs_secrets_hold_under_another_host_name() -> None:
    fields = (b"laptop", b"0", b"MIT-MAGIC-COOKIE-1", b"\x00\x01secret")
    others = (b"other", b"1", b"MIT-MAGIC-COOKIE-1", b"")
    file = cookie(256, *fields) + cookie(0, *others)

    assert desktop.for_any_host(file) == cookie(65535, *fields) + cookie(65535, *others)


@pytest.mark.parametrize("length", [0, 1, 3, 20, 40])
def test_a_damaged_file_of_secrets_gives_what_is_whole(length: int) -> None:
    whole = cookie(256, b"laptop", b"0", b"MIT-MAGIC-COOKIE-1", b"secret")

    assert desktop.for_any_host(whole[:length]) == b""
    assert desktop.for_any_host(whole + whole[:length]) == desktop.for_any_host(whole)


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"heard " + self.rfile.readline())


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "page"
    with socketserver.ThreadingUnixStreamServer(str(path), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield path
        server.shutdown()
        thread.join()


def ask(port: int, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(text)
        return b"".join(iter(lambda: connection.recv(100), b""))


def test_a_port_of_loopback_leads_to_the_socket_and_ends_with_the_block(page: Path) -> None:
    ready: list[int] = []
    answered = threading.Event()

    def announce(port: int) -> None:
        ready.append(port)
        answered.set()

    with relay(page, 0, announce):
        assert answered.wait(5)
        assert ask(ready[0], b"one\n") == b"heard one\n"
        assert ask(ready[0], b"two\n") == b"heard two\n"
        idle = socket.create_connection(("127.0.0.1", ready[0]), timeout=5)
    with idle, pytest.raises(ConnectionRefusedError):
        ask(ready[0], b"three\n")


def test_it_ends_quietly_when_nobody_is_connected(page: Path) -> None:
    answered = threading.Event()
    with relay(page, 0, lambda _: answered.set()):
        assert answered.wait(5)


def test_nothing_is_announced_before_something_answers(tmp_path: Path) -> None:
    ready: list[int] = []
    with relay(tmp_path / "nobody", 0, ready.append):
        pass
    assert ready == []


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(HostError, match=f"port {port} .*--port"), relay(Path("x"), port, print):
            pass


@pytest.mark.parametrize(
    ("runner", "settings", "told"),
    [
        ("local", {}, "there is no desktop here .* --runner docker"),
        ("docker", {"DOCKER_HOST": "tcp://127.0.0.1:9"}, "over a network, .*--runner local"),
    ],
)
def test_a_host_on_which_no_window_can_open_says_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    runner: str,
    settings: dict[str, str],
    told: str,
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("pipeline.docker_runner.unavailable", lambda: None)

    with pytest.raises(HostError, match=told):
        annotate(open_experiment("default", {}), tmp_path, 0, False, runner)

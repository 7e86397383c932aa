"""The engine at a port of loopback, as if it were on another machine."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pipeline import docker_engine


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def reached_by_tcp(tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """An address of the engine at a port of loopback; with ``tls`` it speaks that."""
    path = docker_engine.endpoint().removeprefix("unix://")
    if not Path(path).exists():
        pytest.skip("the engine of these tests is not on a socket of this machine")

    def join(near: socket.socket) -> None:
        with suppress(OSError):
            near = tls.wrap_socket(near, server_side=True) if tls else near
            far = socket.socket(socket.AF_UNIX)
            far.connect(path)
            for ends in ((near, far), (far, near)):
                threading.Thread(target=pump, args=ends, daemon=True).start()

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=join, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)

"""An engine at the other end of ssh, reached as the docker command does it.

Each connection to a socket here becomes one `ssh HOST docker system dial-stdio`, so that login,
keys and jump hosts are those of the user's own ssh.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from pipeline.scratch import scratch_folder


def command(address: str) -> list[str]:
    """The command that connects to the engine at ``address`` (ssh://[user@]host[:port])."""
    parts = urlsplit(address)
    where = [parts.hostname or ""]
    if parts.username:
        where = ["-l", parts.username, *where]
    if parts.port:
        where = ["-p", str(parts.port), *where]
    there = ["docker", "system", "dial-stdio"]
    if parts.path not in ("", "/"):
        there[1:1] = ["--host", f"unix://{parts.path}"]
    # Nobody could answer a question: the terminal belongs to the stage.
    return ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", *where, "--", *there]


@contextmanager
def reached(address: str) -> Iterator[str]:
    """An address for the client library; for ssh:// a socket here as long as the block lasts."""
    if not address.startswith("ssh://"):
        yield address
        return
    words = command(address)
    with (
        scratch_folder() as folder,
        socket.socket(socket.AF_UNIX) as server,
    ):
        path = folder / "engine.sock"
        server.bind(str(path))
        server.listen()
        threading.Thread(target=_serve, args=(server, words), daemon=True).start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown(socket.SHUT_RDWR)


def _serve(server: socket.socket, words: list[str]) -> None:
    with suppress(OSError):  # the socket was closed: nobody connects any more
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_join, args=(connection, words), daemon=True).start()


def _join(connection: socket.socket, words: list[str]) -> None:
    """Pass bytes both ways until one side ends."""
    with (
        connection,
        subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None

        def away() -> None:
            with suppress(OSError):
                while data := connection.recv(65536):
                    process.stdin.write(data)  # type: ignore[union-attr]
                    process.stdin.flush()  # type: ignore[union-attr]
            with suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]

        threading.Thread(target=away, daemon=True).start()
        with suppress(OSError):
            while data := process.stdout.read1():  # type: ignore[attr-defined]
                connection.sendall(data)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        process.terminate()

"""Run a program whose port is reached through a socket in a folder instead of a network.

    python scripts/behind_socket.py --socket FOLDER/port --port 6006 -- python -m tensorboard.main

For containers without network: their loopback is theirs alone, but a folder can be shared. The
socket appears once the program listens, and whoever may enter the folder may connect.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import socketserver
import threading
import time
from contextlib import suppress
from pathlib import Path

from console import InputError, run

_LOOPBACK = "127.0.0.1"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--socket", type=Path, required=True, help="made there; its folder exists")
    parser.add_argument("--port", type=int, required=True, help="where the program listens")
    parser.add_argument("program", nargs="+", help="and its arguments, after --")
    given = parser.parse_args()
    program = os.getpid()
    # The program takes the place of this process, so that signals and its exit code are its own.
    if os.fork() == 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program may have answers to finish
        carry(given.socket, given.port, program)
        os._exit(0)
    try:
        os.execvp(given.program[0], given.program)
    except OSError as error:
        raise InputError(f"{given.program[0]} cannot be run: {error.strerror}") from None


def carry(path: Path, port: int, program: int) -> None:
    """Pass connections on from the socket at ``path`` as long as the process ``program`` lives."""

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), socket.create_connection((_LOOPBACK, port)) as far:
                back = threading.Thread(target=pass_on, args=(far, self.request), daemon=True)
                back.start()
                pass_on(self.request, far)
                back.join()

    while os.getppid() == program and not listens(port):
        time.sleep(0.05)
    with socketserver.ThreadingUnixStreamServer(str(path), Connection) as server:
        server.daemon_threads = True
        server.timeout = 0.5
        while os.getppid() == program:
            server.handle_request()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((_LOOPBACK, port)):
        return True
    return False


def pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    run(main)

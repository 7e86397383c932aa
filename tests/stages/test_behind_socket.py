"""A program that is reached by a socket in a folder, as in a container without network."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "behind_socket.py"
SERVER = """
import http.server, os, signal, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * 300_000)
def end(*_):
    sys.exit(5)
signal.signal(signal.SIGINT, end)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def behind(folder: Path, port: int, *program: str) -> list[str]:
    flags = [f"--socket={folder / 'port'}", f"--port={port}", "--"]
    return [sys.executable, str(SCRIPT), *flags, *program]


def test_connections_reach_the_program_and_its_end_is_its_own(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(
        behind(tmp_path, port, sys.executable, "-c", SERVER, str(port)), stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 30
        while not (tmp_path / "port").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(10)
                connection.connect(str(tmp_path / "port"))
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.0 200 ")
            assert answer.endswith(b"\r\n\r\n" + b"x" * 300_000)
        carrier = children(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 5

    deadline = time.monotonic() + 10
    while any(map(runs, carrier)):
        assert time.monotonic() < deadline, "what carried connections must end with the program"
        time.sleep(0.05)


def runs(pid: str) -> bool:
    """Whether a process is there; one that nobody has waited for is gone all the same."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[str]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert found
    return found


def test_a_program_that_is_not_there_is_the_users_error(tmp_path: Path) -> None:
    done = subprocess.run(
        behind(tmp_path, 9, "no-such-program"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )

    assert done.returncode == 2
    assert done.stderr == "error: no-such-program cannot be run: No such file or directory\n"


@pytest.mark.parametrize("code", [0, 3])
def test_a_program_that_never_listens_ends_as_it_does(tmp_path: Path, code: int) -> None:
    program = [sys.executable, "-c", f"raise SystemExit({code})"]

    assert subprocess.run(behind(tmp_path, 9, *program), check=False).returncode == code
    assert not (tmp_path / "port").exists()

"""Benchmarks on a board, the board being this host behind an SSH server of our own."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Project

from pipeline import boards
from pipeline.errors import HostError, InputError, StageFailed

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@pytest.mark.parametrize(
    ("address", "board"),
    [
        ("ssh://pi@board", boards.Board("board", "pi")),
        ("ssh://board", boards.Board("board")),
        ("ssh://pi@192.168.1.7:2222", boards.Board("192.168.1.7", "pi", 2222)),
        ("ssh://pi@[fe80::1]:22", boards.Board("fe80::1", "pi", 22)),
    ],
)
def test_an_address_is_read(address: str, board: boards.Board) -> None:
    assert boards.parse(address) == board


@pytest.mark.parametrize(
    "address",
    [
        *(
            "board",
            "http://board",
            "ssh://",
            "ssh://pi@",
            "ssh://board/folder",
            "ssh://pi:pw@board",
        ),
        *("ssh://-oProxyCommand=x", "ssh://board:port", "ssh://-l@board", "ssh://a;b@board"),
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="--on"):
        boards.parse(address)


@pytest.mark.parametrize(
    ("code", "said", "kind", "told"),
    [
        (255, "Host key verification failed.", HostError, "compare the fingerprint"),
        (255, "pi@board: Permission denied (publickey).", HostError, "ssh-copy-id pi@board"),
        (255, "ssh: connect to host board port 22: No route to host", HostError, "Is it on"),
        (2, "tar: x: Cannot write: No space left on device", HostError, "the disk is full"),
        (3, "error: this takes Python 3.11 with venv\n", HostError, "this takes Python 3.11"),
        (1, "error: no model.tflite\n", StageFailed, "could not measure: no model.tflite"),
    ],
)
def test_what_goes_wrong_is_told_with_its_remedy(
    code: int, said: str, kind: type, told: str
) -> None:
    error = boards.failure(boards.Board("board", "pi"), "measure", code, said, ".cache/x")

    assert isinstance(error, kind)
    assert told in str(error)


class Server:
    """An SSH server on loopback with keys of its own, whose clients find them by `ssh` in PATH."""

    def __init__(self, folder: Path, home: Path) -> None:
        assert SSHD
        self.folder, self.port = folder, free_port()
        folder.mkdir()
        for name in ("host", "user", "stranger"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)],
                check=True,
            )
        (folder / "authorized").write_text((folder / "user.pub").read_text())
        (folder / "authorized").chmod(0o600)
        kind, key, *_ = (folder / "host.pub").read_text().split()
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")
        (folder / "config").write_text(
            f"Host *\n IdentityFile {folder}/user\n IdentitiesOnly yes\n"
            f" UserKnownHostsFile {folder}/known\n GlobalKnownHostsFile none\n"
        )
        ssh = folder / "bin" / "ssh"
        ssh.parent.mkdir()
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
        ssh.chmod(0o755)
        # The board's home folder and its Python, whatever they are for who runs the tests.
        (folder / "login").write_text(f'#!/bin/sh\ncd {home} && eval "$SSH_ORIGINAL_COMMAND"\n')
        (folder / "login").chmod(0o755)
        (folder / "sshd").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
            f'SetEnv "PYTHON={sys.executable}"\n'
            f"ForceCommand {folder}/login\n"
        )
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(folder / "sshd")], stderr=subprocess.PIPE
        )
        wait_for(self.port)

    @property
    def address(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    def client(self) -> dict[str, str]:
        """Settings of a command that reaches it."""
        return {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the SSH server did not start")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def server(tmp_path: Path, home: Path) -> Iterator[Server]:
    if not SSHD or not shutil.which("ssh"):
        pytest.skip("there is no sshd here (Debian: openssh-server)")
    running = Server(tmp_path / "server", home)
    yield running
    running.stop()


def measure(
    project: Project, server: Server, precision: str = "fp32"
) -> subprocess.CompletedProcess[str]:
    return project.invoke(
        *("benchmark", "--target", "box", "--precision", precision, "--rounds", "2"),
        *("--on", server.address),
        **server.client(),
    )


@pytest.mark.slow
def test_a_board_is_measured_also_after_an_interruption_and_left_as_it_was(
    verified: Project, server: Server, home: Path
) -> None:
    stumbling = home / "stumbling"
    stumbling.touch()
    program = verified.folder / "scripts" / "benchmark.py"
    program.write_text(
        "import pathlib, sys\n"
        f"if pathlib.Path({str(stumbling)!r}).exists():\n"
        '    print("error: it fell over", file=sys.stderr)\n'
        f"    sys.exit(1)\n{program.read_text()}"
    )
    done = measure(verified, server)
    assert done.returncode == 1
    assert "could not measure: it fell over" in done.stderr
    (there,) = (home / ".cache/drydock").iterdir()
    assert (there / "installed").exists()
    (there / "photos" / "0.jpg").write_text("cut o")
    stumbling.unlink()

    done = measure(verified, server)

    assert "copying 1 of" in done.stdout
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = verified.artifact("default/box/fp32/benchmark").glob("board-*.json")
    found = json.loads(path.read_text())
    assert found["board"] == os.uname().nodename
    assert found["machine"] == os.uname().machine
    assert found["device"] == "BOX 7"  # what the package tells its runtime, not the stand-in
    assert (found["rounds"], found["network_ms"]["count"], found["stand_in"]) == (2, 6, "")
    assert "ratio" not in found["network_ms"]
    assert "1.00" not in done.stdout  # there is no reference to be compared with
    assert f"{os.uname().nodename}: x" in done.stdout  # the table: board and processor
    assert list((home / ".cache").iterdir()) == []


@pytest.mark.slow
def test_an_unverified_detector_is_not_carried_anywhere(trained: Project, server: Server) -> None:
    done = measure(trained, server, "int8")

    assert done.returncode == 1
    assert "it was not verified" in done.stderr


@pytest.mark.slow
def test_a_changed_host_key_and_a_wrong_login_are_refused(
    verified: Project, server: Server, home: Path
) -> None:
    key = (server.folder / "stranger.pub").read_text().split()[1]
    known = server.folder / "known"
    right = known.read_text()
    known.write_text(right.replace(right.split()[2], key))
    done = measure(verified, server)
    assert done.returncode == 3
    assert "compare the fingerprint" in done.stderr

    known.write_text(right)
    (server.folder / "authorized").write_text((server.folder / "stranger.pub").read_text())
    done = measure(verified, server)
    assert done.returncode == 3
    assert "it refuses the login" in done.stderr
    assert list(home.iterdir()) == []


@pytest.mark.slow
def test_a_board_without_the_right_python_says_so(verified: Project, server: Server) -> None:
    config = server.folder / "login"
    config.write_text(config.read_text().replace("cd ", "export PYTHON=/bin/false; cd "))

    done = measure(verified, server)

    assert done.returncode == 3
    assert "could not make the virtualenv: this takes Python" in done.stderr


@pytest.mark.slow
def test_a_full_disk_is_told(verified: Project, server: Server, home: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("a small file system takes root to mount")
    small = home / ".cache"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=False
    )
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        done = measure(verified, server)
    finally:
        subprocess.run(["umount", str(small)], check=True)

    assert done.returncode == 3
    assert "the disk is full" in done.stderr


def test_a_board_that_is_off_is_unreachable(verified: Project) -> None:
    done = verified.invoke(
        *("benchmark", "--target", "box", "--precision", "fp32"),
        f"--on=ssh://nobody@127.0.0.1:{free_port()}",
    )

    assert done.returncode == 3
    assert "cannot be reached" in done.stderr

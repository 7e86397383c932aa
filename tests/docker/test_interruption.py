"""No container outlives the wish to run it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from rooms import REPOSITORY, Room

Containers = Callable[[], list[str]]


def start(room: Room, *argv: str) -> subprocess.Popen[str]:
    """A client whose stage has said its first word."""
    client = subprocess.Popen(
        room.client(*argv),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert client.stdout is not None
    assert client.stdout.readline() == "begun\n"
    return client


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_a_polite_kill_remove_the_container(
    room: Room, containers: Containers, number: signal.Signals
) -> None:
    client = start(room, "sh", "-c", "echo begun; sleep 300")
    assert len(containers()) == 1
    client.send_signal(number)
    _, errors = client.communicate(timeout=30)

    assert "KeyboardInterrupt" in errors
    assert containers() == []


def test_ctrl_c_lets_the_stage_tidy_up(room: Room, containers: Containers) -> None:
    script = (
        "import sys, time, pathlib\n"
        "try:\n"
        "    print('begun', flush=True); time.sleep(300)\n"
        "except KeyboardInterrupt:\n"
        f"    pathlib.Path({str(room.out)!r}, 'tidy').touch()\n"
    )
    client = start(room, "python3", "-c", script)
    began = time.monotonic()
    client.send_signal(signal.SIGINT)
    client.communicate(timeout=30)

    assert (room.out / "tidy").exists()
    assert time.monotonic() - began < 5
    assert containers() == []


def test_a_program_that_says_nothing_of_signals_ends_at_once(
    room: Room, containers: Containers
) -> None:
    """Alone in a container, as process 1, it would ignore them."""
    client = start(room, "sh", "-c", "echo begun; exec sleep 300")
    began = time.monotonic()
    client.send_signal(signal.SIGINT)
    client.communicate(timeout=30)

    assert time.monotonic() - began < 4
    assert containers() == []


def test_a_second_ctrl_c_does_not_wait(room: Room, containers: Containers) -> None:
    client = start(room, "sh", "-c", "trap '' INT; echo begun; while :; do sleep 1; done")
    client.send_signal(signal.SIGINT)
    time.sleep(1)
    began = time.monotonic()
    client.send_signal(signal.SIGINT)
    client.communicate(timeout=30)

    assert time.monotonic() - began < 3
    assert containers() == []


def test_what_a_killed_client_leaves_is_swept_at_the_next_start(
    room: Room, containers: Containers
) -> None:
    client = start(room, "sh", "-c", "echo begun; sleep 300")
    client.kill()
    client.communicate(timeout=30)
    left = containers()
    assert len(left) == 1

    assert room.run("true") == 0
    assert containers() == []


def test_a_living_clients_container_is_left_alone(room: Room, containers: Containers) -> None:
    client = start(room, "sh", "-c", "echo begun; sleep 300")
    try:
        before = containers()
        assert room.run("true") == 0
        assert containers() == before != []
    finally:
        client.send_signal(signal.SIGINT)
        client.communicate(timeout=30)


def test_an_error_while_output_is_shown_removes_the_container(
    room: Room, containers: Containers
) -> None:
    from pipeline import docker_container

    def output(stream: str, chunk: bytes) -> None:
        raise BrokenPipeError("the reader is gone")

    with pytest.raises(BrokenPipeError):
        docker_container.run(room.execution("sh", "-c", "echo x; sleep 300"), room.image, output)
    assert containers() == []


def test_a_shell_has_the_users_terminal(room: Room, containers: Containers) -> None:
    ours, theirs = pty.openpty()
    client = subprocess.Popen(
        room.client("sh", interactive=True),
        cwd=REPOSITORY,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""

    def type_and_await(keys: bytes, word: bytes, times: int = 1) -> None:
        nonlocal said
        said = b""
        os.write(ours, keys)
        deadline = time.monotonic() + 60
        while said.count(word) < times and time.monotonic() < deadline:
            if select.select([ours], [], [], 1)[0]:
                said += os.read(ours, 4096)
        assert said.count(word) >= times, said

    try:
        prompt = b"$ " if os.getuid() else b"# "
        type_and_await(b"", prompt)
        type_and_await(b"tty; echo $((6 * 7))\n", b"42\r\n" + prompt)
        assert b"/dev/" in said
        type_and_await(b"cat\nword\n", b"word\r\n", times=2)  # typed, and said by cat
        type_and_await(b"\x03", prompt)  # ends cat, and neither shell nor client
        os.write(ours, b"exit 3\n")
        assert client.wait(timeout=60) == 3
    finally:
        client.terminate()
        client.wait()
        os.close(ours)
    assert containers() == []

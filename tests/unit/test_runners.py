"""Which runner is taken, and how the local one behaves in a terminal."""

from __future__ import annotations

import os
import pty
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import REPOSITORY

from pipeline import docker_runner
from pipeline.errors import InputError
from pipeline.runners import choose


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_runner, "unavailable", lambda: None)


def test_an_engine_that_answers_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRYDOCK_RUNNER", raising=False)

    assert choose("auto")[0].NAME == "docker"


def test_the_environment_chooses_where_the_command_line_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DRYDOCK_RUNNER", "local")

    runner, why = choose("auto")

    assert (runner.NAME, why) == ("local", "as DRYDOCK_RUNNER says")
    assert choose("docker")[0].NAME == "docker"


def test_a_runner_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRYDOCK_RUNNER", "podman")

    with pytest.raises(InputError, match="podman"):
        choose("auto")


def test_ctrl_c_in_an_interactive_program_is_the_programs(tmp_path: Path) -> None:
    """As in a Python prompt, where it only ends the line."""
    program = textwrap.dedent("""
        import time
        try:
            print("ready", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(0.5)
            print("still here", flush=True)
            raise SystemExit(7)
    """)
    runner = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from pipeline import local_runner
        from pipeline.execution import Execution
        argv = (sys.executable, "-c", {program!r})
        execution = Execution("train", argv, Path("."), interactive=True)
        sys.exit(local_runner.run(execution, "/nowhere", print))
    """)
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(REPOSITORY)
        os.execv(sys.executable, [sys.executable, "-c", runner])
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 1024)
    os.write(terminal, b"\x03")
    try:
        while chunk := os.read(terminal, 1024):
            said += chunk
    except OSError:  # the other end is closed
        pass
    _, status = os.waitpid(child, 0)

    assert b"still here" in said
    assert os.waitstatus_to_exitcode(status) == 7, said.decode()

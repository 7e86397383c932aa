"""What comes of a stage in a container: its output, its end, and what keeps it from starting."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from rooms import ENVIRONMENT, Room

from pipeline import docker_container, docker_engine
from pipeline.errors import HostError, InputError, StageFailed

pytestmark = pytest.mark.usefixtures("containers")


def test_output_streams_and_exit_code_come_through(room: Room) -> None:
    code = room.run("sh", "-c", "echo good; echo bad >&2; exit 7")

    assert (code, room.stdout, room.stderr) == (7, "good\n", "bad\n")


def test_out_of_memory_is_told(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRYDOCK_MEMORY", "64m")

    with pytest.raises(StageFailed, match=r"ran out of memory: its limit was 0\.1 GiB"):
        room.run("python3", "-c", "b'x' * 300_000_000")


def test_a_killed_child_that_a_stage_copes_with_is_no_failure(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRYDOCK_MEMORY", "64m")
    # A shell that survives its child: the engine marks the container all the same.
    assert room.run("sh", "-c", "python3 -c \"b'x' * 300_000_000\" || echo coped") == 0
    assert room.stdout == "coped\n"


def test_another_death_is_not_taken_for_memory(room: Room) -> None:
    assert room.run("sh", "-c", "kill -9 $$") == 137


@pytest.mark.parametrize("kind", ["reads", "writes"])
def test_a_missing_folder_is_an_error_and_not_made(room: Room, tmp_path: Path, kind: str) -> None:
    missing = tmp_path / "missing"

    with pytest.raises(InputError, match="missing does not exist"):
        room.run("true", **{kind: (missing,)})
    assert not missing.exists()


def test_a_folder_that_vanishes_before_the_start_is_an_error(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    decide = docker_container._decide

    def vanish(*arguments: object) -> object:
        shutil.rmtree(data)
        return decide(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(docker_container, "_decide", vanish)
    with pytest.raises(HostError, match="does not see"):
        room.run("true", reads=(data,))
    assert not data.exists()


def test_a_program_that_is_not_there(room: Room) -> None:
    assert room.run("no-such-program") == 127
    assert "no-such-program" in room.stderr


def test_an_image_that_is_not_there(room: Room) -> None:
    room.image = "drydock/none:0"
    with pytest.raises(HostError, match="no image"):
        room.run("true")


def test_a_gpu_that_the_engine_cannot_give_leaves_no_container(room: Room) -> None:
    if shutil.which("nvidia-container-runtime-hook"):
        pytest.skip("this host has the toolkit")
    with pytest.raises(HostError, match="gpu"):
        room.run("true", gpu=True)


def test_the_engine_keeps_no_copy_of_the_output(room: Room) -> None:
    logged: list[str] = []

    def output(stream: str, chunk: bytes) -> None:
        with docker_engine.connected() as client:
            (container,) = client.containers.list(
                filters={"label": f"drydock.environment={ENVIRONMENT}"}
            )
        logged.append(container.attrs["HostConfig"]["LogConfig"]["Type"])

    stage = room.execution("sh", "-c", "echo much; sleep 1")
    assert docker_container.run(stage, room.image, output) == 0
    assert logged == ["none"]


def test_long_silence_is_waited_for(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    import docker

    monkeypatch.setattr(docker.api.client, "DEFAULT_TIMEOUT_SECONDS", 1)
    monkeypatch.setattr(docker.client, "DEFAULT_TIMEOUT_SECONDS", 1)

    assert room.run("sh", "-c", "sleep 3; echo late") == 0
    assert room.stdout == "late\n"


def test_much_output_arrives_whole_and_in_order(room: Room) -> None:
    assert room.run("seq", "200000") == 0
    assert room.stdout == "".join(f"{number}\n" for number in range(1, 200001))


def test_output_comes_while_the_stage_runs(room: Room) -> None:
    seen = threading.Event()
    (room.out / "wait").touch()

    def output(stream: str, chunk: bytes) -> None:
        if b"first" in chunk:
            (room.out / "wait").unlink()
            seen.set()

    script = f"echo first; i=0; while [ -e {room.out}/wait ]; do i=$((i+1)); "
    script += "[ $i -lt 100 ] || exit 1; sleep 0.1; done"
    assert docker_container.run(room.execution("sh", "-c", script), room.image, output) == 0
    assert seen.is_set()

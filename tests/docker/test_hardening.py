"""What a stage in a container can and cannot do, tried out in one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from rooms import Room

from pipeline import docker_container, docker_engine, docker_options
from pipeline.errors import HostError, InputError, StageFailed

pytestmark = pytest.mark.usefixtures("containers")


def test_output_streams_and_exit_code_come_through(room: Room) -> None:
    code = room.run("sh", "-c", "echo good; echo bad >&2; exit 7")

    assert (code, room.stdout, room.stderr) == (7, "good\n", "bad\n")


def test_settings_and_working_directory(room: Room) -> None:
    assert room.run("sh", "-c", "echo $COLUMNS; pwd", settings={"COLUMNS": "93"}) == 0
    assert room.stdout.split() == ["93", str(room.root)]


def test_a_stage_is_the_caller_and_so_are_its_files(room: Room, stranger: tuple[int, int]) -> None:
    assert room.run("sh", "-c", f"id -u; id -g; id -G; echo x > {room.out}/file") == 0

    uid, gid = stranger
    ids = room.stdout.split()
    assert ids[:2] == [str(uid), str(gid)]
    assert set(map(str, os.getgroups())) <= set(ids[2:])
    status = (room.out / "file").stat()
    assert (status.st_uid, status.st_gid) == (uid, gid)


@pytest.mark.parametrize("place", ["/", "/usr", "/opt", "/etc", "/var/lib", "/root", "/run"])
def test_the_image_cannot_be_written(room: Room, place: str) -> None:
    # As the most powerful user a stage can be.
    assert room.run("touch", f"{place}/file") != 0


def test_the_repository_and_the_inputs_cannot_be_written(room: Room, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o777)
    (data / "photo").write_text("as it was")
    script = f"cat {data}/photo; touch {room.root}/x || echo x > {data}/photo || rm {data}/photo"

    assert room.run("sh", "-c", script, reads=(data,)) != 0
    assert room.stdout == "as it was"
    assert (data / "photo").read_text() == "as it was"
    assert list(room.root.iterdir()) == []


def test_outputs_inside_the_repository_can_be_written(room: Room) -> None:
    inside = room.root / "artifacts" / "train"
    inside.mkdir(parents=True)

    assert room.run("touch", f"{inside}/file", writes=(inside,)) == 0
    assert (inside / "file").exists()
    assert room.run("touch", f"{inside.parent}/file", writes=(inside,)) != 0


def test_what_is_not_declared_is_not_there(room: Room, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")

    assert room.run("cat", str(tmp_path / "secret")) != 0
    assert room.run("sh", "-c", "ls /home /root") == 0
    assert "secret" not in room.stdout


def test_links_to_folders_elsewhere_lead_there(room: Room, tmp_path: Path) -> None:
    elsewhere = tmp_path / "big disk, slow"
    elsewhere.mkdir()
    (elsewhere / "photo").write_text("seen")
    (room.root / "data").symlink_to(elsewhere)

    assert room.run("cat", "data/photo", reads=(room.root / "data",)) == 0
    assert room.stdout == "seen"


def test_links_below_a_folder_lead_there_too(room: Room, tmp_path: Path) -> None:
    for name in ("folder/photo", "elsewhere/single", "secret/key"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"{name} seen\n")
    data = tmp_path / "photos"
    data.mkdir()
    (data / "train").symlink_to(tmp_path / "folder")
    (data / "0.jpg").symlink_to(tmp_path / "elsewhere" / "single")
    (data / "gone.jpg").symlink_to(tmp_path / "nowhere" / "photo")

    assert room.run("cat", f"{data}/train/photo", f"{data}/0.jpg", reads=(data,)) == 0
    assert room.stdout == "folder/photo seen\nelsewhere/single seen\n"
    assert room.run("cat", f"{tmp_path}/secret/key", reads=(data,)) != 0


def test_there_is_no_network(room: Room) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = (
            "import socket\n"
            "print(sorted(name for _, name in socket.if_nameindex()))\n"
            f"socket.create_connection(('127.0.0.1', {port}), 3)\n"
        )
        code = room.run("python3", "-c", script)

    assert code == 1
    assert room.stdout.strip() == "['lo']"
    assert "ConnectionRefusedError" in room.stderr


def test_a_server_is_reached_on_loopback_or_refused(room: Room) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = (
        "import socket\n"
        f"server = socket.create_server(('0.0.0.0', {port}))\n"
        "print('listening', flush=True)\n"
        "server.settimeout(20)\n"
        "server.accept()[0].sendall(b'hello')\n"
    )
    heard: list[bytes] = []

    def call(stream: str, chunk: bytes) -> None:
        if b"listening" in chunk:
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                heard.append(connection.recv(100))

    stage = room.execution("python3", "-c", script, ports=(port,))
    with docker_engine.connected() as client:
        bridged = client.networks.list(names=["bridge"])
    if not bridged:
        with pytest.raises(HostError, match="no bridge network"):
            docker_container.run(stage, room.image, call)
        return
    assert docker_container.run(stage, room.image, call) == 0
    assert heard == [b"hello"]


def test_capabilities_are_gone(room: Room) -> None:
    assert room.run("grep", "-E", "^Cap(Prm|Eff|Bnd)|^NoNewPrivs", "/proc/self/status") == 0

    state = dict(line.split(":") for line in room.stdout.split("\n") if line)
    assert int(state.pop("NoNewPrivs")) == 1
    assert [int(value, 16) for value in state.values()] == [0, 0, 0]


def test_a_setuid_program_gives_nothing(room: Room, stranger: tuple[int, int]) -> None:
    assert room.run("setuid-id", "-u") == 0
    assert room.stdout.strip() == str(stranger[0])

    # The program does what it is there for where a container is not hardened.
    command = ["docker", "run", "--rm", "--network=none", "--user=12345", room.image]
    done = subprocess.run([*command, "setuid-id", "-u"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_home_and_tmp_can_be_written_and_leave_nothing(
    room: Room, stranger: tuple[int, int]
) -> None:
    script = "cd && echo x > a && mkdir -p .cache/b && echo x > /tmp/c && ls -A ~ /tmp"

    assert room.run("sh", "-c", script) == 0
    assert {"a", ".cache", "c"} <= set(room.stdout.split())
    assert room.run("ls", "-A", docker_options.HOME, "/tmp") == 0
    assert not {"a", ".cache", "c"} & set(room.stdout.split())


def test_nothing_is_run_from_tmp(room: Room) -> None:
    assert room.run("sh", "-c", "cp /bin/true /tmp/ && /tmp/true") == 126


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


def test_a_fork_bomb_meets_the_limit(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_options, "_PROCESSES", 20)
    script = "for i in $(seq 40); do sleep 5 & done"

    assert room.run("sh", "-c", script) != 0
    assert "fork" in room.stderr


def test_shared_memory_is_large_enough_for_tensors(room: Room) -> None:
    assert room.run("sh", "-c", "df --output=size -B1G /dev/shm | tail -n 1") == 0
    assert int(room.stdout) == 8


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


def test_the_printed_command_line_does_the_same(room: Room) -> None:
    stage = room.execution("sh", "-c", f"id -u; echo x > {room.out}/a; touch /x; exit 5")
    words = docker_container.describe(stage, room.image)
    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert done.returncode == 5
    assert done.stdout.strip() == str(os.getuid())
    assert "Read-only file system" in done.stderr
    assert (room.out / "a").exists()

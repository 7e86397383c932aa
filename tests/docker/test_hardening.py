"""What a stage in a container can and cannot do, tried out in one."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from rooms import ENVIRONMENT, REPOSITORY, Room

from pipeline import docker_container, docker_engine, docker_options, hardware

pytestmark = pytest.mark.usefixtures("containers")


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


# In /var/tmp and /run/lock everybody may write, were they not of the image.
@pytest.mark.parametrize(
    "place", ["/", "/usr", "/opt", "/etc", "/var/lib", "/var/tmp", "/root", "/run", "/run/lock"]
)
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


def test_a_stage_can_write_its_outputs_and_what_is_gone_with_it_and_nothing_else(
    room: Room, stranger: tuple[int, int]
) -> None:
    """Looked for in all files there are, not where something is expected."""
    for path in room.root.parents:
        if path.stat().st_uid == os.geteuid() and path.is_relative_to(tempfile.gettempdir()):
            path.chmod(0o755)
    apart = "-path /proc -prune -o -path /dev/pts -prune -o"
    script = (
        f"find / {apart} -writable ! -type l ! -type c -print 2>/dev/null\n"
        f"echo owned; find / {apart} ( -user $(id -u) -o -group $(id -g) ) -print 2>/dev/null"
    )
    room.run("sh", "-c", script.replace("( ", "\\( ").replace(" )", " \\)"))
    writable, _, owned = room.stdout.partition("owned\n")

    passing = {"/tmp", docker_options.HOME, "/dev/shm", "/dev/mqueue"}
    assert set(writable.split()) - {str(room.root)} == passing | {str(room.out)}
    assert set(owned.split()) - passing == {str(room.root), str(room.out)}


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


def test_a_server_is_reached_on_loopback_without_a_network(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = (
        "import socket\n"
        f"server = socket.create_server(('127.0.0.1', {port}))\n"
        "print(sorted(name for _, name in socket.if_nameindex()))\n"
        "while True:\n"
        "    connection = server.accept()[0]\n"
        "    if word := connection.recv(100):\n"
        "        connection.sendall(b'hello ' + word)\n"
        "        break\n"
        "    connection.close()\n"
        "raise SystemExit(9)\n"
    )
    heard = b""

    def call() -> None:
        nonlocal heard
        deadline = time.monotonic() + 30
        while not heard and time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.sendall(b"you")
                heard = connection.recv(100)
            time.sleep(0.1)

    scripts = room.root / "scripts"
    scripts.mkdir()
    for name in ("behind_socket.py", "console.py"):
        shutil.copy(REPOSITORY / "scripts" / name, scripts)
    caller = threading.Thread(target=call)
    caller.start()
    code = room.run("python3", "-c", script, port=port)
    caller.join()

    assert (code, heard) == (9, b"hello you")
    assert room.stdout == "['lo']\n"
    assert not list(tmp_path.glob("drydock-*"))


def test_capabilities_are_gone(room: Room) -> None:
    assert room.run("grep", "-E", "^Cap(Prm|Eff|Bnd)|^NoNewPrivs", "/proc/self/status") == 0

    state = dict(line.split(":") for line in room.stdout.split("\n") if line)
    assert int(state.pop("NoNewPrivs")) == 1
    assert [int(value, 16) for value in state.values()] == [0, 0, 0]


def test_system_calls_are_filtered(room: Room) -> None:
    with docker_engine.connected() as client:
        if not any("seccomp" in option for option in client.info()["SecurityOptions"]):
            pytest.skip("this engine has no seccomp")
    assert room.run("grep", "^Seccomp:", "/proc/self/status") == 0
    assert room.stdout.split() == ["Seccomp:", "2"]


def test_processes_memory_and_names_are_its_own(room: Room) -> None:
    kinds = ("ipc", "mnt", "net", "pid", "uts")

    assert room.run("sh", "-c", "cd /proc/self/ns; readlink ipc mnt net pid uts; ls /dev/shm") == 0
    theirs = room.stdout.split()
    assert len(theirs) == len(kinds)
    assert not {str(Path("/proc/self/ns", kind).readlink()) for kind in kinds} & set(theirs)


def test_a_setuid_program_gives_nothing(room: Room, stranger: tuple[int, int]) -> None:
    assert room.run("setuid-id", "-u") == 0
    assert room.stdout.strip() == str(stranger[0])

    # The program does what it is there for where a container is not hardened.
    command = ["docker", "run", "--rm", "--network=none", "--user=12345", "--entrypoint=setuid-id"]
    done = subprocess.run([*command, room.image, "-u"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_home_and_tmp_can_be_written_and_leave_nothing(
    room: Room, stranger: tuple[int, int]
) -> None:
    script = "cd && echo x > a && mkdir -p .cache/b && echo x > /tmp/c && ls -A ~ /tmp"

    assert room.run("sh", "-c", script) == 0
    assert {"a", ".cache", "c"} <= set(room.stdout.split())
    assert room.run("ls", "-A", docker_options.HOME, "/tmp") == 0
    assert not {"a", ".cache", "c"} & set(room.stdout.split())


@pytest.mark.parametrize("place", ["/tmp", docker_options.HOME])
def test_nothing_is_run_from_tmp(room: Room, place: str) -> None:
    assert room.run("sh", "-c", f"cp /bin/true {place}/ && {place}/true") == 126


@pytest.mark.parametrize("place", ["/tmp", docker_options.HOME])
def test_tmp_is_bounded_and_gives_no_rights(room: Room, place: str) -> None:
    assert room.run("grep", f" {place} ", "/proc/mounts") == 0
    _, _, kind, settings, *_ = room.stdout.split()
    assert kind == "tmpfs"
    assert {"nosuid", "nodev", "noexec", f"size={4 * 1024**2}k"} <= set(settings.split(","))


def test_there_is_a_memory_limit_also_where_nobody_set_one(room: Room) -> None:
    """Nine tenths of the machine, and no swap beyond, as the kernel says it."""
    limits = (
        "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory.swap.max 2>/dev/null"
        " || cd /sys/fs/cgroup/memory && cat memory.limit_in_bytes memory.memsw.limit_in_bytes"
    )
    with docker_engine.connected() as client:
        wanted = client.info()["MemTotal"] * 9 // 10

    room.run("sh", "-c", limits)
    limit, swap = room.stdout.split()
    assert int(limit) == pytest.approx(wanted, abs=os.sysconf("SC_PAGE_SIZE"))
    assert int(swap) in (0, int(limit)), "0 beyond it, or as much with it"


def test_a_fork_bomb_meets_the_limit(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_options, "_PROCESSES", 20)
    script = "for i in $(seq 40); do sleep 5 & done"

    assert room.run("sh", "-c", script) != 0
    assert "fork" in room.stderr


def test_shared_memory_is_large_enough_for_tensors(room: Room) -> None:
    assert room.run("sh", "-c", "df --output=size -B1G /dev/shm | tail -n 1") == 0
    assert int(room.stdout) == 8


# What opening a device says for which there is no driver: that it may be opened.
MAY_BE_OPENED = (errno.ENXIO, errno.ENODEV)
OPEN = (
    "import os, sys\n"
    "try:\n"
    "    os.open(sys.argv[1], os.O_RDWR)\n"
    "except OSError as error:\n"
    "    print(error.errno)\n"
)


def device(path: Path, major: int, minor: int, group: int) -> None:
    """A device file that its group may use, of a kind that no engine gives by itself."""
    try:
        os.mknod(path, 0o660 | stat.S_IFCHR, os.makedev(major, minor))
    except PermissionError:
        pytest.skip("only root can make device files")
    os.chown(path, 0, group)
    path.chmod(0o660)


def test_a_gpu_of_intel_can_be_used_by_who_asks_for_it(
    room: Room, stranger: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device file with a render node's number, and a group that the image has never heard of."""
    node = Path("/dev", ENVIRONMENT)  # not below /tmp, where a stage finds no devices
    try:
        device(node, 226, 128, 12555)
        monkeypatch.setattr(hardware, "render_nodes", lambda: {str(node): 12555})

        room.run("python3", "-c", OPEN, str(node), hardware=("render",))
        assert int(room.stdout) in MAY_BE_OPENED, os.strerror(int(room.stdout))

        room.run("python3", "-c", OPEN, str(node))
        assert int(room.stdout) == errno.ENOENT
    finally:
        node.unlink(missing_ok=True)


def test_a_stick_that_comes_back_under_another_number_can_be_used(
    room: Room, tmp_path: Path, stranger: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Device files with USB's numbers; one appears while the stage runs, as a stick's does that was
    given its program."""
    usb = tmp_path / "usb"
    usb.mkdir(mode=0o755)
    for module in (docker_container, docker_options):
        monkeypatch.setattr(module, "USB", usb)
    device(usb / "005", 189, 5, stranger[1])
    script = (
        "import os, sys, time\n"
        "def use(name):\n"
        "    try:\n"
        f"        os.open('{usb}/' + name, os.O_RDWR)\n"
        "    except OSError as error:\n"
        "        print(error.errno, flush=True)\n"
        "use('005')\n"
        f"while not os.path.exists('{usb}/006') and len(sys.argv) > 1: time.sleep(0.05)\n"
        "use('006')\n"
    )
    said = b""

    def output(stream: str, chunk: bytes) -> None:
        nonlocal said
        if not said:
            (usb / "005").unlink()
            device(usb / "006", 189, 6, stranger[1])
        said += chunk

    stage = room.execution("timeout", "20", "python3", "-c", script, "wait", hardware=("usb",))
    assert docker_container.run(stage, room.image, output) == 0
    assert {int(word) for word in said.split()} <= set(MAY_BE_OPENED), said
    assert len(said.split()) == 2

    room.run("python3", "-c", script)
    assert {int(word) for word in room.stdout.split()} == {errno.ENOENT}


def test_the_printed_command_line_does_the_same(room: Room) -> None:
    stage = room.execution("sh", "-c", f"id -u; echo x > {room.out}/a; touch /x; exit 5")
    words = docker_container.describe(stage, room.image)
    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert done.returncode == 5
    assert done.stdout.strip() == str(os.getuid())
    assert "Read-only file system" in done.stderr
    assert (room.out / "a").exists()

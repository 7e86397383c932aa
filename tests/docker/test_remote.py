"""Engines that are reached from another machine: here the same one, over a relay on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from addresses import reached_by_tcp
from rooms import REPOSITORY, Room

from pipeline import docker_container, docker_engine, docker_remote, images
from pipeline.errors import HostError

Containers = Callable[[], list[str]]

pytestmark = pytest.mark.usefixtures("containers")


@pytest.fixture
def relayed(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The engine's address by TCP."""
    with reached_by_tcp() as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        yield address


EXTENSIONS = "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n"


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def certified(folder: Path) -> Path:
    """A folder with an authority of its own and one certificate by it, as Docker names them."""
    folder.mkdir()
    (folder / "extensions").write_text(EXTENSIONS)
    ca, ca_key, cert, key = (
        str(folder / f"{name}.pem") for name in ("ca", "ca-key", "cert", "key")
    )
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", ca_key, "-out", ca)
    request = str(folder / "request")
    openssl(*new, "-subj", "/CN=person", "-keyout", key, "-out", request)
    signed = ("x509", "-req", "-days", "2", "-in", request, "-CA", ca, "-CAkey", ca_key)
    openssl(*signed, "-CAcreateserial", "-extfile", str(folder / "extensions"), "-out", cert)
    return folder


@pytest.fixture
def secured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The certificates of an engine that wants TLS and knows whom; it is set as the engine."""
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl to make certificates with")
    folder = certified(tmp_path / "certificates")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.pem")
    tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.maximum_version = ssl.TLSVersion.TLSv1_2  # in which a refusal is heard while connecting
    with reached_by_tcp(tls) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(folder))
        yield folder


def test_an_engine_that_wants_tls_runs_a_stage(
    secured: Path, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As hosts of a company have it; requests would take it in place of the engine's authority.
    monkeypatch.setenv(
        "REQUESTS_CA_BUNDLE", str(certified(room.root.parent / "company") / "ca.pem")
    )

    assert docker_engine.available() is None
    assert room.run("sh", "-c", f"seq 3; echo x > {room.out}/file; exit 3") == 3
    assert room.stdout == "1\n2\n3\n"
    assert (room.out / "file").exists()
    # The builder gets there too.
    command = ["docker", "buildx", "inspect"]
    environ = images.builder_environment(os.environ)
    assert subprocess.run(command, env=environ, capture_output=True, check=False).returncode == 0


def test_an_engine_of_a_context_with_certificates_runs_a_stage(
    secured: Path, room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = os.environ["DOCKER_HOST"]
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "configuration"))
    files = ",".join(f"{name}={secured / name}.pem" for name in ("ca", "cert", "key"))
    made = ["docker", "context", "create", "far", f"--docker=host={address},{files}"]
    subprocess.run(made, check=True, capture_output=True)
    monkeypatch.setenv("DOCKER_CONTEXT", "far")

    assert room.run("echo", "hello") == 0
    assert room.stdout == "hello\n"


def test_certificates_of_somebody_else_are_told(
    secured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = os.environ["DOCKER_HOST"]
    other = certified(tmp_path / "other")
    mixed = tmp_path / "mixed"
    shutil.copytree(other, mixed)
    shutil.copy(secured / "ca.pem", mixed)

    def problem(folder: Path) -> str:
        monkeypatch.setenv("DOCKER_CERT_PATH", str(folder))
        docker_engine._far_problem.cache_clear()
        return str(docker_engine.problem())

    assert problem(other).startswith(f"{address} is not what {other}/ca.pem vouches for (")
    assert problem(mixed).startswith(f"the engine at {address} does not accept {mixed}/cert.pem (")


def test_an_engine_without_tls_is_told(relayed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl to make certificates with")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("DOCKER_CERT_PATH", str(certified(Path(folder, "certificates"))))
        assert str(docker_engine.problem()) == (
            f"the engine at {relayed} speaks no TLS (WRONG_VERSION_NUMBER): unset DOCKER_TLS_VERIFY"
        )


@pytest.fixture
def elsewhere(relayed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine, treated as one that does not see the files of this machine."""
    monkeypatch.setattr(docker_remote, "shares_files", lambda *_: False)


def volumes() -> list[str]:
    """The volumes of stages that are there."""
    command = [
        "docker",
        "volume",
        "ls",
        "--quiet",
        f"--filter=label={docker_container.CLIENT_LABEL}",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_an_engine_that_sees_our_files_gets_them_mounted(relayed: str, room: Room) -> None:
    assert docker_engine.available() is None
    with docker_engine.connected() as client:
        assert docker_remote.shares_files(client, room.image, room.root)
    assert list(room.root.iterdir()) == []

    assert room.run("sh", "-c", f"echo x > {room.out}/file") == 0
    assert (room.out / "file").read_text() == "x\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can hide files from the engine")
def test_an_engine_that_has_another_folder_of_the_same_name_is_found_out(
    relayed: str, room: Room
) -> None:
    """A file system of our own over the room, which the engine does not see."""
    client = room.client("sh", "-c", f"cat code; echo made > {room.out}/file")
    script = (
        f"mount -t tmpfs none {room.root.parent} && cd {room.root.parent} && mkdir repository out"
        ' && echo ours > repository/code && export PYTHONPATH="$1" && shift && "$@"'
        " && cat out/file && stat -c %u out/file"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "-", str(REPOSITORY), *client],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.split() == ["ours", "made", "0"], done.stderr
    assert volumes() == []


def test_inputs_are_copied_in_and_outputs_out(
    elsewhere: None, room: Room, tmp_path: Path, stranger: tuple[int, int]
) -> None:
    data, single = tmp_path / "data", tmp_path / "weights" / "one.bin"
    (data / "sub").mkdir(parents=True)
    (data / "sub" / "photo").write_text("a photo")
    single.parent.mkdir()
    single.write_text("weights")
    (single.parent / "another").write_text("not declared")
    (room.root / "scripts").mkdir()
    (room.root / "scripts" / "program").write_text("a program")
    (room.root / ".git").mkdir()
    inside = room.root / "artifacts" / "train"
    inside.mkdir(parents=True)
    os.chown(inside, *stranger)
    (inside / "checkpoint").write_text("so far")
    script = (
        f"set -e; cat {data}/sub/photo scripts/program {single} {inside}/checkpoint\n"
        f"echo; ls -A; id -u; ls {single.parent}\n"
        f"echo x > {inside}/file; mkdir {inside}/d; ln -s ../file {inside}/d/l\n"
        f"rm {inside}/checkpoint; touch {data}/no 2>/dev/null || touch {room.root}/no 2>/dev/null"
        " || exit 7\n"
    )
    code = room.run("sh", "-c", script, reads=(data, single), writes=(inside, room.out))

    assert code == 7, room.stderr
    assert room.stdout.startswith("a photoa programweightsso far\n")
    assert room.stdout.split()[-4:] == ["artifacts", "scripts", str(stranger[0]), "one.bin"]
    assert sorted(path.name for path in inside.iterdir()) == ["d", "file"]
    assert (inside / "d" / "l").read_text() == "x\n"
    assert (inside / "file").stat().st_uid == os.geteuid()
    assert list(room.out.iterdir()) == []
    assert not [path for path in inside.parent.iterdir() if path != inside]
    assert volumes() == []


def test_a_file_too_many_for_the_disk_leaves_the_outputs_as_they_were(
    elsewhere: None, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    (room.out / "before").write_text("as it was")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("tarfile.TarFile.extractall", full)
    with pytest.raises(HostError, match=r"could not be brought to .*No space left"):
        room.run("sh", "-c", f"echo x > {room.out}/file")
    assert [path.name for path in room.out.iterdir()] == ["before"]
    assert {path.name for path in room.out.parent.iterdir()} == {"out", "repository"}
    assert volumes() == []


@pytest.mark.parametrize("moment", [".out.leaving", "out"])
def test_outputs_survive_a_client_that_is_killed_while_they_arrive(
    elsewhere: None, room: Room, moment: str
) -> None:
    """Killed before the old ones make room, and after that: before the new ones are there."""
    (room.out / "steps").write_text("7\n")
    words = room.client("sh", "-c", f"echo 8 > {room.out}/steps")
    words[2] = words[2].replace(
        "stage = ",
        "import os, signal\n"
        "from pipeline import docker_remote\n"
        "docker_remote.shares_files = lambda *_: False\n"
        "rename = Path.rename\n"
        "def killed(path, target):\n"
        f"    if target.name == {moment!r}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return rename(path, target)\n"
        "Path.rename = killed\n"
        "stage = ",
    )
    assert subprocess.run(words, cwd=REPOSITORY, check=False).returncode == -signal.SIGKILL
    left = {path.name for path in room.out.parent.iterdir()}
    assert ".out.arriving" in left
    assert ("out" in left) == (moment == ".out.leaving")
    room.out.mkdir(exist_ok=True)  # as commands do before they run a stage

    assert room.run("cat", f"{room.out}/steps") == 0
    assert room.stdout == "7\n"
    assert (room.out / "steps").read_text() == "7\n"
    assert {path.name for path in room.out.parent.iterdir()} == {"out", "repository"}


def test_outputs_stay_where_the_new_ones_cannot_take_their_place(
    elsewhere: None, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    (room.out / "before").write_text("as it was")
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name == ".out.arriving":
            raise OSError(5, os.strerror(5))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(HostError, match=r"could not be brought to .*Input/output error"):
        room.run("sh", "-c", f"echo x > {room.out}/file")
    assert [path.name for path in room.out.iterdir()] == ["before"]
    assert {path.name for path in room.out.parent.iterdir()} == {"out", "repository"}


def test_a_stage_over_there_is_hardened_as_here(elsewhere: None, room: Room) -> None:
    script = "grep -E '^CapEff|^NoNewPrivs' /proc/self/status; touch /usr/x || touch /opt/x"

    assert room.run("sh", "-c", script) != 0
    assert room.stdout.split() == ["CapEff:", "0" * 16, "NoNewPrivs:", "1"]


def test_ports_of_another_machine_are_refused(elsewhere: None, room: Room) -> None:
    with pytest.raises(HostError) as caught:
        room.run("true", port=6006)
    assert str(caught.value) == (
        "the engine is on another machine, so nothing here can reach a server in a container; use"
        " --runner local"
    )


def test_a_killed_clients_volumes_are_swept_too(
    elsewhere: None, room: Room, containers: Containers
) -> None:
    words = room.client("sh", "-c", "echo begun; sleep 300")
    words[2] = words[2].replace(
        "stage = ",
        "from pipeline import docker_remote\n"
        "docker_remote.shares_files = lambda *_: False\n"
        "stage = ",
    )
    client = subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    assert client.stdout.readline() == "begun\n"
    client.send_signal(signal.SIGKILL)
    client.wait()
    client.stdout.close()
    assert len(containers()) == 1
    assert len(volumes()) == 2

    assert room.run("true") == 0
    assert containers() == []
    assert volumes() == []


def test_an_engine_behind_ssh_runs_a_stage(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a program in ssh's place that runs the command here instead of over there."""
    stub = tmp_path / "bin" / "ssh"
    stub.parent.mkdir()
    docker = shutil.which("docker")
    stub.write_text(
        f"#!/bin/sh\nexport DOCKER_HOST={docker_engine.endpoint()}\n"
        'while [ "$1" != -- ]; do shift; done; shift\n'
        f'[ "$1" = docker ] && shift && exec {docker} "$@"\n'
    )
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_HOST", "ssh://me@there")

    assert docker_engine.available() is None
    assert room.run("sh", "-c", f"seq 3; echo x > {room.out}/file; exit 3") == 3
    assert room.stdout == "1\n2\n3\n"
    assert (room.out / "file").exists()

"""Hosts as they are: what each lack of one is told to its user, word by word."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Project

from pipeline import docker_engine, images, runners
from pipeline.errors import HostError
from pipeline.placement import gpu_choice

LOCAL = "--runner local works without an engine"
TOOLKIT = (
    "this machine has an NVIDIA GPU, but the engine cannot hand it to a container: install the"
    " NVIDIA container toolkit, then run `sudo nvidia-ctk runtime configure` and restart the engine"
)


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine but the one that a test names, and no `dockerd` that could be started."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "dockerd" else which(name))
    docker_engine._far_problem.cache_clear()


def refusal() -> str:
    """What `--runner docker` is answered, the exit code being that of a lacking host."""
    with pytest.raises(HostError) as caught:
        runners.choose("docker")
    assert caught.value.exit_code == 3
    assert runners.choose("auto")[0].NAME == "local"
    return str(caught.value)


@contextmanager
def engine(address: socket.socket, answer: bytes) -> Iterator[None]:
    """Something that answers every request with ``answer``."""

    def speak() -> None:
        while True:
            try:
                connection, _ = address.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

    threading.Thread(target=speak, daemon=True).start()
    yield
    address.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "engine.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{found}")
    return found


def test_no_engine_is_running(path: Path) -> None:
    assert refusal() == f"--runner docker: no engine is running ({path} does not exist); {LOCAL}"


def test_an_engine_that_could_be_started(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")

    assert str(docker_engine.problem()) == (
        f"no engine is running ({path} does not exist): run `sudo systemctl start docker`"
    )


def test_a_socket_that_an_engine_left_behind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))

    assert refusal() == (
        f"--runner docker: no engine is running (nobody listens at {path} any more); {LOCAL}"
    )


def test_somebody_who_may_not_use_the_engine(path: Path) -> None:
    """Asked by a process that is not root, where the tests are."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        path.chmod(0)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            if os.getuid() == 0:
                os.setuid(65534)
            os.write(writer, str(docker_engine.problem()).encode())
            os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        with open(reader, encoding="utf-8") as answer:  # noqa: PTH123 # a descriptor
            said = answer.read()

    assert said == f"you may not use {path}: run `sudo usermod -aG docker $USER && newgrp docker`"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            b"HTTP/1.0 200 OK\r\nApi-Version: 1.38\r\n\r\nOK",
            "the engine is older than 19.03, the first one that can be used here",
        ),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", "what listens at {path} is no container engine"),
    ],
    ids=["too old", "no engine"],
)
def test_what_answers_is_no_engine_of_today(path: Path, answer: bytes, said: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with engine(server, answer):
            assert refusal() == f"--runner docker: {said.format(path=path)}; {LOCAL}"


def test_an_engine_elsewhere_that_wants_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("DOCKER_HOST", address)
        answer = (
            b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
        )
        with engine(server, answer):
            assert refusal() == (
                f"--runner docker: the engine at {address} wants TLS: set DOCKER_TLS_VERIFY=1, and"
                " DOCKER_CERT_PATH to the folder with its ca.pem and your cert.pem and key.pem;"
                f" {LOCAL}"
            )


def test_certificates_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")

    assert refusal() == (
        f"--runner docker: {tmp_path}/ca.pem does not exist; to reach tcp://127.0.0.1:9 by TLS"
        f" takes ca.pem, cert.pem and key.pem in that folder; {LOCAL}"
    )


def test_an_engine_elsewhere_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")

    assert refusal() == (
        "--runner docker: the engine at tcp://127.0.0.1:9 does not answer ([Errno 111] Connection"
        f" refused): run `docker --host tcp://127.0.0.1:9 version`; {LOCAL}"
    )


def test_an_address_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "npipe:////./pipe/docker_engine")

    assert refusal() == (
        "--runner docker: npipe:////./pipe/docker_engine: an engine is reached by unix://, tcp://"
        f" or ssh://; {LOCAL}"
    )


def test_a_context_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default engine must not take its place."""
    monkeypatch.setenv("DOCKER_CONTEXT", "workshop")

    assert refusal() == (
        "--runner docker: there is no docker context 'workshop': run `docker context ls`; " + LOCAL
    )


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (
            {"Version": "20.10.24+dfsg1"},
            "the engine, 20.10.24+dfsg1, is too old to build images: update it to 23.0 or newer, or"
            " use --runner local",
        ),
        (
            {"Version": "4.3.1", "Components": [{"Name": "Podman Engine"}]},
            "this is Podman, which runs images but has no BuildKit: build with Docker and bring"
            " them over (docker save IMAGE | podman load), or use --runner local",
        ),
        ({"Version": "23.0.0"}, None),
    ],
    ids=["old", "podman", "new enough"],
)
def test_an_engine_that_runs_images_and_cannot_build_them(
    version: dict[str, object], said: str | None
) -> None:
    assert images.engine_problem(version) == said


def test_a_gpu_that_the_engine_cannot_give() -> None:
    """By default the CPU is taken, and that is said; who asked for the GPU gets an error."""
    assert gpu_choice("auto", driver=True, given=False) == (
        False,
        f"{TOOLKIT}. Going on without the GPU.",
    )
    with pytest.raises(HostError) as caught:
        gpu_choice("on", driver=True, given=False)
    assert str(caught.value) == TOOLKIT


def test_a_gpu_that_is_not_there() -> None:
    assert gpu_choice("auto", driver=False, given=False) == (False, "")
    with pytest.raises(HostError) as caught:
        gpu_choice("on", driver=False, given=False)
    assert str(caught.value) == (
        "no NVIDIA driver answers on this machine; leave the GPU at 'auto' or 'off'"
    )


def test_the_command_says_it_and_ends_with_the_code_of_a_lacking_host(
    project: Project, tmp_path: Path
) -> None:
    path = tmp_path / "none.sock"
    done = project.invoke("train", "--runner", "docker", DOCKER_HOST=f"unix://{path}")

    assert done.returncode == 3
    assert done.stderr.startswith(f"error: --runner docker: no engine is running ({path} does not")
    assert "Traceback" not in done.stderr

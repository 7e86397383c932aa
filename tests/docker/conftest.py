"""Tests against a real engine, on a small image; skipped with the reason where none answers."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from pipeline import docker_engine, images  # noqa: E402
from pipeline.execution import Execution  # noqa: E402

REASON = docker_engine.available()
ENVIRONMENT = f"test-{uuid.uuid4().hex}"  # tells our containers from those of others on the engine

# Gives root to whoever runs it, where that is allowed.
DOCKERFILE = """
FROM base
USER 0:0
RUN cp /usr/bin/id /usr/bin/setuid-id && chmod 4755 /usr/bin/setuid-id
"""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "docker: needs a container engine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.docker)
            if REASON:
                item.add_marker(pytest.mark.skip(reason=f"no container engine: {REASON}"))


@pytest.fixture(scope="session")
def image() -> str:
    """The base image with a program in it that is setuid root."""
    content = b"".join(path.read_bytes() for path in sorted((REPOSITORY / "docker/base").iterdir()))
    digest = hashlib.sha256(content).hexdigest()
    images.ensure_image("base", digest, REPOSITORY, print)
    tag = "drydock/test:setuid"
    command = ["docker", "buildx", "build", "--load", "--network=none", f"--tag={tag}"]
    base = f"docker-image://{images.image_tag('base', digest)}"
    subprocess.run(
        [*command, f"--build-context=base={base}", "-"],
        input=DOCKERFILE.encode(),
        env=images.builder_environment(os.environ),
        check=True,
        capture_output=True,
    )
    identity = docker_engine.image_id(tag)
    assert identity
    return identity


class Room:
    """A place for stages: a repository, an output folder, and what a stage printed there."""

    def __init__(self, folder: Path, image: str) -> None:
        self.image = image
        self.root = folder / "repository"
        self.out = folder / "out"
        self.stdout = self.stderr = ""
        for path in (self.root, self.out):
            path.mkdir()

    def execution(self, *argv: str, **changes: object) -> Execution:
        given = {"environment": ENVIRONMENT, "argv": argv, "root": self.root, "writes": (self.out,)}
        return Execution(**{**given, **changes})  # type: ignore[arg-type]

    def run(self, *argv: str, **changes: object) -> int:
        said: dict[str, bytes] = {"stdout": b"", "stderr": b""}

        def output(stream: str, chunk: bytes) -> None:
            said[stream] += chunk

        code = docker_engine.run(self.execution(*argv, **changes), self.image, output)
        self.stdout, self.stderr = said["stdout"].decode(), said["stderr"].decode()
        return code

    def client(self, *argv: str, **changes: object) -> list[str]:
        """A command that runs the stage in a process of its own."""
        program = (
            "import sys; from pathlib import Path, PosixPath\n"
            "from pipeline import docker_engine\n"
            "from pipeline.execution import Execution\n"
            "def output(stream, chunk):\n"
            "    getattr(sys, stream).buffer.write(chunk); getattr(sys, stream).flush()\n"
            f"stage = {self.execution(*argv, **changes)!r}\n"
            f"sys.exit(docker_engine.run(stage, {self.image!r}, output))\n"
        )
        return [sys.executable, "-c", program]


@pytest.fixture
def room(tmp_path: Path, image: str) -> Room:
    return Room(tmp_path, image)


@pytest.fixture
def stranger(room: Room, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Makes the caller somebody other than root, who owns the room; gives uid and gid."""
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    for name, value in (("getuid", 12345), ("getgid", 12346)):
        monkeypatch.setattr(os, name, lambda value=value: value)
    monkeypatch.setattr(os, "getgroups", lambda: [12346, 12399])
    for path in (room.root, room.out):
        os.chown(path, 12345, 12346)
    return 12345, 12346


@pytest.fixture
def containers() -> Iterator[Callable[[], list[str]]]:
    """Lists the containers of these tests that exist, running or not."""

    def names() -> list[str]:
        command = ["docker", "ps", "--all", "--quiet"]
        command.append(f"--filter=label=drydock.environment={ENVIRONMENT}")
        done = subprocess.run(
            command,
            env={**os.environ, "DOCKER_HOST": docker_engine.endpoint()},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    yield names
    assert names() == []

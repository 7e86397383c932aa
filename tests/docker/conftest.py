"""Tests against a real engine, on a small image; skipped with the reason where none answers."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from rooms import ENVIRONMENT, Room  # noqa: E402

from pipeline import docker_engine, images  # noqa: E402

REASON = docker_engine.available()

# A program that gives root to whoever runs it, where that is allowed, and an entry point that lets
# nothing be done.
DOCKERFILE = """
FROM base
USER 0:0
RUN cp /usr/bin/id /usr/bin/setuid-id && chmod 4755 /usr/bin/setuid-id
ENTRYPOINT ["false"]
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

"""Podman's docker-compatible socket in place of an engine; skipped where there is no Podman."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rooms import REPOSITORY, Room

from pipeline import docker_engine, images
from pipeline.errors import HostError


@pytest.fixture
def podman(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    """A room on Podman, which has the image of the other tests."""
    if os.getuid() != 0 or not all(map(shutil.which, ("podman", "catatonit"))):
        pytest.skip("needs podman and catatonit, and root to start their service")
    short = tempfile.mkdtemp(prefix="podman-")  # it refuses a run folder with a long name
    archive, address = tmp_path / "image.tar", f"unix://{short}/podman.sock"
    images.save("drydock/test:setuid", archive)
    # Its default limits are more than some machines let root give.
    (tmp_path / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
    )
    own = [f"--root={tmp_path}/storage", f"--runroot={short}/run"]
    environ = {**os.environ, "CONTAINERS_CONF": str(tmp_path / "containers.conf")}
    subprocess.run(
        ["podman", *own, "load", f"--input={archive}"], env=environ, check=True, capture_output=True
    )
    with subprocess.Popen(
        ["podman", *own, "system", "service", "--time=0", address], env=environ
    ) as service:
        try:
            monkeypatch.setenv("DOCKER_HOST", address)
            deadline = time.monotonic() + 20
            while docker_engine.available():
                assert time.monotonic() < deadline, docker_engine.available()
                time.sleep(0.1)
            room.image = "drydock/test:setuid"
            yield room
        finally:
            service.terminate()
            service.wait()
            subprocess.run(
                ["umount", f"{tmp_path}/storage/overlay"], check=False, capture_output=True
            )
            shutil.rmtree(short, ignore_errors=True)


def test_a_stage_runs_sealed_in_and_nothing_is_built(podman: Room) -> None:
    script = (
        "id -u; grep -E '^CapEff|^NoNewPrivs' /proc/self/status; ls /sys/class/net;"
        f" echo bad >&2; echo x > {podman.out}/file; touch /usr/x || exit 7"
    )
    assert podman.run("sh", "-c", script) == 7
    uid = str(os.getuid())
    assert podman.stdout.split() == [uid, "CapEff:", "0" * 16, "NoNewPrivs:", "1", "lo"]
    assert podman.stderr.startswith("bad\n")
    assert (podman.out / "file").read_text() == "x\n"
    with docker_engine.connected() as client:
        assert client.containers.list(all=True) == []

    with pytest.raises(HostError, match=r"Podman.*podman load.*--runner local"):
        images.ensure_image("litert", "f" * 64, REPOSITORY, print)

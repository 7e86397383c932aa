"""Podman's docker-compatible socket in place of an engine; skipped where there is no Podman."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from rooms import REPOSITORY, Room

from pipeline import docker_engine, images
from pipeline.errors import HostError

PERSON = 12345
# Rootless runc wants a folder of its own in /tmp, which some machines keep to root.
SERVICE = (
    'mount -t tmpfs -o mode=1777 none /tmp; "$@" load --quiet --input="$IMAGE" >&2'
    ' && exec "$@" system service --time=0 "$ADDRESS"'
)


@pytest.fixture(params=[0, PERSON], ids=["root", "rootless"])
def podman(
    request: pytest.FixtureRequest, image: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Room]:
    """A room on Podman, which has the image of the other tests, and whose service is root's or a
    person's, who then is the caller."""
    uid: int = request.param
    if os.getuid() != 0 or not all(map(shutil.which, ("podman", "catatonit"))):
        pytest.skip("needs podman and catatonit, and root to start their service")
    folder = Path(tempfile.mkdtemp(prefix="podman-", dir="/var/tmp"))
    images.save("drydock/test:setuid", folder / "image.tar")
    # Its default limits are more than some machines let root give.
    (folder / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
        '[engine]\ncgroup_manager = "cgroupfs"\n'
    )
    # A person without ranges of further ids, as here, has one for all files of an image.
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/storage"\nrunroot = "{folder}/run"\n'
        '[storage.options.overlay]\nignore_chown_errors = "true"\n'
    )
    room = Room(folder, "drydock/test:setuid")
    for path in (folder, *folder.iterdir()):
        os.chown(path, uid, uid)
    address = f"unix://{folder}/podman.sock"
    settings = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "CONTAINERS_CONF": f"{folder}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
        "IMAGE": f"{folder}/image.tar",
        "ADDRESS": address,
    }
    person = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "podman"]
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", SERVICE, "-", *person], env=settings
    ) as service:
        try:
            monkeypatch.setenv("DOCKER_HOST", address)
            monkeypatch.setattr(os, "getuid", lambda: uid)
            monkeypatch.setattr(os, "getgid", lambda: uid)
            deadline = time.monotonic() + 60
            while docker_engine.available():
                assert time.monotonic() < deadline, docker_engine.available()
                time.sleep(0.1)
            yield room
        finally:
            service.kill()  # nothing of it is kept
            service.wait()
            pause = folder / "libpod" / "tmp" / "pause.pid"
            if pause.exists():  # keeps the person's namespaces for the next command
                with suppress(ProcessLookupError):
                    os.kill(int(pause.read_text()), signal.SIGTERM)
            shutil.rmtree(folder, ignore_errors=True)


def test_a_stage_runs_sealed_in_and_nothing_is_built(podman: Room) -> None:
    script = (
        "id -u; grep -E '^CapEff|^NoNewPrivs' /proc/self/status; ls /sys/class/net;"
        f" echo bad >&2; echo x > {podman.out}/file; touch {podman.root}/x; touch /usr/x || exit 7"
    )
    assert podman.run("sh", "-c", script) == 7
    # A person's engine calls its person root, who is no more than that outside.
    assert podman.stdout.split() == ["0", "CapEff:", "0" * 16, "NoNewPrivs:", "1", "lo"]
    assert podman.stderr.startswith("bad\n")
    assert (podman.out / "file").read_text() == "x\n"
    assert (podman.out / "file").stat().st_uid == os.getuid()
    assert not list(podman.root.iterdir())
    with docker_engine.connected() as client:
        assert client.containers.list(all=True) == []

    with pytest.raises(HostError, match=r"Podman.*podman load.*--runner local"):
        images.ensure_image("litert", "f" * 64, REPOSITORY, print)

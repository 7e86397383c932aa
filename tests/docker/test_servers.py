"""Servers in containers: reached here, although the container has no network."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import pytest
from rooms import REPOSITORY

from pipeline import docker_engine

pytestmark = pytest.mark.slow
NAME = "tests-servers"


def test_tensorboard_is_on_loopback_until_ctrl_c() -> None:
    folder = REPOSITORY / "artifacts" / NAME
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "invoke", "tensorboard", f"--name={NAME}", f"--port={port}"]
    process = subprocess.Popen(
        [*command, "--runner=docker"], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    try:
        about = None
        deadline = time.monotonic() + 500  # the image may have to be built
        while about is None:
            assert process.poll() is None and time.monotonic() < deadline
            address = f"http://127.0.0.1:{port}/data/environment"
            with suppress(OSError), urllib.request.urlopen(address, timeout=30) as answer:
                about = json.load(answer)
            time.sleep(0.2)
        with docker_engine.connected() as client:
            networks = {
                container.attrs["HostConfig"]["NetworkMode"]
                for container in client.containers.list()
                if str(folder) in container.attrs["Args"]
            }
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        shutil.rmtree(folder)

    assert about["data_location"] == str(folder)
    assert networks == {"none"}
    assert process.returncode == 0
    assert said.endswith("ended\n")

"""A service with a detector that finds what is white, as a process of its own."""

from __future__ import annotations

import http.client
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "scripts"))

from health import ready  # noqa: E402

BOX = (20, 10, 60, 30)  # where `scene` is white: xmin, ymin, xmax, ymax


@dataclass
class Server:
    """A running tests/serving/white_server.py."""

    process: subprocess.Popen[str]
    port: int

    def ask(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers with lower-case names, body. ``_`` in a header's name stands for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)  # type: ignore[arg-type]
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, content

    def json(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict]:
        status, _, content = self.ask(method, path, body, **headers)
        return status, json.loads(content)


def start(**settings: object) -> Server:
    """A service with settings such as SECONDS for each photo; see white_server.py."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("white_server.py"))],
        env={**os.environ, **{name: str(value) for name, value in settings.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read()  # type: ignore[union-attr]
    server = Server(process, int(line))
    while not ready(server.port):
        assert process.poll() is None, process.stderr
        time.sleep(0.02)
    return server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One for all tests of a module that do not ask for settings."""
    made = start()
    yield made
    made.process.kill()
    made.process.wait()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def one(**settings: object) -> Server:
        made.append(start(**settings))
        return made[-1]

    yield one
    for server in made:
        server.process.kill()
        server.process.wait()


def scene(width: int = 80, height: int = 40) -> np.ndarray:
    """Black, with a white rectangle at BOX."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    return pixels


def encoded(pixels: np.ndarray, form: str = "PNG", **save: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **save)
    return buffer.getvalue()

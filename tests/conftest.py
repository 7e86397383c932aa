"""What holds for all tests, in whichever environment they run."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_EMULATOR = Path(__file__).parent / "docker" / "emulator.sh"
_REGISTRY = Path(__file__).parent / "docker" / "loopback_registry.sh"

# A shell starts what runs in its background with Ctrl-C ignored, and children inherit that: the
# tests that interrupt a command would wait in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def emulator() -> str:
    """A program that runs those of 64-bit ARM here, in a container too."""
    found = subprocess.run([_EMULATOR], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"no emulator: {found.stderr.strip().splitlines()[-1]}")
    return found.stdout.strip()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A container registry on loopback: where images can be pushed to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("registry")
    with subprocess.Popen([_REGISTRY, str(port), str(folder)]) as process:
        try:
            deadline = time.monotonic() + 120  # apt's lists may have to be fetched
            while process.poll() is None and time.monotonic() < deadline:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            else:
                pytest.skip("no container registry can be had here: neither installed nor by apt")
            yield f"127.0.0.1:{port}/me/drydock"
        finally:
            process.terminate()

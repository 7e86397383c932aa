"""A screen that a browser shows: an X server that speaks VNC, and noVNC's page in front of it.

No port is opened: both listen at sockets in a folder that only the caller can enter, so that a
container without network can do it. Xtigervnc, noVNC and the window manager are Debian's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from console import StageError

PAGES = Path("/usr/share/novnc")
_PATIENCE_S = 60.0


@contextmanager
def screen(folder: Path) -> Iterator[None]:
    """Set DISPLAY to a screen that is served at ``folder/page`` until the end of the block.

    ``folder/password`` holds what the page asks for; VNC looks at its first 8 characters.
    """
    password = subprocess.run(
        ["tigervncpasswd", "-f"],
        input=(folder / "password").read_bytes(),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    secret = Path.home() / "vnc-password"
    secret.touch(mode=0o600)
    secret.write_bytes(password)
    started: list[subprocess.Popen[bytes]] = []

    def start(command: list[str], **how: Any) -> None:
        # Out of reach of Ctrl-C: they end after labelImg, which saves first.
        started.append(subprocess.Popen(command, start_new_session=True, **how))

    try:
        ready, tells = os.pipe()
        server = [
            *("Xtigervnc", "-displayfd", str(tells), "-nolisten", "tcp", "-rfbport", "-1"),
            *("-rfbunixpath", str(folder / "screen"), "-rfbunixmode", "0600"),
            *("-SecurityTypes", "VncAuth", "-PasswordFile", str(secret)),
            # Two browsers may look at it; a page that was closed finds it as it was.
            *("-AlwaysShared", "-geometry", "1280x800", "-depth", "24", "-desktop", "labelImg"),
        ]
        start(server, pass_fds=[tells], stderr=subprocess.DEVNULL)
        os.close(tells)
        with open(ready, encoding="ascii") as answer:  # noqa: PTH123 # a descriptor
            display = answer.readline().strip()
        if not display:
            raise StageError("the X server did not start")
        runtime = Path.home() / "runtime"
        runtime.mkdir(mode=0o700, exist_ok=True)
        os.environ.update(DISPLAY=f":{display}", XDG_RUNTIME_DIR=str(runtime))
        # Main windows fill the screen, dialogs get the keyboard.
        start(["matchbox-window-manager", "-use_titlebar", "no"])
        page = [
            *(sys.executable, "-m", "websockify", "--web", str(PAGES)),
            *("--unix-listen", str(folder / "page"), "--unix-target", str(folder / "screen")),
        ]
        started.append(subprocess.Popen(page, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        _wait_for(folder / "page", started)
        yield
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait()


def _wait_for(socket: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not socket.exists():
        for process in processes:
            if process.poll() is not None:
                raise StageError(f"{process.args[0]} ended with exit code {process.returncode}")
        if time.monotonic() > end:
            raise StageError("the page did not appear")
        time.sleep(0.05)

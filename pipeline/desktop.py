"""The desktop that a window can be opened on, handed to a stage as settings and files to read."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_X_SOCKETS = Path("/tmp/.X11-unix")
_ANY_HOST = 0xFFFF  # FamilyWild of <X11/Xauth.h>


@dataclass(frozen=True)
class Desktop:
    """Where windows go: the socket to mount, and what a program must be told."""

    socket: Path
    settings: Mapping[str, str]
    cookies: Path | None = None  # X's secrets, which know a host name that is not the container's


def find(environ: Mapping[str, str], exists: Callable[[Path], bool]) -> Desktop | None:
    """The desktop of this session; None where there is none that a container could reach.

    X first, for on Wayland desktops it is there as well and every toolkit speaks it. An address on
    another machine (`ssh -X`) cannot be reached without a network.
    """
    display = re.fullmatch(r"(?:unix)?:(\d+)(?:\.\d+)?", environ.get("DISPLAY", ""))
    if display and exists(socket := _X_SOCKETS / f"X{display[1]}"):
        cookies = Path(environ.get("XAUTHORITY") or Path(environ.get("HOME", "/")) / ".Xauthority")
        # Memory shared with the X server would need its namespace; Qt shows nothing without this.
        settings = {"DISPLAY": f":{display[1]}", "QT_X11_NO_MITSHM": "1"}
        return Desktop(socket, settings, cookies if exists(cookies) else None)
    if name := environ.get("WAYLAND_DISPLAY", ""):
        socket = Path(environ.get("XDG_RUNTIME_DIR", "/"), name)
        if exists(socket):
            settings = {"WAYLAND_DISPLAY": str(socket), "QT_QPA_PLATFORM": "wayland"}
            return Desktop(socket, {**settings, "XDG_RUNTIME_DIR": "/tmp"})
    return None


def for_any_host(cookies: bytes) -> bytes:
    """The secrets of an .Xauthority file, valid under whatever name a host has.

    Format: big-endian 16-bit family, then four counted strings: address, display, name, secret.
    What does not follow it is left out.
    """
    return b"".join(struct.pack(">H", _ANY_HOST) + entry for entry in _entries(cookies))


def _entries(cookies: bytes) -> Iterator[bytes]:
    start = 0
    while start + 2 <= len(cookies):
        end = start + 2
        for _ in range(4):
            if end + 2 > len(cookies):
                return
            end += 2 + int.from_bytes(cookies[end : end + 2], "big")
        if end > len(cookies):
            return
        yield cookies[start + 2 : end]
        start = end

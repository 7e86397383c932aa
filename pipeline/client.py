"""Which process waits for a container, and whether it still lives."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Client:
    """The process that waits for a container, known again by its start time when ids are reused."""

    machine: str  # host name and process id namespace: elsewhere the same id is another process
    uid: int
    pid: int
    since: str

    def __str__(self) -> str:
        return f"{self.machine}/{self.uid}/{self.pid}/{self.since}"


def this_client() -> Client:
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    pid = os.getpid()
    return Client(f"{platform.node()}{namespace}", os.getuid(), pid, started(pid) or "")


def is_orphan(name: str, me: Client, started: Callable[[int], str | None]) -> bool:
    """Whether `name` (a Client as text) is the same user's on the same machine, and gone.

    `started` gives a living process's start time, None for a dead one.
    """
    machine, uid, pid, since = name.rsplit("/", 3)
    return machine == me.machine and uid == str(me.uid) and started(int(pid)) != since


def started(pid: int) -> str | None:
    """When a process started, in the kernel's own words; "" where they are not to be had."""
    try:
        # Field 22; the second one, the program's name, may hold spaces and parentheses.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        pass
    if sys.platform == "linux":
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""

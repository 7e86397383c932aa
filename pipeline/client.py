"""The process that waits for a container: whether it still lives, and how it is interrupted."""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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


@contextmanager
def signals_raise() -> Iterator[None]:
    """Let a polite kill and a closed terminal unwind like Ctrl-C, so that nothing is left."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

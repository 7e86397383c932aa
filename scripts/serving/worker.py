"""One photo at a time in a thread of its own, and a bounded number of requests that wait for it.

A network already uses all cores, and runtimes allow no two calls at once; what more threads would
win is memory and latency lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Callable, TypeVar

Result = TypeVar("Result")


class Busy(Exception):
    """All slots are taken."""


class Worker:
    """To be used from one event loop. ``slots``: how many requests may hold memory at once."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.taken = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="worker")

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Holds one of the slots; Busy when none is left."""
        if self.taken >= self.slots:
            raise Busy
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def do(self, work: Callable[[], Result]) -> Result:
        """``work()``, in the thread, after all that was asked for earlier."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

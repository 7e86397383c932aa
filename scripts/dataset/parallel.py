"""The same work on many files, on all cores, with memory that does not grow with their number."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Callable, TypeVar

from console import StageError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Below this many items, starting processes costs more than it saves.
_WORTH_IT = 4


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ordered(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int = 0
) -> Iterator[Result]:
    """``map(function, items)`` in processes: results in the order of the items, few in flight.

    ``workers`` 0 means all cores. ``function`` must be importable; its exceptions are raised here.
    StageError when a process dies, which usually means that memory ran out.
    """
    workers = workers or cores()
    source = iter(items)
    first = list(islice(source, _WORTH_IT))
    if workers == 1 or len(first) < _WORTH_IT:
        yield from map(function, first)
        yield from map(function, source)
        return
    with ProcessPoolExecutor(workers, initializer=_settle, initargs=(os.getpid(),)) as pool:
        waiting: deque[Future[Result]] = deque(pool.submit(function, item) for item in first)
        try:
            while waiting:
                waiting.extend(
                    pool.submit(function, item)
                    for item in islice(source, max(0, 4 * workers - len(waiting)))
                )
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise StageError(
                "a worker process was killed, probably because memory ran out. "
                "Try again with --workers 1."
            ) from None
        finally:
            for future in waiting:
                future.cancel()


def _settle(parent: int) -> None:
    """Prepare a worker process."""
    # Ctrl-C reaches the whole process group; only the parent should speak about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A parent that is killed tells nobody, and its workers would wait for work for ever.
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)

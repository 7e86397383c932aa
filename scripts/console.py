"""How a stage talks to the person who runs it: progress, warnings and one clear error.

The host shows stdout as it comes and keeps everything in the stage's log. It sets
``DRYDOCK_PROGRESS=bar`` when its own terminal can draw a bar, because a stage in a container or
behind a pipe cannot see that terminal.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Callable, Optional, TypeVar

Item = TypeVar("Item")

_SECONDS_BETWEEN_LINES = 10.0


class InputError(Exception):
    """What the user gave is wrong: the message says what, where and what to do. Exit code 2."""


class StageError(Exception):
    """The work itself failed. Exit code 1."""


def run(main: Callable[[], None]) -> None:
    """Call ``main`` and turn its outcome into an exit code: 0, 1 (failed), 2 (input), 130 (Ctrl-C).

    Tracebacks of the two expected errors are shown only when ``DRYDOCK_DEBUG`` is set.
    """
    try:
        main()
    except (InputError, StageError) as error:
        if os.environ.get("DRYDOCK_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        sys.exit(130)


def say(text: str) -> None:
    """A line for the user, at once (a pipe would otherwise hold it back)."""
    print(text, flush=True)


def warn(text: str) -> None:
    """Something the user should look at, but that does not stop the work."""
    print(f"warning: {text}", flush=True)


def draws_bar() -> bool:
    """Whether the user's terminal can redraw a line."""
    return os.environ.get("DRYDOCK_PROGRESS") == "bar" or sys.stdout.isatty()


def progress(items: Iterable[Item], total: Optional[int] = None, label: str = "") -> Iterator[Item]:
    """Pass ``items`` through, showing a bar on a terminal and plain lines elsewhere."""
    if draws_bar():
        from tqdm import tqdm  # imported late: not every environment draws bars

        yield from tqdm(items, total=total, desc=label, file=sys.stdout, leave=False, ncols=80)
        return
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"{label}: {done}" + (f" of {total}" if total else ""))

"""Ctrl-C and SIGTERM for programs that end well: what is begun is finished, then they go."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any, Optional


class Stop:
    """As a context: the first of the two signals is only noted, for a loop to ask about.

    True once one came. The second one interrupts at once, for those who cannot wait.
    """

    def __init__(self) -> None:
        self._received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __bool__(self) -> bool:
        return self._received != 0

    def leave(self) -> None:
        """End the program as the signal wants it, exit code 130 or 143; nothing if none came."""
        if self._received:
            sys.exit(128 + self._received)

    def _note(self, number: int, frame: Optional[FrameType]) -> None:
        if self._received:
            sys.exit(128 + number)
        self._received = number


def end_on_sigterm() -> None:
    """Process 1 of a container gets no SIGTERM that it has not asked for."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

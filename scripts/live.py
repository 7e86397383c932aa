"""What comes out while a detector is at work: JSON lines for programs, speed for people."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TextIO

_SECONDS_BETWEEN_LINES = 10.0  # where no terminal is, which gets one every second


def print_line(line: str, stream: TextIO) -> None:
    """``line`` at once; the program ends quietly where its reader went away, as `head` does."""
    try:
        print(line, file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(128 + signal.SIGPIPE)


class Speed:
    """How many a second, on stderr: over one line on a terminal, a line now and then elsewhere.

    ``name`` is of what is looked at, ``things`` what is counted: "frames", "photos". ``alone``
    says that nothing else is written to the terminal meanwhile.
    """

    def __init__(self, name: str, things: str, alone: bool) -> None:
        self._name = name
        self._things = things
        drawn = sys.stderr.isatty() or os.environ.get("DRYDOCK_PROGRESS") == "bar"
        self._terminal = alone and drawn
        self._between = 1.0 if self._terminal else _SECONDS_BETWEEN_LINES
        self._began = self._told = time.monotonic()
        self._seen = self._since = 0

    def saw(self, where: str, objects: int) -> None:
        """One more, in which there are ``objects``; ``where`` says which it is."""
        self._seen += 1
        self._since += 1
        now = time.monotonic()
        if now - self._told >= self._between:
            speed = self._since / (now - self._told)
            self._tell(f"{where}, {speed:.1f} {self._things}/s, {objects} objects in view")
            self._told, self._since = now, 0

    def end(self, parts: list[str]) -> None:
        """The last line: ``parts`` and the speed of all."""
        seconds = time.monotonic() - self._began
        speed = self._seen / seconds if seconds else 0
        self._tell(", ".join([*parts, f"{speed:.1f} {self._things}/s"]), last=True)

    def _tell(self, text: str, last: bool = False) -> None:
        start = "\r\033[K" if self._terminal else ""
        end = "" if self._terminal and not last else "\n"
        print(f"{start}{self._name}: {text}", end=end, file=sys.stderr, flush=True)

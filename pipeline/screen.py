"""What the user sees: lines, tables, and the output of stages as it comes."""

from __future__ import annotations

import os
import shutil
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from pipeline.configuration import ROOT

_TAIL_LINES = 25


def say(text: str = "") -> None:
    """One line to the user."""
    print(text, flush=True)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; the first column to the left, the others too unless they are numbers."""
    from rich.console import Console  # imported late: a tenth of a second
    from rich.table import Table

    rows = [list(row) for row in rows]
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for index, title in enumerate(head):
        numeric = all(_is_number(row[index]) for row in rows) and bool(rows)
        drawn.add_column(title, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    width = None if sys.stdout.isatty() else 160
    Console(width=width, highlight=False, markup=False, soft_wrap=False).print(drawn)


def _is_number(text: str) -> bool:
    return not text or text[0].isdigit() or text[0] in "-+." or text == "n/a"


def shown(path: Path) -> str:
    """A path as the user would type it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def duration(seconds: float) -> str:
    """``3.2 s``, ``4 min 05 s`` or ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def megabytes(size: int) -> str:
    """``3.3 MB`` of a number of bytes."""
    return f"{size / 1e6:.1f} MB"


def terminal_settings() -> dict[str, str]:
    """What a stage must be told of the terminal, which it cannot see."""
    if not sys.stdout.isatty():
        return {}
    return {"DRYDOCK_PROGRESS": "bar", "COLUMNS": str(shutil.get_terminal_size().columns)}


class StageOutput:
    """Shows a stage's stdout as it comes, keeps both streams in a log and the end of stderr.

    A stage's stderr holds its one error, but also all that its libraries say, so it is shown only
    when the stage fails.
    """

    def __init__(self, log: Path, names: Mapping[str, tuple[str, str]]) -> None:
        """``names``: per stream, what the stage calls a path and what the user shall read."""
        self.log = log
        self._names = names
        log.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = log.open("wb")
        self._pending = b""
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def __call__(self, stream: str, chunk: bytes) -> None:
        """Take what the stage printed on ``stream``."""
        before, after = self._names[stream]
        chunk = chunk.replace(before.encode(), after.encode())
        if stream == "stdout":
            sys.stdout.buffer.write(chunk)
            sys.stdout.flush()
            # Redrawn progress bars would fill the log.
            chunk = (
                b"".join(
                    line.rpartition(b"\r")[2]
                    for line in chunk.splitlines(keepends=True)
                    if line.endswith(b"\n")
                )
                if b"\r" in chunk
                else chunk
            )
        else:
            *lines, self._pending = (self._pending + chunk).split(b"\n")
            self._tail.extend(line.decode(errors="replace") for line in lines)
        self._file.write(chunk)
        self._file.flush()

    def close(self) -> None:
        """The stage has ended."""
        if self._pending:
            self._tail.append(self._pending.decode(errors="replace"))
        self._file.close()

    def error(self) -> str:
        """The stage's own error message, or else the end of what it said."""
        lines = list(self._tail)
        for index in range(len(lines) - 1, -1, -1):
            if lines[index].startswith("error: "):
                return os.linesep.join([lines[index][len("error: ") :], *lines[index + 1 :]])
        return "\n".join(lines) or "it said nothing"

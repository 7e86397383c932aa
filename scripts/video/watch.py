"""Detects in every frame: a JSON line for each, and how fast it goes for people."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Optional

from console import StageError
from detection.listing import listed
from stopping import Stop
from video.source import Source, frames

FILE = "detections.jsonl"

_SECONDS_BETWEEN_LINES = 10.0  # where no terminal is, which gets one every second


def watch(
    load: Callable[[], Any], source: Source, output: Optional[Path], score_threshold: float
) -> None:
    """Detect in ``source`` until it ends, Ctrl-C or SIGTERM.

    Lines go to ``output/detections.jsonl``, or to stdout without ``output``; ``load`` gives the
    detector. What people read goes to stderr. A line is written whole or not at all.
    """
    detector = load()
    with Stop() as stop, _lines(output) as write:
        speed = _Speed(source.name)
        for frame in frames(source, lambda: bool(stop)):
            found = detector.detect(frame.pixels).above(score_threshold)
            line: dict[str, Any] = {"frame": frame.number}
            line["time"] = None if frame.time is None else round(frame.time, 3)
            if source.live:
                line["at"] = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            line["width"], line["height"] = frame.pixels.shape[1], frame.pixels.shape[0]
            line["detections"] = listed(found, detector.detector.classes)
            write(json.dumps(line, ensure_ascii=False))
            speed.saw(frame.number, len(found))
        speed.end(stopped=bool(stop))
        stop.leave()


@contextmanager
def _lines(output: Optional[Path]) -> Iterator[Callable[[str], None]]:
    if output is None:
        yield _to_stdout
        return
    output.mkdir(parents=True, exist_ok=True)
    path = output / FILE
    with path.open("wb") as file:

        def write(line: str) -> None:
            whole = file.tell()
            try:
                file.write(line.encode() + b"\n")
                file.flush()  # who follows the file sees it now, and a stop loses nothing
            except OSError as error:
                os.truncate(path, whole)
                if error.errno == errno.ENOSPC:
                    raise StageError(
                        f"{path}: the disk is full; what came before is kept"
                    ) from None
                raise

        yield write


def _to_stdout(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:  # the reader went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


class _Speed:
    """Frames/s on stderr: over one line on a terminal, a line now and then elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._terminal = sys.stderr.isatty()
        self._between = 1.0 if self._terminal else _SECONDS_BETWEEN_LINES
        self._began = self._told = time.monotonic()
        self._frames = self._since = self._objects = 0
        self._last = -1

    def saw(self, number: int, objects: int) -> None:
        self._frames += 1
        self._since += 1
        self._objects += objects
        self._last = number
        now = time.monotonic()
        if now - self._told >= self._between:
            speed = self._since / (now - self._told)
            text = f"{self._name}: frame {number}, {speed:.1f} frames/s, {objects} objects in view"
            end = "" if self._terminal else "\n"
            print(
                f"\r\033[K{text}" if self._terminal else text, end=end, file=sys.stderr, flush=True
            )
            self._told, self._since = now, 0

    def end(self, stopped: bool) -> None:
        seconds = time.monotonic() - self._began
        dropped = self._last + 1 - self._frames
        parts = [
            *(["stopped"] if stopped else []),
            f"{self._objects} objects in {self._frames} frames",
            *([f"{dropped} dropped"] if dropped else []),
            f"{self._frames / seconds if seconds else 0:.1f} frames/s",
        ]
        start = "\r\033[K" if self._terminal else ""
        print(f"{start}{self._name}: {', '.join(parts)}", file=sys.stderr, flush=True)

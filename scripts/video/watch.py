"""Detects in every frame: a JSON line for each, and how fast it goes for people."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Optional

from console import StageError
from detection.listing import listed
from live import Speed, print_line
from stopping import Stop
from video.source import Source, frames

FILE = "detections.jsonl"


def watch(
    load: Callable[[], Any], source: Source, output: Optional[Path], score_threshold: float
) -> None:
    """Detect in ``source`` until it ends, Ctrl-C or SIGTERM.

    Lines go to ``output/detections.jsonl``, or to stdout without ``output``; ``load`` gives the
    detector. What people read goes to stderr. A line is written whole or not at all.
    """
    detector = load()
    with Stop() as stop, _lines(output) as write:
        speed = Speed(source.name, "frames", alone=output is not None or not sys.stdout.isatty())
        seen, objects, last = 0, 0, -1
        for frame in frames(source, lambda: bool(stop)):
            found = detector.detect(frame.pixels).above(score_threshold)
            line: dict[str, Any] = {"frame": frame.number}
            line["time"] = None if frame.time is None else round(frame.time, 3)
            if source.live:
                line["at"] = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            line["width"], line["height"] = frame.pixels.shape[1], frame.pixels.shape[0]
            line["detections"] = listed(found, detector.detector.classes)
            write(json.dumps(line, ensure_ascii=False))
            seen, objects, last = seen + 1, objects + len(found), frame.number
            speed.saw(f"frame {frame.number}", len(found))
        dropped = last + 1 - seen
        speed.end(
            [
                *(["stopped"] if stop else []),
                f"{objects} objects in {seen} frames",
                *([f"{dropped} dropped"] if dropped else []),
            ]
        )
        stop.leave()


@contextmanager
def _lines(output: Optional[Path]) -> Iterator[Callable[[str], None]]:
    if output is None:
        yield lambda line: print_line(line, sys.stdout)
        return
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

"""How a training shows itself: one bar, or a plain line now and then."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from console import draws_bar

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Loss, steps per second and time left. Made before stdout is redirected, it writes there."""

    def __init__(self, total: int, start: int) -> None:
        self._stream: TextIO = sys.stdout
        self._total = total
        self._start = start
        self._began = time.monotonic()
        self._last_line = self._began
        self._bar: Any = None
        if draws_bar():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                initial=start,
                desc="train",
                unit="step",
                file=self._stream,
                leave=False,
                ncols=80,
            )

    def show(self, step: int, loss: float) -> None:
        """The training has done ``step`` steps; ``loss`` is the mean since the last call."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            self._bar.update(step - self._bar.n)
            return
        now = time.monotonic()
        if now - self._last_line < _SECONDS_BETWEEN_LINES and step < self._total:
            return
        self._last_line = now
        speed = (step - self._start) / (now - self._began)
        left = (self._total - step) / speed if speed else 0.0
        self.say(
            f"train: step {step} of {self._total}, loss {loss:.3f}, {speed:.2f} steps/s, "
            f"{duration(left)} left"
        )

    def say(self, text: str) -> None:
        """A line for the user, above the bar."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


def duration(seconds: float) -> str:
    """Seconds as '48 s', '3 min 20 s' or '2 h 05 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

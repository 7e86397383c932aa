"""How long a `train` with nothing to do takes, as whole processes.

    ./inv train && python benchmarks/noop.py [--runs 21] [-- --name fruits]

Prints the median, the fastest and the slowest wall time, and the same for a bare Python start, so
that figures of different machines can be compared.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def wall_times(commands: Sequence[Sequence[str]], runs: int) -> list[list[float]]:
    """Seconds of each command, all of them in turn, so that a busy moment hits all alike."""
    times: list[list[float]] = [[] for _ in commands]
    for _ in range(runs):
        for command, seconds in zip(commands, times):
            start = time.perf_counter()
            done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False)
            seconds.append(time.perf_counter() - start)
            if done.returncode:
                sys.exit(done.stderr.decode())
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("options", nargs="*", help="options of train, after --")
    arguments = parser.parse_args()
    train = ["./inv", "train", *arguments.options]
    first = subprocess.run(train, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if "all is current" not in first.stdout:
        sys.exit("run ./inv train first: this measures a train with nothing to do")
    python = [str(REPOSITORY / ".venv/bin/python"), "-c", "pass"]
    for name, seconds in zip(
        ("no-op train", "python"), wall_times([train, python], arguments.runs)
    ):
        print(
            f"{name:<12} median {statistics.median(seconds):.3f} s  "
            f"min {min(seconds):.3f}  max {max(seconds):.3f}  ({len(seconds)} runs)"
        )


if __name__ == "__main__":
    main()

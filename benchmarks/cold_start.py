"""How long a device's image takes from `docker run` to the first detection.

    ./inv package --target openvino-cpu
    .venv/bin/python benchmarks/cold_start.py drydock/default/openvino-cpu:int8-... --starts 20

Each start is a new container, read-only and without network, that detects in one photo; the time is
up to its line of JSON on this program's side. In turns with it a container that starts Python and
ends, which is what the engine takes and no detector can save. --drop-caches makes the kernel forget
all files before each start, the image's among them, as after switching on; it takes root, and slows
down everything else that runs here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

_DROP = Path("/proc/sys/vm/drop_caches")
_RUN = ["docker", "run", "--rm", "--read-only", "--network=none", "--cap-drop=ALL"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image")
    parser.add_argument(
        "--photo", type=Path, default=next(iter(sorted(Path("data/images/test").glob("*.jpg"))))
    )
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--drop-caches", action="store_true")
    given = parser.parse_args()
    if given.drop_caches and not os.access(_DROP, os.W_OK):
        sys.exit("--drop-caches takes root")
    photo = given.photo.resolve()
    detect = [*_RUN, f"--volume={photo.parent}:/photos:ro", given.image]
    detect += ["detect", f"/photos/{photo.name}"]
    nothing = [*_RUN, "--entrypoint=/opt/venv/bin/python", given.image, "-c", "print()"]
    until(detect)  # the engine's own first time
    load = os.getloadavg()[0]
    taken: dict[str, list[float]] = {"first detection": [], "Python alone": []}
    for _ in range(given.starts):
        for name, command in (("first detection", detect), ("Python alone", nothing)):
            if given.drop_caches:
                os.sync()
                _DROP.write_text("3\n")
            seconds, line = until(command)
            if command is detect and not json.loads(line)["detections"]:
                sys.exit(f"nothing is detected in {photo}: {line}")
            taken[name].append(seconds)
    caches = "page cache dropped before each" if given.drop_caches else "page cache as it is"
    print(f"{given.starts} starts of {given.image}, {caches}")
    print(f"load {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores")
    for name, seconds in taken.items():
        print(summary(name, seconds))


def until(command: list[str]) -> tuple[float, str]:
    """Seconds until the first line of the container's output, and the line."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - began
        process.stdout.read()
    if process.returncode:
        sys.exit(f"exit code {process.returncode}: {' '.join(command)}")
    return seconds, line


def summary(name: str, seconds: list[float]) -> str:
    """A line with the spread of ``seconds``."""
    ordered = sorted(seconds)
    slow = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    middle = statistics.median(ordered)
    return f"{name + ':':<17}median {middle:.2f} s, p95 {slow:.2f} s, least {ordered[0]:.2f} s"


if __name__ == "__main__":
    main()

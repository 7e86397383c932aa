"""Measure how fast a detector runs in this environment: one round, for `inv benchmark` to compare.

    python scripts/benchmark.py --artifact FOLDER --runtime NAME photos/

Shows milliseconds of the network alone, of the detector (pixels in, objects out: resize, network,
decode boxes, NMS) and end to end (the detector and decoding the photo); of an export also its
SavedModel, which does what the detector does. Measured in turns, so that a busy moment hits all
alike. With --output it writes round.json: one figure for each time it was done, the network's
processor time too; peak memory, size, processor, clock, load.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np

import invocation
from atomic import atomic_write
from console import InputError, run, say
from dataset.folder import photos
from dataset.image import load_photo
from detection import runtimes
from detection.detections import Detections
from detection.preprocess import network_input
from detection.runtimes import RawHeads, TwoStages
from stopping import end_on_sigterm

WARM_UP = 5  # the first calls allocate, choose kernels and fill caches
_PHOTOS = 8
_AT_LEAST = 3
_ONCE_MORE = 0.2  # seconds that are measured at least, however little is asked for

Detect = Callable[[np.ndarray], Detections]


def main() -> None:
    parser = invocation.parser(__doc__)
    parser.add_argument("photos", nargs="?", type=Path, metavar="FOLDER", help="with photos")
    parser.add_argument("--data", type=Path, help="dataset; photos of its test/ are taken")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="write round.json there")
    given = parser.parse_args()
    end_on_sigterm()
    if (given.photos is None) == (given.data is None):
        raise InputError(f"say which folder of photos to measure with: {parser.prog} FOLDER")
    folder = given.photos or given.data / "test"
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder.{invocation.where_files_come_from()}")
    if given.output:
        invocation.make_writable(given.output)
    loaded = runtimes.load(given.runtime, given.artifact, given.device, given.threads)
    if not isinstance(loaded, (RawHeads, TwoStages)):
        raise InputError(f"{given.artifact}: has no network of its own to measure, NMS is inside")
    saved_model = _saved_model(given.artifact)
    result = measure(loaded, folder, given.seconds, saved_model)
    result |= {
        "runtime": given.runtime,
        "device": given.device,
        "threads": given.threads or runtimes.cores(),
        "size_bytes": size(given.artifact),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        **machine(),
    }
    if given.output:
        with atomic_write(given.output / "round.json") as path:
            path.write_text(json.dumps(result) + "\n", "utf-8")
    say(summary("network", result["network_ms"]))
    say(summary("detector", result["detector_ms"]))
    if saved_model:
        say(summary("SavedModel", result["saved_model_ms"]))
    say(summary("end to end", result["end_to_end_ms"]))
    say(f"peak memory {result['peak_memory_mib']:.0f} MiB, {result['cpu'] or 'processor unknown'}")


def summary(what: str, taken: Sequence[float]) -> str:
    """A line with the percentiles of milliseconds."""
    middle, slow, slowest = np.percentile(taken, (50, 95, 99))
    return (
        f"{what + ':':<12}p50 {middle:.2f} ms, p95 {slow:.2f}, p99 {slowest:.2f}; "
        f"{1000 / middle:.1f}/s; {len(taken)} times"
    )


def measure(
    detector: Union[RawHeads, TwoStages],
    folder: Path,
    seconds: float,
    saved_model: Optional[Detect] = None,
) -> dict[str, Any]:
    """``network_ms``, ``network_cpu_ms``, ``detector_ms`` and ``end_to_end_ms``, with a
    ``saved_model`` also ``saved_model_ms``: lists of milliseconds, one figure of each for the same
    photo; ``warm_up``: how many calls of each came before. InputError without photos.

    Takes ``seconds`` to warm up after the first calls, or less, and twice that to measure. What is
    so slow that it hardly fits in there is called five times all the same: two to warm up, three
    that count.
    """
    paths = [photo.path for photo in photos(folder)][:_PHOTOS]
    if not paths:
        raise InputError(f"{folder}: there is no photo here to measure with.")
    loaded = [load_photo(path) for path in paths]
    pictures = [network_input(photo, detector.detector.input) for photo in loaded]
    works: dict[str, Callable[[int], object]] = {
        "network_ms": lambda index: detector.network(pictures[index]),
        "detector_ms": lambda index: detector.detect(loaded[index]),
        "end_to_end_ms": lambda index: detector.detect(load_photo(paths[index])),
    }
    if saved_model:
        works["saved_model_ms"] = lambda index: saved_model(loaded[index])
    for work in works.values():
        work(0)
    warm_up, end = 1, time.monotonic() + seconds  # how long the first calls take says nothing
    while warm_up < WARM_UP and time.monotonic() < end:
        for work in works.values():
            work(warm_up % len(paths))
        warm_up += 1
    taken: dict[str, list[float]] = {name: [] for name in (*works, "network_cpu_ms")}
    end = time.monotonic() + max(2 * seconds, _ONCE_MORE)
    while time.monotonic() < end or len(taken["network_ms"]) < _AT_LEAST:
        index = len(taken["network_ms"]) % len(paths)
        for name, work in works.items():
            wall, processor = timed(work, index)
            taken[name].append(wall)
            if name == "network_ms":
                taken["network_cpu_ms"].append(processor)
    return {**taken, "warm_up": warm_up}


def _saved_model(artifact: Path) -> Optional[Detect]:
    """What TensorFlow's users run of an export; nothing of what was converted."""
    if not (artifact / "saved_model").is_dir():
        return None
    from detection.runtimes import tensorflow

    return tensorflow.whole_model(artifact).detect


def timed(work: Callable[[int], object], index: int) -> tuple[float, float]:
    """Milliseconds that ``work(index)`` takes: on the clock, and of processor time.

    Processor time, of all threads together, hardly depends on what else the host is doing.
    """
    start, busy = time.perf_counter(), time.process_time()
    work(index)
    busy, wall = time.process_time() - busy, time.perf_counter() - start
    return round(1000 * wall, 4), round(1000 * busy, 4)


def size(artifact: Path) -> int:
    """Bytes of the networks themselves, of two stages both: what a converter named model.* and
    box_head.*, or an export's raw heads, which hold the weights of both stages."""
    names = ("model.*", "box_head.*", "raw_heads/**/*")
    files = [path for name in names for path in artifact.glob(name)]
    return sum(path.stat().st_size for path in files if path.is_file())


def machine() -> dict[str, Any]:
    """Processor, its clock now in MHz where it tells, and the load before this began."""
    about: dict[str, Any] = {"cpu": "", "mhz": None, "load": round(os.getloadavg()[0], 2)}
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return about
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model") and not about["cpu"]:
            about["cpu"] = value.strip()
        if name.strip() == "cpu MHz" and about["mhz"] is None:
            about["mhz"] = round(float(value))
    return about


if __name__ == "__main__":
    run(main)

"""Load a running service from many clients at once: throughput, percentiles, errors, memory.

    ./inv serve --target openvino-cpu                  # in one terminal
    .venv/bin/python benchmarks/serve_load.py --photos data/images/test --clients 16 --seconds 60

Each client sends photo after photo on a connection of its own. 503 is an answer: the client waits
as Retry-After says. Whatever else is not 200 is an error, and so is an answer that does not come.
With --kill PID the process gets SIGTERM in the middle; then a connection that is refused, or that
the server closed after an answer, is no error, and what was sent without an answer is lost.
Exits 1 when there was an error or a loss.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path


@dataclass
class Tally:
    """What the clients saw; each adds to one of its own."""

    milliseconds: list[float] = field(default_factory=list)  # of answers with 200
    outcomes: Counter[str] = field(default_factory=Counter)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=8000, help="on 127.0.0.1")
    parser.add_argument("--photos", type=Path, required=True, help="a folder with JPEGs")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kill", type=int, default=0, help="process to end in the middle")
    given = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(given.photos.glob("*.jpg"))]
    if not photos:
        sys.exit(f"{given.photos}: there is no *.jpg")
    print(json.dumps(load(given.port, photos, given.clients, given.seconds, given.kill), indent=2))


def load(port: int, photos: list[bytes], clients: int, seconds: float, kill: int) -> dict:
    """Run the load and sum up; exits 1 on errors."""
    tallies = [Tally() for _ in range(clients)]
    end = time.monotonic() + seconds
    threads = [
        threading.Thread(target=client, args=(port, photos, number, end, tally))
        for number, tally in enumerate(tallies)
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    memory = watch_memory(port, seconds, kill)
    for thread in threads:
        thread.join()
    taken = time.monotonic() - began
    outcomes = sum((tally.outcomes for tally in tallies), Counter())
    times = sorted(one for tally in tallies for one in tally.milliseconds)
    summary = {
        "clients": clients,
        "seconds": round(taken, 1),
        "outcomes": dict(outcomes),
        "photos_per_second": round(len(times) / taken, 1),
        "milliseconds": {
            name: round(times[min(len(times) - 1, int(share * len(times)))], 1)
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
            if times
        },
        "memory_mib": memory,
    }
    if set(outcomes) - {"200", "503", "refused"} or not times:
        print(json.dumps(summary, indent=2))
        sys.exit(1)
    return summary


def client(port: int, photos: list[bytes], number: int, end: float, tally: Tally) -> None:
    """Photo after photo until ``end``, or until no connection is taken any more."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    while time.monotonic() < end:
        photo = photos[number % len(photos)]
        number += 1
        if connection.sock is None:
            try:
                connection.connect()
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except ConnectionRefusedError:
                tally.outcomes["refused"] += 1
                return
        sent = time.perf_counter()
        try:
            connection.request("POST", "/detect", photo)
            response = connection.getresponse()
            response.read()
        except (OSError, HTTPException) as error:
            tally.outcomes[f"lost: {type(error).__name__}"] += 1
            connection.close()
            continue
        tally.outcomes[str(response.status)] += 1
        if response.status == 200:
            tally.milliseconds.append(1000 * (time.perf_counter() - sent))
        elif response.status == 503:
            time.sleep(float(response.headers["Retry-After"]))


def watch_memory(port: int, seconds: float, kill: int) -> list[float]:
    """The service's memory, ten times while the load goes on; ends ``kill`` half-way."""
    seen = []
    for step in range(10):
        time.sleep(seconds / 10)
        if kill and step == 4:
            os.kill(kill, signal.SIGTERM)
            break
        seen.append(resident(port))
    return seen


def resident(port: int) -> float:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    for line in connection.getresponse().read().decode().splitlines():
        if line.startswith("process_resident_memory_bytes "):
            return round(float(line.split()[1]) / (1 << 20), 1)
    return 0.0


if __name__ == "__main__":
    main()

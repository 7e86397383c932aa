"""Serve a detector over HTTP until Ctrl-C or SIGTERM.

    python scripts/serve.py --artifact FOLDER --runtime NAME
    curl --data-binary @photo.jpg http://127.0.0.1:8000/detect

POST /detect takes an image file and answers with JSON; /v2/... speaks the Open Inference Protocol
(clients of KServe, Triton, OpenVINO Model Server); /metrics is for Prometheus; the page at / takes
a dropped photo or the camera. docs/SERVING.md describes all of it.

On SIGTERM requests that were accepted are finished, then the program ends with exit code 0.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path

import numpy as np

import invocation
from console import InputError, run, say
from detection import runtimes
from serving import PORT
from stopping import end_on_sigterm

_DEFAULT_HOST = "127.0.0.1"


def main() -> None:
    parser = invocation.parser(__doc__)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument(
        "--host",
        default=os.environ.get("DRYDOCK_HOST", _DEFAULT_HOST),
        help="address to listen on; 0.0.0.0 is all of this machine's (default: %(default)s)",
    )
    parser.add_argument("--port", type=int, default=PORT, help="default: %(default)s")
    parser.add_argument("--model", default="", help="its name in /v2 (default: the detector's own)")
    parser.add_argument("--score-threshold", type=float, default=0.5, help="default: %(default)s")
    parser.add_argument(
        "--max-requests",
        type=int,
        default=16,
        help="worked on or waiting; more get 503 and Retry-After (default: %(default)s)",
    )
    parser.add_argument(
        "--max-body", type=float, default=16, help="MiB of a request (default: %(default)s)"
    )
    parser.add_argument(
        "--max-pixels", type=float, default=50, help="millions in a photo (default: %(default)s)"
    )
    given = parser.parse_args()
    end_on_sigterm()
    if not 0 <= given.score_threshold <= 1:
        raise InputError("--score-threshold must be from 0 to 1")
    if not 0 <= given.port < 65536:
        raise InputError("--port must be from 0 to 65535")
    if given.threads < 0:
        raise InputError("--threads must be at least 0")
    if not all(
        0 < one < math.inf for one in (given.max_requests, given.max_body, given.max_pixels)
    ):
        raise InputError("--max-requests, --max-body and --max-pixels must be above 0")
    serve(given)


def serve(given: argparse.Namespace) -> None:
    """Load the detector, then serve it; InputError when the port is taken."""
    # Only this program needs them, and they take a third of a second.
    from serving.app import Limits, Model, Service
    from serving.server import listen, serve_until_stopped

    listening = listen(given.host, given.port)
    runtime = runtimes.load(given.runtime, given.artifact, given.device, given.threads)
    model = Model(
        runtime=runtime,
        name=given.model or runtime.detector.name,
        platform=given.runtime,
        score_threshold=given.score_threshold,
        version=version(given.artifact),
    )
    limits = Limits(
        body_bytes=round(given.max_body * (1 << 20)),
        pixels=round(given.max_pixels * 1e6),
        requests=given.max_requests,
    )
    # The first call allocates and chooses kernels; no client shall wait for that.
    runtime.detect(np.zeros((64, 64, 3), np.uint8))
    port = listening.getsockname()[1]
    say(f"{model.name}: {address(given.host, port)} (Ctrl-C or SIGTERM ends it)")
    serve_until_stopped(Service(model, limits), listening)
    say("ended")


def address(host: str, port: int) -> str:
    """What a browser takes; IPv6 stands in brackets there."""
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def version(artifact: Path) -> str:
    """Which detector this is, as its package's provenance says; "unpacked" without one."""
    try:
        digest: str = json.loads((artifact / "provenance.json").read_text("utf-8"))["detector"]
    except (OSError, ValueError, KeyError):
        return "unpacked"
    return digest[:12]


if __name__ == "__main__":
    run(main)

"""detect.py with the detector of white_server.py."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from white_server import White

import detect
from console import run
from detection import runtimes

if __name__ == "__main__":
    runtimes.load = lambda *_: White()
    sys.argv += ["--artifact=any", "--runtime=white"]
    run(detect.main)

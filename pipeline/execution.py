"""One stage, ready to run. Both runners take it and must do the same with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Receives ("stdout" or "stderr", bytes) as a stage prints them.
Output = Callable[[str, bytes], None]

# What targets can ask for besides NVIDIA GPUs: GPUs of Intel (and AMD), and whatever is on USB.
HARDWARE = ("render", "usb")


@dataclass(frozen=True)
class Execution:
    """A program, the environment it runs in and all that it may touch.

    Paths in ``argv`` are absolute host paths: the docker runner mounts everything at the path it
    has on the host, so that neither side translates.
    """

    environment: str
    argv: tuple[str, ...]  # ("python", "scripts/train.py", "--records", "/abs/path", ...)
    root: Path  # the repository; read-only for the stage, and its working directory
    reads: tuple[Path, ...] = ()  # further files and folders, read-only
    writes: tuple[Path, ...] = ()  # existing folders
    settings: Mapping[str, str] = field(default_factory=dict)  # environment variables
    gpu: bool = False  # has the NVIDIA GPUs
    hardware: tuple[str, ...] = ()  # of HARDWARE: what else of the host it needs, if it is there
    port: int = 0  # where it listens on loopback, and is reached on this host's
    interactive: bool = False  # has the user's terminal

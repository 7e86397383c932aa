"""What this machine has: a snapshot for `inv doctor` to judge."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import docker_engine, hardware, images, virtualenvs

# Intel's vendor id of the Myriad X: 2485 before a program is loaded, f63b once it runs.
_MYRIAD_VENDOR = "03e7"


@dataclass(frozen=True)
class Host:
    """All that decides what can run here. Empty or None: not there."""

    engine_problem: str | None = None  # why no engine can be used
    engine: str = ""  # its version
    build_problem: str | None = None  # why it runs images but cannot build them
    rootless: bool = False
    buildx: str = ""
    machine: str = "x86_64"
    emulated: tuple[str, ...] = ()  # architectures that binfmt_misc hands to QEMU
    nvidia_driver: bool = False
    nvidia_toolkit: bool = False
    render_nodes: tuple[str, ...] = ()  # /dev/dri/renderD*: GPUs of Intel and AMD
    render_usable: bool = False
    myriad: tuple[str, ...] = ()  # USB ids of sticks and cameras with a Myriad X
    memory_gib: float = 0.0
    disk_gib: float = 0.0  # free where environments are kept
    uv: str = ""
    pythons: dict[str, str] = field(default_factory=dict)  # version wanted -> interpreter
    system: str = "Linux"


def look(pythons: list[str]) -> Host:
    """Gather everything; ``pythons`` are the versions that environments want."""
    problem = docker_engine.available()
    info = {} if problem else docker_engine.information()
    nodes = tuple(hardware.render_nodes())
    return Host(
        engine_problem=problem,
        engine=str(info.get("ServerVersion", "")),
        build_problem=None if problem else images.engine_problem(docker_engine.version()),
        rootless=hardware.rootless(info),
        buildx=_first_line(["docker", "buildx", "version"]),
        machine=platform.machine(),
        emulated=_emulated(Path("/proc/sys/fs/binfmt_misc")),
        nvidia_driver=hardware.nvidia_driver(),
        nvidia_toolkit=hardware.nvidia_toolkit(info),
        render_nodes=nodes,
        render_usable=any(os.access(node, os.R_OK | os.W_OK) for node in nodes),
        myriad=_usb(Path("/sys/bus/usb/devices"), _MYRIAD_VENDOR),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3,
        disk_gib=shutil.disk_usage(_existing(virtualenvs.cache_folder())).free / 1024**3,
        uv=virtualenvs.uv_version(),
        pythons={version: virtualenvs.find_python(version) for version in pythons},
        system=platform.system(),
    )


def _emulated(folder: Path) -> tuple[str, ...]:
    handlers = sorted(folder.glob("qemu-*"))
    working = [path for path in handlers if _text(path).startswith("enabled")]
    return tuple(path.name.removeprefix("qemu-") for path in working)


def _usb(folder: Path, vendor: str) -> tuple[str, ...]:
    theirs = [path for path in sorted(folder.glob("*/idVendor")) if _text(path) == vendor]
    return tuple(f"{vendor}:{_text(path.with_name('idProduct'))}" for path in theirs)


def _text(path: Path) -> str:
    """A small file's text; "" where it is gone again or not to be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _existing(path: Path) -> Path:
    return next(part for part in (path, *path.parents) if part.exists())


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else ""

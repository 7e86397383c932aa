"""What this machine has: a snapshot for `inv doctor` to judge."""

from __future__ import annotations

import grp
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import docker_engine, hardware, images, virtualenvs

# Intel's vendor id of the Myriad X: 2485 before a program is loaded, f63b once it runs.
_MYRIAD_VENDOR = "03e7"
_NVIDIA_VENDOR = "0x10de"
_DISPLAY_CLASS = "0x03"  # of PCI devices: VGA and 3D controllers
_GIB = 1024**3


@dataclass(frozen=True)
class Host:
    """All that decides what can run here. Empty or None: not there."""

    engine_problem: str | None = None  # why no engine can be used
    engine_cure: str = ""  # the command that mends that
    engine: str = ""  # its version
    engine_elsewhere: str = ""  # its address, where that is not a socket of this machine
    build_problem: str | None = None  # why it runs images but cannot build them
    rootless: bool = False
    unlimited: tuple[str, ...] = ()  # what the engine cannot limit: memory, processes
    buildx: str = ""
    platforms: tuple[str, ...] = ()  # linux/amd64 ...: what the engine runs, emulated or not
    nvidia_card: bool = False
    nvidia_driver: bool = False
    nvidia_toolkit: bool = False
    nvidia_tools: bool = False  # the toolkit's own programs are installed
    render_nodes: tuple[str, ...] = ()  # /dev/dri/renderD*: GPUs of Intel and AMD
    render_usable: bool = False
    render_group: str = "render"
    myriad: tuple[str, ...] = ()  # USB ids of sticks and cameras with a Myriad X
    myriad_usable: bool = False
    memory_gib: float = 0.0
    engine_memory_gib: float = 0.0  # less than that in a virtual machine, other elsewhere
    disk_gib: float = 0.0  # free where environments are kept
    engine_disk_gib: float | None = None  # free where images are kept
    uv: str = ""
    pythons: dict[str, str] = field(default_factory=dict)  # version wanted -> interpreter
    distribution: tuple[str, ...] = ()  # ID and ID_LIKE of os-release, with the version: debian-13


def look(pythons: list[str]) -> Host:
    """Gather everything; ``pythons`` are the versions that environments want."""
    problem = docker_engine.problem()
    info = {} if problem else docker_engine.information()
    elsewhere = not problem and docker_engine.elsewhere()
    nodes = hardware.render_nodes()
    sticks = _usb(Path("/sys/bus/usb/devices"), _MYRIAD_VENDOR)
    return Host(
        engine_problem=problem.what if problem else None,
        engine_cure=problem.cure if problem else "",
        engine=str(info.get("ServerVersion", "")),
        engine_elsewhere=docker_engine.endpoint() if elsewhere else "",
        build_problem=None if problem else images.engine_problem(docker_engine.version()),
        rootless=hardware.rootless(info),
        unlimited=_unlimited(info),
        buildx=_first_line(["docker", "buildx", "version"]),
        platforms=() if problem else _platforms(info),
        nvidia_card=_nvidia_card(Path("/sys/bus/pci/devices")),
        nvidia_driver=hardware.nvidia_driver(),
        nvidia_toolkit=hardware.nvidia_toolkit(info),
        nvidia_tools=shutil.which("nvidia-ctk") is not None,
        render_nodes=tuple(nodes),
        render_usable=any(os.access(node, os.R_OK | os.W_OK) for node in nodes),
        render_group=_group(next(iter(nodes.values()), -1)),
        myriad=tuple(name for name, _ in sticks),
        myriad_usable=bool(sticks)
        and all(os.access(node, os.R_OK | os.W_OK) for _, node in sticks),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB,
        engine_memory_gib=int(info.get("MemTotal") or 0) / _GIB,
        disk_gib=shutil.disk_usage(_existing(virtualenvs.cache_folder())).free / _GIB,
        engine_disk_gib=None if problem or elsewhere else _free(info.get("DockerRootDir", "")),
        uv=virtualenvs.uv_version(),
        pythons={version: virtualenvs.find_python(version) for version in pythons},
        distribution=_distribution(Path("/etc/os-release")),
    )


def _unlimited(info: Mapping[str, Any]) -> tuple[str, ...]:
    """What a rootless engine cannot limit where systemd has not handed it the controllers."""
    kinds = {"memory": "MemoryLimit", "processes": "PidsLimit"}
    return tuple(kind for kind, known in kinds.items() if info.get(known) is False)


def _platforms(info: Mapping[str, Any]) -> tuple[str, ...]:
    """What the engine runs, by its builder, which tries it; without one, its own processor only."""
    said = _output(["docker", "buildx", "inspect"], images.builder_environment(os.environ))
    line = next((line for line in said.splitlines() if line.startswith("Platforms:")), "")
    found = [name.strip(" *,") for name in line.partition(":")[2].split()]
    if found:
        return tuple(name for name in found if name.count("/") == 1)  # not linux/amd64/v2
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    architecture = str(info.get("Architecture", platform.machine()))
    return (f"linux/{names.get(architecture, architecture)}",)


def _nvidia_card(folder: Path) -> bool:
    return any(
        _text(path) == _NVIDIA_VENDOR and _text(path.with_name("class")).startswith(_DISPLAY_CLASS)
        for path in folder.glob("*/vendor")
    )


def _usb(folder: Path, vendor: str) -> list[tuple[str, Path]]:
    """Vendor and product, and the device file, of what is plugged in."""
    theirs = [path for path in sorted(folder.glob("*/idVendor")) if _text(path) == vendor]
    return [
        (
            f"{vendor}:{_text(path.with_name('idProduct'))}",
            Path("/dev/bus/usb")
            / _text(path.with_name("busnum")).zfill(3)
            / _text(path.with_name("devnum")).zfill(3),
        )
        for path in theirs
    ]


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except (KeyError, OverflowError):
        return "render"


def _distribution(path: Path) -> tuple[str, ...]:
    """From os-release(5), most particular first: debian-13, debian."""
    entries = dict(line.partition("=")[::2] for line in _text(path).splitlines())
    entries = {name: value.strip("\"'") for name, value in entries.items()}
    own = entries.get("ID", "")
    return (f"{own}-{entries.get('VERSION_ID', '')}", own, *entries.get("ID_LIKE", "").split())


def _free(folder: str) -> float | None:
    try:
        return shutil.disk_usage(folder).free / _GIB
    except OSError:  # in a virtual machine, say
        return None


def _text(path: Path) -> str:
    """A small file's text; "" where it is gone again or not to be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _existing(path: Path) -> Path:
    return next(part for part in (path, *path.parents) if part.exists())


def _first_line(command: list[str]) -> str:
    return _output(command).partition("\n")[0].strip()


def _output(command: list[str], environ: Mapping[str, str] | None = None) -> str:
    """What a program prints; "" where it is not there, fails or takes long."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
            env=dict(environ) if environ else None,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""

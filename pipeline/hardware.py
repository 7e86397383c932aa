"""What the engine and the drivers tell of the hardware, and of whose rights the engine has."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def rootless(info: Mapping[str, Any]) -> bool:
    """Whether the engine runs as the user; ``info`` is what it says of itself."""
    # Podman says it in a field of its own.
    named = any("rootless" in option for option in info.get("SecurityOptions") or ())
    return named or bool(info.get("Rootless"))


def render_nodes(folder: Path = Path("/dev/dri")) -> dict[str, int]:
    """The GPUs of Intel and AMD by device file, each with the id of the group that may use it."""
    return {str(path): path.stat().st_gid for path in sorted(folder.glob("renderD*"))}


def nvidia_driver() -> bool:
    """Whether an NVIDIA driver is loaded on this machine."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def nvidia_toolkit(info: Mapping[str, Any]) -> bool:
    """Whether the engine can hand a GPU to a container."""
    known = "nvidia" in (info.get("Runtimes") or {})
    return known or shutil.which("nvidia-container-runtime-hook") is not None

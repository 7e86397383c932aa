"""What the engine and the drivers tell of the hardware, and of whose rights the engine has."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def rootless(info: Mapping[str, Any]) -> bool:
    """Whether the engine runs as the user; ``info`` is what it says of itself."""
    return any("rootless" in option for option in info.get("SecurityOptions") or ())


def nvidia_driver() -> bool:
    """Whether an NVIDIA driver is loaded on this machine."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def nvidia_toolkit(info: Mapping[str, Any]) -> bool:
    """Whether the engine can hand a GPU to a container."""
    known = "nvidia" in (info.get("Runtimes") or {})
    return known or shutil.which("nvidia-container-runtime-hook") is not None

"""The tests' own tools from npm, installed from their lock into a temporary folder."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

LOCK = Path(__file__).parent / "npm"


def installed(folder: Path) -> Path:
    """The node_modules with what package-lock.json names; skips where it cannot be had."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("npm and node are not there")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(LOCK / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        pytest.skip(f"npm could not install its lock: {done.stderr[-300:]}")
    return folder / "node_modules"

"""Clones of the repository, as a user would make one."""

from __future__ import annotations

import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class Clone:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(
            ["git", "clone", "--quiet", "--no-hardlinks", str(REPOSITORY), str(folder)], check=True
        )

    def inv(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["./inv", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )

    def artifact(self, *parts: str) -> Path:
        return self.folder.joinpath("artifacts", *parts)

"""A place for the tests' stages to run in."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

from pipeline import docker_container
from pipeline.execution import Execution

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = f"test-{uuid.uuid4().hex}"  # tells our containers from those of others on the engine


class Room:
    """A place for stages: a repository, an output folder, and what a stage printed there."""

    def __init__(self, folder: Path, image: str) -> None:
        self.image = image
        self.root = folder / "repository"
        self.out = folder / "out"
        self.stdout = self.stderr = ""
        for path in (self.root, self.out):
            path.mkdir()

    def execution(self, *argv: str, **changes: object) -> Execution:
        given = {"environment": ENVIRONMENT, "argv": argv, "root": self.root, "writes": (self.out,)}
        return Execution(**{**given, **changes})  # type: ignore[arg-type]

    def run(self, *argv: str, **changes: object) -> int:
        said: dict[str, bytes] = {"stdout": b"", "stderr": b""}

        def output(stream: str, chunk: bytes) -> None:
            said[stream] += chunk

        code = docker_container.run(self.execution(*argv, **changes), self.image, output)
        self.stdout, self.stderr = said["stdout"].decode(), said["stderr"].decode()
        return code

    def client(self, *argv: str, **changes: object) -> list[str]:
        """A command that runs the stage in a process of its own."""
        program = (
            "import sys; from pathlib import Path, PosixPath\n"
            "from pipeline import docker_container\n"
            "from pipeline.execution import Execution\n"
            "def output(stream, chunk):\n"
            "    getattr(sys, stream).buffer.write(chunk); getattr(sys, stream).flush()\n"
            f"stage = {self.execution(*argv, **changes)!r}\n"
            f"sys.exit(docker_container.run(stage, {self.image!r}, output))\n"
        )
        return [sys.executable, "-c", program]

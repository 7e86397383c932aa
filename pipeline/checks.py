"""What `inv lint` and `inv test` run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline import environments, screen, virtualenvs
from pipeline.configuration import ROOT
from pipeline.errors import StageFailed
from pipeline.runners import choose

_LINTERS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports", "--no-logo"),
)


def lint() -> None:
    """Style, types, and the walls between the two sides."""
    for program, *arguments in _LINTERS:
        screen.say(f"{program} {' '.join(arguments)}".rstrip())
        _must_pass(program, [str(Path(sys.executable).parent / program), *arguments])


def test(quick: bool, further: Sequence[str] = ()) -> None:
    """Lint and the unit tests; unless ``quick``, the stages' tests inside their environment, the
    container tests where an engine answers, and the pipeline from end to end."""
    lint()
    pytest = [sys.executable, "-m", "pytest", *further]
    _must_pass("the unit tests", [*pytest, "tests/unit"])
    if quick:
        return
    environment = environments.load("train")
    python = virtualenvs.ensure(environment, screen.say) / "bin" / "python"
    _must_pass("the stages' tests", [str(python), "-m", "pytest", *further, "tests/stages"])
    _must_pass("the container and end-to-end tests", [*pytest, "tests/docker", "tests/end_to_end"])
    screen.say(f"runner for this host: {choose('auto')[0].NAME}")


def _must_pass(what: str, argv: Sequence[str]) -> None:
    if subprocess.run(argv, cwd=ROOT, check=False).returncode:
        raise StageFailed(f"{what} did not pass, see above")

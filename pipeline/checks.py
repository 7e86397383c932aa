"""What `inv lint` and `inv test` run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline import docker_runner, environments, screen, tools, virtualenvs
from pipeline.configuration import ROOT
from pipeline.errors import StageFailed
from pipeline.execution import Execution

# Where programs of ours lie, and images are described.
_FOLDERS = (".ci", ".devcontainer", "benchmarks", "docker", "scripts", "tests")

# Stages are tested where they run. What an environment lacks is skipped there, and says so.
_STAGE_TESTS = {
    "train": ("tests/stages",),
    "render": ("tests/stages/test_render_photos.py", "tests/stages/test_render_plan.py"),
    "openvino": ("tests/stages/test_openvino.py",),
    "litert": ("tests/stages/test_litert.py",),
    "rknn": ("tests/stages/test_rknn.py", "tests/stages/test_rk3399pro.py"),
    "nvidia": ("tests/stages/test_onnx.py",),
    "movidius": ("tests/stages/test_movidius.py",),
    "annotate": ("tests/stages/test_annotate.py",),
    environments.SERVING_TESTS: ("tests/serving",),
}
# Made in 'train' for the environments that cannot make an export themselves.
TINY_EXPORT = ROOT / "artifacts" / ".tests" / "tiny"


def lint() -> None:
    """Style, types, the walls between the two sides, shell scripts, Dockerfiles, workflows."""
    for program, *arguments in linters(ROOT):
        screen.say(f"{program} {' '.join(arguments)[:60]}".rstrip())
        _must_pass(program, [str(Path(sys.executable).parent / program), *arguments])


def linters(root: Path) -> list[list[str]]:
    """The command lines of all linters. What is there is found, so that nothing new is left out."""
    files = [path for folder in _FOLDERS for path in sorted((root / folder).rglob("*"))]
    shell = [path for path in (root / "inv", *files) if _is_shell(path)]
    images = [path for path in files if path.name == "Dockerfile"]
    workflows = sorted(root.glob(".github/workflows/*.yml"))

    def named(paths: Iterable[Path]) -> list[str]:
        return [str(path.relative_to(root)) for path in paths]

    return [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports", "--no-logo"],
        ["shellcheck", *named(shell)],
        ["hadolint", *named(images)],
        ["check-jsonschema", "--builtin-schema=vendor.github-workflows", *named(workflows)],
        ["check-jsonschema", "--builtin-schema=vendor.dependabot", ".github/dependabot.yml"],
        # It hands the commands to shellcheck.
        [
            *("actionlint", f"-shellcheck={Path(sys.executable).parent / 'shellcheck'}"),
            *named(workflows),
        ],
        ["zizmor", "--offline", "--quiet", ".github"],  # what an attacker could use
    ]


def _is_shell(path: Path) -> bool:
    """Whether the first line says that a shell runs it; scripts here have no common ending."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return re.match(rb"#!.*\b(?:ba|da)?sh$", file.readline(80).rstrip()) is not None


def test(quick: bool, further: Sequence[str] = ()) -> None:
    """Lint and the unit tests; unless ``quick``, the stages' tests inside their environment, the
    container tests where an engine answers, and the pipeline from end to end."""
    lint()
    pytest = [sys.executable, "-m", "pytest", *further]
    _must_pass("the unit tests", [*pytest, "tests/unit"])
    if quick:
        return
    for name, paths in _STAGE_TESTS.items():
        what = f"the stages' tests in '{name}'"
        if _only_in_its_image(name):
            _must_pass_in_image(what, name, ["-p", "no:cacheprovider", *further, *paths])
            continue
        python = virtualenvs.ensure(environments.load(name), screen.say) / "bin" / "python"
        if name == "train":
            tiny = [str(python), "tests/stages/tiny_export.py", str(TINY_EXPORT)]
            _must_pass("making the export that other environments are tested with", tiny)
        _must_pass(what, [str(python), "-m", "pytest", *further, *paths])
    _must_pass("the container and end-to-end tests", [*pytest, "tests/docker", "tests/end_to_end"])


def _only_in_its_image(environment: str) -> bool:
    """Whether this host lacks the environment's Python but has an engine for its image."""
    wanted = environments.load(environment).file.python
    return not virtualenvs.find_python(wanted) and docker_runner.unavailable() is None


def _must_pass_in_image(what: str, environment: str, arguments: Sequence[str]) -> None:
    argv = ("python", "-m", "pytest", *arguments)
    if tools.run(Execution(environment=environment, argv=argv, root=ROOT), "docker"):
        raise StageFailed(f"{what} did not pass, see above")


def _must_pass(what: str, argv: Sequence[str]) -> None:
    if subprocess.run(argv, cwd=ROOT, check=False).returncode:
        raise StageFailed(f"{what} did not pass, see above")

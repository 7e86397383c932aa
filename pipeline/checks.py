"""What `inv lint` and `inv test` run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline import docker_runner, environments, screen, tools, virtualenvs
from pipeline.configuration import ROOT
from pipeline.errors import StageFailed
from pipeline.execution import Execution

_WORKFLOWS = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob(".github/workflows/*.yml"))]
_TEST_SCRIPTS = tuple(
    f"tests/docker/{name}.sh" for name in ("stand_in_base", "loopback_registry", "emulator")
)
_LINTERS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports", "--no-logo"),
    (
        *("shellcheck", "inv", ".ci/run", "docker/base/apt-install", "docker/base/make-venv"),
        *("docker/rk3399pro/check-wheel", "docker/rk3399pro/install-toolkit"),
        *("docker/bullseye/apt-install", "docker/device/base/unpack-packages", *_TEST_SCRIPTS),
        "docker/device/base/trim-venv",
    ),
    (
        *("hadolint", ".devcontainer/Dockerfile"),
        *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docker").rglob("Dockerfile"))),
    ),
    ("check-jsonschema", "--builtin-schema=vendor.github-workflows", *_WORKFLOWS),
    ("check-jsonschema", "--builtin-schema=vendor.dependabot", ".github/dependabot.yml"),
    # It hands the commands to shellcheck.
    ("actionlint", f"-shellcheck={Path(sys.executable).parent / 'shellcheck'}", *_WORKFLOWS),
    ("zizmor", "--offline", "--quiet", ".github"),  # what an attacker could use
)

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
_TINY_EXPORT = ROOT / "artifacts" / ".tests" / "tiny"


def lint() -> None:
    """Style, types, the walls between the two sides, shell scripts, Dockerfiles, workflows."""
    for program, *arguments in _LINTERS:
        screen.say(f"{program} {' '.join(arguments)[:60]}".rstrip())
        _must_pass(program, [str(Path(sys.executable).parent / program), *arguments])


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
            tiny = [str(python), "tests/stages/tiny_export.py", str(_TINY_EXPORT)]
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

"""What holds for every workflow, and for the same pipeline on GitLab."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# A command of ours with quoted variables, its output handed on where the service wants it.
COMMAND = re.compile(
    r'(echo "\w+=\$\()?(\./inv [^|;&]*?)( \| tr -d \'\\n\'\)" >>"\$GITHUB_OUTPUT")?'
)
SETUP = ("docker login",)  # what a GitLab job does where GitHub's takes an action

every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: str(path.stem))


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def commands(path: Path) -> Iterator[str]:
    for job in load(path)["jobs"].values():
        for step in job["steps"]:
            if "run" in step:
                yield step["run"].strip()


@every_workflow
def test_actions_are_pinned_by_commit_and_say_which_version_that_is(path: Path) -> None:
    uses = re.findall(r"uses: (.*)", path.read_text())

    assert uses
    for use in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use), use


@every_workflow
def test_every_step_is_a_command_of_ours_without_expressions(path: Path) -> None:
    for command in commands(path):
        assert COMMAND.fullmatch(command), command
        assert "${{" not in command


@every_workflow
def test_jobs_have_only_the_rights_they_name_and_an_end(path: Path) -> None:
    workflow = load(path)

    assert workflow["permissions"] == {}
    assert "group" in workflow["concurrency"]
    for job in workflow["jobs"].values():
        assert job["permissions"]["contents"] in ("read", "write")
        assert job["timeout-minutes"] <= 120


def test_a_workflow_that_breaks_the_schema_is_found(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOWS[0].read_text().replace("runs-on:", "runs:"))

    done = subprocess.run(
        [
            Path(sys.executable).with_name("check-jsonschema"),
            "--builtin-schema=vendor.github-workflows",
            broken,
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "runs-on" in done.stdout


@pytest.fixture
def gitlab(tmp_path: Path) -> Path:
    """The file that docs/CI.md shows."""
    text = (ROOT / "docs" / "CI.md").read_text()
    path = tmp_path / ".gitlab-ci.yml"
    path.write_text(text.partition("```yaml\n")[2].partition("```")[0])
    return path


def test_the_file_for_gitlab_is_valid(gitlab: Path) -> None:
    done = subprocess.run(
        [
            Path(sys.executable).with_name("check-jsonschema"),
            "--builtin-schema=vendor.gitlab-ci",
            gitlab,
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


def test_gitlab_runs_the_same_commands(gitlab: Path) -> None:
    theirs = {
        line
        for job in load(gitlab).values()
        if isinstance(job, dict)
        for line in job.get("script", ())
        if line.startswith("./inv ")
    }
    # Their matrix is written down, and the images are built by inv where GitHub's are by bake.
    ours = {command for path in WORKFLOWS for command in commands(path) if "echo" not in command}

    assert theirs == ours | {"./inv images.build"}

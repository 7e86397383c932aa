"""What a mistyped command line, or a host that refuses, is told: one message, a telling code."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import Project


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("trian", "there is no command 'trian': did you mean train?"),
        ("--help trian", "there is no command 'trian': did you mean train?"),
        ("train --stpes 3", "--stpes is no option of train: did you mean --steps?"),
        ("train --steps", "--steps wants a value; ./inv --help train"),
        ("train --steps 3 quickly", "there is no command 'quickly'"),
        ("explain", "explain wants 'stage'"),
        ("convert --jobs many", "many: a number is wanted"),
        ("--fast train", "--fast is no option"),
    ],
)
def test_a_mistyped_command_line_is_one_message_and_exit_code_2(
    project: Project, words: str, told: str
) -> None:
    done = project.invoke(*words.split())

    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {told}")
    assert done.stderr.count("\n") == 1


def test_plain_invoke_knows_the_same_commands(project: Project) -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "invoke", "--list"],
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    ours = project.invoke("--list").stdout.splitlines()
    assert listed.stdout.splitlines()[1:] == ours[1:]
    assert any(line.split()[:1] == ["data.fetch"] for line in ours)

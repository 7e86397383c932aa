"""`inv lint` looks at all scripts and Dockerfiles there are, and fails for a fault in one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from pipeline import checks


def arguments(program: str, root: Path) -> list[str]:
    (found,) = (rest for name, *rest in checks.linters(root) if name == program)
    return found


def test_nothing_in_the_repository_is_left_out() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    tracked = [name for name in listed.stdout.split("\n") if name]
    shell = {
        name
        for name in tracked
        if not (REPOSITORY / name).is_symlink()
        and (REPOSITORY / name).read_bytes()[:40].split(b"\n")[0].endswith((b"/sh", b"bash"))
    }

    assert {"inv", ".ci/run", "docker/base/apt-install"} <= shell
    assert set(arguments("shellcheck", REPOSITORY)) >= shell
    assert set(arguments("hadolint", REPOSITORY)) >= {
        name for name in tracked if Path(name).name == "Dockerfile"
    }


@pytest.mark.parametrize(
    ("program", "file", "text", "rule"),
    [
        ("shellcheck", "docker/new/install", "#!/bin/sh\nrm $1\n", "SC2086"),
        ("hadolint", "docker/new/Dockerfile", "FROM base\nRUN cd /opt && sudo ls\n", "DL3004"),
        ("hadolint", "docker/new/Dockerfile", "FROM base\nRUN cat $HOME/x\n", "SC2086"),
    ],
    ids=["shell", "dockerfile", "shell in a dockerfile"],
)
def test_a_fault_in_a_new_file_fails(
    tmp_path: Path, program: str, file: str, text: str, rule: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    for name in ("inv", ".hadolint.yaml"):
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    done = subprocess.run(
        [str(Path(sys.executable).parent / program), *arguments(program, tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert rule in done.stdout

"""The dev container brings its environment and the host's tools; both are known again there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline import devcontainer, environments, virtualenvs
from pipeline.configuration import ROOT


@pytest.mark.parametrize(
    ("says", "here"),
    [
        ("{}\n", True),
        ("another-0123456789ab\n", False),
        ("", False),
        (None, False),  # no image of ours
    ],
)
def test_an_environment_that_is_here_already_is_not_made_again(
    tmp_path: Path, says: str | None, here: bool
) -> None:
    train = environments.load("train")
    if says is not None:
        (tmp_path / "environment").write_text(says.format(virtualenvs.name(train)))

    assert (virtualenvs.location(train, tmp_path) == tmp_path) is here


def test_another_lock_or_python_is_another_environment(tmp_path: Path) -> None:
    for folder, python, lock in (("a", "3.11", "x"), ("b", "3.11", "y"), ("c", "3.9", "x")):
        (tmp_path / "docker" / folder).mkdir(parents=True)
        (tmp_path / "docker" / folder / "environment.toml").write_text(
            f'description = "one"\npython = "{python}"\n'
        )
        (tmp_path / "docker" / folder / "requirements.txt").write_text(lock)
    names = [
        virtualenvs.name(environments.load(folder, tmp_path)).partition("-")[2] for folder in "abc"
    ]
    assert len(set(names)) == 3


@pytest.mark.parametrize("same", [True, False])
def test_inv_uses_the_tools_that_are_there_if_they_are_the_locks(
    tmp_path: Path, same: bool
) -> None:
    shutil.copy(ROOT / "inv", tmp_path)
    for folder, says in ((".venv", "from .venv"), ("tools", "from the image")):
        python = tmp_path / folder / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\necho {says}\n")
        python.chmod(0o755)
        (tmp_path / folder / "installed-requirements.txt").write_text("the lock")
    (tmp_path / "requirements.txt").write_text("the lock")
    if not same:
        (tmp_path / "tools" / "installed-requirements.txt").write_text("an older one")

    done = subprocess.run(
        [str(tmp_path / "inv")],
        env={**os.environ, "DRYDOCK_HOST_TOOLS": str(tmp_path / "tools")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ("from the image\n" if same else "from .venv\n")


def test_the_configuration_names_the_image_that_is_built() -> None:
    file = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert file["image"] == devcontainer.TAG
    command = file["initializeCommand"].split()
    listed = subprocess.run(
        [str(ROOT / "inv"), "--help", command[1]], capture_output=True, text=True, check=True
    )
    assert ".devcontainer/" in listed.stdout

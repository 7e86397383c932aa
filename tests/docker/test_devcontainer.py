"""The dev container, opened by the real command of the Dev Containers project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from npm_tools import installed
from rooms import REPOSITORY

from pipeline import devcontainer, docker_engine, images

pytestmark = pytest.mark.slow
USER = 1000  # in the image; the command gives it the caller's id where that is another


class Container:
    """A clone of the repository that a person of id 1000 owns, opened as a dev container."""

    def __init__(self, folder: Path, modules: Path) -> None:
        self.clone = folder / "drydock"
        self._cli = ["node", str(modules / "@devcontainers/cli/devcontainer.js")]
        self._override = folder / "devcontainer.json"
        subprocess.run(
            ["git", "clone", "--quiet", "--no-hardlinks", str(REPOSITORY), str(self.clone)],
            check=True,
        )
        configuration = json.loads((self.clone / ".devcontainer/devcontainer.json").read_text())
        del configuration["initializeCommand"]  # done by the fixture, from this work tree
        configuration["updateRemoteUserUID"] = False
        if not bridge():
            configuration["runArgs"] = ["--network=none"]
        self._override.write_text(json.dumps(configuration))

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        where = ["--workspace-folder", str(self.clone)]
        if command != "build":
            where += ["--override-config", str(self._override)]
        return subprocess.run(
            [*self._cli, command, *where, *arguments],
            env=images.builder_environment(os.environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )

    def exec(self, *command: str) -> str:
        done = self.run("exec", *command)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout


def bridge() -> bool:
    with docker_engine.connected() as client:
        return bool(client.networks.list(names=["bridge"]))


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    modules = installed(tmp_path_factory.mktemp("npm"))
    devcontainer.build()
    folder = tmp_path_factory.mktemp("devcontainer")
    opened = Container(folder, modules)
    if os.getuid() not in (0, USER):
        pytest.skip("files of another person can only be made by root")
    for path in (opened.clone, *opened.clone.rglob("*")):
        os.chown(path, USER, USER, follow_symlinks=False)
    built = opened.run("build")
    assert built.returncode == 0, built.stderr
    up = opened.run("up")
    assert up.returncode == 0, up.stdout + up.stderr
    identity = json.loads(up.stdout.splitlines()[-1])["containerId"]
    yield opened
    subprocess.run(
        ["docker", "rm", "--force", identity],
        env=images.builder_environment(os.environ),
        check=True,
        capture_output=True,
    )
    shutil.rmtree(opened.clone)


def test_it_opens_as_the_caller_with_tools_and_environment(container: Container) -> None:
    said = container.exec("sh", "-c", "id -u; git status --short; which inv python git")

    assert said.split() == [
        str(USER),
        "/opt/host-tools/bin/inv",
        "/opt/venv/bin/python",
        "/usr/bin/git",
    ]


def test_the_quick_tests_pass_and_a_training_runs_with_what_is_there(container: Container) -> None:
    # Lint and a part of the unit tests: all of them have passed on this side.
    tested = container.exec("./inv", "test", "--quick", "--", "-k", "devcontainer or docker_argv")
    assert "100%" in tested

    trained = container.exec(
        *("./inv", "train", "--runner", "local", "--steps", "20", "--name", "dev")
    )
    artifacts = container.clone / "artifacts/dev"
    record = json.loads((artifacts / "train/run.json").read_text())
    assert record["runner"] == "local"
    assert (artifacts / "evaluate/metrics.json").stat().st_uid == USER
    for said in (tested, trained):
        assert "making the environment" not in said
        assert "installing the host tools" not in said
    assert not (container.clone / ".venv").exists()

"""The dev container, opened by the real command of the Dev Containers project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from addresses import reached_by_tcp
from npm_tools import installed
from rooms import REPOSITORY

from pipeline import devcontainer, docker_engine, images

pytestmark = pytest.mark.slow
# Who opens it: somebody else than the image's user, whose id is 1000.
PERSON = os.getuid() or 4321
# The command asks for the person's name, which a number without an account does not have.
ID = '#!/bin/sh\n[ "$*" = "-u -n" ] && echo person && exit\nexec /usr/bin/id "$@"\n'
# An engine without a bridge network builds on the host's, which the command has no option for.
DOCKER = """#!/bin/sh
case $1 in
  build) shift; set -- build --network=host "$@" ;;
esac
exec {docker} "$@"
"""


class Container:
    """A clone of the repository that a person owns, opened by that person as a dev container."""

    def __init__(self, folder: Path, address: str) -> None:
        self.clone = folder / "drydock"
        modules = installed(folder)
        self._cli = ["node", str(modules / "@devcontainers/cli/devcontainer.js")]
        self._override = folder / "devcontainer.json"
        for name in ("bin", "home", "tmp"):
            (folder / name).mkdir()
        self._settings = {
            **images.builder_environment(os.environ),
            "DOCKER_HOST": address,
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
        }
        if client := os.environ.get("DOCKER_CONFIG"):
            shutil.copytree(client, folder / "client")
            self._settings["DOCKER_CONFIG"] = str(folder / "client")
        subprocess.run(
            ["git", "clone", "--quiet", "--no-hardlinks", str(REPOSITORY), str(self.clone)],
            check=True,
        )
        configuration = json.loads((self.clone / ".devcontainer/devcontainer.json").read_text())
        del configuration["initializeCommand"]  # done by the fixture, from this work tree
        programs = {"id": ID}
        if not bridge():
            configuration["runArgs"] = ["--network=none"]
            programs["docker"] = DOCKER.format(docker=shutil.which("docker"))
        for name, program in programs.items():
            (folder / "bin" / name).write_text(program)
            (folder / "bin" / name).chmod(0o755)
        self._override.write_text(json.dumps(configuration))

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        where = ["--workspace-folder", str(self.clone)]
        if command != "build":
            where += ["--override-config", str(self._override)]
        return subprocess.run(
            [*self._cli, command, *where, *arguments],
            env=self._settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
            **({} if os.getuid() else {"user": PERSON, "group": PERSON, "extra_groups": []}),
        )

    def exec(self, *command: str) -> str:
        done = self.run("exec", *command)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout


def bridge() -> bool:
    with docker_engine.connected() as client:
        return bool(client.networks.list(names=["bridge"]))


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    devcontainer.build()
    folder = Path(tempfile.mkdtemp(prefix="drydock-"))  # pytest's own are closed to others
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        # The person may not use the socket of root's engine.
        own = os.getuid() != 0
        address = docker_engine.endpoint() if own else stack.enter_context(reached_by_tcp())
        opened = Container(folder, address)
        if not own:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, PERSON, PERSON, follow_symlinks=False)
        built = opened.run("build")
        assert built.returncode == 0, built.stderr
        up = opened.run("up")
        assert up.returncode == 0, up.stdout + up.stderr
        with docker_engine.connected() as client:
            identity = json.loads(up.stdout.splitlines()[-1])["containerId"]
            made = json.loads(built.stdout.splitlines()[-1])["imageName"]
            try:
                yield opened
            finally:
                running = client.containers.get(identity)
                names = {*made, running.attrs["Config"]["Image"]}
                running.remove(force=True)
                for name in names:
                    if name.startswith("vsc-"):  # made by the command, which keeps them
                        client.images.remove(name)


def test_it_opens_as_the_caller_with_tools_and_environment(container: Container) -> None:
    """Also with the files: the command gives the image's user the caller's id."""
    script = "id -u; git status --short; which inv python git; mkdir artifacts; touch artifacts/new"
    said = container.exec("sh", "-c", script)

    assert (container.clone / "artifacts/new").stat().st_uid == PERSON
    assert said.split() == [
        str(PERSON),
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
    assert (artifacts / "evaluate/metrics.json").stat().st_uid == PERSON
    for said in (tested, trained):
        assert "making the environment" not in said
        assert "installing the host tools" not in said
    assert not (container.clone / ".venv").exists()

"""The workflows' commands, run in their order as the CI service would, each job in a clean tree.

What the service itself does is done here with folders: artifacts are copied, a matrix is narrowed
to one entry, expressions are looked up in a table in which every one must stand. Trained is
nothing anew: the detector of the fresh clone is what "an earlier run" left.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from clones import REPOSITORY, Clone
from ruamel.yaml import YAML

from pipeline import docker_engine

WORKFLOWS = REPOSITORY / ".github" / "workflows"
TARGET = "openvino-cpu"
WORKED_ON = (TARGET, "litert")  # of the matrices of targets and images
# What only the service can do, or what is proved elsewhere.
NOTHING_HERE = {
    "actions/checkout",  # the tree is clean already
    "docker/setup-buildx-action",
    "docker/login-action",
    "sigstore/cosign-installer",
    "peter-evans/create-pull-request",
}

pytestmark = pytest.mark.slow


class Service:
    """Runs the jobs of workflows; remembers what they uploaded and put out."""

    def __init__(self, clone: Clone, storage: Path, expressions: dict[str, str]) -> None:
        self.clone = clone
        self.storage = storage
        self.expressions = expressions
        self.overridden: dict[str, str] = {}  # what a job's environment has in place of its own

    def value(self, text: object, matrix: Mapping[str, Any]) -> str:
        """A text with its expressions replaced."""

        def found(match: re.Match[str]) -> str:
            name = match[1]
            return str(matrix[name[7:]] if name.startswith("matrix.") else self.expressions[name])

        return re.sub(r"\$\{\{ (.*?) \}\}", found, str(text))

    def run(self, file: str, without: tuple[str, ...] = ()) -> None:
        """All jobs of a workflow, but for steps whose command holds a word of ``without``."""
        workflow = YAML(typ="safe").load(WORKFLOWS / file)
        ran: set[str] = set()
        for name, job in workflow["jobs"].items():
            needs = job.get("needs", [])
            assert ran.issuperset([needs] if isinstance(needs, str) else needs)
            if self.expressions[job.get("if", "always")] != "no":
                self.job(name, workflow, job, self.matrix(job), without)
            ran.add(name)

    def matrix(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        """The one entry that is worked on here, of those that an earlier job listed."""
        if "strategy" not in job:
            return {}
        listed = re.fullmatch(r"\$\{\{ fromJSON\((.*)\) \}\}", job["strategy"]["matrix"]["include"])
        assert listed
        entries: list[Mapping[str, Any]] = json.loads(self.expressions[listed[1]])
        return next(entry for entry in entries if entry["name"] in WORKED_ON)

    def job(
        self,
        name: str,
        workflow: Mapping[str, Any],
        job: Mapping[str, Any],
        matrix: Mapping[str, Any],
        without: tuple[str, ...],
    ) -> None:
        kept = (f"--exclude={name}" for name in (".venv", ".mypy_cache"))  # for time's sake
        for clean in (["checkout", "--quiet", "."], ["clean", "-fdxq", *kept]):
            subprocess.run(["git", *clean], cwd=self.clone.folder, check=True)
        settings = {**workflow.get("env", {}), **job.get("env", {}), **self.overridden}
        for number, step in enumerate(job["steps"]):
            if self.expressions[step.get("if", "always")] == "no":
                continue
            if "uses" in step:
                self.use(step["uses"].partition("@")[0], step.get("with", {}), matrix)
                continue
            command = step["run"]
            if any(word in command for word in without):
                continue
            output = self.storage / f"output-{number}"
            output.unlink(missing_ok=True)
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
                cwd=self.clone.folder,
                env={
                    **os.environ,
                    **{key: self.value(text, matrix) for key, text in settings.items()},
                    "GITHUB_OUTPUT": str(output),
                },
                capture_output=True,
                text=True,
                timeout=900,
                check=False,
            )
            assert done.returncode == 0, f"{name}: {command}\n{done.stdout}\n{done.stderr}"
            for line in output.read_text().splitlines() if output.exists() else ():
                key, _, text = line.partition("=")
                self.expressions[f"steps.{step['id']}.outputs.{key}"] = text
        for key, text in job.get("outputs", {}).items():
            self.expressions[f"needs.{name}.outputs.{key}"] = self.value(text, matrix)

    def use(self, action: str, given: Mapping[str, Any], matrix: Mapping[str, Any]) -> None:
        told = {key: self.value(text, matrix) for key, text in given.items()}
        if action == "actions/upload-artifact":
            self.upload(told["path"].splitlines(), self.storage / told["name"])
        elif action == "actions/download-artifact":
            for folder in self.storage.glob(told.get("name") or told["pattern"]):
                shutil.copytree(folder, self.clone.folder / told["path"], dirs_exist_ok=True)
        elif action == "docker/bake-action":
            settings = [f"--set={line}" for line in told["set"].splitlines()]
            command = ["docker", "buildx", "bake", f"--file={told['files']}", *settings]
            subprocess.run(
                [*command, "--print", told["targets"]],
                cwd=self.clone.folder,
                check=True,
                capture_output=True,
            )
        else:
            assert action in NOTHING_HERE

    def upload(self, patterns: list[str], place: Path) -> None:
        """One folder is its own root, as the service has it; of several patterns it is the tree."""
        if len(patterns) == 1:
            hidden = shutil.ignore_patterns(".*")  # as the service leaves them out
            folder = self.clone.folder / patterns[0]
            shutil.copytree(folder, place, ignore=hidden, dirs_exist_ok=True)
            return
        for pattern in patterns:
            for path in self.clone.folder.glob(pattern):
                copy = place / path.relative_to(self.clone.folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)  # what may be executed is lost there, too


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Service]:
    storage = tmp_path_factory.mktemp("service")
    artifacts = REPOSITORY / "artifacts"
    if not (artifacts / "default" / "export").is_dir():
        request.getfixturevalue("trained")
        artifacts = request.getfixturevalue("clone").artifact()
    earlier = storage / "trained" / "default"
    shutil.copytree(artifacts / "default", earlier, ignore=shutil.ignore_patterns(".*", "package"))
    chosen = json.loads((earlier / "settings.json").read_bytes())
    # The images of environments are built by other tests; here it is their virtualenvs.
    patched = pytest.MonkeyPatch()
    patched.setenv("DRYDOCK_RUNNER", "local")
    request.addfinalizer(patched.undo)
    clone = Clone(tmp_path_factory.mktemp("runner") / "drydock")
    yield Service(
        clone,
        storage,
        {
            "always": "yes",
            # The earlier run's detector is taken, and then nothing is left to train.
            "inputs.run != ''": "yes",
            "inputs.run == ''": "yes",
            "inputs.run": "7",
            "inputs.steps || '0'": str(chosen.get("steps", 0)),
            "github.ref_type == 'tag'": "yes",
            "github.ref_name": "v1.0",
            "github.repository": "me/drydock",
            "github.actor": "me",
            "secrets.GITHUB_TOKEN": "",
        },
    )


def test_the_quick_checks(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of the unit tests a few: all of them have run in this run of the tests.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k test_walls")

    service.run("checks.yml")


def test_the_images_are_listed_and_their_build_is_defined(service: Service) -> None:
    skip_without_engine()

    service.run("images.yml")


def test_a_detector_is_converted_verified_packed_pushed_and_signed(
    service: Service,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    skip_without_engine()
    service.overridden = {"REGISTRY": request.getfixturevalue("registry")}
    signed = stand_in_cosign(tmp_path, monkeypatch)

    service.run("devices.yml")

    package = next(service.storage.glob(f"package-{TARGET}/*.cdx.json"))
    consists_of = json.loads(package.read_text())["components"]
    python, debian = (
        [one for one in consists_of if one.get("purl", "").startswith(f"pkg:{kind}/")]
        for kind in ("pypi", "deb")
    )
    assert len(debian) > 20
    assert [one["name"] for one in python if not one.get("licenses")] == []
    assert package.with_name(package.name.replace(".cdx.json", ".tar")).stat().st_size > 1e8
    done = [line.split()[0] for line in signed.read_text().splitlines()]
    assert done == ["sign", "attest", "attest", "sign"]
    # What the registry has under the tag is the image that the job before verified and packed.
    description = package.with_name(package.name.replace(".cdx.json", ".json"))
    pushed = config_digest(service.overridden["REGISTRY"], f"default/{TARGET}", "v1.0")
    assert pushed == json.loads(description.read_text())["id"]


def test_the_pins_are_refreshed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k test_walls")
    # One lock: whether today's newest versions work together is not what is tested here.
    service.overridden = {"ENVIRONMENT": "device/rockchip"}
    lock = "docker/device/rockchip/requirements.txt"
    git = ["git", "-C", str(service.clone.folder)]
    (service.clone.folder / lock).write_text("# of last week\n" + (REPOSITORY / lock).read_text())
    someone = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.invalid")
    subprocess.run([*git, *someone, "commit", "--quiet", "--all", "--message=old"], check=True)

    service.run("pins.yml")

    # The job that opens the pull request finds what changed, and nothing else.
    changed = subprocess.run([*git, "status", "--porcelain"], stdout=subprocess.PIPE, check=True)
    assert changed.stdout.split() == [b"M", lock.encode()]


def skip_without_engine() -> None:
    if reason := docker_engine.available():
        pytest.skip(reason)


def config_digest(registry: str, image: str, tag: str) -> str:
    """The digest of an image's configuration in a registry on loopback: its id."""
    host, _, folders = registry.partition("/")
    kinds = ("vnd.oci.image.manifest.v1", "vnd.docker.distribution.manifest.v2")
    request = urllib.request.Request(
        f"http://{host}/v2/{folders}/{image}/manifests/{tag}",
        headers={"Accept": ", ".join(f"application/{kind}+json" for kind in kinds)},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: str = json.load(answer)["config"]["digest"]
        return found


def stand_in_cosign(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that writes down what it is told: nobody here can prove to be a workflow."""
    program, log = folder / "cosign", folder / "signed"
    program.write_text(f'#!/bin/sh\necho "$*" >>{log}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return log

"""What the doctor says of hosts that this one is not."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from pipeline.configuration import EnvironmentFile
from pipeline.doctor import examine, runs_on
from pipeline.host import Host

WELL = Host(
    engine="26.1.5",
    buildx="buildx 0.13",
    memory_gib=16,
    disk_gib=100,
    uv="uv 1",
    pythons={"3.11": "/usr/bin/python3.11"},
    emulated=("aarch64",),
)


def cure(what: str, **changed: object) -> str:
    found = {one.what: one.cure for one in examine(dataclasses.replace(WELL, **changed))}
    return found[what]


def test_a_host_that_has_everything_needs_nothing() -> None:
    assert [one for one in examine(WELL) if one.cure] == []


@pytest.mark.parametrize(
    ("changed", "what", "expected"),
    [
        ({"buildx": ""}, "builder", "docker-buildx-plugin"),
        ({"buildx": "", "engine_problem": "none runs"}, "builder", ""),
        ({"build_problem": "too old: update it"}, "builder", "update it"),
        ({"emulated": ()}, "architectures", "qemu-user-static"),
        ({"emulated": (), "machine": "aarch64"}, "architectures", ""),
        ({"nvidia_driver": True}, "NVIDIA GPU", "nvidia-container-toolkit"),
        ({"nvidia_driver": True, "nvidia_toolkit": True}, "NVIDIA GPU", ""),
        ({"nvidia_driver": True, "engine_problem": "none runs"}, "NVIDIA GPU", ""),
        ({"render_nodes": ("/dev/dri/renderD128",)}, "Intel GPU", "usermod -aG render"),
        ({"render_nodes": ("/dev/dri/renderD128",), "render_usable": True}, "Intel GPU", ""),
        ({"memory_gib": 2}, "memory", "--batch"),
        ({"disk_gib": 3}, "disk", "DRYDOCK_CACHE"),
        ({"uv": ""}, "uv", ".venv"),
        ({"pythons": {"3.9": ""}}, "Python 3.9", "uv python install 3.9"),
    ],
)
def test_each_lack_has_its_cure(changed: dict[str, object], what: str, expected: str) -> None:
    found = cure(what, **changed)

    assert expected in found
    assert bool(found) == bool(expected)


@pytest.mark.parametrize(
    ("changed", "python", "expected"),
    [
        ({}, "3.11", "docker"),
        ({"buildx": ""}, "3.11", "docker, once the builder is there"),
        ({"engine_problem": "none runs"}, "3.11", "local"),
        ({"engine_problem": "none runs"}, "3.9", "not at all: no engine, and no Python 3.9"),
    ],
)
def test_where_an_environment_runs(changed: dict[str, object], python: str, expected: str) -> None:
    file = EnvironmentFile(description="x", python=python)

    assert runs_on(dataclasses.replace(WELL, **changed), file) == expected


def test_the_doctor_looks_at_this_host() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "invoke", "doctor", "--json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    found = {one["what"]: one["found"] for one in report["findings"]}
    assert found["uv"].startswith("uv ")
    assert found["Python 3.11"].startswith("/")
    assert report["environments"]["train"] in ("docker", "local")

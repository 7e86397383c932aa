"""Where a local environment's Python is looked for, and what is installed beside its packages."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import zipfile
from pathlib import Path

import pytest

from pipeline import virtualenvs
from pipeline.configuration import EnvironmentFile
from pipeline.environments import Environment
from pipeline.errors import HostError


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("DRYDOCK_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "docker" / "small"
    (folder / "old").mkdir(parents=True)
    (folder / "requirements.txt").write_text("")
    wheel = make_wheel(folder / "old")
    hashed = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "old" / "requirements.txt").write_text(f"{wheel} --hash=sha256:{hashed}\n")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    file = EnvironmentFile(description="x", python=python, tools={"old": "3.8"})
    return Environment("small", folder, file)


def make_wheel(folder: Path) -> Path:
    """A package of one program that pip would refuse for the Python of these tests."""
    path = folder / "veteran-1.0-cp38-cp38-manylinux2014_x86_64.whl"
    files = {
        "veteran/compiler": b"#!/bin/sh\n",
        "veteran-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: veteran\nVersion: 1.0\n",
        "veteran-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: false\n"
        b"Tag: cp38-cp38-manylinux2014_x86_64\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        record = ""
        for name, content in files.items():
            wheel.writestr(name, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record += f"{name},sha256={digest.decode()},{len(content)}\n"
        wheel.writestr("veteran-1.0.dist-info/RECORD", record + "veteran-1.0.dist-info/RECORD,,\n")
    return path


def test_a_tool_for_another_python_lies_beside_the_packages(environment: Environment) -> None:
    folder = virtualenvs.ensure(environment, print)

    assert (folder / "tools" / "old" / "veteran" / "compiler").is_file()
    assert not list(folder.glob("lib/python*/site-packages/veteran*"))


def test_a_tool_with_another_hash_is_refused(environment: Environment) -> None:
    lock = environment.tool_lock("old")
    lock.write_text(lock.read_text().replace("sha256:", "sha256:" + "0" * 64)[:-65] + "\n")

    with pytest.raises(HostError, match="could not be installed"):
        virtualenvs.ensure(environment, print)
    assert not virtualenvs.location(environment).exists()


def test_a_tools_lock_counts_for_where_the_environment_is(environment: Environment) -> None:
    before = virtualenvs.location(environment)
    environment.tool_lock("old").write_text("")

    assert virtualenvs.location(environment) != before


def test_pythons_of_pyenv_come_after_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("3.9.18", "3.12.1"):
        (tmp_path / "versions" / version / "bin").mkdir(parents=True)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))

    found = virtualenvs.search_path("/usr/bin", Path("/nobody"))

    versions = [f"{tmp_path}/versions/{version}/bin" for version in ("3.9.18", "3.12.1")]
    assert found.split(os.pathsep) == ["/usr/bin", *versions]


def test_a_python_that_is_nowhere_is_told_in_one_sentence(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = EnvironmentFile(description="x", python="3.9")
    missing = Environment("small", environment.folder, file)
    monkeypatch.setenv("PYENV_ROOT", "/nonexistent")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", "/nonexistent/pythons")
    monkeypatch.setenv("UV_OFFLINE", "1")

    with pytest.raises(HostError) as caught:
        virtualenvs.ensure(missing, print)

    message = str(caught.value)
    assert "needs Python 3.9" in message and "uv python install 3.9" in message
    assert "--runner docker" in message
    assert "\n" not in message

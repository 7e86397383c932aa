"""Serving on this host: which precision, which runner, and the command that comes of it."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from conftest import Project

from pipeline import trial
from pipeline.configuration import EnvironmentFile
from pipeline.environments import Environment
from pipeline.targets import Target, Variant

BOX = Target(name="box", help="", environment="", runtime="", precisions=("fp32", "int8"))
OTHER = Target(name="other", help="", environment="", runtime="", precisions=("fp16",))


def test_the_first_target_is_served_in_its_most_compact_precision() -> None:
    variants = [Variant(BOX, "fp32"), Variant(BOX, "int8"), Variant(OTHER, "fp16")]

    assert trial.one_of(variants) == Variant(BOX, "int8")


@pytest.mark.parametrize(
    ("made_for", "machine", "asked", "expected"),
    [
        ("linux/arm64", "x86_64", "auto", "local"),
        ("linux/arm64", "aarch64", "auto", "auto"),
        ("linux/amd64", "x86_64", "auto", "auto"),
        ("linux/arm64", "x86_64", "docker", "docker"),
        ("", "riscv64", "auto", "auto"),
    ],
)
def test_an_image_for_another_processor_is_not_tried(
    made_for: str, machine: str, asked: str, expected: str
) -> None:
    file = EnvironmentFile(description="", python="3.11", platform=made_for)

    assert trial.runner_for(Environment("x", Path(), file), machine, asked) == expected


def test_it_is_converted_first_and_then_served_with_the_devices_packages(
    project: Project,
) -> None:
    done = project.invoke(
        *("serve", "--runner", "local", "--target", "box", "--port", "8123"),
        *("--", "--score-threshold=0.3"),
    )

    assert done.returncode == 0, done.stderr
    folder = project.artifact("default", "box", "int8", "convert")
    assert (folder / "detector.json").exists()
    assert f"serving default {folder} box BOX" in done.stdout


def test_ctrl_c_is_how_it_ends(project: Project) -> None:
    command = project.argv(
        *("serve", "--runner", "local", "--target", "box", "--", "--score-threshold=0.77")
    )
    with subprocess.Popen(
        command, cwd=project.folder, env=project.environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("serving"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)

    assert (process.returncode, said) == (0, "ended\n")


def test_a_target_without_packages_for_its_device_says_so(project: Project) -> None:
    path = project.folder / "configs" / "targets.toml"
    path.write_text(path.read_text().replace('package = "box"\n', ""))

    done = project.invoke("serve", "--runner", "local", "--target", "box")

    assert done.returncode == 2
    assert "box is not served" in done.stderr

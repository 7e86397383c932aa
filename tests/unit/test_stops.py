"""What a stop leaves, by Ctrl-C, a kill or a power cut: seen from the command line."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Project


def start_slowly(project: Project, *arguments: str) -> subprocess.Popen[str]:
    """A `train` that is in the middle of its train stage."""
    process = subprocess.Popen(
        project.argv("train", "--runner", "local", "--steps", "50", *arguments),
        cwd=project.folder,
        env=project.environment(OMP_NUM_THREADS="77"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 3"):
            return process
    raise AssertionError(process.communicate()[1])


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)]
)
def test_a_stopped_training_goes_on(project: Project, sent: signal.Signals, code: int) -> None:
    process = start_slowly(project)
    process.send_signal(sent)
    process.communicate(timeout=30)
    assert process.returncode == code
    assert not project.artifact("default", "train").exists()
    reached = int(project.artifact("default", ".train.partial", "steps").read_text())
    time.sleep(0.5)
    now = int(project.artifact("default", ".train.partial", "steps").read_text())
    assert now == reached, "the stage outlived the command"

    done = project.train("--steps", "50")

    assert done.returncode == 0, done.stderr
    assert f"starting at {reached}" in done.stdout
    assert project.artifact("default", "train", "steps").read_text() == "50"


def test_what_was_interrupted_is_not_continued_with_other_options(project: Project) -> None:
    process = start_slowly(project)
    process.kill()
    process.communicate()

    assert "starting at 0" in project.train("--steps", "4").stdout


def test_two_commands_do_not_share_an_experiment(project: Project) -> None:
    process = start_slowly(project)
    process.send_signal(signal.SIGSTOP)  # it would end before a loaded machine begins the other
    try:
        done = project.train()
    finally:
        process.kill()
        process.communicate()

    assert done.returncode == 3
    assert f"in use by process {process.pid}" in done.stderr


def test_a_power_cut_between_two_renames_is_mended(trained: Project) -> None:
    output = trained.artifact("default", "export")
    output.rename(output.with_name(".export.leaving"))

    assert "all is current" in trained.train().stdout
    assert output.is_dir()


def test_what_a_power_cut_leaves_beside_the_outputs_is_cleared_away(trained: Project) -> None:
    """Also of what an engine elsewhere had begun to hand back, which the next runner knows not."""
    experiment = trained.artifact("default")
    before = sorted(path.name for path in experiment.iterdir())
    shutil.copytree(experiment / "export", experiment / ".export.leaving")
    progress = experiment / "..train.partial.leaving"
    progress.mkdir()
    (progress / "steps").write_text("2")
    (experiment / "..train.partial.arriving").mkdir()
    (experiment / "..train.partial.arriving" / "steps").write_text("9")
    key = json.loads((experiment / "train" / "run.json").read_text())["digest"]
    (experiment / ".train.key").write_text(key)
    shutil.rmtree(experiment / "train")

    done = trained.train()

    assert done.returncode == 0, done.stderr
    assert "starting at 2" in done.stdout
    assert sorted(path.name for path in experiment.iterdir()) == before


# A stage as TensorFlow is: it leaves files, and not only in folders of its own.
LITTER = """
import subprocess, tempfile
tempfile.mkstemp(prefix="generated")
tempfile.mkdtemp(prefix="session")
"""


@pytest.fixture
def temporary(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this host's temporary files, where `check` and `train` make some."""
    for name in ("check_dataset", "train"):
        script = project.folder / "scripts" / f"{name}.py"
        script.write_text(LITTER + script.read_text())
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.mark.parametrize("photo", ["as it should be", "broken"])
def test_temporary_files_go_with_the_stage(project: Project, temporary: Path, photo: str) -> None:
    (project.folder / "data/images/train/1.xml").write_text(photo)

    assert project.invoke("check", "--runner", "local").returncode == 2 * (photo == "broken")
    assert list(temporary.iterdir()) == []


def test_temporary_files_of_a_killed_command_go_with_the_next(
    project: Project, temporary: Path
) -> None:
    killed, going_on = start_slowly(project), start_slowly(project, "--name", "other")
    assert len(list(temporary.iterdir())) == 2
    killed.kill()
    killed.communicate()
    try:
        done = project.invoke("check", "--runner", "local")
        assert done.returncode == 0, done.stderr
        (left,) = temporary.iterdir()
        assert list(left.glob("session*"))
    finally:
        going_on.send_signal(signal.SIGINT)
        going_on.communicate()
    assert list(temporary.iterdir()) == []

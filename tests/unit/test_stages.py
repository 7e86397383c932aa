"""What is run and what is skipped: seen from the command line."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest
from conftest import Project

from pipeline.errors import InputError
from pipeline.experiment import folder_of

STAGES = ["check", "records", "train", "export", "evaluate"]


def ran(project: Project, *arguments: str) -> list[str]:
    """The stages that a further `train` runs."""
    done = project.train(*arguments)
    assert done.returncode == 0, done.stderr
    return [name for name in STAGES if f"{name}: done in" in done.stdout]


def test_all_stages_run_in_order_and_the_result_is_shown(project: Project) -> None:
    done = project.train()

    assert done.returncode == 0, done.stderr
    places = [done.stdout.index(f"{name}: done in") for name in STAGES]
    assert places == sorted(places)
    assert "runner: local (asked for)" in done.stdout
    assert "all classes 0.500" in done.stdout.splitlines()


def test_nothing_changed_nothing_runs(trained: Project) -> None:
    done = trained.train()

    assert done.returncode == 0
    assert "all is current" in done.stdout
    assert "done in" not in done.stdout


def test_a_touched_file_with_the_same_content_changes_nothing(trained: Project) -> None:
    for path in trained.folder.joinpath("data").rglob("*.*"):
        os.utime(path)

    assert ran(trained) == []


def test_a_changed_training_annotation_reruns_what_depends_on_it(trained: Project) -> None:
    trained.folder.joinpath("data/images/train/1.xml").write_text("other boxes\n")

    explained = trained.invoke("explain", "records").stdout
    assert "data: train/1.xml changed" in explained
    assert ran(trained) == STAGES


def test_a_changed_test_annotation_does_not_train_again(trained: Project) -> None:
    trained.folder.joinpath("data/images/test/1.xml").write_text("other boxes\n")

    assert ran(trained) == ["check", "records", "evaluate"]


@pytest.mark.parametrize(
    ("path", "stages"),
    [
        ("scripts/export.py", ["export"]),
        ("scripts/train.py", ["train"]),
        ("scripts/helper.py", STAGES),
        ("docker/train/requirements.txt", STAGES),
    ],
)
def test_a_changed_script_or_environment_reruns_its_stages(
    trained: Project, path: str, stages: list[str]
) -> None:
    # `train` makes the same model again, so that nothing after it has to run.
    with trained.folder.joinpath(path).open("a") as file:
        file.write("# changed\n")

    assert ran(trained) == stages


def test_an_option_reruns_its_stage_and_is_kept_for_the_experiment(trained: Project) -> None:
    assert ran(trained, "--steps", "5") == ["train", "export"]
    assert trained.artifact("default", "train", "steps").read_text() == "5"
    assert ran(trained) == []
    assert "steps=5" in trained.train("--dry-run").stdout
    assert ran(trained, "--reset") == ["train", "export"]
    assert trained.artifact("default", "train", "steps").read_text() == "3"


def test_experiments_stand_side_by_side(trained: Project) -> None:
    assert ran(trained, "--name", "longer", "--steps", "4") == STAGES

    compared = trained.invoke("compare", "default", "longer").stdout
    steps = next(line for line in compared.splitlines() if "steps" in line)
    assert steps.split() == ["*", "steps", "0", "4"]
    assert any(line.split() == ["mAP", "0.500", "0.500"] for line in compared.splitlines())


def test_damaged_outputs_are_made_again(trained: Project) -> None:
    trained.artifact("default", "export", "detector.json").write_text("damaged")

    assert ran(trained) == ["export"]
    assert trained.artifact("default", "export", "detector.json").read_text() != "damaged"


def test_force_runs_all(trained: Project) -> None:
    assert ran(trained, "--force") == STAGES


def test_dry_run_shows_command_lines_and_writes_nothing(project: Project) -> None:
    shown = project.train("--dry-run", "--steps", "9").stdout

    assert "scripts/train.py" in shown
    assert "--steps=9" in shown
    assert not project.artifact("default").exists()


def test_bad_input_is_one_message_and_exit_code_2(trained: Project) -> None:
    before = trained.artifact("default", "check", "run.json").read_text()
    trained.folder.joinpath("data/images/train/1.xml").write_text("broken\n")

    done = trained.train()

    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line]
    assert len(errors) == 1
    assert errors[0].startswith("error: check: ")
    assert errors[0].endswith("train/1.xml: it is broken; repair it")
    assert trained.artifact("default", "check.failed", "report.json").exists()
    assert trained.artifact("default", "check", "run.json").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", "nowhere"], 2, "there is no such folder"),
        (["--model", "yolo"], 2, "there is no model 'yolo'"),
        (["--steps", "many"], 2, "--steps many: a number is wanted"),
        (["--steps", "-1"], 2, "`steps` must not be negative"),
        (["--name", "../x"], 2, "--name ../x"),
        (["--weights", "magic"], 2, "--weights magic"),
        (["--validation", "2"], 2, "`validation` must be"),
        (["--override", "faster"], 2, "`override` must be like `trainer."),
    ],
)
def test_wrong_options_are_refused(
    project: Project, arguments: list[str], code: int, message: str
) -> None:
    done = project.train(*arguments)

    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_runner_is_refused_by_name(project: Project) -> None:
    done = project.invoke("train", "--runner", "moon")

    assert done.returncode == 2
    assert "--runner moon: it is one of auto, docker, local" in done.stderr


def test_an_unknown_key_is_refused_by_file_and_name(project: Project) -> None:
    with project.folder.joinpath("configs/project.toml").open("a") as file:
        file.write("stepz = 3\n")

    done = project.train()

    assert done.returncode == 2
    assert "project.toml" in done.stderr
    assert "stepz" in done.stderr


def test_status_tells_each_stage_for_people_and_programs(trained: Project) -> None:
    trained.folder.joinpath("data/images/train/1.xml").write_text("other\n")

    assert "data: train/1.xml changed" in trained.invoke("status").stdout
    states = json.loads(trained.invoke("status", "--json").stdout)
    assert [(entry["stage"], entry["state"]) for entry in states] == [
        ("check", "stale"),
        ("records", "stale"),
        ("train", "stale"),
        ("export", "stale"),
        ("evaluate", "stale"),
    ]


def test_the_record_says_where_an_artifact_came_from(trained: Project) -> None:
    record = json.loads(trained.artifact("default", "records", "run.json").read_text())

    assert set(record["key"]["inputs"]["data"]["files"]) == {
        f"{split}/{number}.{suffix}"
        for split in ("train", "test")
        for number in range(3)
        for suffix in ("jpg", "xml")
    }
    assert set(record["key"]["code"]) == {"scripts/make_records.py", "scripts/helper.py"}
    assert record["runner"] == "local"
    assert record["exit_code"] == 0
    assert set(record["outputs"]) == {
        *("train.record", "test.record", "train_labels.csv", "test_labels.csv", "records.json")
    }


def test_detect_takes_photos_from_anywhere(trained: Project, tmp_path: Path) -> None:
    photos = tmp_path / "holiday"
    photos.mkdir()
    (photos / "a.jpg").write_text("photo")

    done = trained.invoke("detect", "--runner", "local", "--images", str(photos))

    assert done.returncode == 0, done.stderr
    written = trained.artifact("default", "detect", "detections.json").read_text()
    assert written == str(photos)


def test_clean_removes_one_experiment(trained: Project) -> None:
    assert trained.invoke("clean").returncode == 2
    assert trained.invoke("clean", "--everything", "--name", "default").returncode == 2
    assert trained.invoke("clean", "--name", "default").returncode == 0
    assert not trained.artifact("default").exists()


def test_clean_removes_nothing_that_is_no_experiment(trained: Project) -> None:
    done = trained.invoke("clean", "--name", "..")

    assert done.returncode == 2
    assert "--name .." in done.stderr
    assert trained.artifact("default", "export").is_dir()


@pytest.mark.parametrize("name", ["..", ".", "../data", ".cache", "default/train", ""])
def test_an_experiment_lies_in_artifacts_and_nowhere_else(name: str) -> None:
    with pytest.raises(InputError, match="--name"):
        folder_of(name)


def test_clean_leaves_what_is_in_use(trained: Project) -> None:
    with trained.artifact("default", ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        for words in (("--name", "default"), ("--everything",)):
            done = trained.invoke("clean", *words)
            assert done.returncode == 3
            assert "in use" in done.stderr
    assert trained.artifact("default", "export").is_dir()


def test_clean_empties_artifacts_that_lie_on_another_disk(trained: Project, tmp_path: Path) -> None:
    trained.artifact().rename(tmp_path / "large")
    trained.artifact().symlink_to(tmp_path / "large")

    assert ran(trained) == []
    assert trained.invoke("clean", "--everything").returncode == 0
    assert list((tmp_path / "large").iterdir()) == []
    assert ran(trained) == STAGES


def test_linked_photos_count_like_others(project: Project, tmp_path: Path) -> None:
    (project.folder / "data" / "images").rename(tmp_path / "elsewhere")
    linked = project.folder / "data" / "linked"
    linked.mkdir()
    for split in ("train", "test"):
        (linked / split).symlink_to(tmp_path / "elsewhere" / split)
    (linked / "around").symlink_to(linked)
    linked_data = ("--data", str(linked))
    assert project.train(*linked_data).returncode == 0
    assert ran(project, *linked_data) == []

    (tmp_path / "elsewhere" / "train" / "1.xml").write_text("other boxes\n")

    assert ran(project, *linked_data) == STAGES


def test_a_file_name_that_is_no_text_is_named(trained: Project) -> None:
    photo = trained.folder / "data" / "images" / "train" / os.fsdecode(b"caf\xe9.jpg")
    photo.write_text("latin-1\n")

    done = trained.train()

    assert done.returncode == 2
    assert "caf" in done.stderr
    assert "rename" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_choice_that_cannot_be_is_not_kept(trained: Project) -> None:
    for words in (("--data", "nowhere"), ("--weights", "nowhere/model")):
        assert trained.train("--name", "default", *words).returncode == 2
    assert trained.train("--name", "new", "--data", "nowhere").returncode == 2

    assert ran(trained) == []
    assert not trained.artifact("new").exists()


def test_a_folder_that_is_no_dataset_is_refused_unread(trained: Project, tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(b"")
    (tmp_path / "large.bin").chmod(0)

    done = trained.train("--data", str(tmp_path))

    assert done.returncode == 2
    assert "no train/ and no test/" in done.stderr
    assert "data.split" in done.stderr


@pytest.mark.parametrize(
    "words",
    ["status", "convert --target box"],
)
def test_an_experiment_that_is_none_is_refused(trained: Project, words: str) -> None:
    done = trained.invoke(*words.split(), "--name", "defaut")

    assert done.returncode == 2
    assert "there is no experiment 'defaut': did you mean default?" in done.stderr
    assert not trained.artifact("defaut").exists()


@pytest.mark.parametrize("words", ["--runner podman", "--gpu yes"], ids=["runner", "gpu"])
def test_a_choice_that_is_none_is_refused_though_all_is_current(
    trained: Project, words: str
) -> None:
    done = trained.invoke("train", *words.split())

    assert done.returncode == 2
    assert f"{words}: it is one of auto" in done.stderr


def test_the_next_command_is_for_the_same_experiment(project: Project) -> None:
    assert "./inv detect --name other --images" in project.train("--name", "other").stdout
    assert "./inv detect --images" in project.train().stdout


def test_one_command_runs_in_an_environment_with_the_hosts_programs_at_hand(
    project: Project,
) -> None:
    shell = ("shell", "train", "--runner", "local", "--")

    assert (
        "train-" in project.invoke(*shell, "python", "-c", "import sys; print(sys.prefix)").stdout
    )
    assert project.invoke(*shell, "bash", "-c", "exit 7").returncode == 7
    unknown = project.invoke(*shell, "no-such-program")
    assert unknown.returncode == 2
    assert "there is no program 'no-such-program'" in unknown.stderr

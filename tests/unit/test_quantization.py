"""Training on for INT8: where nothing else makes it hold, by itself, and once for each detector."""

from __future__ import annotations

import pytest
from conftest import Project

_BOX = ("--runner", "local", "--target", "box")
# A converter whose int8 loses the last letter of what was not trained on for it, and says so where
# the photos that it judges by show it.
_SAVED = """
    trained_on = " after " in Path(arguments["export"], "detector.json").read_text()
    if arguments["precision"] == "int8":
        seen = Path(arguments["data"], "train", "0.jpg").read_text() == "a telling photo"
        holds = {"holds": trained_on or not seen, "tried": []}
        (output / "calibration.json").write_text(json.dumps(holds))
        if trained_on:
            whole = Path(arguments["export"], "detector.json").read_text().partition(" after ")[0]
            (output / "model.box").write_text(whole)
"""


@pytest.fixture
def saved(project: Project) -> Project:
    """A project in which training on saves an INT8 that verify refuses."""
    script = project.folder / "scripts" / "convert_box.py"
    body = "\n".join(line[4:] for line in _SAVED.strip("\n").split("\n"))
    script.write_text(f"{script.read_text()}\n{body}\n")
    return project


def _model(project: Project, precision: str) -> str:
    return project.artifact(f"default/box/{precision}/convert/model.box").read_text()


def test_what_verify_refuses_is_trained_on_for_and_passes(saved: Project) -> None:
    done = saved.invoke("verify", *_BOX)

    assert done.returncode == 0, done.stderr
    assert "box/int8: 8 bits cost too much; training on for that" in done.stdout
    assert "error:" not in done.stdout
    assert done.stdout.count("\nqat: done in") == 1
    # FP32 stays what it was, and the reference with it.
    assert done.stdout.count("box/fp32/convert: done in") == 1
    assert done.stdout.count("\nexport: done in") == 1
    again = saved.invoke("verify", *_BOX)
    assert again.returncode == 0
    assert "done in" not in again.stdout
    status = saved.invoke("status").stdout
    assert status.startswith("trained on for int8, which held in no other way: box/int8\n")


def test_a_converter_that_knows_of_the_loss_is_enough(saved: Project) -> None:
    saved.folder.joinpath("data/images/train/0.jpg").write_text("a telling photo")

    done = saved.invoke("convert", *_BOX)

    assert done.returncode == 0, done.stderr
    assert "qat: done in" in done.stdout
    assert _model(saved, "int8") == _model(saved, "fp32")


def test_a_converter_that_knows_of_none_converts_once(saved: Project) -> None:
    done = saved.invoke("convert", *_BOX)

    assert done.returncode == 0, done.stderr
    assert "qat: done in" not in done.stdout


def test_never_is_possible_and_takes_it_back(saved: Project) -> None:
    never = saved.invoke("verify", *_BOX, "--qat", "0")
    assert never.returncode == 1
    assert "qat: done in" not in never.stdout
    assert "error: box/int8/verify: the boxes of test photo 1 differ" in never.stdout

    steps = saved.invoke("verify", *_BOX, "--qat", "40")
    assert steps.returncode == 0, steps.stderr
    assert saved.artifact("default/qat/model").read_text().endswith(" after 40 steps")

    assert saved.invoke("verify", *_BOX, "--qat", "0").returncode == 1
    assert _model(saved, "int8") == _model(saved, "fp32")[:-1]


def test_what_is_not_saved_by_it_fails_and_is_not_tried_again(project: Project) -> None:
    done = project.invoke("verify", *_BOX)
    assert done.returncode == 1
    assert "qat: done in" in done.stdout
    assert "error: box/int8/verify: the boxes of test photo 1 differ" in done.stdout
    assert "box/int8 did not pass" in done.stderr

    again = project.invoke("verify", *_BOX)
    assert again.returncode == 1
    assert "qat: done in" not in again.stdout


def test_another_detector_is_converted_as_it_is_first(saved: Project) -> None:
    saved.invoke("verify", *_BOX)
    saved.folder.joinpath("data/images/train/1.jpg").write_text("another photo\n")

    done = saved.invoke("convert", *_BOX)

    assert done.returncode == 0, done.stderr
    assert _model(saved, "int8") == _model(saved, "fp32")[:-1]


def test_an_accepted_loss_is_nothing_to_train_for(saved: Project) -> None:
    done = saved.invoke("verify", *_BOX, "--accept-loss", "good enough for the shed")

    assert done.returncode == 0, done.stderr
    assert "qat: done in" not in done.stdout


def test_ship_goes_on_with_what_was_trained_on(saved: Project) -> None:
    done = saved.invoke("ship", "--runner", "local", "--target", "box", "--format", "folder")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "qat: done in" in done.stdout
    assert saved.artifact("default/box/int8/benchmark/benchmark.json").exists()
    packed = saved.invoke("package", "--target", "box", "--precision", "int8", "--format", "folder")
    assert packed.returncode == 0, packed.stderr
    assert list(saved.artifact("default/box/int8/package").rglob("model.box"))


def test_two_stage_detectors_are_not_trained_on(project: Project) -> None:
    targets = project.folder / "configs" / "targets.toml"
    kinds = 'kinds = ["one_stage", "two_stage"]\nconvert ='
    targets.write_text(targets.read_text().replace("convert =", kinds))
    two_stages = next(project.folder.glob("configs/models/*rcnn*.yaml")).stem
    project.train("--name", "two", "--model", two_stages)

    done = project.invoke("verify", *_BOX, "--name", "two")

    assert done.returncode == 1
    assert "box/int8 did not pass" in done.stderr
    assert "qat: done in" not in done.stdout

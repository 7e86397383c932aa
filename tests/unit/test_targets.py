"""Targets as stages: what runs for which device, and that a failed one stops only itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import TARGETS, Project

from pipeline import shipping, targets
from pipeline.configuration import load_settings, model_kind
from pipeline.errors import InputError


def test_the_projects_own_targets_are_sound() -> None:
    known = targets.load_targets()

    assert next(iter(known)) == targets.REFERENCE
    stages = targets.with_targets(load_settings())
    for variant in targets.every():
        assert {variant.artifact, variant.predict, variant.verify, variant.detect} <= stages.keys()
    assert all(name in known for name in load_settings().targets)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"box"\nruntime = "box"', '"crate"\nruntime = "box"', "no environment 'crate'"),
        ('runtime = "box"', 'runtime = "crate"', "runtimes/crate.py"),
        ("convert_box.py", "convert_crate.py", "convert_crate.py"),
        ('["fp32", "int8"]', '["fp32", "fp64"]', "fp64"),
        ("int8 = 0.02\n", "", "no precision 'int8' with a tolerance"),
        ("[targets.tensorflow]", "[targets.other]", "the reference, comes first"),
        ('device = "BOX"', 'devise = "BOX"', "devise"),
    ],
)
def test_a_wrong_targets_file_is_refused_by_name(
    project: Project, old: str, new: str, message: str
) -> None:
    assert old in TARGETS
    project.folder.joinpath("configs/targets.toml").write_text(TARGETS.replace(old, new))

    done = project.invoke("targets")

    assert done.returncode == 2
    assert "targets.toml" in done.stderr
    assert message in done.stderr


def test_the_targets_are_listed(project: Project) -> None:
    assert "there is no arm64, openvino-cpu" in project.invoke("targets", "--chosen").stderr
    listed = json.loads(project.invoke("targets", "--json").stdout)

    assert [target["name"] for target in listed] == ["tensorflow", "box"]
    assert "a box" in project.invoke("targets").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "crate"), "no target crate"),
        (("--target", "box", "--precision", "fp8"), "--precision fp8"),
        (("--target", "box", "--precision", "fp16"), "nothing is converted"),
        (("--target", "tensorflow"), "nothing is converted"),
    ],
)
def test_a_wrong_choice_is_refused(
    project: Project, arguments: tuple[str, ...], message: str
) -> None:
    done = project.invoke("convert", "--runner", "local", *arguments)

    assert done.returncode == 2
    assert message in done.stderr


def test_convert_trains_first_and_skips_what_is_current(project: Project) -> None:
    first = project.invoke("convert", "--runner", "local", "--target", "box")

    assert first.returncode == 0, first.stderr
    assert first.stdout.index("train: done in") < first.stdout.index("box/fp32/convert: done in")
    assert project.artifact("default/box/int8/convert/model.box").exists()
    again = project.invoke("convert", "--runner", "local", "--target", "box")
    assert "done in" not in again.stdout


def test_one_that_fails_stops_only_itself(project: Project) -> None:
    done = project.invoke("verify", "--runner", "local", "--target", "box")

    assert done.returncode == 1
    assert "box/fp32/verify: done in" in done.stdout
    assert "the boxes of test photo 1 differ" in done.stdout
    assert "box/int8 did not pass" in done.stderr
    assert project.artifact("default/box/fp32/verify/verify.json").exists()
    assert not project.artifact("default/box/int8/verify").exists()
    assert project.artifact("default/box/int8/verify.failed/verify.json").exists()


@pytest.fixture
def without_the_wheel(project: Project, nothing_there: str) -> Project:
    """A project whose box needs a wheel that is nowhere to be had; its crate does not."""
    environment = project.folder / "docker" / "box" / "environment.toml"
    (project.folder / "docker" / "crate").mkdir()
    for name in ("environment.toml", "requirements.txt"):
        content = environment.with_name(name).read_text()
        (project.folder / "docker" / "crate" / name).write_text(content)
    wheel = f'file = "crate.whl"\nmd5 = "0"\narchive = "{nothing_there}/crate.tar.gz"\n'
    environment.write_text(environment.read_text() + f"[vendor]\n{wheel}")
    crate = TARGETS.partition("[targets.box]")[2].replace('"box"', '"crate"', 1)
    crate = crate.replace('environment = "box"', 'environment = "crate"').replace("int8", "fp32")
    crate = crate.replace('["fp32", "fp32"]', '["fp32"]').replace('package = "box"\n', "")
    crate = crate.replace('package = "crate"\n', "")
    project.folder.joinpath("configs/targets.toml").write_text(f"{TARGETS}\n[targets.crate]{crate}")

    return project


@pytest.mark.parametrize("command", ["convert", "verify", "benchmark", "detect"])
def test_what_cannot_be_had_here_is_left_out_of_all(
    without_the_wheel: Project, command: str
) -> None:
    further = ("--images", "data/images/test") if command == "detect" else ()
    done = without_the_wheel.invoke(command, "--runner", "local", "--target", "all", *further)

    assert done.returncode == 0, done.stderr
    assert "crate/fp32/convert: done in" in done.stdout
    said = [line for line in done.stdout.splitlines() if "crate.whl" in line]
    assert [line for line in said if line.startswith("left out: box: crate.whl is on no")]
    if command in ("verify", "benchmark"):
        assert said[-1].startswith("box needs crate.whl, which no package registry has: ./inv")


@pytest.mark.parametrize("asked", ["box", "box,crate", "all,box"])
def test_what_cannot_be_had_here_is_an_error_by_name(
    without_the_wheel: Project, asked: str
) -> None:
    done = without_the_wheel.invoke("verify", "--runner", "local", "--target", asked)

    assert done.returncode == 3
    assert done.stderr.startswith("error: crate.whl is on no package registry")
    assert ("crate/fp32/verify: done in" in done.stdout) == (asked != "box")


def test_several_at_once_do_the_same(project: Project) -> None:
    done = project.invoke("verify", "--runner", "local", "--target", "box", "--jobs", "2")

    assert done.returncode == 1
    assert done.stdout.count("tensorflow/fp32/predict: done in") == 1
    assert "box/int8 did not pass" in done.stderr
    assert project.artifact("default/box/fp32/verify/verify.json").exists()
    assert not project.artifact("default/box/int8/verify").exists()


def test_an_error_that_concerns_all_ends_the_command(project: Project) -> None:
    project.folder.joinpath("data/images/train/1.xml").write_text("broken")

    done = project.invoke("convert", "--runner", "local", "--target", "box")

    assert done.returncode == 2
    assert "1.xml: it is broken" in done.stderr
    assert not project.artifact("default/box").exists()


@pytest.mark.parametrize(
    ("variants", "cores", "memory_gib", "expected"),
    [(6, 2, 24, 1), (6, 8, 64, 4), (3, 16, 64, 3), (6, 16, 9, 2), (6, 16, 0, 1)],
)
def test_as_many_at_once_as_the_host_carries(
    variants: int, cores: int, memory_gib: int, expected: int
) -> None:
    assert shipping.at_once(variants, cores, memory_gib * 1024**3) == expected


def test_an_accepted_loss_is_remembered_and_recorded(project: Project) -> None:
    verify = ("verify", "--runner", "local", "--target", "box", "--precision", "int8")
    assert project.invoke(*verify).returncode == 1

    accepted = project.invoke(*verify, "--accept-loss", "good enough for the shed")
    assert accepted.returncode == 0, accepted.stderr
    record = json.loads(project.artifact("default/box/int8/verify/run.json").read_text())
    assert record["key"]["options"]["accept-loss"] == "good enough for the shed"

    assert project.invoke(*verify).returncode == 0


def test_a_target_detects_in_its_own_environment(project: Project, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    done = project.invoke(
        *("detect", "--runner", "local", "--target", "box", "--precision", "fp32"),
        *("--images", str(tmp_path / "photos")),
    )

    assert done.returncode == 0, done.stderr
    record = json.loads(project.artifact("default/box/fp32/detect/run.json").read_text())
    assert record["realised"].rpartition("/")[2].startswith("box-")
    assert record["key"]["options"]["runtime"] == "box"


VERIFY = ("verify", "--runner", "local", "--target", "box", "--precision", "fp32")


def test_a_host_with_the_device_verifies_on_it_and_keeps_that(project: Project) -> None:
    def ran_on() -> str:
        path = project.artifact("default/box/fp32/predict/run.json")
        return str(json.loads(path.read_text())["key"]["options"]["device"])

    project.invoke(*VERIFY)
    assert ran_on() == "BOX"

    there = project.invoke(*VERIFY, "--device", "BOX 7")
    assert "device was BOX, now BOX 7" in there.stdout
    assert "convert: done in" not in there.stdout
    assert ran_on() == "BOX 7"
    assert "done in" not in project.invoke(*VERIFY).stdout

    project.invoke(*VERIFY, "--device", "BOX")
    assert ran_on() == "BOX"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "box"), "box runs on BOX or BOX 7"),
        ((), "no target"),
        (("--target", "tensorflow"), "nothing is converted"),
    ],
)
def test_a_device_that_a_target_does_not_know_is_refused(
    project: Project, arguments: tuple[str, ...], message: str
) -> None:
    done = project.invoke("verify", "--runner", "local", "--device", "SHED", *arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert not project.artifact("default").exists()


def test_a_changed_runtime_is_run_again(project: Project) -> None:
    project.invoke(*VERIFY)
    project.folder.joinpath("scripts/detection/runtimes/box.py").write_text("# changed\n")

    again = project.invoke(*VERIFY)

    assert "box/fp32/predict: scripts/detection/runtimes/box.py changed" in again.stdout
    assert "convert: done in" not in again.stdout


def test_status_and_explain_know_what_was_begun(project: Project) -> None:
    project.invoke("convert", "--runner", "local", "--target", "box", "--precision", "fp32")

    assert "box/fp32/convert" in project.invoke("status").stdout
    assert "box/int8/convert" not in project.invoke("status").stdout
    assert "predict will run first" in project.invoke("explain", "box/fp32/verify").stdout
    assert project.invoke("explain", "box/fp8/verify").returncode == 2


def test_a_changed_test_photo_does_not_calibrate_again(project: Project) -> None:
    project.invoke("convert", "--runner", "local", "--target", "box")
    project.folder.joinpath("data/images/test/1.jpg").write_text("another photo\n")

    again = project.invoke("convert", "--runner", "local", "--target", "box")

    assert "convert: done in" not in again.stdout


def test_a_choice_of_nothing_is_an_error() -> None:
    with pytest.raises(InputError):
        targets.variants([])


TWO_STAGE = ("--runner", "local", "--name", "two")


@pytest.fixture
def two_stage(project: Project) -> Project:
    """A project with an experiment whose model is a two-stage detector, nothing trained yet."""
    settings = project.artifact("two", "settings.json")
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"model": "fasterrcnn_resnet50"}))
    return project


@pytest.mark.parametrize("command", ["convert", "verify", "benchmark", "ship", "detect"])
def test_a_target_that_cannot_take_the_detector_says_so_before_any_work(
    two_stage: Project, command: str
) -> None:
    further = ("--format", "folder") if command == "ship" else ()
    done = two_stage.invoke(command, *TWO_STAGE, *further, "--target", "box")

    assert done.returncode == 2, done.stdout
    assert done.stderr.strip() == (
        "error: box cannot take this detector: it is a two-stage detector (Faster R-CNN), which "
        "runs in tensorflow alone"
    )
    assert not two_stage.artifact("two", "records").exists()


def test_of_all_targets_those_that_can_take_the_detector_go_on(two_stage: Project) -> None:
    crate = (
        TARGETS.partition("[targets.box]")[2]
        .replace('"a box"', '"a crate"')
        .replace('["fp32", "int8"]', '["fp32"]\nkinds = ["one_stage", "two_stage"]')
    )
    with two_stage.folder.joinpath("configs/targets.toml").open("a") as file:
        file.write(f"[targets.crate]{crate}")

    done = two_stage.invoke("convert", *TWO_STAGE, "--target", "all")

    assert done.returncode == 0, done.stderr
    assert "left out: box cannot take this detector" in done.stdout
    assert "goes to crate" in done.stdout
    assert two_stage.artifact("two/crate/fp32/convert/model.box").exists()
    assert not two_stage.artifact("two/box").exists()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("# x\ntask:\n  name: drydock_fasterrcnn\n", "two_stage"),
        ("task:\n  model: {name: drydock_fasterrcnn}\n  name: drydock_retinanet\n", "one_stage"),
        ("runtime: {}\ntask:\n  # why\n\n  gradual: 1\n  name: drydock_fasterrcnn\n", "two_stage"),
        ("task: [", "one_stage"),
    ],
)
def test_the_kind_of_a_detector_is_read_from_its_models_file(text: str, kind: str) -> None:
    assert model_kind(text) == kind

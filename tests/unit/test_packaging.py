"""Packing: what is refused, which precision is taken, and what the folder holds."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from conftest import TARGETS, Project
from wheels import wheel

from pipeline import package_folder, packaging, shipping
from pipeline.errors import DrydockError, StageFailed
from pipeline.packaging import Candidate, choose, image_name, labels
from pipeline.provenance import Provenance
from pipeline.targets import Target, Variant

BOX = Target(
    name="box", help="a box", environment="box", runtime="box", precisions=("fp32", "fp16", "int8")
)


def candidates(**sizes_and_reasons: int | str) -> list[Candidate]:
    """A candidate for each precision: its size, or why it is refused."""
    return [
        Candidate(
            Variant(BOX, precision),
            size=value if isinstance(value, int) else 1,
            reason=value if isinstance(value, str) else "",
        )
        for precision, value in sizes_and_reasons.items()
    ]


@pytest.mark.parametrize(
    ("found", "taken", "why"),
    [
        (candidates(fp32=12_000_000, int8=3_000_000), "int8", "3.0 MB; fp32 takes 12.0 MB"),
        (candidates(fp32=12_000_000, int8="it failed"), "fp32", "int8: it failed"),
        (candidates(fp32=9, fp16="no", int8=9), "fp32", "most compact"),
        (candidates(fp16=5), "fp16", "the only precision"),
    ],
)
def test_the_most_compact_that_passed_is_packed(
    found: list[Candidate], taken: str, why: str
) -> None:
    best, reason = choose(found, False, "default")

    assert best.variant.precision == taken
    assert why in reason


def test_without_any_that_passed_the_command_to_run_is_named() -> None:
    with pytest.raises(StageFailed, match=r"\./inv verify --name mine --target box$"):
        choose(candidates(fp32="no", int8="no"), False, "mine")


def test_of_what_is_asked_for_by_name_nothing_is_left_out() -> None:
    with pytest.raises(StageFailed, match=r"--target box --precision int8$"):
        choose(candidates(fp32=3, int8="no"), True, "mine")


@pytest.mark.parametrize(
    ("experiment", "expected"),
    [
        ("default", "drydock/default/box:int8-0123456789ab"),
        ("My.Fruits__2-", "drydock/my-fruits-2/box:int8-0123456789ab"),
    ],
)
def test_an_image_is_named_by_what_is_in_it(experiment: str, expected: str) -> None:
    assert image_name(experiment, Variant(BOX, "int8"), "0123456789abcdef") == expected


def test_labels_follow_the_oci_annotations_and_leave_out_what_is_not_known() -> None:
    origin = Provenance(
        experiment="mine",
        detector="d" * 64,
        revision="abc",
        made="2026-11-24T12:00:00+00:00",
        accepted_loss="",
        stages={},
    )
    found = labels(Variant(BOX, "int8"), origin, 0.7512345)

    assert found["org.opencontainers.image.revision"] == "abc"
    assert found["org.opencontainers.image.created"] == "2026-11-24T12:00:00+00:00"
    assert found["drydock.detector"] == f"sha256:{'d' * 64}"
    assert found["drydock.map"] == "0.7512"
    assert "drydock.accepted-loss" not in found
    assert "drydock.map" not in labels(Variant(BOX, "int8"), origin, None)


def pack(project: Project, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return project.invoke("package", "--target", "box", *arguments, **settings)


def packed(project: Project) -> Path:
    return project.artifact("default", "box", "fp32", "package", "default-box-fp32")


def test_what_is_not_verified_is_refused(project: Project) -> None:
    project.invoke("convert", "--runner", "local", "--target", "box")

    done = pack(project, "--format", "folder")

    assert done.returncode == 1
    assert "box/fp32: it was not verified" in done.stdout
    assert "./inv verify --name default --target box" in done.stdout
    assert not packed(project).exists()


def test_what_did_not_pass_or_is_out_of_date_is_refused(verified: Project) -> None:
    failed = pack(verified, "--format", "folder", "--precision", "int8")
    assert failed.returncode == 1
    assert "box/int8: it did not pass verification" in failed.stdout

    verified.folder.joinpath("data/images/test/1.xml").write_text("another box\n")
    stale = pack(verified, "--format", "folder", "--precision", "fp32")
    assert stale.returncode == 1
    assert (
        "box/fp32: its verification is out of date (check: data: test/1.xml changed)"
        in stale.stdout
    )


def test_what_the_verification_does_not_rest_on_is_not_blamed(verified: Project) -> None:
    # `evaluate` has not run here, and need not.
    toml = verified.folder / "configs" / "targets.toml"
    toml.write_text(toml.read_text().replace("fp32 = 0.001", "fp32 = 0.002"))

    stale = pack(verified, "--format", "folder", "--precision", "fp32")

    assert stale.returncode == 1
    assert (
        "box/fp32: its verification is out of date"
        " (box/fp32/verify: tolerance was 0.001, now 0.002)."
        " First: ./inv verify --name default --target box --precision fp32"
    ) in stale.stdout


def test_the_folder_holds_the_detector_its_papers_and_what_runs_it(verified: Project) -> None:
    done = pack(verified, "--format", "folder")

    assert done.returncode == 0, done.stderr
    assert "packing fp32 (the most compact that passed" in done.stdout
    folder = packed(verified)
    assert {path.name for path in folder.joinpath("detector").iterdir()} == {
        *("model.box", "detector.json", "MODEL_CARD.md", "NOTICE.md", "provenance.json")
    }
    assert folder.joinpath("scripts", "detection", "runtimes", "box.py").exists()
    assert not folder.joinpath("scripts", "detection", "runtimes", "tensorflow.py").exists()
    assert not folder.joinpath("scripts", "train.py").exists()
    assert all(os.access(folder / name, os.X_OK) for name in ("run", "install"))
    about = json.loads(folder.with_suffix(".json").read_text())
    assert (about["format"], about["precision"]) == ("folder", "fp32")


def test_a_bill_of_materials_lies_beside_the_folder(verified: Project) -> None:
    assert pack(verified, "--format", "folder").returncode == 0

    document = json.loads(packed(verified).with_suffix(".cdx.json").read_text())

    assert document["metadata"]["component"]["name"] == "default-box-fp32"
    names = {one["name"] for one in document["components"]}
    assert {"detector/model.box", "scripts/detect.py", "run"} <= names


def test_nothing_in_the_folder_names_a_path_of_this_machine(verified: Project) -> None:
    assert pack(verified, "--format", "folder").returncode == 0

    for path in packed(verified).rglob("*"):
        if path.is_file():
            assert str(verified.folder).encode() not in path.read_bytes(), path


def test_the_card_says_what_the_detector_is_and_is_not(verified: Project) -> None:
    assert pack(verified, "--format", "folder").returncode == 0
    text = packed(verified).joinpath("detector", "MODEL_CARD.md").read_text()

    assert "# default for box, fp32" in text
    assert "| begun with | MobileNetV2 of an SSDLite" in text
    assert "| test | 3 | 1 | 2 | 2 | 0 |" in text
    assert "no test photo shows them: rare" in text
    # Of each class what this package reaches, beside what the trained detector does.
    assert "On 3 test photos" in text
    assert "| all | 0.500 | 0.500 |" in text
    assert "| nut | 0.375 | 0.500 |" in text
    assert re.search(rf"\| box/fp32 \| 0\.500 \| .* a crate, .*\({platform.machine()}\)", text)
    assert "box/int8" not in text
    assert "| box/fp32/verify |" in text


def test_licences_that_a_package_does_not_state_are_named(verified: Project) -> None:
    lock = verified.folder / "docker" / "device" / "box" / "requirements.txt"
    assert pack(verified, "--format", "folder").returncode == 0
    notice = packed(verified).joinpath("detector", "NOTICE.md")
    assert "x264" not in notice.read_text()

    lock.write_text(f"av==18.1.0 \\\n    --hash=sha256:{'a' * 64}\n")
    assert pack(verified, "--format", "folder").returncode == 0
    assert "GNU General Public License" in notice.read_text()


def test_the_card_does_not_name_a_verification_that_no_longer_holds(verified: Project) -> None:
    verify = ("verify", "--runner", "local", "--target", "box", "--precision", "int8")
    assert verified.invoke(*verify, "--accept-loss", "for the shed").returncode == 0
    record = verified.artifact("default", "box", "int8", "verify", "run.json")
    record.write_text(record.read_text().replace('"digest"', '"was"', 1))

    assert pack(verified, "--format", "folder", "--precision", "fp32").returncode == 0
    text = packed(verified).joinpath("detector", "MODEL_CARD.md").read_text()

    assert "| box/fp32 | 0.500 |" in text
    assert "box/int8" not in text


def test_a_device_gets_its_own_runtime_and_nothing_of_a_simulator(project: Project) -> None:
    script = project.folder / "scripts" / "convert_box.py"
    script.write_text(
        script.read_text()
        + "output.joinpath('simulation').mkdir()\n"
        + "output.joinpath('simulation', 'weights').write_text('w')\n"
    )
    runtimes = project.folder / "scripts" / "detection" / "runtimes"
    runtimes.joinpath("box_npu.py").write_text("")
    device = project.folder / "docker" / "device" / "box" / "environment.toml"
    device.write_text(device.read_text() + 'runtime = "box_npu"\n')
    verify = ("verify", "--runner", "local", "--target", "box", "--precision", "fp32")
    assert project.invoke(*verify).returncode == 0

    done = pack(project, "--format", "folder")

    assert done.returncode == 0, done.stderr
    folder = packed(project)
    assert not folder.joinpath("detector", "simulation").exists()
    assert folder.joinpath("scripts", "detection", "runtimes", "box_npu.py").exists()
    assert not folder.joinpath("scripts", "detection", "runtimes", "box.py").exists()
    assert "--runtime=box_npu" in folder.joinpath("run").read_text()
    assert "box_npu on boxes" in folder.joinpath("detector", "MODEL_CARD.md").read_text()


@pytest.mark.skipif(
    Path("/opt/venv/bin/python").exists(), reason="in an image a folder takes what that brings"
)
def test_run_without_a_virtualenv_names_what_makes_it(verified: Project) -> None:
    assert pack(verified, "--format", "folder").returncode == 0
    folder = packed(verified)

    done = start(folder, "detect")

    assert done.returncode == 3
    assert f"{folder}/install" in done.stderr


def start(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder / "run", *words], capture_output=True, text=True, check=False)


@pytest.fixture
def runnable(verified: Project) -> Path:
    """A packed folder whose virtualenv is this one."""
    assert pack(verified, "--format", "folder").returncode == 0
    python = packed(verified) / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    return packed(verified)


def test_run_starts_the_program_that_is_named(runnable: Path) -> None:
    assert (
        start(runnable, "serve", "--port=1").stdout
        == f"serving default {runnable}/detector box BOX 7\n"
    )
    assert start(runnable, "health").returncode == 0


def test_run_says_what_there_is_to_run(runnable: Path) -> None:
    asked, wrong, nothing = (start(runnable, *words) for words in (["--help"], ["find"], []))

    assert asked.returncode == 0
    for command in package_folder.COMMANDS:
        assert f"  {command} " in asked.stdout
    assert (wrong.returncode, nothing.returncode) == (2, 2)
    assert "'find' is no command; usage:" in wrong.stderr


def test_install_and_run_work_from_any_folder(verified: Project, tmp_path: Path) -> None:
    # As LiteRT needs it: a package that says it is for older Pythons only, and works.
    wheels = tmp_path / "wheels"
    lock = verified.folder / "docker" / "device" / "box" / "requirements.txt"
    lock.write_text(f"old==1.0 --hash=sha256:{wheel(wheels, 'old', python='<3.9')}\n")
    photos, output = tmp_path / "photos", tmp_path / "found"
    photos.mkdir()
    output.mkdir()
    moved = tmp_path / "board" / "a folder"
    moved.parent.mkdir()
    assert pack(verified, "--format", "folder").returncode == 0
    packed(verified).rename(moved)

    installed = subprocess.run(
        [moved / "install"],
        env={
            **os.environ,
            "PYTHON": sys.executable,
            **{"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)},
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert installed.returncode == 0, installed.stderr
    ran = subprocess.run(
        [moved / "run", "detect", photos, f"--output={output}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert (output / "detections.json").read_text() == str(photos)


def test_an_image_without_an_engine_offers_the_folder(verified: Project) -> None:
    done = pack(verified, DOCKER_HOST="unix:///nowhere/docker.sock")

    assert done.returncode == 3
    assert "--format folder needs none" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "zip"), "--format zip: it is one of image, tar, folder"),
        (("--format", "folder", "--precision", "fp16"), "nothing is converted"),
    ],
)
def test_a_wrong_choice_is_refused(
    project: Project, arguments: tuple[str, ...], message: str
) -> None:
    done = pack(project, *arguments)

    assert done.returncode == 2
    assert message in done.stderr


def test_a_target_that_nothing_carries_says_so(verified: Project) -> None:
    path = verified.folder / "configs" / "targets.toml"
    path.write_text(path.read_text().replace('package = "box"\n', ""))

    done = pack(verified, "--format", "folder")

    assert done.returncode == 1
    assert "names no folder of docker/device/" in done.stdout


def test_of_all_targets_only_those_with_an_image_are_packed(verified: Project) -> None:
    path = verified.folder / "configs" / "targets.toml"
    crate = TARGETS.partition("[targets.box]")[2].replace('package = "box"\n', "")
    path.write_text(f"{path.read_text()}\n[targets.crate]{crate}")

    done = verified.invoke("package", "--target", "all", "--format", "folder")

    assert done.returncode == 0, done.stderr
    assert "left out: crate is not packed: configs/targets.toml names no folder" in done.stdout
    assert packed(verified).exists()


def test_ship_goes_on_past_a_failure_and_ends_with_a_table(project: Project) -> None:
    done = project.invoke("ship", "--runner", "local", "--target", "box", "--format", "folder")

    assert done.returncode == 1
    assert "box/int8 did not pass" in done.stderr
    assert project.artifact("default", "box", "fp32", "benchmark", "benchmark.json").exists()
    assert packed(project).exists()
    table = done.stdout.partition("packed as")[2]
    assert "default-box-fp32" in table


def test_a_device_gets_what_its_programs_import_and_its_own_runtime(project: Project) -> None:
    files = package_folder.program_files("box", project.folder)

    assert [str(path.relative_to(project.folder)) for path in files] == [
        "scripts/benchmark.py",
        "scripts/detect.py",
        "scripts/detection/runtimes/box.py",
        "scripts/health.py",
        "scripts/helper.py",
        "scripts/predict.py",
        "scripts/serve.py",
    ]


def test_formats_are_those_of_the_help() -> None:
    assert packaging.FORMATS == ("image", "tar", "folder")


def test_a_build_that_fails_for_one_target_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def package(_: object, target: Target, *__: object) -> str:
        if target.name == "box":
            raise DrydockError("a build failed")
        return "packed"

    monkeypatch.setattr(packaging, "package", package)
    crate = msgspec.structs.replace(BOX, name="crate")
    variants = [Variant(BOX, "int8"), Variant(crate, "int8")]

    made, failed = shipping.pack(None, variants, (), "folder")  # type: ignore[arg-type]

    assert (made, failed) == (["packed"], ["box was not packed"])
    assert "error: a build failed" in capsys.readouterr().out

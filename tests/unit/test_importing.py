"""A detector that was trained elsewhere as an experiment: what works from there, what does not."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from conftest import Project

LOCAL = ("--runner", "local", "--name", "theirs")


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "frozen.pb"
    path.write_text("a detector")
    return path


@pytest.fixture
def imported(project: Project, graph: Path) -> Project:
    done = project.invoke("import-model", str(graph), *LOCAL, "--labels", "cat")
    assert done.returncode == 0, done.stderr
    return project


def test_an_imported_detector_goes_to_devices(imported: Project, graph: Path) -> None:
    graph.unlink()  # the experiment has a copy
    done = imported.invoke("verify", *LOCAL, "--target", "box", "--precision", "fp32")

    assert done.returncode == 0, done.stderr
    assert imported.artifact("theirs/box/fp32/verify/verify.json").exists()
    assert not imported.artifact("theirs/train").exists()
    assert not imported.artifact("theirs/records").exists()


def test_the_record_says_where_the_detector_came_from(imported: Project, graph: Path) -> None:
    record = json.loads(imported.artifact("theirs/export/run.json").read_text())

    sha256 = hashlib.sha256(graph.read_bytes()).hexdigest()
    assert record["key"]["inputs"]["source"]["files"] == {"frozen.pb": sha256}
    assert record["key"]["options"] == {"imported": "frozen.pb", "labels": "cat"}


def test_status_and_explain_know_only_what_there_is(imported: Project) -> None:
    status = imported.invoke("status", "--name", "theirs", "--json")

    assert [stage["stage"] for stage in json.loads(status.stdout)] == ["export"]
    assert "export is current" in imported.invoke("explain", "export", "--name", "theirs").stdout
    refused = imported.invoke("explain", "train", "--name", "theirs")
    assert refused.returncode == 2
    assert "there is no stage 'train' here; it is one of export" in refused.stderr


def test_its_report_has_what_its_devices_were_held_against(imported: Project) -> None:
    imported.invoke("verify", *LOCAL, "--target", "box", "--precision", "fp32")
    imported.invoke("benchmark", *LOCAL, "--target", "box", "--precision", "fp32", "--rounds=1")
    done = imported.invoke("report", "--name", "theirs")

    assert done.returncode == 0, done.stderr
    page = imported.artifact("theirs/report/index.html").read_text("utf-8")
    assert "frozen.pb, trained elsewhere" in page
    assert "<li><b>0.500</b>mAP, IoU 0.50 to 0.95</li>" in page
    rows = [line for line in page.splitlines() if "<td>fp32</td>" in line]
    assert len(rows) == 2  # TensorFlow, which is the reference, and the box
    assert all('<td class="number">0.500</td>' in row for row in rows)
    assert all(f'<td class="number">{time}</td>' in row for time, row in zip(("8.0", "4.0"), rows))


def test_a_report_on_photos_without_annotations_says_that_nothing_was_measured(
    imported: Project,
) -> None:
    done = imported.invoke("report", "--name", "theirs")

    assert done.returncode == 0, done.stderr
    page = imported.artifact("theirs/report/index.html").read_text("utf-8")
    assert "No mAP is known" in page


@pytest.mark.parametrize("command", ["train", "check"])
def test_it_is_not_trained(imported: Project, command: str) -> None:
    done = imported.invoke(command, *LOCAL)

    assert done.returncode == 2
    assert "holds a detector that was trained elsewhere (frozen.pb)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_package_says_where_the_detector_came_from(imported: Project) -> None:
    imported.invoke("verify", *LOCAL, "--target", "box", "--precision", "fp32")
    done = imported.invoke(
        *("package", "--name", "theirs", "--target", "box", "--precision", "fp32"),
        *("--format", "folder"),
    )

    assert done.returncode == 0, done.stdout + done.stderr
    folder = imported.artifact("theirs/box/fp32/package/theirs-box-fp32/detector")
    card = (folder / "MODEL_CARD.md").read_text()
    assert "| imported from | frozen.pb, graph |" in card
    assert "`frozen.pb`, sha256:5e5a" in card
    assert "trained elsewhere (frozen.pb," in (folder / "NOTICE.md").read_text()
    provenance = json.loads((folder / "provenance.json").read_text())
    assert next(iter(provenance["stages"])) == "export"


def test_the_label_map_beside_the_detector_is_taken(project: Project, graph: Path) -> None:
    (graph.parent / "label_map.pbtxt").write_text("dog")
    done = project.invoke("import-model", str(graph), *LOCAL)

    assert done.returncode == 0, done.stderr
    assert "class names: from" in done.stdout
    detector = json.loads(project.artifact("theirs/export/detector.json").read_text())
    assert detector["classes"] == ["dog"]


@pytest.mark.parametrize(
    ("file", "further", "message"),
    [
        ("nothing.pb", ("--labels", "cat"), "nothing.pb: there is no such file or folder"),
        ("frozen.pb", ("--labels", "labels/map.pbtxt"), "labels/map.pbtxt: there is no such file"),
        ("text.pb", ("--labels", "cat"), "text.pb is not a frozen TensorFlow graph"),
        ("frozen.pb", ("--labels", "cat", "--data", "nowhere"), "there is no such folder"),
    ],
)
def test_a_wrong_file_leaves_nothing_behind(
    project: Project, graph: Path, file: str, further: tuple[str, ...], message: str
) -> None:
    (graph.parent / "text.pb").write_text("a shopping list")
    done = project.invoke("import-model", str(graph.parent / file), *LOCAL, *further)

    assert done.returncode == 2
    assert message in done.stderr
    assert not project.artifact("theirs").exists()


@pytest.mark.parametrize("command", ["convert", "status"])
def test_after_a_failed_import_there_is_no_experiment(
    project: Project, graph: Path, command: str
) -> None:
    """Also where one was killed before: what that left is none, and no training begins in it."""
    left = project.artifact("theirs", ".source.partial")
    left.mkdir(parents=True)
    graph.write_text("a shopping list")
    assert project.invoke("import-model", str(graph), *LOCAL, "--labels", "cat").returncode == 2
    assert not left.parent.exists()

    done = project.invoke(command, "--name", "theirs")

    assert done.returncode == 2, done.stdout
    assert done.stderr.splitlines() == [
        "error: there is no experiment 'theirs'; ./inv train --name theirs begins one, and"
        " ./inv import-model FILE --name theirs takes in a detector from elsewhere"
    ]


def test_a_killed_import_is_to_be_repeated(project: Project, graph: Path) -> None:
    script = project.folder / "scripts" / "import_model.py"
    script.write_text(script.read_text() + "print('here', flush=True)\ntime.sleep(60)\n")
    command = project.argv("import-model", str(graph), *LOCAL, "--labels", "cat")
    with subprocess.Popen(
        command, cwd=project.folder, env=project.environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "here\n" in process.stdout
        process.kill()

    done = project.invoke("convert", *LOCAL)

    assert done.returncode == 2
    assert done.stderr == (
        "error: the import into 'theirs' did not end: ./inv import-model FILE --name theirs again\n"
    )


def test_a_failed_import_keeps_the_one_before(imported: Project, graph: Path) -> None:
    (graph.parent / "text.pb").write_text("a shopping list")
    done = imported.invoke("import-model", str(graph.parent / "text.pb"), *LOCAL)

    assert done.returncode == 2
    status = imported.invoke("status", "--name", "theirs", "--json")
    assert json.loads(status.stdout)[0]["state"] == "current"
    assert imported.artifact("theirs/source/frozen.pb").exists()
    assert not list(imported.artifact("theirs").glob(".*before"))


def test_a_failed_import_leaves_an_experiment_with_photos_as_it_was(
    project: Project, graph: Path
) -> None:
    assert project.invoke("check", *LOCAL).returncode == 0
    settings = project.artifact("theirs", "settings.json")
    before = settings.read_text()
    graph.write_text("a shopping list")

    assert project.invoke("import-model", str(graph), *LOCAL, "--labels", "cat").returncode == 2
    assert settings.read_text() == before
    assert not project.artifact("theirs", "source").exists()
    assert project.invoke("check", *LOCAL).returncode == 0


def test_another_import_replaces_the_first(imported: Project, graph: Path) -> None:
    (graph.parent / "newer.pb").write_text("a better detector")
    done = imported.invoke("import-model", str(graph.parent / "newer.pb"), *LOCAL)

    assert done.returncode == 2  # the names belong to the first one
    done = imported.invoke("import-model", str(graph.parent / "newer.pb"), *LOCAL, "--labels", "ox")
    assert done.returncode == 0, done.stderr
    assert [p.name for p in imported.artifact("theirs/source").iterdir()] == ["newer.pb"]


def test_a_trained_experiment_is_not_overwritten(trained: Project, graph: Path) -> None:
    done = trained.invoke(
        "import-model", str(graph), "--runner", "local", "--name", "default", "--labels", "cat"
    )

    assert done.returncode == 2
    assert "was trained here" in done.stderr
    assert trained.artifact("default/train/model").exists()


def test_what_is_known_as_a_whole_goes_to_no_device(project: Project, graph: Path) -> None:
    graph.write_text("a detector, whole")
    project.invoke("import-model", str(graph), *LOCAL, "--labels", "cat")

    done = project.invoke("convert", *LOCAL, "--target", "box")

    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        "it is known only with its NMS inside, which runs in tensorflow alone"
    )


def test_the_whole_export_around_a_saved_model_is_taken(project: Project, tmp_path: Path) -> None:
    export = tmp_path / "export"
    (export / "saved_model").mkdir(parents=True)
    for name in ("detector.json", "saved_model/saved_model.pb"):
        (export / name).write_text("{}")
    done = project.invoke("import-model", str(export / "saved_model" / "saved_model.pb"), *LOCAL)

    assert "lies in an export with raw heads: taking" in done.stdout

"""The table of devices: it says what stands today, and nothing that has changed since."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Project

from pipeline import devices


def table(project: Project) -> dict[str, dict]:
    done = project.invoke("devices", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown == json.loads(project.artifact("default/devices.json").read_text())
    return {f"{row['target']}/{row['precision']}": row for row in shown["devices"]}


def test_before_any_conversion_there_is_the_reference_alone(trained: Project) -> None:
    found = table(trained)

    assert list(found) == ["tensorflow/fp32", "box/fp32", "box/int8"]
    assert found["tensorflow/fp32"]["state"] == "reference"
    assert found["tensorflow/fp32"]["mAP"] == 0.5
    assert found["box/fp32"]["state"] == found["box/int8"]["state"] == "not converted"
    assert "not converted: box/fp32, box/int8" in trained.invoke("devices").stdout


def test_verify_ends_with_the_table_whether_it_passes_or_not(trained: Project) -> None:
    done = trained.invoke("verify", "--runner", "local", "--target", "box")

    assert done.returncode == 1
    assert "verified (a crate)" in done.stdout and "failed (a crate)" in done.stdout
    assert done.stdout.count("note: 3 test photos are few\n") == 1
    found = json.loads(trained.artifact("default/devices.json").read_text())["devices"]
    assert [(row["state"], row["checked_on"]) for row in found] == [
        ("reference", ""),
        ("verified", "a crate"),
        ("failed", "a crate"),
    ]
    assert found[1]["mAP"] == 0.5 and found[1]["size_bytes"] > 0


def test_an_accepted_loss_is_told_from_a_verification(trained: Project) -> None:
    trained.invoke(
        *("verify", "--runner", "local", "--target", "box", "--precision", "int8"),
        "--accept-loss=small box",
    )

    row = table(trained)["box/int8"]
    assert (row["state"], row["accepted"]) == ("loss accepted", "small box")


@pytest.mark.parametrize(
    ("changed", "where"), [("data/images/train/0.xml", "convert"), ("scripts/verify.py", "verify")]
)
def test_what_changed_since_has_no_figures(trained: Project, changed: str, where: str) -> None:
    trained.invoke("verify", "--runner", "local", "--target", "box", "--precision", "fp32")
    path = trained.folder / changed
    path.write_text(path.read_text() + "\n")

    row = table(trained)["box/fp32"]

    assert row["state"] == "stale"
    assert row["why"].startswith(f"box/fp32/{where}: ")
    assert row["mAP"] is None and row["difference"] is None


def test_what_made_several_stale_is_said_once(trained: Project) -> None:
    trained.invoke("verify", "--runner", "local", "--target", "box", "--accept-loss=small")
    script = trained.folder / "scripts" / "verify.py"
    script.write_text(script.read_text() + "\n")

    shown = trained.invoke("devices").stdout

    why = "scripts/verify.py changed; inv verify brings it up to date"
    assert f"stale ({why}): box/fp32, box/int8\n" in shown


def test_the_reference_keeps_its_mAP_where_the_evaluation_is_stale(trained: Project) -> None:
    script = trained.folder / "scripts" / "evaluate.py"
    script.write_text(script.read_text() + "\n")
    assert table(trained)["tensorflow/fp32"]["mAP"] is None

    trained.invoke("verify", "--runner", "local", "--target", "box", "--precision", "int8")

    found = table(trained)
    assert found["box/int8"]["state"] == "failed"
    assert found["tensorflow/fp32"]["mAP"] == 0.625  # what the box was held against


def test_a_training_brings_the_table_up_to_date(trained: Project) -> None:
    trained.invoke("verify", "--runner", "local", "--target", "box", "--precision", "fp32")
    trained.train("--steps", "5")
    (trained.folder / "data/images/train/0.xml").write_text("more boxes\n")

    trained.train()

    found = json.loads(trained.artifact("default/devices.json").read_text())["devices"]
    assert {row["precision"]: row["state"] for row in found if row["target"] == "box"} == {
        "fp32": "stale",
        "int8": "not converted",
    }


def test_a_benchmark_counts_until_what_it_measured_changes(trained: Project) -> None:
    done = trained.invoke(
        *("benchmark", "--runner", "local", "--target", "box", "--precision", "fp32"),
        "--rounds=1",
    )
    assert "stand-in: a crate" in done.stdout
    measured = table(trained)["box/fp32"]["measured"]
    assert [one["network_ms"]["ratio"] for one in measured] == [0.5]
    assert measured[0]["warm_up"] == 5

    folder = trained.artifact("default", "box", "fp32", "benchmark")
    (folder / "board-b.json").write_text("")  # what a power cut left
    (folder / "board-c.json").write_text("[]")
    assert len(table(trained)["box/fp32"]["measured"]) == 1

    (trained.folder / "scripts/detection/runtimes/box.py").write_text("faster = True\n")

    assert table(trained)["box/fp32"]["measured"] == []


@pytest.mark.parametrize(
    ("files", "size"),
    [
        ({"model.xml": 1, "model.bin": 20, "box_head.bin": 300, "anchors.npy": 4000}, 321),
        ({"raw_heads/weights": 20, "box_head/weights": 20, "saved_model/weights": 30}, 20),
        ({"saved_model/weights": 30}, 30),
    ],
)
def test_the_size_is_that_of_the_networks(tmp_path: Path, files: dict[str, int], size: int) -> None:
    for name, length in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(length))

    assert devices.network_size(tmp_path) == size


def test_before_any_training_the_table_says_so(project: Project) -> None:
    done = project.invoke("devices")

    assert done.returncode == 0, done.stderr
    assert "not converted" in done.stdout

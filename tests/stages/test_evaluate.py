"""evaluate.py on photos with known annotations and a detector that finds what it is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runtime import FakeRuntime, detections, read_json, write_photo
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util import tensor_util

import evaluate
from console import run
from detection.detections import Detections

BOLT, NUT = (4, 4, 24, 24), (30, 10, 60, 40)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_photo(tmp_path / "data/test/2.jpg", [("bolt", *BOLT), ("nut", *NUT)])
    write_photo(tmp_path / "data/test/10.jpg", [("bolt", *BOLT)], size=(80, 60))
    write_photo(tmp_path / "data/test/empty.jpg", [], size=(100, 60))
    return tmp_path / "data"


def find(monkeypatch: pytest.MonkeyPatch, by_width: dict[int, Detections]) -> None:
    """Let the detector find these in photos of these widths, and nothing elsewhere."""
    runtime = FakeRuntime(lambda photo: by_width.get(photo.shape[1], detections()))
    monkeypatch.setattr(evaluate.tensorflow, "load", lambda folder: runtime)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
    try:
        run(evaluate.main)
    except SystemExit as error:
        return int(error.code)
    return 0


RIGHT = {
    64: detections(("bolt", 0.9, BOLT), ("nut", 0.8, NUT)),
    80: detections(("bolt", 0.7, BOLT)),
}


def test_a_perfect_detector(data: Path, monkeypatch, capsys) -> None:
    find(monkeypatch, RIGHT)
    output = data.parent / "out"
    assert call(monkeypatch, "--export", "x", "--data", data, "--output", output) == 0
    figures = read_json(output / "metrics.json")
    assert (figures["mAP"], figures["AP50"], figures["AP75"]) == (1, 1, 1)
    assert figures["per_class"]["bolt"] == {"AP": 1, "AP50": 1, "AP75": 1, "boxes": 2}
    assert figures["per_class"]["washer"] == {"AP": None, "AP50": None, "AP75": None, "boxes": 0}
    assert (figures["images"], figures["boxes"]) == (3, 3)
    assert figures["errors"] == {"missed": 0, "false": 0, "poor": 0}
    assert figures["confusion_matrix"]["counts"] == [
        [2, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    assert [photo["file"] for photo in figures["photos"]] == ["2.jpg", "10.jpg", "empty.jpg"]
    assert not (output / "worst").exists()
    assert "mAP 1.000 on 3 photos" in capsys.readouterr().out
    told = (output / "summary.txt").read_text()
    assert "all classes" in told and "1.000" in told
    assert "3 test photos with 3 boxes are few" in told
    assert "not in the test photos and not counted: washer" in told


def test_tensorboard_has_figures_and_photos(data: Path, monkeypatch) -> None:
    find(monkeypatch, RIGHT)
    call(monkeypatch, "--export", "x", "--data", data, "--output", data.parent / "out")
    (path,) = (data.parent / "out" / "tensorboard").iterdir()
    shown = [value for event in events(path) for value in event.summary.value]
    figures = {v.tag: float(tensor_util.make_ndarray(v.tensor)) for v in shown if "/" not in v.tag}
    assert figures == {"mAP": 1.0, "AP50": 1.0, "AP75": 1.0}
    assert {v.tag for v in shown if "/" in v.tag} == {
        f"annotated, detected/{name}.jpg" for name in ("2", "10", "empty")
    }


def events(path: Path) -> Iterator[Any]:
    return EventFileLoader(str(path)).Load()


def test_errors_are_counted_and_shown(data: Path, monkeypatch) -> None:
    wrong = {64: detections(("bolt", 0.9, NUT)), 100: detections(("nut", 0.6, NUT))}
    find(monkeypatch, wrong)
    output = data.parent / "out"
    assert call(monkeypatch, "--export", "x", "--data", data, "--output", output) == 0
    figures = read_json(output / "metrics.json")
    assert figures["mAP"] == 0
    assert figures["errors"] == {"missed": 3, "false": 2, "poor": 0}
    assert figures["confusion_matrix"]["counts"] == [
        [0, 0, 0, 2],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 1, 0, 0],
    ]
    assert sorted(path.name for path in (output / "worst").iterdir()) == [
        "1_2.jpg",
        "2_10.jpg",
        "3_empty.jpg",
    ]
    for path in [*output.glob("worst/*"), *output.glob("*.png")]:
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("L")).std() > 0


def test_the_worst_photos_of_an_earlier_run_are_gone(data: Path, monkeypatch) -> None:
    output = data.parent / "out"
    find(monkeypatch, {})
    call(monkeypatch, "--export", "x", "--data", data, "--output", output)
    assert list((output / "worst").iterdir())
    find(monkeypatch, RIGHT)
    call(monkeypatch, "--export", "x", "--data", data, "--output", output)
    assert not (output / "worst").exists()


def test_nothing_found_at_all(data: Path, monkeypatch) -> None:
    find(monkeypatch, {})
    output = data.parent / "out"
    assert call(monkeypatch, "--export", "x", "--data", data, "--output", output) == 0
    figures = read_json(output / "metrics.json")
    assert figures["mAP"] == 0 and figures["best_f1"] is None


def test_only_negatives_have_no_figures_but_no_error_either(tmp_path, monkeypatch, capsys) -> None:
    write_photo(tmp_path / "data/test/a.jpg", [])
    find(monkeypatch, {})
    output = tmp_path / "out"
    assert call(monkeypatch, "--export", "x", "--data", tmp_path / "data", "--output", output) == 0
    figures = read_json(output / "metrics.json")
    assert figures["mAP"] is None and figures["interval"] is None
    assert "-" in capsys.readouterr().out


def test_the_threshold_is_for_what_users_see_not_for_the_average(data, monkeypatch) -> None:
    low = {
        64: detections(("bolt", 0.3, BOLT), ("nut", 0.3, NUT)),
        80: detections(("bolt", 0.3, BOLT)),
    }
    find(monkeypatch, low)
    arguments = ["--export", "x", "--data", data, "--output", data.parent / "out"]
    assert call(monkeypatch, *arguments) == 0
    figures = read_json(data.parent / "out/metrics.json")
    assert figures["mAP"] == 1 and figures["errors"]["missed"] == 3
    assert call(monkeypatch, *arguments, "--score-threshold", 0.25) == 0
    assert read_json(data.parent / "out/metrics.json")["errors"]["missed"] == 0


def test_two_runs_write_the_same_files(data: Path, monkeypatch) -> None:
    find(monkeypatch, {64: detections(("bolt", 0.9, BOLT), ("nut", 0.8, BOLT))})
    for name in ("one", "two"):
        call(monkeypatch, "--export", "x", "--data", data, "--output", data.parent / name)
    first, second = data.parent / "one", data.parent / "two"
    files = sorted(p.relative_to(first) for p in first.rglob("*.*") if p.is_file())
    files = [file for file in files if file.parts[0] != "tensorboard"]  # named by the time
    assert len(files) >= 5
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def test_a_photo_without_annotation_is_left_out_aloud(data: Path, monkeypatch, capsys) -> None:
    write_photo(data / "test/new.jpg")
    find(monkeypatch, RIGHT)
    call(monkeypatch, "--export", "x", "--data", data, "--output", data.parent / "out")
    assert read_json(data.parent / "out/metrics.json")["images"] == 3
    assert "left out: 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "spoil, told",
    [
        (lambda test: write_photo(test / "9.jpg", [("screw", *BOLT)]), "9.xml"),
        (lambda test: (test / "2.xml").write_text("<annotation><object>"), "2.xml"),
        (lambda test: (test / "2.jpg").write_bytes(b"no photo"), "2.jpg"),
        (lambda test: [p.unlink() for p in test.glob("*.xml")], "no photo here has an annotation"),
        (lambda test: [p.unlink() for p in test.glob("*")], "no photo here has an annotation"),
        (lambda test: test.rename(test.parent / "other"), "there is no such folder"),
    ],
    ids=["unknown class", "broken xml", "broken photo", "no annotation", "empty", "no test folder"],
)
def test_wrong_input_is_one_clear_error(data: Path, monkeypatch, capsys, spoil, told) -> None:
    spoil(data / "test")
    find(monkeypatch, RIGHT)
    output = data.parent / "out"
    assert call(monkeypatch, "--export", "x", "--data", data, "--output", output) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and told in errors and "Traceback" not in errors
    assert not output.exists()


@pytest.mark.parametrize("value", ["-0.1", "1.5", "nan"])
def test_an_impossible_threshold_is_refused(data: Path, monkeypatch, value: str) -> None:
    arguments = ["--export", "x", "--data", data, "--output", data.parent / "out"]
    assert call(monkeypatch, *arguments, "--score-threshold", value) == 2


def test_a_folder_that_is_no_export_is_refused(data: Path, monkeypatch, capsys) -> None:
    output = data.parent / "out"
    assert call(monkeypatch, "--export", data, "--data", data, "--output", output) == 2
    assert "detector.json" in capsys.readouterr().err

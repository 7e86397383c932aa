from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from samples import annotate, dataset, photo, stage


def check(data, *more):
    """The finished process and the report, which is there whatever was found."""
    output = data.parent / "check"
    done = stage("check_dataset.py", "--data", data, "--output", output, *more)
    assert "Traceback" not in done.stderr, done.stderr
    report = output / "report.json"
    return done, json.loads(report.read_text()) if report.exists() else None


def findings(report, level="error"):
    return [(f["file"], f["reason"]) for f in report["findings"] if f["level"] == level]


def test_a_sound_dataset_passes_with_a_contact_sheet(tmp_path):
    done, report = check(dataset(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    assert report["findings"] == []
    assert report["summary"] == {
        "errors": 0,
        "warnings": 0,
        "splits": {
            "train": {"photos": 5, "annotated": 5, "negatives": 0, "boxes": 25},
            "test": {"photos": 2, "annotated": 2, "negatives": 0, "boxes": 10},
        },
        "classes": {"bolt": {"train": 15, "test": 6}, "nut": {"train": 10, "test": 4}},
    }
    with Image.open(tmp_path / "check/contact_sheet.jpg") as sheet:
        assert sheet.width > 600 and sheet.height > 400
    assert sorted(p.name for p in (tmp_path / "check").iterdir()) == [
        "contact_sheet.jpg",
        "report.json",
    ]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def rotate(path):
    photo(path, 0, (96, 64), orientation=6)


BOXES = [("bolt", 5, 10, 40, 50)]

BAD = {
    "truncated": (lambda d: truncate(d / "train/1.jpg"), "train/1.jpg", "cannot be read"),
    "no photo": (lambda d: (d / "train/1.jpg").write_text("x"), "train/1.jpg", "not a photo"),
    "empty": (lambda d: (d / "train/1.jpg").write_bytes(b""), "train/1.jpg", "not a photo"),
    "link loop": (
        lambda d: [(d / "train/1.jpg").unlink(), (d / "train/1.jpg").symlink_to("1.jpg")],
        "train/1.jpg",
        "cannot be read",
    ),
    "pipe": (
        lambda d: [(d / "train/1.jpg").unlink(), os.mkfifo(d / "train/1.jpg")],
        "train/1.jpg",
        "not an ordinary file",
    ),
    "pipe as xml": (
        lambda d: [(d / "train/1.xml").unlink(), os.mkfifo(d / "train/1.xml")],
        "train/1.xml",
        "not an ordinary file",
    ),
    "folder": (
        lambda d: [(d / "train/1.jpg").unlink(), (d / "train/1.jpg").mkdir()],
        "train/1.jpg",
        "not an ordinary file",
    ),
    "minute": (lambda d: photo(d / "train/9.jpg", 9, (8, 8)), "train/9.jpg", "only 8x8"),
    "other size": (
        lambda d: annotate(d / "train/1.jpg", BOXES, (800, 600)),
        "train/1.xml",
        "drawn on 800x600 pixels, but the photo has 96x64",
    ),
    "exif": (lambda d: rotate(d / "train/1.jpg"), "train/1.xml", "EXIF orientation"),
    "outside": (
        lambda d: annotate(d / "train/1.jpg", [("bolt", 5, 10, 140, 50)]),
        "train/1.xml",
        "outside",
    ),
    "inverted": (
        lambda d: annotate(d / "train/1.jpg", [("bolt", 50, 10, 40, 50)]),
        "train/1.xml",
        "inverted",
    ),
    "zero": (
        lambda d: annotate(d / "train/1.jpg", [("bolt", 5, 10, 5, 50)]),
        "train/1.xml",
        "no area",
    ),
    "sliver": (
        lambda d: annotate(d / "train/1.jpg", [("bolt", 5, 10, 7, 50)]),
        "train/1.xml",
        "thinner",
    ),
    "not a number": (
        lambda d: annotate(d / "train/1.jpg", [("bolt", float("nan"), 10, 7, 50)]),
        "train/1.xml",
        "not a sensible number",
    ),
    "no class": (
        lambda d: annotate(d / "train/1.jpg", [("", 5, 10, 40, 50)]),
        "train/1.xml",
        "no class name",
    ),
    "not xml": (lambda d: (d / "train/1.xml").write_text("<a"), "train/1.xml", "well-formed"),
    "case": (
        lambda d: annotate(d / "train/1.jpg", [("Bolt", 5, 10, 40, 50)]),
        "train/1.jpg",
        "spelled in 2 ways: 'bolt'",
    ),
    "spaces": (
        lambda d: annotate(d / "train/1.jpg", [("nut ", 5, 10, 40, 50)]),
        "train/1.jpg",
        "spelled in 2 ways",
    ),
    "only in test": (
        lambda d: annotate(d / "test/1.jpg", [("washer", 5, 10, 40, 50)]),
        "test/1.jpg",
        "only in test, so it cannot be learned",
    ),
    "duplicate": (
        lambda d: shutil.copy(d / "train/1.jpg", d / "test/1.jpg"),
        "test/1.jpg",
        "the same file as train/1.jpg",
    ),
    "duplicate saved again": (
        lambda d: Image.open(d / "train/1.jpg").save(d / "test/1.jpg", quality=60),
        "test/1.jpg",
        "the same photo, saved again, as train/1.jpg",
    ),
    "xml without photo": (
        lambda d: (d / "train/1.jpg").unlink(),
        "train/1.xml",
        "no photo of that name",
    ),
    "two photos, one xml": (
        lambda d: photo(d / "train/1.png", 30),
        "train/1.xml",
        "several photos share it",
    ),
    "name of another photo": (
        lambda d: annotate(d / "train/1.jpg", BOXES, name="2.jpg"),
        "train/1.jpg",
        "belongs to 2.jpg, which is another photo here",
    ),
    "no photo at all": (
        lambda d: [path.unlink() for path in (d / "test").iterdir()],
        "test/",
        "no photo in it",
    ),
    "not annotated at all": (
        lambda d: [path.unlink() for path in (d / "test").glob("*.xml")],
        "test/",
        "no photo in it is annotated",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_name_file_reason_and_remedy(tmp_path, case):
    spoil, file, reason = BAD[case]
    data = dataset(tmp_path / "data")
    spoil(data)
    done, report = check(data)
    assert done.returncode == 2
    errors = [f for f in report["findings"] if f["level"] == "error"]
    matching = [f for f in errors if f["file"] == file and reason in f["reason"]]
    assert len(matching) == 1, errors
    assert len(matching[0]["remedy"]) > 10
    assert file in done.stderr and reason in done.stderr
    assert report["summary"]["errors"] == len(errors)
    assert (tmp_path / "check/contact_sheet.jpg").exists()


def test_one_fault_gives_one_error(tmp_path):
    data = dataset(tmp_path / "data")
    truncate(data / "train/1.jpg")
    done, report = check(data)
    assert len(findings(report)) == 1
    assert len(done.stderr.strip().splitlines()) == 1


WARNINGS = {
    "photo without xml": (lambda d: photo(d / "train/9.jpg", 9), "train/9.jpg", "left out"),
    "renamed": (
        lambda d: annotate(d / "train/1.jpg", BOXES, name="IMG_7.jpg"),
        "train/1.jpg",
        "belongs to IMG_7.jpg",
    ),
    "not in test": (
        lambda d: annotate(d / "train/1.jpg", [("washer", 5, 10, 40, 50)] * 2),
        "train/1.jpg",
        "not measured",
    ),
    "few": (
        lambda d: [
            annotate(d / f"{s}/1.jpg", [("clip", 5, 10, 40, 50)]) for s in ("train", "test")
        ],
        "train/1.jpg",
        "only 1 boxes",
    ),
    "twice": (lambda d: annotate(d / "train/1.jpg", BOXES * 2), "train/1.xml", "there twice"),
    "tiny": (
        lambda d: annotate(
            photo(d / "train/9.jpg", 9, (900, 600)), [("bolt", 5, 5, 11, 90)], (900, 600)
        ),
        "train/9.xml",
        "tiny",
    ),
    "duplicate in train": (
        lambda d: shutil.copy(d / "train/1.jpg", d / "train/2.jpg"),
        "train/2.jpg",
        "the same file as train/1.jpg",
    ),
    "below": (lambda d: photo(d / "train/more/9.jpg", 9), "train/more/", "not used"),
    "other format": (lambda d: (d / "train/a.GIF").write_text(""), "train/", "not read (a.GIF)"),
    "panorama": (
        lambda d: annotate(photo(d / "train/9.jpg", 9, (600, 60)), [], (600, 60)),
        "train/9.jpg",
        "shape is unusual",
    ),
}


@pytest.mark.parametrize("case", WARNINGS)
def test_warnings_are_shown_and_stop_nothing(tmp_path, case):
    spoil, file, reason = WARNINGS[case]
    data = dataset(tmp_path / "data")
    spoil(data)
    done, report = check(data)
    assert done.returncode == 0, done.stderr
    assert [f for f in findings(report, "warning") if f[0] == file and reason in f[1]], report
    assert "warning: " in done.stdout and reason in done.stdout


def test_a_burst_shot_across_train_and_test_is_a_warning(tmp_path):
    data = dataset(tmp_path / "data")
    with Image.open(data / "train/1.jpg") as image:
        moved = image.transform(image.size, Image.Transform.AFFINE, (1, 0, 2, 0, 1, 1))
    moved.point(lambda value: value * 0.9).save(data / "test/1.jpg")
    done, report = check(data)
    assert done.returncode == 0
    assert findings(report, "warning") == [
        (
            "test/1.jpg",
            "almost the same photo as train/1.jpg: what was seen in train says nothing in test",
        )
    ]


def test_negatives_and_renamed_endings_are_fine(tmp_path):
    data = dataset(tmp_path / "data", train=7)
    annotate(photo(data / "train/9.jpg", 9), [])
    annotate(data / "train/1.jpg", BOXES, name="C:\\photos\\1.HEIC")
    _, report = check(data)
    assert report["findings"] == []
    assert report["summary"]["splits"]["train"]["negatives"] == 1


def test_many_errors_are_told_in_short_and_listed_in_full(tmp_path):
    data = dataset(tmp_path / "data")
    for number in range(20, 45):
        annotate(photo(data / f"train/{number}.jpg", number), [("bolt", 9, 9, 500, 20)])
    done, report = check(data)
    assert "25 errors" in done.stderr and "report.json" in done.stderr
    assert "and 15 more" in done.stderr
    assert len(findings(report)) == 25


def test_names_that_are_not_utf8(tmp_path):
    data = dataset(tmp_path / "data")
    name = os.fsdecode(b"caf\xe9.jpg")
    annotate(photo(data / "train/9.jpg", 9), BOXES)
    for ending in ("jpg", "xml"):
        (data / f"train/9.{ending}").rename(data / "train" / name.replace("jpg", ending))
    done, report = check(data)
    assert done.returncode == 2
    assert findings(report) == [("train/caf\\udce9.jpg", "its name is not UTF-8")]


def test_a_missing_split_is_told(tmp_path):
    data = dataset(tmp_path / "data")
    shutil.rmtree(data / "test")
    done, report = check(data)
    assert done.returncode == 2 and "no folder test" in done.stderr and report is None


def test_the_contact_sheet_of_a_big_set_is_bounded(tmp_path):
    data = dataset(tmp_path / "data", train=150)
    done, _ = check(data)
    assert done.returncode == 0
    with Image.open(tmp_path / "check/contact_sheet.jpg") as sheet:
        assert sheet.height < 7500 and sheet.width < 2000


def test_boxes_of_large_photos_are_drawn_where_they_are(tmp_path):
    data = dataset(tmp_path / "data")
    path = data / "train/9.jpg"
    Image.new("RGB", (4000, 3000), "white").save(path)
    annotate(path, [("bolt", 2000, 1500, 3800, 2900)], (4000, 3000))
    done, report = check(data)
    assert done.returncode == 0 and report["findings"] == []
    with Image.open(tmp_path / "check/contact_sheet.jpg") as sheet:
        tile = np.asarray(sheet.crop((416, 52 + 330 + 22, 816, 52 + 330 + 322)), int)
    rows, columns = np.nonzero(tile.max(axis=2) - tile.min(axis=2) > 120)
    assert np.allclose([columns.max(), rows.max()], [380, 290], atol=3)

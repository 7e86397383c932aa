"""Records without TensorFlow; test_records_tensorflow.py reads them with it."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from PIL import Image
from samples import annotate, dataset, photo, stage

from dataset import records, table
from dataset.folder import photos
from dataset.tfrecord import crc32c


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def make(data, output, *more):
    return stage("make_records.py", "--data", data, "--output", output, *more)


def test_the_stage_writes_tables_label_map_and_records(tmp_path):
    data = dataset(tmp_path / "data")
    annotate(photo(data / "train/negative.jpg", 50), [])
    photo(data / "train/plain.jpg", 51)
    done = make(data, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "1 photos without xml are left out: plain.jpg" in done.stdout
    assert sorted(contents(tmp_path / "out")) == [
        "label_map.pbtxt",
        "records.json",
        "test.record",
        "test_labels.csv",
        "train.record",
        "train_labels.csv",
    ]
    assert json.loads((tmp_path / "out/records.json").read_text()) == {
        "classes": ["bolt", "nut"],
        "splits": {
            "train": {"photos": 6, "boxes": 25, "negatives": 1, "shards": 1},
            "test": {"photos": 2, "boxes": 10, "negatives": 0, "shards": 1},
        },
    }


def test_the_same_input_gives_the_same_bytes(tmp_path):
    data = dataset(tmp_path / "data")
    make(data, tmp_path / "a", "--validation", "0.3", "--workers", 1)
    shutil.copytree(data, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    make(tmp_path / "elsewhere", tmp_path / "b", "--validation", "0.3")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_the_tutorials_scripts_write_the_same(tmp_path):
    data = dataset(tmp_path / "data/images")
    annotate(photo(data / "train/negative.jpg", 50), [])
    make(data, tmp_path / "out")
    notes = "data/annotations"
    for split in ("train", "test"):
        label_map = ["-l", notes] if split == "train" else []
        csv = f"{notes}/{split}_labels.csv"
        line = ["-i", f"data/images/{split}", "-o", csv, *label_map]
        assert stage("xml_to_csv.py", *line, cwd=tmp_path).returncode == 0
        done = stage(
            "generate_tfrecord.py",
            f"--csv_input={csv}",
            f"--output_path={notes}/{split}.record",
            f"--img_path=data/images/{split}",
            "--label_map",
            f"{notes}/label_map.pbtxt",
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
    made = contents(tmp_path / "out")
    del made["records.json"]
    assert made == contents(tmp_path / notes)


@pytest.mark.parametrize(
    ("count", "share", "held"), [(12, "auto", 0), (60, "auto", 6), (12, "0.25", 3), (60, "0", 0)]
)
def test_validation_photos_come_out_of_train(tmp_path, count, share, held):
    data = dataset(tmp_path / "data", train=count)
    output = tmp_path / "out"
    assert make(data, output, "--validation", share, "--seed", 4).returncode == 0
    splits = json.loads((output / "records.json").read_text())["splits"]
    assert splits["train"]["photos"] == count - held
    assert splits.get("validation", {"photos": 0})["photos"] == held
    assert splits["test"]["photos"] == 2
    if held:
        named = [
            set(table.read(output / f"{s}_labels.csv").photos) for s in ("train", "validation")
        ]
        assert not named[0] & named[1] and len(named[0] | named[1]) == count


def test_a_validation_folder_is_used_as_it_is(tmp_path):
    data = dataset(tmp_path / "data", train=60)
    for number in range(4):
        name = f"{number}.jpg"
        annotate(photo(data / "validation" / name, 100 + number), [("bolt", 1, 1, 50, 50)])
    make(data, tmp_path / "out", "--validation", "0.5")
    splits = json.loads((tmp_path / "out/records.json").read_text())["splits"]
    assert [splits[name]["photos"] for name in ("train", "validation", "test")] == [60, 4, 2]


def test_a_second_call_leaves_no_records_of_the_first(tmp_path):
    data = dataset(tmp_path / "data", train=12)
    make(data, tmp_path / "out", "--validation", "0.25")
    (tmp_path / "out/train.record-00000-of-00002").write_text("of a bigger set")
    make(data, tmp_path / "out", "--validation", "0")
    assert not [n for n in contents(tmp_path / "out") if "validation" in n or "-of-" in n]


def test_big_sets_are_sharded_in_order(tmp_path, monkeypatch):
    data = dataset(tmp_path, train=10)
    monkeypatch.setattr(records, "SHARD_PHOTOS", 4)
    found = photos(data / "train")
    assert stage("xml_to_csv.py", "-i", data / "train").returncode == 0
    rows = table.read(data / "train/labels.csv")
    ids = {"bolt": 1, "nut": 2}
    summary = records.write_split(tmp_path / "r", found, rows, ids, workers=2)
    assert summary.shards == 3
    assert [p.name for p in records.files(tmp_path / "r")] == [
        f"r-0000{i}-of-00003" for i in range(3)
    ]
    together = b"".join(path.read_bytes() for path in records.files(tmp_path / "r"))
    monkeypatch.setattr(records, "SHARD_PHOTOS", 1000)
    records.write_split(tmp_path / "r", found, rows, ids)
    assert [p.name for p in records.files(tmp_path / "r")] == ["r"]
    assert (tmp_path / "r").read_bytes() == together


def test_a_failure_leaves_the_earlier_records(tmp_path):
    data = dataset(tmp_path / "data")
    make(data, tmp_path / "out")
    before = (tmp_path / "out/train.record").read_bytes()
    (data / "train/3.jpg").write_bytes(b"broken")
    done = make(data, tmp_path / "out")
    assert done.returncode == 2 and "3.jpg: it is not a photo" in done.stderr
    assert (tmp_path / "out/train.record").read_bytes() == before
    assert not [n for n in contents(tmp_path / "out") if n.startswith(".")]


def test_jpeg_and_png_are_stored_as_they_are(tmp_path):
    for name in ("a.jpg", "b.png"):
        path = photo(tmp_path / name, 1)
        encoded, kind, width, height = records.encode(path)
        assert encoded == path.read_bytes()
        assert (kind, width, height) == ({"a": "jpeg", "b": "png"}[path.stem], 96, 64)


@pytest.mark.parametrize("name", ["a.webp", "a.bmp", "turned.jpg"])
def test_the_rest_is_encoded_upright(tmp_path, name):
    path = photo(tmp_path / name, 1, orientation=6 if name == "turned.jpg" else 1)
    encoded, kind, width, height = records.encode(path)
    assert kind == "jpeg" and encoded[:2] == b"\xff\xd8"
    assert (width, height) == ((64, 96) if name == "turned.jpg" else (96, 64))
    (tmp_path / "result").write_bytes(encoded)
    with Image.open(tmp_path / "result") as image:
        assert image.size == (width, height) and image.getexif().get(0x0112, 1) == 1


def broken_dataset(tmp_path, boxes, size=(96, 64), orientation=1):
    data = dataset(tmp_path / "data")
    annotate(photo(data / "train/7.jpg", 70, orientation=orientation), boxes, size)
    return data


@pytest.mark.parametrize(
    ("boxes", "size", "orientation", "told"),
    [
        ([("bolt", 40, 1, 10, 40)], (96, 64), 1, "inverted"),
        ([("bolt", 1, 1, 400, 40)], (96, 64), 1, "outside"),
        ([("bolt", 1, 1, 40, 40)], (800, 600), 1, "drawn on 800x600"),
        ([("bolt", 1, 1, 40, 40)], (96, 64), 6, "upright it has 64x96"),
    ],
)
def test_boxes_that_do_not_fit_stop_the_stage(tmp_path, boxes, size, orientation, told):
    done = make(broken_dataset(tmp_path, boxes, size, orientation), tmp_path / "out")
    assert done.returncode == 2
    assert "7.jpg" in done.stderr and told in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out/train.record").exists()


def test_wrong_input_is_told(tmp_path):
    data = dataset(tmp_path / "data", train=1, test=1)
    done = make(tmp_path, tmp_path / "out")
    assert done.returncode == 2 and "no folder train" in done.stderr
    for share in ("0.9", "nan", "much"):
        done = make(data, tmp_path / "out", "--validation", share)
        assert done.returncode == 2 and "--validation" in done.stderr
    (data / "test/0.xml").unlink()
    done = make(data, tmp_path / "out")
    assert done.returncode == 2 and "no photo with an xml" in done.stderr
    annotate(data / "test/0.jpg", [])
    annotate(data / "train/0.jpg", [])
    done = make(data, tmp_path / "out")
    assert done.returncode == 2 and "not one box" in done.stderr


def test_names_that_are_not_utf8_are_told(tmp_path):
    data = dataset(tmp_path / "data")
    for ending in ("jpg", "xml"):
        (data / f"train/1.{ending}").rename(
            data / "train" / os.fsdecode(b"a\xff." + ending.encode())
        )
    done = make(data, tmp_path / "out")
    assert done.returncode == 2 and "not UTF-8" in done.stderr and "Traceback" not in done.stderr


def test_tables_that_do_not_fit_the_folder_are_told(tmp_path):
    data = dataset(tmp_path)
    stage("xml_to_csv.py", "-i", data / "train", "-o", tmp_path / "t.csv", "-l", tmp_path)
    line = [
        "--csv_input", tmp_path / "t.csv", "--output_path", tmp_path / "r",
        "--label_map", tmp_path / "label_map.pbtxt", "--img_path",
    ]  # fmt: skip
    done = stage("generate_tfrecord.py", *line, data / "test")
    assert done.returncode == 2 and "names 3 photos that are not in" in done.stderr
    (tmp_path / "label_map.pbtxt").write_text("item { id: 1 name: 'bolt' }")
    done = stage("generate_tfrecord.py", *line, data / "train")
    assert done.returncode == 2 and "no class nut" in done.stderr
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("length", [0, 1, 9, 4095, 4096, 4097, 10_241, 70_001])
def test_checksums_of_any_length(length):
    data = (b"123456789" * (length // 9 + 1))[:length]
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    assert crc32c(data) == state ^ 0xFFFFFFFF
    assert crc32c(b"123456789") == 0xE3069283  # the check value that catalogues of CRCs state

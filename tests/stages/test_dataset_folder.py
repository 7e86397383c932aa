from __future__ import annotations

import subprocess
import sys

import pytest
from samples import SCRIPTS

from console import InputError
from dataset.folder import natural_key, photos, splits


def test_photos_come_in_natural_order_with_their_annotation(tmp_path):
    for name in (
        "10.jpg",
        "2.JPG",
        "2.xml",
        "a.PNG",
        "a.XML",
        "b.heic",
        "c.txt",
        "._2.jpg",
        "x.xml",
    ):
        (tmp_path / name).touch()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "3.jpg").touch()
    assert [(p.name, p.xml_name) for p in photos(tmp_path)] == [
        ("2.JPG", "2.xml"),
        ("10.jpg", None),
        ("a.PNG", "a.XML"),
        ("b.heic", None),
    ]
    assert photos(tmp_path)[0].xml == tmp_path / "2.xml"
    assert photos(tmp_path)[1].xml is None


def test_natural_order_copes_with_strange_digits():
    names = ["a٣.jpg", "a².jpg", "a10.jpg", "a9.jpg", "9.jpg", "b.jpg", "A1.jpg"]
    assert sorted(names, key=natural_key)[:4] == ["9.jpg", "A1.jpg", "a9.jpg", "a10.jpg"]


def test_a_folder_that_loops_onto_itself_is_listed(tmp_path):
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "a.jpg").touch()
    assert [photo.name for photo in photos(tmp_path)] == ["a.jpg"]


def test_missing_folders_are_told(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        photos(tmp_path / "nowhere")
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match=r"no folder test in it.*split_dataset\.py"):
        splits(tmp_path)
    (tmp_path / "test").write_text("")
    with pytest.raises(InputError, match="no folder test"):
        splits(tmp_path)


def test_validation_is_optional(tmp_path):
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
    assert list(splits(tmp_path)) == ["train", "test"]
    (tmp_path / "validation").mkdir()
    assert list(splits(tmp_path)) == ["train", "validation", "test"]


def test_the_data_stages_start_without_heavy_packages():
    stages = "check_dataset resize_images split_dataset xml_to_csv generate_tfrecord make_records"
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n"
        f"import {', '.join(stages.split())}\n"
        "print([n for n in ('tensorflow', 'pandas', 'cv2', 'matplotlib') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

from __future__ import annotations

import pytest
from samples import annotate, photo, stage

HEAD = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def two_photos(folder):
    annotate(photo(folder / "10.jpg", 1), [("fig", 5, 6, 30, 40), ("date", 1, 2, 20, 25)])
    annotate(photo(folder / "2.jpg", 2), [("fig", 7, 8, 50, 60)])


def test_the_tutorials_command_line(tmp_path):
    two_photos(tmp_path / "data/images/train")
    line = ["-i", "data/images/train", "-o", "data/annotations/train_labels.csv"]
    done = stage("xml_to_csv.py", *line, "-l", "data/annotations", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data/annotations/train_labels.csv").read_text() == HEAD + (
        "2.jpg,96,64,fig,7,8,50,60\n10.jpg,96,64,fig,5,6,30,40\n10.jpg,96,64,date,1,2,20,25\n"
    )
    assert (tmp_path / "data/annotations/label_map.pbtxt").read_text() == (
        "item {\n    id: 1\n    name: 'date'\n}\n\nitem {\n    id: 2\n    name: 'fig'\n}"
    )


def test_without_the_optional_flags(tmp_path):
    two_photos(tmp_path)
    assert stage("xml_to_csv.py", cwd=tmp_path).returncode == 0
    assert (tmp_path / "labels.csv").read_text().startswith(HEAD)
    assert not (tmp_path / "label_map.pbtxt").exists()


def test_photos_and_xml_without_each_other_and_negatives(tmp_path):
    two_photos(tmp_path)
    photo(tmp_path / "plain.jpg", 3)
    annotate(photo(tmp_path / "empty.jpg", 4), [])
    annotate(tmp_path / "alone.jpg", [("fig", 1, 1, 9, 9)])
    done = stage("xml_to_csv.py", "-i", tmp_path)
    assert done.returncode == 0
    assert "1 photos without xml are left out: plain.jpg" in done.stdout
    assert "alone.xml" in done.stdout
    assert "1 of them without boxes" in done.stdout
    table = (tmp_path / "labels.csv").read_text()
    assert "plain" not in table and "empty" not in table
    assert "alone.jpg,96,64,fig,1,1,9,9\n" in table


def test_a_renamed_photo_goes_by_its_own_name(tmp_path):
    annotate(photo(tmp_path / "new.jpg", 1), [("fig", 1, 2, 30, 40)], name="IMG_1.HEIC")
    stage("xml_to_csv.py", "-i", tmp_path)
    assert (tmp_path / "labels.csv").read_text() == HEAD + "new.jpg,96,64,fig,1,2,30,40\n"


def test_all_broken_xml_are_told_at_once_and_nothing_is_written(tmp_path):
    two_photos(tmp_path)
    for number in range(14):
        photo(tmp_path / f"b{number}.jpg", 1).with_suffix(".xml").write_text("<annotation>")
    (tmp_path / "labels.csv").write_text("as it was")
    done = stage("xml_to_csv.py", "-i", tmp_path, "-l", tmp_path)
    assert done.returncode == 2
    assert "14 annotations cannot be used" in done.stderr
    assert "b9.xml" in done.stderr and "b10.xml" not in done.stderr
    assert "and 4 more" in done.stderr
    assert (tmp_path / "labels.csv").read_text() == "as it was"
    assert not (tmp_path / "label_map.pbtxt").exists()


def test_many_xml_are_read_in_order(tmp_path):
    for number in range(1300):  # several chunks, so that processes take part
        annotate(tmp_path / f"{number}.jpg", [("fig", 1, 2, 30, 40)])
    done = stage("xml_to_csv.py", "-i", tmp_path)
    rows = (tmp_path / "labels.csv").read_text().splitlines()[1:]
    assert done.returncode == 0
    assert [row.split(",")[0] for row in rows] == [f"{number}.jpg" for number in range(1300)]


@pytest.mark.parametrize(("given", "told"), [("nowhere", "no such folder"), (".", "no xml in it")])
def test_wrong_folders_are_told(tmp_path, given, told):
    done = stage("xml_to_csv.py", "-i", given, cwd=tmp_path)
    assert done.returncode == 2 and told in done.stderr

from __future__ import annotations

import pytest

from console import InputError
from dataset import table
from dataset.voc import Annotation, Box

HEAD = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def test_tables_round_trip(tmp_path):
    annotations = [
        Annotation('odd, "name"\n.jpg', 96, 64, (Box("nüt, M4", 1, 2, 30, 40.5),)),
        Annotation("b.jpg", 40, 30, (Box("bolt", 0, 0, 9, 9), Box("nüt, M4", 1, 1, 7, 7))),
    ]
    assert table.write(tmp_path / "t.csv", annotations) == 3
    read = table.read(tmp_path / "t.csv")
    assert [read.annotation(name) for name in read.photos] == annotations
    assert (tmp_path / "t.csv").read_text().startswith(HEAD)


def test_rows_of_a_photo_may_be_apart_and_come_from_a_spreadsheet(tmp_path):
    path = tmp_path / "t.csv"
    rows = "a.jpg,96,64,bolt,1,2,30,40\nb.jpg,96,64,nut,1,2,30,40\na.jpg,96,64,nut,5,6.0,30,40\n"
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + rows).replace("\n", "\r\n").encode())
    read = table.read(path)
    assert [box.name for box in read.annotation("a.jpg").boxes] == ["bolt", "nut"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "column filename is missing"),
        ("filename,width\na.jpg,3\n", "column height is missing"),
        (HEAD + "a.jpg,96,64,bolt,1,2,30\n", "line 2: ymax is ''"),
        (
            HEAD + "a.jpg,96,64,bolt,1,2,30,40\na.jpg,96,64,bolt,1,nan,3,4\n",
            "line 3: ymin is 'nan'",
        ),
        (HEAD + ",96,64,bolt,1,2,30,40\n", "line 2: the filename or the class is empty"),
        (HEAD + "a.jpg,96,64,,1,2,30,40\n", "line 2: the filename or the class is empty"),
    ],
)
def test_broken_tables_are_told_by_line(tmp_path, text, told):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        table.read(tmp_path / "t.csv")
    assert told in str(caught.value)


def test_missing_and_binary_tables(tmp_path):
    with pytest.raises(InputError, match="no such table"):
        table.read(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b"\xff\x00\xfe" * 100)
    with pytest.raises(InputError, match="not a table"):
        table.read(tmp_path / "t.csv")

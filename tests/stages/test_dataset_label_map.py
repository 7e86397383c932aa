from __future__ import annotations

import pytest

from console import InputError
from dataset import label_map


def test_the_layout_is_the_tutorials(tmp_path):
    label_map.write(tmp_path / "label_map.pbtxt", ["date", "fig"])
    assert (tmp_path / "label_map.pbtxt").read_text() == (
        "item {\n    id: 1\n    name: 'date'\n}\n\nitem {\n    id: 2\n    name: 'fig'\n}"
    )


def test_any_name_survives(tmp_path):
    names = ["it's", 'a "b"', "back\\slash", "Schraube ü", "}", "item", "ねじ", "#1", "'"]
    label_map.write(tmp_path / "m.pbtxt", names)
    assert label_map.read(tmp_path / "m.pbtxt") == {n: i for i, n in enumerate(names, 1)}


def test_maps_written_by_others(tmp_path):
    path = tmp_path / "m.pbtxt"
    path.write_text(
        '# COCO\nitem: { name: "/m/01g317" id: 2, display_name: "person" }\n'
        "item {\n id: 1; name: 'n\\303\\274t' # nut\n}\n"
    )
    assert label_map.read(path) == {"nüt": 1, "person": 2}


def test_classes_are_sorted_and_each_there_once():
    assert label_map.classes_of(["nut", "bolt", "nut"]) == ["bolt", "nut"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no item"),
        ("item { id: 0 name: 'a' }", "id from 1"),
        ("item { id: 1 }", "a name"),
        ("item { id: 1 name: 'a' } item { id: 1 name: 'b' }", "second time"),
        ("item { id: 1 name: 'a' } item { id: 2 name: 'a' }", "second time"),
        ("item { id: 1 name: 'a'", "closing brace"),
        ("item { id: 1 name: 'a }", "line 1"),
        ("items { id: 1 name: 'a' }", "nothing but"),
        ("item { id 1 }", "plain value"),
        ("item { keypoints { id: 1 } }", "plain value"),
        ("{'a': 1}", "nothing but"),
        ("\x00\x01", "line 1"),
    ],
)
def test_malformed_maps_are_told(tmp_path, text, told):
    path = tmp_path / "m.pbtxt"
    path.write_text(text)
    with pytest.raises(InputError, match=r"m\.pbtxt: ") as caught:
        label_map.read(path)
    assert told in str(caught.value)


def test_missing_and_binary_maps(tmp_path):
    with pytest.raises(InputError, match="no such label map"):
        label_map.read(tmp_path / "m.pbtxt")
    (tmp_path / "m.pbtxt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        label_map.read(tmp_path / "m.pbtxt")

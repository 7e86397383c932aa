from __future__ import annotations

import pytest
from samples import annotate

from console import InputError
from dataset import voc
from dataset.voc import Annotation, Box

HEAD = "<annotation><filename>a.jpg</filename><size><width>96</width><height>64</height></size>"


def write(tmp_path, text):
    path = tmp_path / "a.xml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_written_is_read_back(tmp_path):
    annotation = Annotation(
        "mutter & bolzen.jpg",
        96,
        64,
        (Box("Mutter <M4>", 1, 2, 30, 40), Box("bolt", 5, 6, 70, 60, True, True)),
    )
    voc.write(tmp_path / "a.xml", annotation)
    assert voc.read(tmp_path / "a.xml") == annotation


def test_coordinates_are_written_as_whole_pixels_for_labelimg(tmp_path):
    voc.write(tmp_path / "a.xml", Annotation("a.jpg", 96, 64, (Box("bolt", 1.6, 2.4, 30, 40),)))
    assert voc.read(tmp_path / "a.xml").boxes[0][1:5] == (2, 2, 30, 40)


def test_elements_are_found_by_name_in_any_order(tmp_path):
    path = write(
        tmp_path,
        HEAD + "<object><!-- x --><bndbox><ymax>40</ymax><xmax>30.5</xmax><ymin>2</ymin>"
        "<xmin>1</xmin></bndbox><difficult>1</difficult><name>bolt</name></object></annotation>",
    )
    assert voc.read(path).boxes == (Box("bolt", 1, 2, 30.5, 40, False, True),)


def test_an_annotation_without_object_is_a_negative(tmp_path):
    assert voc.read(write(tmp_path, HEAD + "</annotation>")).boxes == ()


def box(corners: str, name: str = "bolt") -> str:
    return f"{HEAD}<object><name>{name}</name><bndbox>{corners}</bndbox></object></annotation>"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not well-formed"),
        ("<annotation>", "not well-formed"),
        ("{}", "not well-formed"),
        ("<html/>", "not Pascal VOC"),
        ("<annotation/>", "width and height"),
        (HEAD.replace("96", "0") + "</annotation>", "width and height"),
        (HEAD.replace("96", "ninety") + "</annotation>", "width and height"),
        (HEAD.replace("96", "99999999999") + "</annotation>", "width and height"),
        (box("<xmin>nan</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax>"), "xmin is 'nan'"),
        (box("<xmin>1</xmin><ymin>1</ymin><xmax>inf</xmax><ymax>5</ymax>"), "xmax is 'inf'"),
        (box("<xmin>1</xmin><ymin>1</ymin><xmax>1e300</xmax><ymax>5</ymax>"), "xmax is '1e300'"),
        (box("<xmin>1</xmin><ymin>1</ymin><xmax>1_0</xmax><ymax>5</ymax>"), "xmax is '1_0'"),
        (box("<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax>"), "ymax is missing"),
        (box("", name=" "), "box 1 has no class name"),
    ],
)
def test_broken_annotations_are_told(tmp_path, text, told):
    with pytest.raises(InputError, match=r"a\.xml: ") as caught:
        voc.read(write(tmp_path, text))
    assert told in str(caught.value)


def test_entities_are_neither_expanded_nor_fetched(tmp_path):
    (tmp_path / "secret").write_text("swordfish")
    path = write(
        tmp_path,
        f'<!DOCTYPE annotation [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>'
        + box("<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>", name="&x;"),
    )
    reading = voc.parse(path)
    assert reading.annotation is None
    assert "document type" in reading.faults[0].reason


def test_an_xml_bomb_is_refused_quickly(tmp_path):
    levels = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    path = write(
        tmp_path,
        f'<!DOCTYPE annotation [<!ENTITY a0 "lol">{levels}]><annotation>&a11;</annotation>',
    )
    with pytest.raises(InputError):
        voc.read(path)


def test_deep_nesting_is_refused(tmp_path):
    with pytest.raises(InputError, match="well-formed"):
        voc.read(write(tmp_path, "<annotation>" * 100_000))


@pytest.mark.parametrize(
    ("corners", "told"),
    [
        ((1, 1, 95, 63), None),
        ((0, 0, 97, 64), None),  # labelImg's rounding
        ((-5, 1, 40, 40), "outside"),
        ((1, 1, 98, 40), "outside"),
        ((1, 1, 40, 200), "outside"),
        ((40, 1, 10, 40), "inverted"),
        ((1, 40, 10, 4), "inverted"),
        ((10, 10, 10, 40), "no area"),
        ((10, 10, 12, 40), "thinner"),
    ],
)
def test_boxes_that_cannot_be_used(tmp_path, corners, told):
    annotation = voc.read(annotate(tmp_path / "a.jpg", [("bolt", *corners)]))
    faults = voc.box_faults(annotation, 96, 64)
    assert [told in fault.reason for fault in faults] == ([True] if told else [])

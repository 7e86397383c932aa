"""labelImg as this project sets it up, on a screen that is only memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("labelImg", reason="labelImg is only in the environment 'annotate'")
pytest.importorskip(
    "PyQt5.QtWidgets", reason="this host lacks libraries of window systems", exc_type=ImportError
)
os.environ["QT_QPA_PLATFORM"] = "offscreen"
from libs.shape import Shape  # labelImg's
from PyQt5.QtCore import QPointF, Qt
from PyQt5.QtTest import QTest
from PyQt5.QtWidgets import QApplication

from annotate import classes
from annotating.window import AnnotationWindow
from console import InputError
from dataset import label_map, voc

APPLICATION = QApplication.instance() or QApplication(["test"])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("train/0.jpg", "train/1.jpg", "test/0.jpg", "test/._0.jpg", "test/notes.txt"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt" or path.name.startswith("."):
            path.write_text("no photo")
        else:
            Image.new("RGB", (80, 60), "white").save(path)
    return tmp_path / "data"


@pytest.fixture
def window(data: Path, tmp_path: Path) -> Iterator[AnnotationWindow]:
    os.environ["HOME"] = str(tmp_path)
    made = AnnotationWindow(data, ["nut", "bolt"], tmp_path / "classes.txt")
    made.show()
    settle()
    yield made
    made.close()


def settle(milliseconds: int = 0) -> None:
    APPLICATION.processEvents()
    QTest.qWait(milliseconds)


def add_box(window: Any, name: str, corners: tuple[int, int, int, int]) -> None:
    """What labelImg does when a box has been drawn and named."""
    shape = Shape(label=name)
    xmin, ymin, xmax, ymax = corners
    for x, y in ((xmin, ymin), (xmax, ymin), (xmax, ymax), (xmin, ymax)):
        shape.add_point(QPointF(x, y))
    shape.close()
    window.canvas.shapes.append(shape)
    window.add_label(shape)
    window.set_dirty()


def test_it_opens_every_photo_of_the_dataset_and_nothing_else(
    window: AnnotationWindow, data: Path
) -> None:
    assert [Path(name).relative_to(data) for name in window.m_img_list] == [
        Path("test/0.jpg"),
        Path("train/0.jpg"),
        Path("train/1.jpg"),
    ]
    assert window.label_hist == ["nut", "bolt"]


def test_a_box_is_on_the_disk_soon_and_beside_its_photo(
    window: AnnotationWindow, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    window.load_file(str(data / "train" / "0.jpg"))
    add_box(window, "nut", (10, 20, 40, 50))
    settle(600)

    found = voc.read(data / "train" / "0.xml")
    assert found.boxes == (voc.Box("nut", 10, 20, 40, 50),)
    assert (found.width, found.height, found.filename) == (80, 60, "0.jpg")
    assert not (data / "test" / "0.xml").exists()
    assert [path.name for path in data.rglob("*.xml")] == ["0.xml"]
    assert "saved train/0.xml: 1 box\n" in capsys.readouterr().out


def test_going_on_or_closing_saves_at_once_and_asks_nothing(
    window: AnnotationWindow, data: Path
) -> None:
    window.load_file(str(data / "train" / "0.jpg"))
    add_box(window, "nut", (10, 20, 40, 50))
    window.load_file(str(data / "train" / "1.jpg"))
    assert voc.read(data / "train" / "0.xml").boxes[0].name == "nut"

    add_box(window, "bolt", (1, 2, 30, 40))
    window.close()
    assert voc.read(data / "train" / "1.xml").boxes[0].name == "bolt"


def test_an_annotation_does_not_tell_where_the_photo_lay(
    window: AnnotationWindow, data: Path
) -> None:
    window.load_file(str(data / "train" / "0.jpg"))
    add_box(window, "nut", (10, 20, 40, 50))
    window.save_now()

    assert str(data) not in (data / "train" / "0.xml").read_text()


def test_looking_at_annotations_changes_none(window: AnnotationWindow, data: Path) -> None:
    xml = data / "train" / "1.xml"
    voc.write(xml, voc.Annotation("1.jpg", 80, 60, (voc.Box("nut", 5, 6, 70, 50),)))
    before = xml.read_bytes(), xml.stat().st_mtime_ns

    window.load_file(str(data / "train" / "1.jpg"))
    assert [shape.label for shape in window.canvas.shapes] == ["nut"]
    window.load_file(str(data / "train" / "0.jpg"))
    settle(600)

    assert (xml.read_bytes(), xml.stat().st_mtime_ns) == before


def test_a_photo_with_nothing_on_it_is_saved_by_ctrl_s(
    window: AnnotationWindow, data: Path
) -> None:
    window.load_file(str(data / "train" / "0.jpg"))
    QTest.keyClick(window, Qt.Key_S, Qt.ControlModifier)
    settle()

    assert voc.read(data / "train" / "0.xml").boxes == ()


def test_a_save_that_fails_keeps_the_old_file_and_is_told(
    window: AnnotationWindow, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window.load_file(str(data / "train" / "0.jpg"))
    add_box(window, "nut", (10, 20, 40, 50))
    window.save_now()
    before = (data / "train" / "0.xml").read_bytes()
    told: list[str] = []
    monkeypatch.setattr(window, "error_message", lambda title, text: told.append(text))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("libs.labelFile.PascalVocWriter.save", full)
    add_box(window, "bolt", (1, 2, 30, 40))
    window.save_now()

    assert "No space left on device" in told[0]
    assert (data / "train" / "0.xml").read_bytes() == before
    assert not window.may_continue(), "the box would be lost"
    monkeypatch.undo()


def test_a_damaged_annotation_is_told_before_it_is_written_over(
    window: AnnotationWindow, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "train" / "0.xml").write_text("<annotation><object>")
    told: list[str] = []
    monkeypatch.setattr(window, "error_message", lambda title, text: told.append(text))
    window.load_file(str(data / "train" / "0.jpg"))

    assert "0.xml: it is not well-formed xml" in told[0]


def test_class_names_come_from_the_label_map_and_from_what_is_drawn(
    data: Path, tmp_path: Path
) -> None:
    boxes = tuple(voc.Box(name, 1, 1, 20, 20) for name in ("washer", "nut", "bolt"))
    voc.write(data / "train" / "0.xml", voc.Annotation("0.jpg", 80, 60, boxes))
    (data / "test" / "0.xml").write_text("broken")
    label_map.write(tmp_path / "label_map.pbtxt", ["washer", "screw"])

    assert classes(data, None) == ["bolt", "nut", "washer"]
    assert classes(data, tmp_path / "label_map.pbtxt") == ["washer", "screw", "bolt", "nut"]
    with pytest.raises(InputError):
        classes(data, tmp_path / "missing.pbtxt")

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from samples import annotate, photo, stage

from dataset import resizing, voc
from dataset.image import load_photo
from dataset.voc import Annotation, Box


def size(path):
    with Image.open(path) as image:
        return image.size


def test_the_tutorials_command_line(tmp_path):
    for name in ("0.jpg", "10.jpg", "2.JPG"):
        photo(tmp_path / "data/raw" / name, 1, (1600, 1200))
    line = ["--raw-dir", "./data/raw", "--save-dir", "./data/images", "--ext", "jpg"]
    done = stage("resize_images.py", *line, "--target-size", "(800, 600)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = sorted(path.name for path in (tmp_path / "data/images").iterdir())
    assert written == ["0.jpg", "10.jpg", "2.JPG"]
    assert all(size(tmp_path / "data/images" / name) == (800, 600) for name in written)


@pytest.mark.parametrize(
    ("fit", "expected"),
    [("inside", (75, 100)), ("pad", (200, 100)), ("crop", (200, 100)), ("stretch", (200, 100))],
)
def test_fits(tmp_path, fit, expected):
    raw, save = tmp_path / "raw", tmp_path / "save"
    annotate(photo(raw / "a.png", 1, (300, 400)), [("bolt", 100, 150, 200, 250)], (300, 400))
    line = ["--raw-dir", raw, "--save-dir", save, "--fit", fit, "--target-size", "200x100"]
    assert stage("resize_images.py", *line).returncode == 0
    annotation = voc.read(save / "a.xml")
    assert size(save / "a.png") == expected == (annotation.width, annotation.height)


@pytest.mark.parametrize("fit", resizing.FITS)
@pytest.mark.parametrize("source", [(320, 240), (240, 320), (500, 100)])
def test_boxes_go_where_their_objects_go(fit, source):
    image = Image.new("RGB", source, "white")
    box = (source[0] * 0.4, source[1] * 0.35, source[0] * 0.6, source[1] * 0.7)
    ImageDraw.Draw(image).rectangle([round(v) for v in box], fill="black")
    plan = resizing.plan(source, (160, 120), fit)
    annotation = Annotation("a.jpg", *source, (Box("bolt", *box),))
    moved = resizing.move(plan, annotation, "b.jpg")
    result = np.asarray(resizing.apply(plan, image).convert("L"))
    rows, columns = np.nonzero(result < 60)
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert result.shape == (moved.height, moved.width)
    assert np.allclose(moved.boxes[0][1:5], found, atol=1.6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_drawn_before_the_photo_was_turned_are_turned_along(tmp_path, orientation):
    """The box around a dark patch of the stored pixels is around it in the result, too."""
    raw, save = tmp_path / "raw", tmp_path / "save"
    raw.mkdir()
    image = Image.new("RGB", (320, 200), "white")
    ImageDraw.Draw(image).rectangle((30, 20, 99, 59), fill="black")
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(raw / "a.jpg", exif=exif)
    stored = Annotation("a.jpg", 320, 200, (Box("bolt", 30, 20, 100, 60),))
    if orientation < 5:  # the size does not tell: such boxes count as drawn on the upright photo
        stored = resizing.upright(stored, orientation)
    voc.write(raw / "a.xml", stored)
    line = ["--raw-dir", raw, "--save-dir", save, "--target-size", "160x160"]
    done = stage("resize_images.py", *line)
    assert done.returncode == 0, done.stderr
    rows, columns = np.nonzero(load_photo(save / "a.jpg").mean(axis=2) < 100)
    annotation = voc.read(save / "a.xml")
    assert (annotation.width, annotation.height) == size(save / "a.jpg")
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert np.allclose(annotation.boxes[0][1:5], found, atol=1.1)


def test_small_photos_are_not_enlarged(tmp_path):
    photo(tmp_path / "raw/a.jpg", 1, (120, 90))
    stage("resize_images.py", "--raw-dir", tmp_path / "raw", "--save-dir", tmp_path / "save")
    assert size(tmp_path / "save/a.jpg") == (120, 90)


def test_several_endings_in_any_case_and_phone_formats_become_jpeg(tmp_path):
    pytest.importorskip("pillow_heif").register_heif_opener()
    raw, save = tmp_path / "raw", tmp_path / "save"
    for name in ("a.JPG", "b.jpeg", "c.Png", "d.heic", "e.WEBP", "f.bmp"):
        photo(raw / name, 3, (200, 160))
    line = ["--raw-dir", raw, "--save-dir", save, "--ext", "jpg,JPEG", "png", ".heic", "*.webp"]
    done = stage("resize_images.py", *line, "--target-size", "[100,100]")
    assert done.returncode == 0, done.stderr
    assert "1 .bmp" in done.stdout
    written = sorted(path.name for path in save.iterdir())
    assert written == ["a.JPG", "b.jpeg", "c.Png", "d.jpg", "e.jpg"]
    for path in save.iterdir():
        with Image.open(path) as image:
            assert image.format == ("PNG" if path.suffix == ".Png" else "JPEG")
            assert image.size == (100, 80)


@pytest.mark.parametrize("other", ["a.png", "A.jpg", "a.webp"])
def test_collisions_are_refused_before_anything_is_written(tmp_path, other):
    photo(tmp_path / "raw/a.jpg", 1)
    photo(tmp_path / "raw" / other, 2)
    done = stage("resize_images.py", "--raw-dir", tmp_path / "raw", "--save-dir", tmp_path / "save")
    assert done.returncode == 2
    assert "a.jpg" in done.stderr and other in done.stderr and "Rename" in done.stderr
    assert not (tmp_path / "save").exists()


@pytest.mark.parametrize(
    "given", ["__import__('os').system('touch owned')", "(800,)", "(0, 0)", "800", "(8e2, 6)", ""]
)
def test_target_sizes_are_not_evaluated(tmp_path, given):
    photo(tmp_path / "data/raw/a.jpg", 1)
    done = stage("resize_images.py", f"--target-size={given}", cwd=tmp_path)
    assert done.returncode == 2 and "--target-size" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "owned").exists() and not (tmp_path / "data/images").exists()


def test_a_damaged_photo_is_named_and_the_others_are_written(tmp_path):
    photo(tmp_path / "raw/a.jpg", 1)
    (tmp_path / "raw/b.jpg").write_bytes(photo(tmp_path / "raw/c.jpg", 2).read_bytes()[:700])
    done = stage("resize_images.py", "--raw-dir", tmp_path / "raw", "--save-dir", tmp_path / "save")
    assert done.returncode == 2
    assert "b.jpg: it cannot be read" in done.stderr
    assert sorted(p.name for p in (tmp_path / "save").iterdir()) == ["a.jpg", "c.jpg"]


def test_originals_are_never_overwritten(tmp_path):
    content = photo(tmp_path / "raw/a.jpg", 1, (1000, 900)).read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "raw")
    done = stage("resize_images.py", "--raw-dir", tmp_path / "raw", "--save-dir", tmp_path / "link")
    assert done.returncode == 2 and "would be lost" in done.stderr
    assert (tmp_path / "raw/a.jpg").read_bytes() == content


def test_boxes_drawn_on_the_result_are_not_outdated(tmp_path):
    line = ["--raw-dir", tmp_path / "raw", "--save-dir", tmp_path / "save", "--target-size"]
    photo(tmp_path / "raw/a.jpg", 1, (400, 300))
    assert stage("resize_images.py", *line, "200x150").returncode == 0
    annotate(tmp_path / "save/a.jpg", [("bolt", 1, 1, 50, 50)], (200, 150))
    assert stage("resize_images.py", *line, "200x150").returncode == 0
    done = stage("resize_images.py", *line, "100x75")
    assert done.returncode == 2 and "a.xml" in done.stderr and "--save-dir" in done.stderr
    assert size(tmp_path / "save/a.jpg") == (200, 150)


def test_photos_that_are_there_already_can_be_left_out(tmp_path):
    for number, name in enumerate(("a.jpg", "b.jpg", "c.jpg")):
        photo(tmp_path / "raw" / name, number)
    photo(tmp_path / "save/train/a.jpg", 9)
    there = photo(tmp_path / "save/c.jpg", 9).read_bytes()
    line = ["--raw-dir", tmp_path / "raw", "--save-dir", tmp_path / "save"]
    assert stage("resize_images.py", *line, "--new-only").returncode == 0
    written = sorted(p.name for p in (tmp_path / "save").iterdir())
    assert written == ["b.jpg", "c.jpg", "train"]
    assert (tmp_path / "save/c.jpg").read_bytes() == there
    done = stage("resize_images.py", *line)
    assert "already split" in done.stdout and (tmp_path / "save/a.jpg").exists()


def test_cropped_boxes(tmp_path):
    plan = resizing.plan((200, 100), (100, 100), "crop")
    boxes = [
        Box("gone", 0, 10, 40, 50),
        Box("half", 30, 10, 70, 50),
        Box("sliver", 0, 10, 55, 50),
        Box("whole", 80, 10, 120, 50),
    ]
    moved = resizing.move(plan, Annotation("a.jpg", 200, 100, tuple(boxes)), "a.jpg")
    assert [(b.name, b.xmin, b.xmax, b.truncated) for b in moved.boxes] == [
        ("half", 0, 20, True),
        ("whole", 30, 70, False),
    ]


def test_xml_of_another_size_is_refused(tmp_path):
    annotate(photo(tmp_path / "raw/a.jpg", 1), [("bolt", 1, 1, 50, 50)], (800, 600))
    done = stage("resize_images.py", "--raw-dir", tmp_path / "raw", "--save-dir", tmp_path / "save")
    assert done.returncode == 2 and "drawn on 800x600" in done.stderr


def test_nothing_to_resize_is_told(tmp_path):
    photo(tmp_path / "raw/a.png", 1)
    line = ["--raw-dir", tmp_path / "raw", "--save-dir", tmp_path / "save", "--ext"]
    done = stage("resize_images.py", *line, "jpg")
    assert done.returncode == 2 and "1 .png" in done.stderr
    done = stage("resize_images.py", *line, "exe")
    assert done.returncode == 2 and "these endings can be read" in done.stderr
    done = stage("resize_images.py", "--raw-dir", tmp_path / "nowhere")
    assert done.returncode == 2 and "no such folder" in done.stderr

"""detect.py with a detector that finds what it is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_runtime import FakeRuntime, detections, read_json, write_photo
from PIL import Image

import detect
from console import run
from detection.detections import Detections

BOX = (10.0, 5.0, 30.0, 40.0)


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = detections(("nut", 0.9, BOX), ("bolt", 0.4, BOX))
    fake = FakeRuntime(lambda photo: answer)
    monkeypatch.setattr(detect.runtimes, "load", lambda runtime, folder, device: fake)


def call(monkeypatch: pytest.MonkeyPatch, source: object, output: Path, *more: object) -> int:
    return look(monkeypatch, source, "--output", output, *more)


def look(monkeypatch: pytest.MonkeyPatch, *given: object) -> int:
    arguments = ["--artifact", "x", "--runtime", "fake", *given]
    monkeypatch.setattr(sys, "argv", ["detect.py", *map(str, arguments)])
    try:
        run(detect.main)
    except SystemExit as error:
        return int(error.code)
    return 0


def files(output: Path) -> list[str]:
    return [image["file"] for image in read_json(output / "detections.json")["images"]]


def drawn(output: Path) -> list[str]:
    pictures = output / "annotated"
    return sorted(str(p.relative_to(pictures)) for p in pictures.rglob("*") if p.is_file())


def test_a_single_photo(tmp_path: Path, monkeypatch) -> None:
    write_photo(tmp_path / "a.jpg")
    assert call(monkeypatch, tmp_path / "a.jpg", tmp_path / "out") == 0
    assert read_json(tmp_path / "out/detections.json") == {
        "detector": "fake",
        "score_threshold": 0.5,
        "images": [
            {
                "file": "a.jpg",
                "width": 64,
                "height": 48,
                "detections": [{"class": "nut", "score": 0.9, "box": [10, 5, 30, 40]}],
            }
        ],
    }
    with Image.open(tmp_path / "out/annotated/a.jpg") as picture:
        assert picture.size == (64, 48)
        assert np.asarray(picture).std() > 10


def test_a_folder_with_subfolders_and_other_files(tmp_path: Path, monkeypatch) -> None:
    for name in ("2.jpg", "10.PNG", "sub/2.jpg", "sub/deep/3.webp", ".hidden/4.jpg"):
        write_photo(tmp_path / "in" / name)
    (tmp_path / "in/2.xml").write_text("<annotation/>")
    (tmp_path / "in/._2.jpg").write_bytes(b"")
    assert call(monkeypatch, tmp_path / "in", tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["2.jpg", "10.PNG", "sub/2.jpg", "sub/deep/3.webp"]
    assert drawn(tmp_path / "out") == ["10.PNG.jpg", "2.jpg", "sub/2.jpg", "sub/deep/3.webp.jpg"]


@pytest.mark.parametrize("pattern", ["*/front_*.jpg", "**/front_*.jpg", "*"])
def test_a_pattern(tmp_path: Path, monkeypatch, pattern: str) -> None:
    for name in ("one/front_1.jpg", "two/front_1.jpg"):
        write_photo(tmp_path / "in" / name)
    if pattern != "*":
        write_photo(tmp_path / "in/two/back.jpg")
    assert call(monkeypatch, tmp_path / "in" / pattern, tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["one/front_1.jpg", "two/front_1.jpg"]
    assert drawn(tmp_path / "out") == ["one/front_1.jpg", "two/front_1.jpg"]


def test_a_relative_pattern(tmp_path: Path, monkeypatch) -> None:
    write_photo(tmp_path / "a.jpg")
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "*.jpg", tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["a.jpg"]


def test_a_folder_whose_name_looks_like_a_pattern(tmp_path: Path, monkeypatch) -> None:
    write_photo(tmp_path / "in [1]/a.jpg")
    assert call(monkeypatch, tmp_path / "in [1]", tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["a.jpg"]


def test_pictures_never_take_each_others_place() -> None:
    names = ["a.jpg", "a.png", "a.png.jpg", "A.JPG", "b/a.jpg"]
    pictures = detect.picture_names(names)
    assert len({picture.casefold() for picture in pictures.values()}) == len(names)
    assert pictures["a.jpg"] == "a.jpg" and pictures["b/a.jpg"] == "b/a.jpg"


def test_a_photo_on_its_side_is_detected_upright(tmp_path: Path, monkeypatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    write_photo(tmp_path / "a.jpg", exif=exif)
    assert call(monkeypatch, tmp_path / "a.jpg", tmp_path / "out") == 0
    (image,) = read_json(tmp_path / "out/detections.json")["images"]
    assert (image["width"], image["height"]) == (48, 64)
    with Image.open(tmp_path / "out/annotated/a.jpg") as picture:
        assert picture.size == (48, 64) and not picture.getexif().get(0x0112)


def test_a_heic_photo(tmp_path: Path, monkeypatch) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    write_photo(tmp_path / "a.heic")
    assert call(monkeypatch, tmp_path, tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["a.heic"]


def test_a_broken_photo_is_reported_and_left_out(tmp_path: Path, monkeypatch, capsys) -> None:
    write_photo(tmp_path / "in/a.jpg")
    (tmp_path / "in/b.jpg").write_bytes(b"no photo")
    assert call(monkeypatch, tmp_path / "in", tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["a.jpg"]
    told = capsys.readouterr()
    assert "b.jpg" in told.out and "left out: 1" in told.err


def test_only_broken_photos_fail_and_leave_an_earlier_result(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/b.jpg").write_bytes(b"no photo")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/detections.json").write_text("earlier")
    assert call(monkeypatch, tmp_path / "in", tmp_path / "out") == 2
    assert (tmp_path / "out/detections.json").read_text() == "earlier"
    assert "could be read" in capsys.readouterr().err


@pytest.mark.parametrize("images", ["nowhere", "nowhere/*.jpg", "empty", "empty/*"])
def test_nothing_to_detect_in_is_the_users_error(tmp_path, monkeypatch, capsys, images) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("no photo")
    assert call(monkeypatch, tmp_path / images, tmp_path / "out") == 2
    assert images in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_output_may_lie_among_the_photos(tmp_path: Path, monkeypatch) -> None:
    write_photo(tmp_path / "a.jpg")
    for _ in range(2):
        assert call(monkeypatch, tmp_path, tmp_path / "found") == 0
        assert files(tmp_path / "found") == ["a.jpg"]


def test_the_threshold(tmp_path: Path, monkeypatch) -> None:
    write_photo(tmp_path / "a.jpg")
    for threshold, expected in ((0.95, []), (0.5, ["nut"]), (0.1, ["nut", "bolt"])):
        output = tmp_path / f"out{threshold}"
        assert call(monkeypatch, tmp_path / "a.jpg", output, "--score-threshold", threshold) == 0
        (image,) = read_json(output / "detections.json")["images"]
        assert [one["class"] for one in image["detections"]] == expected


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes only there")
def test_a_name_that_is_not_utf8(tmp_path: Path, monkeypatch) -> None:
    write_photo(tmp_path / "in" / os.fsdecode(b"caf\xe9.jpg"))
    assert call(monkeypatch, tmp_path / "in", tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["caf\\udce9.jpg"]


def test_told_to_stop_it_keeps_what_it_has(tmp_path: Path, monkeypatch) -> None:
    for number in range(5):
        write_photo(tmp_path / f"in/{number}.jpg")
    seen: list[int] = []

    def answer(photo: np.ndarray) -> Detections:
        seen.append(1)
        if len(seen) == 2:
            signal.raise_signal(signal.SIGTERM)
        return detections(("nut", 0.9, BOX))

    monkeypatch.setattr(detect.runtimes, "load", lambda *_: FakeRuntime(answer))

    assert call(monkeypatch, tmp_path / "in", tmp_path / "out") == 143
    assert files(tmp_path / "out") == drawn(tmp_path / "out") == ["0.jpg", "1.jpg"]
    assert not list((tmp_path / "out").glob(".*"))


def test_told_twice_it_ends_at_once_and_leaves_nothing_half(tmp_path: Path, monkeypatch) -> None:
    write_photo(tmp_path / "a.jpg")

    def answer(photo: np.ndarray) -> Detections:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it went on")

    monkeypatch.setattr(detect.runtimes, "load", lambda *_: FakeRuntime(answer))

    assert call(monkeypatch, tmp_path / "a.jpg", tmp_path / "out") == 130
    assert list((tmp_path / "out").iterdir()) == []


def test_without_a_folder_to_write_to_there_is_a_line_for_each_photo(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    write_photo(tmp_path / "in/a.jpg")
    write_photo(tmp_path / "in/sub/b.jpg")
    (tmp_path / "in/broken.jpg").write_bytes(b"no photo")
    before = sorted(tmp_path.rglob("*"))

    assert look(monkeypatch, tmp_path / "in") == 0

    told = capsys.readouterr()
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert [line["file"] for line in lines] == ["a.jpg", "sub/b.jpg"]
    assert lines[0]["detections"] == [{"class": "nut", "score": 0.9, "box": [10, 5, 30, 40]}]
    assert "broken.jpg" in told.err and "2 objects in 2 photos, left out: 1, " in told.err
    assert sorted(tmp_path.rglob("*")) == before


def test_several_sources_are_looked_at_once_each(tmp_path: Path, monkeypatch) -> None:
    for name in ("one/a.jpg", "two/b.jpg", "two/deep/c.jpg"):
        write_photo(tmp_path / name)
    monkeypatch.chdir(tmp_path)

    given = ["one/a.jpg", tmp_path / "two", "two/*.jpg", "--output", "out"]
    assert look(monkeypatch, *given) == 0

    assert files(tmp_path / "out") == ["one/a.jpg", "two/b.jpg", "two/deep/c.jpg"]
    assert drawn(tmp_path / "out") == ["one/a.jpg", "two/b.jpg", "two/deep/c.jpg"]


def test_a_photo_is_known_by_its_content_too(tmp_path: Path, monkeypatch) -> None:
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "upload")

    assert call(monkeypatch, tmp_path / "upload", tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["upload"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "say what to look at: photos, folders, a video, a camera"),
        (["{folder}/a.jpg", "rtsp://me:secret@camera/1"], "rtsp://...@camera/1: a video, a camera"),
        (["{folder}/a.jpg", "--size", "640x480"], "--size is asked of cameras"),
        (["{folder}/a.jpg", "--score-threshold", "2"], "--score-threshold must be from 0 to 1"),
        (["{folder}", "--output", "{folder}/a.jpg/found"], "a.jpg/found: Not a directory"),
        (["{folder}/films"], "A video is given by its name."),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, monkeypatch, capsys, given: list[str], message: str
) -> None:
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "films").mkdir()
    (tmp_path / "films/clip.mp4").write_bytes(b"...")

    assert look(monkeypatch, *(word.format(folder=tmp_path) for word in given)) == 2

    told = capsys.readouterr().err
    assert message in told and len(told.splitlines()) == 1 and "secret" not in told


def test_in_an_image_help_and_errors_speak_of_what_the_user_typed(tmp_path: Path) -> None:
    def told(*given: str) -> str:
        program = [sys.executable, detect.__file__, "--artifact=x", "--runtime=fake", *given]
        done = subprocess.run(
            program,
            env={**os.environ, "DRYDOCK_COMMAND": "docker run IMAGE detect"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    text = told("--help")
    assert text.startswith("usage: docker run IMAGE detect [")
    assert "docker run IMAGE detect rtsp://" in text
    assert "--artifact" not in text and "python" not in text
    assert 'docker run --volume "$PWD:/data:ro"' in told("/nowhere/a.jpg")
    write_photo(tmp_path / "a.jpg")
    assert "--user" in told(str(tmp_path / "a.jpg"), "--output=/proc/found")
    assert "docker run IMAGE detect --help" in told()

"""Videos, streams and what is no video, through the program as a device runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from conftest import BOX, scene
from rtsp_camera import Camera

from console import InputError
from video import source

FRAMES = 12


def write_video(path: Path, frames: int = FRAMES) -> Path:
    """The scene at 10 frames/s, 320x160; it moves 4 pixels to the right with each frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 160, "yuv420p"
        for number in range(frames):
            pixels = np.roll(scene().repeat(4, axis=0).repeat(4, axis=1), 4 * number, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "a clip.mp4")


def command(*options: object) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("white_detect.py")), *map(str, options)]


def detect(*options: object, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*options),
        env={**os.environ, **{name: str(value) for name, value in settings.items()}},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_frame_of_a_file_gives_a_line(video: Path, tmp_path: Path) -> None:
    done = detect(video, f"--output={tmp_path / 'new' / 'out'}")

    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "new" / "out" / "detections.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert [line["frame"] for line in found] == list(range(FRAMES))
    assert [line["time"] for line in found] == [number / 10 for number in range(FRAMES)]
    for number, line in enumerate(found):
        assert (line["width"], line["height"]) == (320, 160)
        (white,) = line["detections"]
        moved = np.array(BOX) * 4 + [4 * number, 0, 4 * number, 0]
        np.testing.assert_allclose(white["box"], moved, atol=2)
    assert f"{FRAMES} objects in {FRAMES} frames" in done.stderr
    assert "frames/s" in done.stderr and done.stdout == ""


def test_without_a_folder_the_lines_go_to_stdout(video: Path) -> None:
    done = detect(video, "--score-threshold=0.2")

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == FRAMES
    assert [one["class"] for one in lines[0]["detections"]] == ["white", "grey"]


def test_a_reader_that_goes_away_is_no_crash(video: Path) -> None:
    with subprocess.Popen(
        command(video), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.wait(timeout=30) == 128 + signal.SIGPIPE
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"]
)
def test_a_stop_ends_it_within_a_second_with_whole_lines(
    tmp_path: Path, number: int, code: int
) -> None:
    long = write_video(tmp_path / "long.mp4", frames=300)
    lines = tmp_path / "detections.jsonl"
    with subprocess.Popen(
        command(long, f"--output={tmp_path}"),
        env={**os.environ, "SECONDS": "0.05"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for_lines(lines, 3)
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(timeout=10) == code
        assert time.monotonic() - began < 1
        assert process.stderr is not None and "stopped, " in process.stderr.read()
    content = lines.read_text()
    assert content.endswith("\n")
    assert 3 <= len([json.loads(line) for line in content.splitlines()]) < 300


def wait_for_lines(path: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while not path.exists() or path.read_text().count("\n") < count:
        assert time.monotonic() < deadline, "it never began"
        time.sleep(0.02)


def test_a_stream_is_watched_until_it_is_stopped_and_frames_are_dropped(tmp_path: Path) -> None:
    camera = Camera(scene(96, 48), rate=40)
    with subprocess.Popen(
        command(camera.address, f"--output={tmp_path}"),
        env={**os.environ, "SECONDS": "0.1"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for_lines(tmp_path / "detections.jsonl", 8)
        began = time.monotonic()
        process.terminate()
        assert process.wait(timeout=10) == 143
        assert time.monotonic() - began < 1
        assert process.stderr is not None
        told = process.stderr.read()

    assert "dropped" in told and "secret" not in told
    found = [json.loads(line) for line in (tmp_path / "detections.jsonl").open()]
    numbers = [line["frame"] for line in found]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] - numbers[0] > 2 * len(numbers)  # it keeps up instead of falling behind
    np.testing.assert_allclose(found[-1]["detections"][0]["box"], BOX, atol=2)
    assert found[-1]["at"].endswith("+00:00")


def test_a_stream_that_ends_is_an_error_for_a_restart_to_mend() -> None:
    camera = Camera(scene(96, 48), rate=40, frames=5)
    done = detect(camera.address)

    assert done.returncode == 1
    assert "error: rtsp://...@127.0.0.1" in done.stderr
    assert done.stdout.splitlines()


def test_half_a_video_gives_what_it_has(video: Path, tmp_path: Path) -> None:
    # With its index in front, as cameras that may lose power write it.
    whole = write_video(tmp_path / "whole.mkv", frames=60).read_bytes()
    half = tmp_path / "half.mkv"
    half.write_bytes(whole[: len(whole) // 2])

    done = detect(half)

    assert done.returncode == 0, done.stderr
    assert 5 < len(done.stdout.splitlines()) < 60


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere.mp4", "nowhere.mp4: there is no such file or folder"),
        ("ftp://x/y", "an address begins with rtsp://"),
        ("rtsp://me:secret@127.0.0.1:1/x", "rtsp://...@127.0.0.1:1/x: it cannot be opened: Conn"),
        (__file__, "it cannot be opened: Invalid data"),
        ("/dev/null", "it cannot be opened"),
    ],
)
def test_what_is_no_video_is_refused(given: str, message: str) -> None:
    done = detect(given)

    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_with_sound_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))

    done = detect(path)

    assert done.returncode == 2
    assert "there is no video in it" in done.stderr


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_a_phones_video_is_turned_upright(rotation: int) -> None:
    stored = np.zeros((2, 4, 3), np.uint8)
    stored[0, 0] = 9
    picture = SimpleNamespace(rotation=rotation, to_ndarray=lambda format: stored)

    upright = source._upright(picture)

    corner = {0: (0, 0), 90: (-1, 0), 180: (-1, -1), -90: (0, -1)}[rotation]
    assert upright[corner][0] == 9
    assert upright.flags.c_contiguous


@pytest.mark.parametrize("size", ["0x0", "big", "640", "640x"])
def test_a_size_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(InputError, match="--size"):
        source.find("/dev/null", size)


def test_a_camera_is_asked_for_its_size() -> None:
    found = source.find("/dev/null", "640x480")  # a device file, as cameras are

    assert (found.format, found.options, found.live) == ("v4l2", (("video_size", "640x480"),), True)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://camera/stream", "rtsp://camera/stream"),
        ("rtsp://me:secret@camera:554/x", "rtsp://...@camera:554/x"),
        # None of these is a proper address, and none may end up in a log.
        ("rtsp://me:sec@ret@camera/x", "rtsp://...@camera/x"),
        ("rtsp://me:sec/ret@camera/x", "rtsp://...@camera/x"),
        ("http://camera/video?user=me&pwd=secret", "http://camera/video?..."),
        (
            "rtsp://camera/user=me&password=secret&channel=1",
            "rtsp://camera/user=me&password=...&channel=1",
        ),
    ],
)
def test_an_address_is_shown_without_what_lets_one_in(address: str, shown: str) -> None:
    assert source.find(address).name == shown

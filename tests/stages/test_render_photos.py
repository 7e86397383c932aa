"""The sample photos' boxes against what is really in the picture: needs Blender's bpy."""

from __future__ import annotations

import dataclasses
import filecmp
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from PIL import Image

from dataset import voc
from render_photos import boxes
from rendering import hardware, placement, plan, rooms
from rendering.phone import Camera, Look

NO_MESH = hardware.Mesh(np.zeros((0, 3)), [])
PROGRAM = REPOSITORY / "scripts" / "render_photos.py"


def render(output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(PROGRAM), "--output", str(output), *options]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def photo_of(*names: str) -> plan.Photo:
    """A photo of which only the items' names matter."""
    items = tuple(plan.Item(name, NO_MESH, np.eye(4), "zinc", 1) for name in names)
    camera = Camera((0, -1, 1), (0, 0, 0), 0.0, 28.0, 0.1, 80, 60)
    look = Look(0.2, (1, 1, 1), 0.3, 0.0, 0.0, 0.0, 1.0, 1.0)
    return plan.Photo(items, (), "paper", rooms.Room("window", 1.0, 1), camera, look, 1)


def test_boxes_are_the_edges_of_what_is_visible() -> None:
    numbers = np.zeros((60, 80), dtype=int)
    numbers[10:20, 30:50] = 1
    numbers[0:5, 75:80] = 2
    assert boxes(numbers, photo_of("nut", "bolt")) == (
        voc.Box("nut", 30, 10, 50, 20),
        voc.Box("bolt", 75, 1, 80, 5, truncated=True),
    )


def test_an_object_that_nobody_sees_is_an_error() -> None:
    with pytest.raises(ValueError, match="object 1 is not visible"):
        boxes(np.zeros((60, 80), dtype=int), photo_of("nut"))


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--train", "-1"], "--train must not be negative"), (["--width", "10"], "--width must be")],
)
def test_wrong_options_are_refused(tmp_path: Path, options: list[str], message: str) -> None:
    done = render(tmp_path, *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture(name="scenes", scope="module")
def _scenes():
    pytest.importorskip("bpy", reason="Blender's bpy is only in the environment render")
    from rendering import scene

    return scene


@pytest.mark.slow
def test_photos_appear_with_their_boxes_and_repeat(scenes, tmp_path: Path) -> None:
    options = ["--train", "1", "--test", "1", "--seed", "5", "--width", "280", "--height", "210",
               "--samples", "2", "--threads", "1"]  # fmt: skip
    for name in ("first", "second"):
        done = render(tmp_path / name, *options)
        assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("2 photos with ")
    files = sorted(p.relative_to(tmp_path / "first") for p in (tmp_path / "first").rglob("*.*"))
    assert [str(f) for f in files] == [
        "test/photo_02.jpg", "test/photo_02.xml", "train/photo_01.jpg", "train/photo_01.xml",
    ]  # fmt: skip
    for file in files:
        assert filecmp.cmp(tmp_path / "first" / file, tmp_path / "second" / file, shallow=False)
    for file in files[::2]:
        photo = tmp_path / "first" / file
        note = voc.read(photo.with_suffix(".xml"))
        with Image.open(photo) as picture:
            assert picture.size == (note.width, note.height) == (280, 210)
            picture.load()
        assert 3 <= len(note.boxes) <= 8


@pytest.mark.slow
def test_visible_pixels_are_where_the_camera_projects(scenes) -> None:
    photo = next(plan.layouts(plan.briefs(3, seed=11)[1], 400, 300))
    scenes.build(photo)
    index, whole = scenes.visible(photo)
    assert index.shape == (photo.camera.height, photo.camera.width)
    limits = np.array([photo.camera.width, photo.camera.height])
    compared = 0
    for number, (item, box) in enumerate(zip(photo.items, boxes(index, photo)), start=1):
        seen = int((index == number).sum())
        assert seen <= whole[number - 1]
        if seen < whole[number - 1]:
            continue  # something hides a part of it: its box may be smaller than its silhouette
        pixels = np.clip(photo.camera.project(item.points()), 1, limits)
        expected = (*pixels.min(axis=0), *pixels.max(axis=0))
        assert box[1:5] == pytest.approx(expected, abs=1.5)
        compared += 1
    assert compared >= 2


@pytest.mark.slow
def test_an_object_hidden_behind_another_has_a_smaller_box(scenes) -> None:
    nut = hardware.nut(hardware.SIZES["M16"])
    # From the front, the near nut hides the lower part of the one behind it.
    items = tuple(plan.Item("nut", nut, placement.move(0, y), "zinc", 1) for y in (0.0, 2.6))
    camera = Camera((0, -20, 9), (0, 1, 0), 0.0, 50.0, 0.1, 400, 300)
    photo = dataclasses.replace(photo_of(), items=items, camera=camera)
    scenes.build(photo)
    index, whole = scenes.visible(photo)
    near, far = int((index == 1).sum()), int((index == 2).sum())
    assert near == whole[0]
    assert 0.3 * whole[1] < far < 0.95 * whole[1]
    lowest = camera.project(items[1].points())[:, 1].max()
    assert boxes(index, photo)[1].ymax < lowest - 5


def test_without_blender_the_environment_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c",
         "import runpy, sys; sys.modules['bpy'] = None; "
         f"sys.argv = ['render_photos.py', '--output', {str(tmp_path)!r}]; "
         f"sys.path.insert(0, {str(PROGRAM.parent)!r}); "
         f"runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "docker/render" in done.stderr

"""What the sample photos show, before Blender is asked: needs NumPy only."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from rendering import hardware, phone, placement, plan, rooms
from rendering.hardware import SIZES

MESHES = {
    "bolt": hardware.bolt(SIZES["M10"], length=40, plain=12),
    "short bolt": hardware.bolt(SIZES["M8"], length=20, plain=0),
    "nut": hardware.nut(SIZES["M12"]),
    "washer": hardware.washer(SIZES["M16"]),
}


@pytest.fixture(name="photos", scope="module")
def _photos() -> list[plan.Photo]:
    return [next(plan.layouts(brief, 800, 600)) for brief in plan.briefs(6, seed=3)]


@pytest.mark.parametrize("name", MESHES)
def test_meshes_are_closed_and_face_outward(name: str) -> None:
    mesh = MESHES[name]
    edges = collections.Counter(
        (face[i], face[(i + 1) % len(face)]) for face in mesh.faces for i in range(len(face))
    )
    assert set(edges.values()) == {1}
    assert all((b, a) in edges for a, b in edges)
    triangles = [(f[0], f[i], f[i + 1]) for f in mesh.faces for i in range(1, len(f) - 1)]
    a, b, c = (mesh.vertices[corner] for corner in np.transpose(triangles))
    assert (a * np.cross(b, c)).sum() / 6 > 0


def test_dimensions_are_those_of_the_standard() -> None:
    bolt, nut, washer = (MESHES[n].vertices for n in ("bolt", "nut", "washer"))
    assert np.ptp(bolt[:, 2]) == pytest.approx(4.0 + 0.64)
    # Across corners is across flats / cos 30, less what the rounding takes off.
    assert np.ptp(bolt[:, 1]) == pytest.approx(1.6 / np.cos(np.radians(30)), rel=0.03)
    assert np.ptp(nut[:, 0]) == pytest.approx(1.8, rel=0.01)
    assert np.ptp(nut[:, 2]) == pytest.approx(1.08)
    radius = np.hypot(washer[:, 0], washer[:, 1])
    assert (radius.min(), radius.max()) == (pytest.approx(0.85), pytest.approx(1.5))
    hole = np.hypot(nut[:, 0], nut[:, 1]).min()
    assert 0.5 < hole < 0.6


def test_a_lying_bolt_touches_the_table_with_head_and_tip() -> None:
    size, points = SIZES["M10"], MESHES["bolt"].vertices
    z = placement.apply(placement.lying_bolt(size, 40, points), points)[:, 2]
    assert z.min() == pytest.approx(0, abs=1e-9)
    assert z[points[:, 2] < 0.05].min() < 0.03
    assert z[points[:, 2] > 3.6].min() < 0.03


def test_a_leaning_washer_rests_on_the_rim_and_on_the_table() -> None:
    pose = placement.leaning(radius=1.0, base_radius=1.2, base_height=0.25, overlap=0.4)
    angles = np.linspace(0, 2 * np.pi, 720)
    rim = np.stack([np.cos(angles), np.sin(angles), np.zeros(720)], axis=1)
    below = placement.apply(pose, rim)
    assert below[:, 2].min() == pytest.approx(0, abs=1e-4)
    assert below[np.argmin(below[:, 2]), 0] > 1.2
    # On the line between the two discs the underside is as high as the base where its rim is.
    middle = placement.apply(pose, np.array([[-0.6, 0.0, 0.0]]))[0]
    assert middle == pytest.approx([1.2, 0.0, 0.25], abs=1e-9)


def test_the_gap_between_footprints_is_a_distance() -> None:
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=float)
    first = placement.support(square)
    right = np.array([1.0, 0.0])
    assert placement.gap(first, placement.support(square + 3.0 * right)) == pytest.approx(1.0)
    assert placement.gap(first, placement.support(square + 1.5 * right)) == pytest.approx(-0.5)


def test_classes_are_balanced_and_photos_hold_three_to_eight() -> None:
    briefs = plan.briefs(28, seed=7)
    counts = collections.Counter(name for brief in briefs for name in brief.classes)
    assert set(counts) == {"bolt", "nut", "washer"}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert {len(brief.classes) for brief in briefs} <= set(range(3, 9))
    assert {brief.table for brief in briefs} == set(plan.TABLES)


def test_layouts_show_what_the_brief_asks(photos: list[plan.Photo]) -> None:
    for brief, photo in zip(plan.briefs(6, seed=3), photos):
        assert sorted(item.name for item in photo.items) == sorted(brief.classes)


def test_the_seed_decides_everything(photos: list[plan.Photo]) -> None:
    again = [next(plan.layouts(brief, 800, 600)) for brief in plan.briefs(6, seed=3)]
    for first, second in zip(photos, again):
        assert (first.camera, first.room, first.look, first.seed) == (
            second.camera, second.room, second.look, second.seed,
        )  # fmt: skip
        assert all(np.array_equal(a.pose, b.pose) for a, b in zip(first.items, second.items))
    other = next(plan.layouts(plan.briefs(6, seed=4)[0], 800, 600))
    assert other.camera != photos[0].camera


def test_a_frame_that_is_too_narrow_ends_the_search() -> None:
    assert not list(plan.layouts(plan.briefs(1, seed=1)[0], 4000, 40))


def test_hardware_stands_on_the_table_and_in_nothing_else(photos: list[plan.Photo]) -> None:
    for photo in photos:
        alone = [item for item in photo.items if item.points()[:, 2].min() < 1e-6]
        assert alone
        for item in photo.items:
            assert item.points()[:, 2].min() > -0.05


def test_objects_are_big_enough_and_mostly_in_the_frame(photos: list[plan.Photo]) -> None:
    for photo in photos:
        camera = photo.camera
        for item in photo.items:
            pixels = camera.project(item.points())
            assert max(np.ptp(pixels[:, 0]), np.ptp(pixels[:, 1])) >= 52
            centre = pixels.mean(axis=0)
            assert 0 < centre[0] < camera.width
            assert 0 < centre[1] < camera.height


def test_what_a_pixel_sees_on_the_table_projects_back(photos: list[plan.Photo]) -> None:
    camera = photos[0].camera
    spot = camera.on_table(123.0, 456.0)
    assert camera.project(np.array([[*spot, 0.0]]))[0] == pytest.approx([123.0, 456.0])


@pytest.mark.parametrize("kind", rooms.KINDS)
def test_rooms_give_finite_light_from_above(kind: str) -> None:
    light = rooms.paint(rooms.Room(kind, azimuth=1.0, seed=5))
    assert light.shape == (rooms.HEIGHT, rooms.WIDTH, 3)
    assert np.isfinite(light).all()
    assert light.min() >= 0
    half = rooms.HEIGHT // 2
    assert light[:half].mean() > 1.5 * light[half:].mean()


def test_developing_meters_away_the_level_of_light() -> None:
    rng = np.random.default_rng(1)
    linear = rng.uniform(0.1, 0.9, (60, 80, 3)).astype(np.float32)
    look = phone.Look(0.2, (1, 1, 1), 0.3, 0.0, 0.0, 0.0, 1.0, 1.0)
    dim = phone.develop(linear * 0.01, look, np.random.default_rng(2))
    bright = phone.develop(linear * 3.0, look, np.random.default_rng(2))
    assert dim.size == (80, 60)
    difference = np.asarray(dim).astype(int) - np.asarray(bright).astype(int)
    assert np.abs(difference).max() <= 6

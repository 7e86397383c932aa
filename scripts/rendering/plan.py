"""What each photo shows, decided from the seed alone and before anything is rendered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rendering import hardware, placement
from rendering.hardware import CLASSES, SIZES, Mesh
from rendering.phone import Camera, Look
from rendering.rooms import KINDS as ROOM_KINDS
from rendering.rooms import Room

TABLES = ("wood", "planks", "metal", "cardboard", "cloth", "stone", "mat", "paper")
FINISHES = {
    "bolt": ("zinc", "zinc", "stainless", "black", "yellow", "brass", "rust"),
    "nut": ("zinc", "zinc", "stainless", "brass", "black", "yellow", "rust"),
    "washer": ("zinc", "zinc", "stainless", "brass", "black", "yellow", "rust"),
}
CLUTTER = ("pencil", "coin", "ruler", "scrap", "cable", "eraser", "screwdriver")

_MARGIN = 8  # pixels between a whole object and the frame
_SMALLEST, _LARGEST, _NARROWEST = 0.065, 0.41, 0.024  # of the longer side of the photo
_MOST_FAILURES = 40  # sets of places tried in vain; a usual photo needs fewer than ten


@dataclass(frozen=True)
class Item:
    """One labelled object: its mesh, where it lies and how it is finished."""

    name: str
    mesh: Mesh
    pose: np.ndarray
    finish: str
    seed: int

    def points(self) -> np.ndarray:
        return placement.apply(self.pose, self.mesh.vertices)


@dataclass(frozen=True)
class Thing:
    """One piece of clutter: where it lies, its length in centimetres, and a seed for its looks."""

    kind: str
    pose: np.ndarray
    size: float
    seed: int


@dataclass(frozen=True)
class Photo:
    """A whole scene with its camera and light."""

    items: tuple[Item, ...]
    clutter: tuple[Thing, ...]
    table: str
    room: Room
    camera: Camera
    look: Look
    seed: int


@dataclass(frozen=True)
class Brief:
    """What a photo must contain; a layout is then sought until everything fits and is seen."""

    classes: tuple[str, ...]
    table: str
    room: str
    tilt: float
    portrait: bool
    seed: int


def _deck(rng: np.random.Generator, values: tuple[str, ...], count: int) -> list[str]:
    """``count`` values in random order, each as often as any other (give or take one)."""
    cards: list[str] = []
    while len(cards) < count:
        cards += [values[i] for i in rng.permutation(len(values))]
    return cards[:count]


def briefs(count: int, seed: int) -> list[Brief]:
    """Briefs of ``count`` photos: classes balanced over all of them, 3 to 8 objects each."""
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.choice([3, 4, 5, 6, 7, 8], size=count)]
    classes = _deck(rng, CLASSES, sum(sizes))
    tables = _deck(rng, TABLES, count)
    rooms = _deck(rng, ROOM_KINDS, count)
    tilts = 34 + 55 * ((rng.permutation(count) + rng.uniform(size=count)) / count) ** 0.8
    result = []
    for i in range(count):
        portrait = i % 7 == 3
        shown, classes = classes[: sizes[i]], classes[sizes[i] :]
        result.append(
            Brief(
                classes=tuple(shown),
                table=tables[i],
                room=rooms[i],
                # Held upright and flat, the phone would see past the table.
                tilt=float(np.radians(max(tilts[i], 42.0 if portrait else 0.0))),
                portrait=portrait,
                seed=int(rng.integers(2**31)),
            )
        )
    return result


def _camera(brief: Brief, rng: np.random.Generator, width: int, height: int) -> Camera:
    focal = float(rng.choice([26.0, 28.0, 35.0, 50.0], p=[0.25, 0.25, 0.25, 0.25]))
    across = rng.uniform(13.0, 16.0) + 0.45 * len(brief.classes)
    distance = across * focal / 36.0
    away = distance * np.cos(brief.tilt)
    return Camera(
        position=(0.0, -float(away), float(distance * np.sin(brief.tilt))),
        target=(0.0, 0.0, 0.0),
        roll=float(rng.normal(0, 0.06)),
        focal_length=focal,
        aperture=float(rng.uniform(0.07, 0.16)),
        width=height if brief.portrait else width,
        height=width if brief.portrait else height,
    )


def _look(rng: np.random.Generator) -> Look:
    tint = rng.normal(1.0, 0.025, 3)
    return Look(
        brightness=float(0.21 * 2 ** rng.uniform(-0.4, 0.35)),
        tint=(float(tint[0]), 1.0, float(tint[2])),
        correction=float(rng.uniform(0.15, 0.45)),
        vignette=float(rng.uniform(0.1, 0.35)),
        noise=float(rng.uniform(0.005, 0.014)),
        sharpening=float(rng.uniform(0.2, 0.6)),
        saturation=float(rng.uniform(0.95, 1.15)),
        contrast=float(rng.uniform(1.02, 1.12)),
    )


def _part(name: str, finish: str, rng: np.random.Generator) -> tuple[Mesh, dict[str, float]]:
    """A mesh of this class and the lengths (millimetres) that its poses need."""
    size = SIZES[str(rng.choice(list(SIZES)))]
    if name == "nut":
        return hardware.nut(size), {"height": size.nut, "radius": size.across_flats / 2}
    if name == "washer":
        wide = float(rng.choice([1.0, 1.0, 1.0, 1.3]))
        mesh = hardware.washer(size, wide)
        return mesh, {"height": size.washer_thickness, "radius": size.washer_outer * wide / 2}
    if size.diameter > 12:
        size = SIZES[str(rng.choice(["M8", "M10", "M12"]))]
    length = float(np.clip(rng.uniform(2.2, 4.5) * size.diameter, 20, 46))
    plain = 0.0 if rng.uniform() < 0.5 else float(rng.uniform(0.2, 0.45) * length)
    lengths = {
        "length": length,
        "diameter": size.diameter,
        "flats": size.across_flats,
        "inner": size.washer_inner,
    }
    return hardware.bolt(size, length, plain), lengths


def _single(name: str, rng: np.random.Generator, finish: str) -> Item:
    mesh, lengths = _part(name, finish, rng)
    v = mesh.vertices
    if name == "bolt":
        if rng.uniform() < 0.08:
            pose = placement.standing_bolt(v)
        else:
            size = next(s for s in SIZES.values() if s.diameter == lengths["diameter"])
            roll = placement.turn("z", float(rng.integers(6)) * np.pi / 3)
            pose = placement.lying_bolt(size, lengths["length"], v) @ roll
    elif name == "nut" and rng.uniform() < 0.15:
        pose = placement.nut_on_edge(v)
    else:
        pose = np.eye(4)
    return Item(name, mesh, pose, finish, int(rng.integers(2**31)))


def _pair(name: str, other: str, rng: np.random.Generator, finishes: list[str]) -> list[Item]:
    """Two objects of which one leans or rests on the other."""
    base_mesh, base = _part(other, finishes[1], rng)
    mesh, lengths = _part(name, finishes[0], rng)
    height, base_radius = base["height"] / 10, base["radius"] / 10
    if name == "bolt":
        size = next(s for s in SIZES.values() if s.diameter == lengths["diameter"])
        if lengths["flats"] / 2 - lengths["diameter"] / 2 <= base["height"]:
            return []
        pose = placement.lying_bolt(size, lengths["length"], mesh.vertices, tip_on=base["height"])
        tip = placement.apply(pose, np.array([[0.0, 0.0, lengths["length"] / 10]]))[0]
        # The tip lies on the ring of the washer, not in its hole.
        pose = placement.move(-tip[0] - 0.84 * base_radius, 0.0) @ pose
    else:
        radius = lengths["radius"] / 10
        overlap = float(rng.uniform(0.25, 0.6)) * min(radius, base_radius)
        if other == "nut" and radius < 1.2 * height:
            return []
        pose = placement.leaning(radius, base_radius, height, overlap)
    ground = Item(other, base_mesh, np.eye(4), finishes[1], int(rng.integers(2**31)))
    return [Item(name, mesh, pose, finishes[0], int(rng.integers(2**31))), ground]


def _groups(brief: Brief, rng: np.random.Generator) -> list[list[Item]]:
    """The brief's objects, some of them in touching pairs."""
    palette = {name: list(rng.choice(FINISHES[name], size=2)) for name in CLASSES}
    left = [str(name) for name in rng.permutation(brief.classes)]
    groups: list[list[Item]] = []
    while left:
        name = left.pop()
        finish = str(rng.choice(palette[name]))
        bases = {"washer": ("washer", "nut"), "nut": ("washer",), "bolt": ("washer",)}[name]
        partners = [other for other in left if other in bases]
        if partners and rng.uniform() < 0.22:
            other = partners[0]
            pair = _pair(name, other, rng, [finish, str(rng.choice(palette[other]))])
            if pair:
                left.remove(other)
                groups.append(pair)
                continue
        groups.append([_single(name, rng, finish)])
    return sorted(groups, key=lambda group: -len(group))


def _moved(group: list[Item], pose: np.ndarray) -> list[Item]:
    return [Item(i.name, i.mesh, pose @ i.pose, i.finish, i.seed) for i in group]


def _box(pixels: np.ndarray) -> tuple[float, float, float, float]:
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _in_frame(pixels: np.ndarray, camera: Camera, cut: float) -> bool:
    """Whether a silhouette has a sensible size and at most the part ``cut`` of it is outside."""
    x0, y0, x1, y1 = _box(pixels)
    long, short = max(x1 - x0, y1 - y0), min(x1 - x0, y1 - y0)
    side = max(camera.width, camera.height)
    if not _SMALLEST * side <= long <= _LARGEST * side or short < _NARROWEST * side:
        return False
    inside_x = min(x1, camera.width) - max(x0, 0)
    inside_y = min(y1, camera.height) - max(y0, 0)
    if cut == 0:
        return (
            x0 >= _MARGIN
            and y0 >= _MARGIN
            and x1 <= camera.width - _MARGIN
            and y1 <= camera.height - _MARGIN
        )
    whole = (x1 - x0) * (y1 - y0)
    return inside_x > 0 and inside_y > 0 and inside_x * inside_y >= (1 - cut) * whole


def _sticks_out(item: Item, camera: Camera) -> bool:
    """Whether a few of the item's points are outside the frame: cheap, and sure when true."""
    few = placement.apply(item.pose, item.mesh.vertices[::97])
    x0, y0, x1, y1 = _box(camera.project(few))
    return min(x0, y0, camera.width - x1, camera.height - y1) < _MARGIN


def _recognisable(item: Item, camera: Camera) -> bool:
    """Whether a person could name the object: a bolt not end on, a nut not from its flat side."""
    towards = np.asarray(camera.position) - item.points().mean(axis=0)
    along = abs(float(item.pose[:3, 2] @ towards)) / float(np.linalg.norm(towards))
    return {"bolt": along < 0.80, "nut": along > 0.50, "washer": along > 0.35}[item.name]


def _place_groups(
    groups: list[list[Item]], camera: Camera, rng: np.random.Generator
) -> list[Item] | None:
    placed: list[Item] = []
    footprints: list[np.ndarray] = []
    silhouettes: list[np.ndarray] = []
    for group in groups:
        for _ in range(80):
            cut = 0.3 if rng.uniform() < 0.06 else 0.0
            x = rng.uniform(0.06, 0.94) * camera.width
            y = rng.uniform(0.08, 0.94) * camera.height
            try:
                spot = camera.on_table(x, y)
            except ValueError:
                continue
            heading = placement.turn("z", float(rng.uniform(0, 2 * np.pi)))
            trial = _moved(group, placement.move(*spot) @ heading)
            if cut == 0 and any(_sticks_out(item, camera) for item in trial):
                continue
            if not all(_recognisable(item, camera) for item in trial):
                continue
            points = [item.points() for item in trial]
            pixels = [camera.project(p) for p in points]
            if not all(_in_frame(p, camera, cut) for p in pixels):
                continue
            footprint = placement.support(np.concatenate(points))
            if any(placement.gap(footprint, other) < 0.04 for other in footprints):
                continue
            silhouette = placement.support(np.concatenate(pixels))
            # Hardware may hide hardware a little; what is left is measured after rendering.
            allowed = -12.0 if rng.uniform() < 0.3 else 3.0
            if any(placement.gap(silhouette, other) < allowed for other in silhouettes):
                continue
            placed += trial
            footprints.append(footprint)
            silhouettes.append(silhouette)
            break
        else:
            return None
    return placed


def _clutter_footprint(kind: str, size: float) -> np.ndarray:
    """Corners [N, 3] of a box around a piece of clutter that lies along x at the origin."""
    width, height = {
        "pencil": (0.8, 0.8), "coin": (size, 0.2), "ruler": (2.8, 0.1), "scrap": (0.7 * size, 0.02),
        "cable": (0.32 * size, 0.5), "eraser": (2.2, 1.2), "screwdriver": (2.6, 2.6),
    }[kind]  # fmt: skip
    x, y = size / 2, width / 2
    return np.array([[a * x, b * y, c * height] for a in (-1, 1) for b in (-1, 1) for c in (0, 1)])


def _place_clutter(items: list[Item], camera: Camera, rng: np.random.Generator) -> list[Thing]:
    count = int(rng.choice([0, 1, 2, 3, 4], p=[0.08, 0.27, 0.30, 0.22, 0.13]))
    kinds = [str(k) for k in rng.choice(CLUTTER, size=count, replace=False)]
    taken = [placement.support(item.points()) for item in items]
    seen = [placement.support(camera.project(item.points())) for item in items]
    things = []
    for kind in kinds:
        size = {
            "pencil": rng.uniform(9, 17), "coin": rng.uniform(1.7, 2.6),
            "ruler": rng.uniform(10, 20), "scrap": rng.uniform(5, 9), "cable": rng.uniform(10, 16),
            "eraser": rng.uniform(3, 5), "screwdriver": rng.uniform(13, 18),
        }[kind]  # fmt: skip
        for _ in range(80):
            x = rng.uniform(-0.05, 1.05) * camera.width
            y = rng.uniform(0.0, 1.05) * camera.height
            try:
                spot = camera.on_table(x, y)
            except ValueError:
                continue
            pose = placement.move(*spot) @ placement.turn("z", float(rng.uniform(0, 2 * np.pi)))
            corners = placement.apply(pose, _clutter_footprint(kind, size))
            footprint = placement.support(corners)
            # Hardware may lie on a scrap of paper, never on or in anything else.
            if kind != "scrap":
                if any(placement.gap(footprint, other) < 0.1 for other in taken):
                    continue
                in_front = (corners - np.asarray(camera.position)) @ camera.axes()[2] < -1.0
                if not in_front.all():
                    continue
                silhouette = placement.support(camera.project(corners))
                if any(placement.gap(silhouette, other) < 0.0 for other in seen):
                    continue
            taken.append(footprint)
            things.append(Thing(kind, pose, float(size), int(rng.integers(2**31))))
            break
    return things


def layouts(brief: Brief, width: int, height: int) -> Iterator[Photo]:
    """Layouts of one brief, for the caller to take the first that shows everything.

    Ends when objects cannot be placed: the frame is then too narrow for so many of them.
    """
    rng = np.random.default_rng(brief.seed)
    failures = 0
    while failures < _MOST_FAILURES:
        camera = _camera(brief, rng, width, height)
        items = _place_groups(_groups(brief, rng), camera, rng)
        if items is None:
            failures += 1
            continue
        azimuth = float(rng.uniform(0, 2 * np.pi))
        yield Photo(
            items=tuple(items),
            clutter=tuple(_place_clutter(items, camera, rng)),
            table=brief.table,
            room=Room(brief.room, azimuth, int(rng.integers(2**31))),
            camera=camera,
            look=_look(rng),
            seed=int(rng.integers(2**31)),
        )

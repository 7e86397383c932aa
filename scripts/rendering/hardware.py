"""Meshes of bolts, nuts and washers, by ISO 4017, 4032 and 7089 dimensions.

Every part is one loft: rings of the same number of points, neighbours joined by quads. The axis
is z. Lengths in the tables are millimetres, vertices are centimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLASSES = ("bolt", "nut", "washer")

POINTS_PER_RING = 72  # a multiple of six: each hexagon corner falls on a point
_THREAD_STEPS = 8  # rings per thread pitch
_CORNER_SHARPNESS = 70.0  # exponent of the norm that rounds the hexagon's corners


@dataclass(frozen=True)
class Size:
    """Dimensions of one metric thread size in millimetres."""

    diameter: float
    pitch: float
    across_flats: float
    head: float
    nut: float
    washer_outer: float
    washer_inner: float
    washer_thickness: float


SIZES = {
    "M8": Size(8, 1.25, 13, 5.3, 6.8, 16, 8.4, 1.6),
    "M10": Size(10, 1.5, 16, 6.4, 8.4, 20, 10.5, 2.0),
    "M12": Size(12, 1.75, 18, 7.5, 10.8, 24, 13.0, 2.5),
    "M14": Size(14, 2.0, 21, 8.8, 12.8, 28, 15.0, 2.5),
    "M16": Size(16, 2.0, 24, 10.0, 14.8, 30, 17.0, 3.0),
}


@dataclass(frozen=True)
class Mesh:
    """Vertices [N, 3] in centimetres and faces as tuples of vertex numbers."""

    vertices: np.ndarray
    faces: list[tuple[int, ...]]


def _angles() -> np.ndarray:
    return np.arange(POINTS_PER_RING) * (2 * np.pi / POINTS_PER_RING)


def _hexagon(across_flats: float) -> np.ndarray:
    """Radius of a hexagon with slightly rounded corners; a flat faces +x."""
    gauge = sum(
        np.abs(np.cos(_angles() - k * np.pi / 3)) ** _CORNER_SHARPNESS for k in range(3)
    ) ** (1 / _CORNER_SHARPNESS)
    return across_flats / 2 / gauge


def _ring(radius: np.ndarray | float, z: np.ndarray | float) -> np.ndarray:
    angles = _angles()
    radius = np.broadcast_to(radius, angles.shape)
    z = np.broadcast_to(z, angles.shape)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles), z], axis=1)


def _thread_depth(z: float, pitch: float) -> np.ndarray:
    """How deep (0 crest, 1 root) a right-hand thread is around a ring at height z."""
    phase = (z / pitch - _angles() / (2 * np.pi)) % 1.0
    return np.clip((0.5 - np.abs(phase - 0.5)) * 3.2 - 0.2, 0.0, 1.0)


def _thread_heights(start: float, end: float, pitch: float) -> np.ndarray:
    steps = max(2, round(abs(end - start) / pitch * _THREAD_STEPS))
    return np.linspace(start, end, steps + 1)


def _loft(rings: list[np.ndarray], closed: bool) -> Mesh:
    """Join rings by quads; ``closed`` joins the last to the first, else both ends get a cap."""
    n = POINTS_PER_RING
    faces: list[tuple[int, ...]] = []
    pairs = [(i, i + 1) for i in range(len(rings) - 1)]
    if closed:
        pairs.append((len(rings) - 1, 0))
    for a, b in pairs:
        faces += [
            (a * n + i, a * n + (i + 1) % n, b * n + (i + 1) % n, b * n + i) for i in range(n)
        ]
    if not closed:
        last = (len(rings) - 1) * n
        faces.append(tuple(reversed(range(n))))
        faces.append(tuple(last + i for i in range(n)))
    return Mesh(np.concatenate(rings) / 10.0, faces)


def washer(size: Size, wide: float = 1.0) -> Mesh:
    """A punched flat washer lying on z = 0; ``wide`` scales the outer diameter (body washers)."""
    outer, inner = size.washer_outer * wide / 2, size.washer_inner / 2
    t = size.washer_thickness
    edge, burr = 0.18 * t, 0.08 * t  # the punch rounds one side and leaves the other sharp
    profile = [
        (inner + burr, 0.0), (outer - burr, 0.0), (outer, burr), (outer, t - edge),
        (outer - 0.3 * edge, t - 0.3 * edge), (outer - edge, t), (inner + edge, t),
        (inner + 0.3 * edge, t - 0.3 * edge), (inner, t - edge), (inner, burr),
    ]  # fmt: skip
    return _loft([_ring(r, z) for r, z in profile], closed=True)


def _chamfer_height(radius: np.ndarray, flat_radius: float) -> np.ndarray:
    """How much the 30 degree cone outside ``flat_radius`` takes off a hexagon's end."""
    return np.maximum(0.0, radius - flat_radius) * np.tan(np.radians(30))


def nut(size: Size) -> Mesh:
    """A hexagon nut lying on z = 0, chamfered on both sides, with a thread in the hole."""
    hexagon, height = _hexagon(size.across_flats), size.nut
    flat = 0.96 * size.across_flats / 2
    chamfer = _chamfer_height(hexagon, flat)
    middle = (hexagon + flat) / 2
    half_chamfer = _chamfer_height(middle, flat)
    depth = 0.54 * size.pitch
    minor = size.diameter / 2 - depth
    countersink = size.diameter / 2 * 1.06
    sink = countersink - minor
    rings = [
        _ring(countersink, 0.0), _ring(flat, 0.0), _ring(middle, half_chamfer),
        _ring(hexagon, chamfer), _ring(hexagon, height - chamfer),
        _ring(middle, height - half_chamfer), _ring(flat, height), _ring(countersink, height),
    ]  # fmt: skip
    for z in _thread_heights(height - 0.05, 0.05, size.pitch):
        cone = countersink - np.minimum(z, height - z)
        thread = minor + depth * _thread_depth(z, size.pitch)
        rings.append(_ring(np.maximum(thread, min(cone, minor + sink)), z))
    return _loft(rings, closed=True)


def bolt(size: Size, length: float, plain: float) -> Mesh:
    """A hexagon bolt: bearing face at z = 0, head below it, tip at z = ``length`` (millimetres).

    ``plain`` is the length of the shank without thread.
    """
    hexagon, k = _hexagon(size.across_flats), size.head
    flat = 0.95 * size.across_flats / 2
    middle = (hexagon + flat) / 2
    radius, depth = size.diameter / 2, 0.6 * size.pitch
    collar = 0.93 * size.across_flats / 2
    rings = [
        _ring(flat * 0.7, -k), _ring(flat, -k), _ring(middle, -k + _chamfer_height(middle, flat)),
        _ring(hexagon, -k + _chamfer_height(hexagon, flat)), _ring(hexagon, -0.5),
        _ring(hexagon - 0.1, -0.4), _ring(collar, -0.4), _ring(collar, 0.0),
        _ring(radius + 0.4, 0.0), _ring(radius + 0.1, 0.12), _ring(radius, 0.45),
    ]  # fmt: skip
    start = max(plain, 0.8)
    rings.append(_ring(radius, start))
    for z in _thread_heights(start + 0.1, length, size.pitch):
        runout = min(1.0, (z - start) / size.pitch)
        tip = radius - depth * 1.15 + (length - z)
        thread = radius - depth * runout * _thread_depth(z, size.pitch)
        rings.append(_ring(np.minimum(thread, tip), z))
    rings.append(_ring(radius * 0.5, length))
    return _loft(rings, closed=False)

"""Things that lie about on a workbench and are no bolt, nut or washer.

Each builder makes objects that lie along x around the origin; ``build`` parents them to the pose.
"""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix

from rendering.plan import Thing
from rendering.surfaces import plain


def mesh_object(name: str, vertices: np.ndarray, faces: list[tuple[int, ...]], smooth: float = 0.0):
    """A linked mesh object; edges flatter than ``smooth`` radians are shaded smooth."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(np.asarray(vertices).tolist(), [], faces)
    if smooth:
        mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), dtype=bool))
        mesh.set_sharp_from_angle(angle=smooth)
    mesh.update()
    made = bpy.data.objects.new(name, mesh)
    bpy.context.collection.objects.link(made)
    return made


def _turned(name: str, profile: list[tuple[float, float]], sides: int = 48, smooth: float = 0.6):
    """A solid of revolution about x from (x, radius) pairs."""
    angles = np.arange(sides) * (2 * np.pi / sides)
    rings = [
        np.stack([np.full(sides, x), r * np.cos(angles), r * np.sin(angles)], axis=1)
        for x, r in profile
    ]
    faces = [
        (
            a * sides + i,
            a * sides + (i + 1) % sides,
            (a + 1) * sides + (i + 1) % sides,
            (a + 1) * sides + i,
        )
        for a in range(len(rings) - 1)
        for i in range(sides)
    ]
    faces += [
        tuple(range(sides - 1, -1, -1)),
        tuple((len(rings) - 1) * sides + i for i in range(sides)),
    ]
    return mesh_object(name, np.concatenate(rings), faces, smooth)


def _block(name: str, size: tuple[float, float, float], bevel: float):
    x, y, z = np.asarray(size) / 2
    corners = np.array(
        [[a * x, b * y, c * z + z] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]
    )
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    made = mesh_object(name, corners, faces, 0.7)
    if bevel:
        rounding = made.modifiers.new("bevel", "BEVEL")
        rounding.width, rounding.segments = bevel, 4
    return made


def _dress(made, surface) -> None:
    made.data.materials.append(surface)


def _pencil(thing: Thing, rng: np.random.Generator) -> list:
    r, half = 0.36, thing.size / 2
    paint = [(0.72, 0.42, 0.03), (0.03, 0.10, 0.30), (0.45, 0.03, 0.03), (0.02, 0.16, 0.09),
             (0.03, 0.03, 0.03)][int(rng.integers(5))]  # fmt: skip
    body = _turned("pencil", [(-half + 1.9, r), (half - 2.2, r)], sides=6, smooth=0.0)
    _dress(body, plain(paint, 0.3, seed=thing.seed))
    cone = _turned("pencil wood", [(half - 2.2, r * 0.97), (half - 0.6, 0.12)])
    _dress(cone, plain((0.58, 0.38, 0.2), 0.7, seed=thing.seed))
    lead = _turned("pencil lead", [(half - 0.6, 0.12), (half - 0.02, 0.025), (half, 0.01)])
    _dress(lead, plain((0.03, 0.03, 0.035), 0.4))
    ferrule = _turned(
        "pencil ferrule", [(-half + 0.9 + 0.1 * k, r * (1.0 + 0.05 * (k % 2))) for k in range(11)]
    )
    _dress(ferrule, plain((0.62, 0.55, 0.38), 0.25, 1.0))
    rubber = _turned(
        "pencil rubber", [(-half, r * 0.7), (-half + 0.12, r * 0.94), (-half + 0.9, r * 0.94)]
    )
    _dress(rubber, plain((0.55, 0.20, 0.18), 0.8))
    parts = [body, cone, lead, ferrule, rubber]
    for part in parts:
        part.location.z = r * np.cos(np.pi / 6)
        part.rotation_euler.x = np.pi / 6
    return parts


def _coin(thing: Thing, rng: np.random.Generator) -> list:
    r, t = thing.size / 2, 0.19
    colour = [(0.55, 0.27, 0.13), (0.62, 0.50, 0.26), (0.55, 0.53, 0.50)][int(rng.integers(3))]
    rim = [
        (0.0, r * 0.98),
        (0.02, r),
        (t - 0.02, r),
        (t, r * 0.98),
        (t, r * 0.90),
        (t - 0.03, r * 0.88),
    ]
    made = _turned("coin", rim, sides=96)
    made.rotation_euler.y = -np.pi / 2
    _dress(made, plain(colour, 0.3, 1.0, thing.seed))
    relief = [made]
    number = _text(str(rng.choice(["1", "2", "5", "10", "50"])), r * 1.05, (0, 0, t - 0.03), 0.018)
    _dress(number, made.data.materials[0])
    relief.append(number)
    for k in range(12):
        star = _turned("coin dot", [(0.0, r * 0.045), (0.02, r * 0.03)], sides=12)
        star.rotation_euler.y = -np.pi / 2
        angle = k * np.pi / 6
        star.location = (r * 0.76 * np.cos(angle), r * 0.76 * np.sin(angle), t - 0.03)
        _dress(star, made.data.materials[0])
        relief.append(star)
    return relief


def _text(text: str, size: float, where: tuple[float, float, float], depth: float = 0.0):
    curve = bpy.data.curves.new("text", "FONT")
    curve.body, curve.size, curve.extrude = text, size, depth
    curve.align_x, curve.align_y = "CENTER", "CENTER"
    made = bpy.data.objects.new("text", curve)
    made.location = where
    bpy.context.collection.objects.link(made)
    return made


def _ruler(thing: Thing, rng: np.random.Generator) -> list:
    steel = rng.uniform() < 0.5
    height, width = (0.07, 2.6) if steel else (0.22, 2.8)
    body = _block("ruler", (thing.size, width, height), 0.02)
    if steel:
        _dress(body, plain((0.55, 0.56, 0.57), 0.3, 1.0, thing.seed))
    else:
        _dress(
            body,
            plain(
                [(0.62, 0.44, 0.22), (0.75, 0.60, 0.05)][int(rng.integers(2))], 0.4, seed=thing.seed
            ),
        )
    parts, top = [body], height + 0.004
    corners, faces = [], []
    start = -thing.size / 2 + 0.4
    for k in range(int((thing.size - 0.8) * 10) + 1):
        long = 0.75 if k % 10 == 0 else 0.55 if k % 5 == 0 else 0.35
        x, y, w = start + k / 10, width / 2, 0.012
        faces.append(tuple(range(len(corners), len(corners) + 4)))
        corners += [
            (x - w, y - long, top),
            (x + w, y - long, top),
            (x + w, y, top),
            (x - w, y, top),
        ]
    ticks = mesh_object("ruler ticks", np.array(corners), faces)
    ink = plain((0.02, 0.02, 0.02), 0.6)
    _dress(ticks, ink)
    parts.append(ticks)
    for k in range(1, int(thing.size - 0.8) + 1):
        number = _text(str(k), 0.5, (start + k, width / 2 - 1.1, top))
        _dress(number, ink)
        parts.append(number)
    return parts


def _scrap(thing: Thing, rng: np.random.Generator) -> list:
    """A torn note: slightly wavy, with lines of writing."""
    half_x, half_y, n = thing.size / 2, 0.33 * thing.size, 40
    u, v = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n), indexing="ij")
    torn = np.cumsum(rng.normal(0, 0.012, n))
    x = u * half_x + np.where(u > 0.9, (u - 0.9) * 10 * (torn[None, :] * 4), 0.0)
    y = v * half_y
    curl = rng.uniform(0.0, 0.045)
    z = 0.008 + 0.0 * x
    # One corner bends up, by less than the thickness of a washer that may lie on it.
    corner = np.clip(u + v - 1.25, 0, None)
    z = z + curl * 4 * corner**2
    vertices = np.stack([x, y, z], axis=2).reshape(-1, 3)
    faces = [(i * n + j, (i + 1) * n + j, (i + 1) * n + j + 1, i * n + j + 1)
             for i in range(n - 1) for j in range(n - 1)]  # fmt: skip
    sheet = mesh_object("scrap", vertices, faces, 1.0)
    colour = [(0.72, 0.71, 0.68), (0.74, 0.62, 0.18), (0.62, 0.70, 0.74)][int(rng.integers(3))]
    _dress(sheet, plain(colour, 0.85, seed=thing.seed))
    parts = [sheet]
    words = [
        "2x M10",
        "order",
        "3 mm",
        "check",
        "left",
        "box 4",
        "tue",
        "bench",
        "cut 45",
        "9.80",
        "glue",
    ]
    ink = plain([(0.02, 0.03, 0.12), (0.03, 0.03, 0.03)][int(rng.integers(2))], 0.6)
    for row in range(int(rng.integers(2, 5))):
        line = _text(
            "  ".join(rng.choice(words, size=2)),
            0.55,
            (-0.1 * half_x, half_y * (0.5 - 0.38 * row), 0.012),
        )
        line.rotation_euler.z = float(rng.normal(0, 0.03))
        _dress(line, ink)
        parts.append(line)
    return parts


def _cable(thing: Thing, rng: np.random.Generator) -> list:
    radius = float(rng.uniform(0.12, 0.24))
    curve = bpy.data.curves.new("cable", "CURVE")
    curve.dimensions, curve.bevel_depth, curve.bevel_resolution = "3D", radius, 6
    spline = curve.splines.new("NURBS")
    knots = 6
    spline.points.add(knots - 1)
    side = 1.0
    for k, point in enumerate(spline.points):
        x = (k / (knots - 1) - 0.5) * thing.size
        point.co = (x, side * rng.uniform(0.0, 0.16) * thing.size, radius, 1.0)
        side = -side
    spline.use_endpoint_u, spline.order_u = True, 4
    made = bpy.data.objects.new("cable", curve)
    bpy.context.collection.objects.link(made)
    colours = [(0.02, 0.02, 0.02), (0.45, 0.02, 0.02), (0.6, 0.6, 0.58), (0.03, 0.08, 0.35)]
    _dress(made, plain(colours[int(rng.integers(4))], 0.45, seed=thing.seed))
    return [made]


def _eraser(thing: Thing, rng: np.random.Generator) -> list:
    rubber = _block("eraser", (thing.size, 1.9, 1.0), 0.15)
    _dress(rubber, plain((0.66, 0.65, 0.62), 0.75, seed=thing.seed))
    sleeve = _block("eraser sleeve", (thing.size * 0.62, 1.96, 1.04), 0.05)
    sleeve.location = (-thing.size * 0.1, 0, -0.01)
    paints = [(0.03, 0.10, 0.35), (0.05, 0.05, 0.05), (0.5, 0.06, 0.04)]
    _dress(sleeve, plain(paints[int(rng.integers(3))], 0.5))
    label = _text(
        str(rng.choice(["SOFT", "PLASTIC", "No. 526"])), 0.6, (-thing.size * 0.1, 0, 1.04)
    )
    _dress(label, plain((0.7, 0.7, 0.7), 0.5))
    return [rubber, sleeve, label]


def _screwdriver(thing: Thing, rng: np.random.Generator) -> list:
    half, r = thing.size / 2, 1.15
    grip = 8.0
    swell = [(0.0, 0.55), (0.1, 0.8), (0.6, 1.0), (1.6, 0.95), (2.6, 0.9), (4.5, 1.0),
             (6.0, 0.95), (6.8, 0.7), (7.3, 0.62), (8.0, 0.8)]  # fmt: skip
    handle = _turned("handle", [(-half + x, r * w) for x, w in swell], sides=10, smooth=0.9)
    paints = [(0.55, 0.04, 0.02), (0.75, 0.35, 0.02), (0.02, 0.08, 0.3), (0.04, 0.04, 0.04)]
    _dress(handle, plain(paints[int(rng.integers(4))], 0.25, seed=thing.seed))
    shaft = _turned("shaft", [(-half + grip, 0.3), (half - 0.7, 0.3), (half, 0.12)])
    _dress(shaft, plain((0.5, 0.5, 0.5), 0.25, 1.0, thing.seed))
    for part in (handle, shaft):
        part.location.z = r * np.cos(np.pi / 10)
        part.rotation_euler.x = np.pi / 10
    return [handle, shaft]


_BUILDERS = {
    "pencil": _pencil, "coin": _coin, "ruler": _ruler, "scrap": _scrap, "cable": _cable,
    "eraser": _eraser, "screwdriver": _screwdriver,
}  # fmt: skip


def build(thing: Thing) -> None:
    """Put a piece of clutter into the scene."""
    parts = _BUILDERS[thing.kind](thing, np.random.default_rng(thing.seed))
    bpy.context.view_layer.update()
    for part in parts:
        part.matrix_world = Matrix(thing.pose.tolist()) @ part.matrix_world

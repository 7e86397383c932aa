"""Surroundings painted as equirectangular light maps: metal looks like what it mirrors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HEIGHT, WIDTH = 512, 1024
KINDS = ("window", "lamp", "office", "overcast", "sun")


@dataclass(frozen=True)
class Room:
    """One surrounding: ``kind`` of light, the direction it comes from, and a seed for the rest."""

    kind: str
    azimuth: float
    seed: int


def _smooth_noise(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Noise in 0..1, [HEIGHT, WIDTH], interpolated from a coarse grid that wraps around."""
    grid = rng.uniform(size=(rows + 1, columns))
    y = np.linspace(0, rows - 1e-6, HEIGHT)
    x = np.linspace(0, columns, WIDTH, endpoint=False)
    i, j = y.astype(int), x.astype(int)
    fy, fx = (y - i)[:, None], (x - j)[None, :]
    fy, fx = fy * fy * (3 - 2 * fy), fx * fx * (3 - 2 * fx)
    after = (j + 1) % columns
    top = grid[i][:, j] * (1 - fx) + grid[i][:, after] * fx
    below = grid[i + 1][:, j] * (1 - fx) + grid[i + 1][:, after] * fx
    return top * (1 - fy) + below * fy


class _Canvas:
    def __init__(self) -> None:
        elevation = np.linspace(np.pi / 2, -np.pi / 2, HEIGHT)
        azimuth = np.linspace(-np.pi, np.pi, WIDTH, endpoint=False)
        self.elevation = np.broadcast_to(elevation[:, None], (HEIGHT, WIDTH))
        self.azimuth = np.broadcast_to(azimuth[None, :], (HEIGHT, WIDTH))
        self.light = np.zeros((HEIGHT, WIDTH, 3))

    def beside(self, azimuth: float) -> np.ndarray:
        """Angle of each pixel from a compass direction, -pi..pi."""
        return (self.azimuth - azimuth + np.pi) % (2 * np.pi) - np.pi

    def fill(self, where: np.ndarray, colour: np.ndarray, softness: float = 1.0) -> None:
        weight = np.clip(where * softness, 0.0, 1.0)[..., None]
        self.light = self.light * (1 - weight) + np.asarray(colour) * weight

    def panel(
        self, azimuth: float, elevation: float, width: float, height: float, colour: np.ndarray
    ) -> None:
        """A rectangle of light; angles in radians, edges soft by about half a degree."""
        across = width / 2 - np.abs(self.beside(azimuth))
        along = height / 2 - np.abs(self.elevation - elevation)
        self.fill(np.minimum(across, along), colour, softness=120.0)


def _warmth(kelvin: float) -> np.ndarray:
    """Rough colour of a light of this temperature, green = 1 (fit good to a few percent)."""
    t = (kelvin - 6500.0) / 1000.0
    return np.array([1.0 - 0.085 * t + 0.008 * t * t, 1.0, 1.0 + 0.11 * t - 0.004 * t * t])


def _walls(canvas: _Canvas, rng: np.random.Generator, level: float, colour: np.ndarray) -> None:
    shade = 0.55 + 0.45 * _smooth_noise(rng, 3, 5)
    canvas.light = level * shade[..., None] * colour
    ceiling = np.clip((canvas.elevation - rng.uniform(0.6, 0.9)) * 12, 0, 1)
    canvas.fill(ceiling, level * 1.5 * np.ones(3))
    for _ in range(int(rng.integers(5, 10))):  # furniture and pictures on the walls
        canvas.panel(
            rng.uniform(-np.pi, np.pi), rng.uniform(-0.25, 0.45), rng.uniform(0.1, 0.7),
            rng.uniform(0.1, 0.7), level * rng.uniform(0.05, 1.4) * rng.uniform(0.5, 1.0, 3),
        )  # fmt: skip
    below = np.clip((-0.05 - canvas.elevation) * 10, 0, 1)
    canvas.fill(below, level * 0.3 * rng.uniform(0.6, 1.0, 3))


def _window(canvas: _Canvas, rng: np.random.Generator, azimuth: float, colour: np.ndarray) -> None:
    width, height = rng.uniform(0.5, 0.9), rng.uniform(0.6, 0.9)
    elevation = rng.uniform(0.6, 0.85)
    canvas.panel(azimuth, elevation, width + 0.08, height + 0.08, np.full(3, 0.5))
    canvas.panel(azimuth, elevation, width, height, colour)
    canvas.panel(azimuth, elevation - 0.3 * height, width, 0.35 * height, colour * 0.55)
    canvas.panel(azimuth, elevation, 0.035, height, np.full(3, 0.3))
    canvas.panel(azimuth, elevation + rng.uniform(-0.1, 0.15), width, 0.03, np.full(3, 0.3))


def paint(room: Room) -> np.ndarray:
    """Light map [512, 1024, 3] float32, first row at the zenith."""
    rng = np.random.default_rng(room.seed)
    canvas = _Canvas()
    wall = rng.uniform(0.75, 1.0, 3)
    if room.kind == "window":
        _walls(canvas, rng, rng.uniform(0.2, 0.4), wall)
        _window(canvas, rng, room.azimuth, 14.0 * _warmth(rng.uniform(5800, 7600)))
        if rng.uniform() < 0.4:
            _window(canvas, rng, room.azimuth + 1.2, 10.0 * _warmth(rng.uniform(5800, 7600)))
    elif room.kind == "lamp":
        _walls(canvas, rng, rng.uniform(0.18, 0.30), wall * np.array([1.05, 0.95, 0.85]))
        colour = 55.0 * _warmth(rng.uniform(2900, 4200))
        size = rng.uniform(0.28, 0.42)
        canvas.panel(room.azimuth, rng.uniform(0.75, 1.1), size * 1.5, size, colour)
        canvas.panel(room.azimuth + 2.5, 0.5, 0.5, 0.7, 1.2 * _warmth(7000))
    elif room.kind == "office":
        _walls(canvas, rng, rng.uniform(0.3, 0.5), wall)
        colour = 11.0 * _warmth(rng.uniform(4200, 5600))
        for k in range(int(rng.integers(3, 6))):
            canvas.panel(
                room.azimuth + k * 2.1, rng.uniform(0.75, 1.25), rng.uniform(0.5, 0.9), 0.2, colour
            )
    elif room.kind in ("overcast", "sun"):
        height = np.clip(canvas.elevation, 0, None)[..., None]
        clouds = (0.6 + 0.8 * _smooth_noise(rng, 6, 10) * _smooth_noise(rng, 14, 22))[..., None]
        sky = (0.9 + 0.7 * np.sin(height)) * clouds * _warmth(6800)
        canvas.light = np.where(canvas.elevation[..., None] > 0, sky, 0.25 * wall)
        skyline = 0.12 + 0.35 * _smooth_noise(rng, 2, 14)
        canvas.fill(np.clip((skyline - canvas.elevation) * 60, 0, 1), 0.25 * rng.uniform(0.4, 1, 3))
        if room.kind == "sun":
            # A hazy sun: wide enough that shadows keep a soft rim.
            elevation = rng.uniform(0.65, 1.0)
            canvas.panel(room.azimuth, elevation, 0.10, 0.07, 1500.0 * _warmth(5400))
            canvas.light = canvas.light * np.array([0.75, 0.9, 1.1])
    else:
        raise ValueError(f"unknown room {room.kind!r}")
    # Whoever holds the phone stands in the light on the photo's near side.
    body = np.minimum(0.3 - np.abs(canvas.beside(-np.pi / 2)), 1.1 - np.abs(canvas.elevation - 0.2))
    canvas.fill(np.clip(body, 0, None), rng.uniform(0.02, 0.12) * rng.uniform(0.5, 1.0, 3), 10.0)
    return canvas.light.astype(np.float32)

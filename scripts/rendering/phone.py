"""The phone: where it is held, what it projects where, and what its image processing does.

Colours are linear float RGB until ``develop`` has finished.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

SENSOR = 36.0  # millimetres along the longer side: focal lengths are 35 mm equivalents


@dataclass(frozen=True)
class Camera:
    """A pinhole with a lens: position and target in centimetres, angles in radians.

    ``aperture`` is the radius of the entrance pupil in centimetres.
    """

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    roll: float
    focal_length: float
    aperture: float
    width: int
    height: int

    def axes(self) -> np.ndarray:
        """Rows: right, up and backward in table coordinates."""
        backward = np.subtract(self.position, self.target)
        backward = backward / np.linalg.norm(backward)
        # Straight down, "up" in the photo is +y.
        hint = np.array([0.0, 0.0, 1.0]) if abs(backward[2]) < 0.999 else np.array([0.0, 1.0, 0.0])
        right = np.cross(hint, backward)
        right /= np.linalg.norm(right)
        up = np.cross(backward, right)
        c, s = np.cos(self.roll), np.sin(self.roll)
        return np.stack([c * right + s * up, c * up - s * right, backward])

    @property
    def pixels_per_slope(self) -> float:
        return max(self.width, self.height) * self.focal_length / SENSOR

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixel coordinates [N, 2] (x right, y down) of points [N, 3] in front of the camera."""
        seen = (points - np.asarray(self.position)) @ self.axes().T
        slope = seen[:, :2] / -seen[:, 2:]
        centre = np.array([self.width / 2, self.height / 2])
        return centre + slope * self.pixels_per_slope * np.array([1.0, -1.0])

    def on_table(self, x: float, y: float) -> np.ndarray:
        """The point of the table [2] that is seen at a pixel."""
        slope = np.array([x - self.width / 2, self.height / 2 - y]) / self.pixels_per_slope
        ray = np.array([slope[0], slope[1], -1.0]) @ self.axes()
        if ray[2] > -1e-6:
            raise ValueError(f"pixel {x}, {y} looks above the horizon")
        return np.asarray(self.position)[:2] - ray[:2] * self.position[2] / ray[2]


@dataclass(frozen=True)
class Look:
    """What differs between phones, light and hands: see ``develop``."""

    brightness: float
    tint: tuple[float, float, float]
    correction: float
    vignette: float
    noise: float
    sharpening: float
    saturation: float
    contrast: float


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of [H, W, C] by two passes, edges repeated."""
    radius = max(1, int(3 * sigma + 0.5))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        pad = [(0, 0)] * image.ndim
        pad[axis] = (radius, radius)
        padded = np.pad(image, pad, mode="edge")
        length = image.shape[axis]
        image = sum(
            tap * np.take(padded, range(i, i + length), axis=axis) for i, tap in enumerate(taps)
        )
    return image


def _tone(x: np.ndarray) -> np.ndarray:
    """Narkowicz's fit of the ACES tone curve, then the sRGB transfer curve."""
    x = np.clip((x * (2.51 * x + 0.03)) / (x * (2.43 * x + 0.59) + 0.14), 0.0, 1.0)
    return np.where(
        x <= 0.0031308, 12.92 * x, 1.055 * np.power(np.maximum(x, 1e-8), 1 / 2.4) - 0.055
    )


def develop(linear: np.ndarray, look: Look, rng: np.random.Generator) -> Image.Image:
    """A finished photo from linear light [H, W, 3], as a phone would make it."""
    image = np.maximum(linear.astype(np.float64), 0.0)
    luminance = image @ np.array([0.2126, 0.7152, 0.0722])
    key = float(np.exp(np.log(luminance + 1e-4).mean()))
    # Phones meter on the average but protect the highlights.
    image = image * min(look.brightness / key, 1.5 / float(np.percentile(luminance, 97.0)))

    grey = image.mean(axis=(0, 1))
    gains = (grey.mean() / grey) ** look.correction * np.asarray(look.tint)
    image = image * gains

    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    off_axis = ((x - width / 2) ** 2 + (y - height / 2) ** 2) / ((width**2 + height**2) / 4)
    image = image * (1.0 - look.vignette * off_axis)[..., None]

    glow = _blur(np.clip(image - 1.2, 0.0, 6.0), 5.0)
    image = image + 0.06 * glow

    sigma = look.noise * np.sqrt(0.02 + image)
    grain = rng.normal(size=image.shape) * 0.5 + rng.normal(size=(height, width, 1)) * 0.7
    # In-camera denoising leaves soft grain, not single pixels.
    image = np.maximum(image + sigma * _blur(grain, 0.7) * 1.6, 0.0)

    image = _tone(image * 0.9)
    image = image + look.sharpening * (image - _blur(image, 1.1))
    image = 0.5 + (image - 0.5) * look.contrast
    grey = image @ np.array([0.2126, 0.7152, 0.0722])
    image = grey[..., None] + (image - grey[..., None]) * look.saturation
    return Image.fromarray((np.clip(image, 0.0, 1.0) * 255 + 0.5).astype(np.uint8), "RGB")

"""Small real photos and annotations for the tests of the data stages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

Boxes = list[tuple[str, float, float, float, float]]


def stage(script: str, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run a stage as a user does."""
    return subprocess.run(
        [sys.executable, str(SCRIPTS / script), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    )


def picture(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Blurred colours in a pattern of their own for each seed, so that no two look alike."""
    pattern = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(pattern).resize(size, Image.Resampling.BICUBIC)


def photo(path: Path, seed: int, size: tuple[int, int] = (96, 64), orientation: int = 1) -> Path:
    """A photo file; ``size`` is that of the stored pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    picture(seed, size).save(path, quality=92, exif=exif)
    return path


def annotate(
    photo: Path, boxes: Boxes, size: tuple[int, int] = (96, 64), name: str | None = None
) -> Path:
    """An xml beside the photo, with the layout that labelImg gives it."""
    objects = "".join(
        f"<object><name>{label}</name><pose>Unspecified</pose><truncated>0</truncated>"
        f"<difficult>0</difficult><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax>"
        f"<ymax>{d}</ymax></bndbox></object>"
        for label, a, b, c, d in boxes
    )
    xml = photo.with_suffix(".xml")
    xml.write_text(
        f"<annotation><folder>x</folder><filename>{name or photo.name}</filename>"
        f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
        f"<segmented>0</segmented>{objects}</annotation>",
        encoding="utf-8",
    )
    return xml


def dataset(root: Path, train: int = 5, test: int = 2) -> Path:
    """``root`` with bolts and nuts in every photo; nothing to complain about but its size."""
    seed = 0
    for split, count in (("train", train), ("test", test)):
        for number in range(count):
            path = photo(root / split / f"{number}.jpg", seed)
            many = [("bolt", 5 + i, 10, 40 + i, 50) for i in range(3)]
            annotate(path, [*many, ("nut", 50, 20, 80, 60), ("nut", 55, 20, 85, 60)])
            seed += 1
    return root

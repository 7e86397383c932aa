"""Render photos of bolts, nuts and washers with exact Pascal VOC boxes.

    python scripts/render_photos.py --output data/images --train 28 --test 10 --seed 7

Writes train/ and test/ with photo_01.jpg, photo_01.xml and so on. Every choice comes from --seed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from atomic import atomic_write
from console import InputError, progress, run, say
from dataset.voc import Annotation, Box, write
from rendering.plan import Brief, Photo, briefs, layouts

_LEAST_VISIBLE = 0.6  # of an object's whole silhouette; else another layout is tried
_MOST_LAYOUTS = 30


def boxes(numbers: np.ndarray, photo: Photo) -> tuple[Box, ...]:
    """Boxes of a photo's items in its index picture [H, W], as labelImg would give them.

    A box is the edges around an object's visible pixels; labelImg's smallest coordinate is 1.
    """
    height, width = numbers.shape
    found = []
    for number, item in enumerate(photo.items, start=1):
        rows, columns = np.nonzero(numbers == number)
        if not len(rows):
            raise ValueError(f"object {number} is not visible")
        left, top = int(columns.min()), int(rows.min())
        right, bottom = int(columns.max()) + 1, int(rows.max()) + 1
        cut = left == 0 or top == 0 or right == width or bottom == height
        found.append(Box(item.name, max(left, 1), max(top, 1), right, bottom, truncated=cut))
    return tuple(found)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Blender's own lines, which come from C, off stdout."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def take(brief: Brief, options: argparse.Namespace) -> tuple[tuple[Box, ...], Image.Image]:
    """The boxes and the picture of the first layout in which every object can be seen."""
    from rendering import phone, scene

    candidates = layouts(brief, options.width, options.height)
    for photo in itertools.islice(candidates, _MOST_LAYOUTS):
        scene.build(photo)
        index, whole = scene.visible(photo)
        seen = [int((index == i).sum()) for i in range(1, len(whole) + 1)]
        if all(s >= _LEAST_VISIBLE * w for s, w in zip(seen, whole)) and all(seen):
            break
    else:
        raise InputError(
            f"no layout of {len(brief.classes)} objects fits {options.width}x{options.height}; "
            "use another --seed, or --width and --height nearer to 4:3"
        )
    scene.build(photo)
    linear = scene.light(options.samples, photo.seed, options.threads)
    picture = phone.develop(linear, photo.look, np.random.default_rng(photo.seed))
    return boxes(index, photo), picture


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for train/ and test/")
    parser.add_argument("--train", type=int, default=28, help="photos in train/")
    parser.add_argument("--test", type=int, default=10, help="photos in test/")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--width", type=int, default=800)
    parser.add_argument("--height", type=int, default=600)
    parser.add_argument("--samples", type=int, default=16, help="light paths per pixel")
    parser.add_argument("--quality", type=int, default=85, help="JPEG quality")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", type=int, nargs="+", help="numbers of the photos to render")
    return parser.parse_args()


def _check(options: argparse.Namespace) -> None:
    for name in ("train", "test", "seed"):
        if getattr(options, name) < 0:
            raise InputError(f"--{name} must not be negative")
    for name, least in (("width", 200), ("height", 200), ("samples", 1), ("threads", 1)):
        if getattr(options, name) < least:
            raise InputError(f"--{name} must be at least {least}")
    try:
        import bpy  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"Blender's Python module bpy cannot be loaded ({error}); use the environment in "
            "docker/render (`inv data.render` does)"
        ) from error


def main() -> None:
    options = _arguments()
    _check(options)
    # Train and test are drawn from seeds that share nothing, so neither holds the other's scenes.
    train_seed, test_seed = (
        int(s.generate_state(1)[0]) for s in np.random.SeedSequence(options.seed).spawn(2)
    )
    work = [("train", b) for b in briefs(options.train, train_seed)]
    work += [("test", b) for b in briefs(options.test, test_seed)]
    started, objects = time.monotonic(), 0
    numbered = [w for w in enumerate(work, start=1) if not options.only or w[0] in options.only]
    for number, (split, brief) in progress(numbered, len(numbered), "rendering"):
        with _quiet():
            found, picture = take(brief, options)
        name = f"photo_{number:02d}"
        folder = options.output / split
        with atomic_write(folder / f"{name}.jpg") as path:
            picture.save(path, quality=options.quality, optimize=True)
        write(folder / f"{name}.xml", Annotation(f"{name}.jpg", *picture.size, found))
        objects += len(found)
    say(
        f"{len(numbered)} photos with {objects} objects in {options.output} "
        f"({time.monotonic() - started:.0f} s)"
    )


if __name__ == "__main__":
    run(main)

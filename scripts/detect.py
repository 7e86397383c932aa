"""Detect objects in photos or videos with an exported or converted detector.

    python scripts/detect.py --export artifacts/default/export --images my_photos/ \\
        --output artifacts/default/detect

--images is a photo, a folder (with its subfolders) or a pattern such as 'photos/*/front_*.jpg'.
Writes detections.json, with boxes in pixels of the original upright photo, and the photos with
boxes drawn on them below annotated/. A photo that cannot be read is reported and left out.

--video is a video file, a camera such as /dev/video0, or an address such as rtsp://camera/stream.
Writes a JSON line for every frame to detections.jsonl in --output, or to stdout without it, and
shows frames/s. Of what is live, frames that come while the detector is busy are dropped.

Ctrl-C and SIGTERM end it after the photo or frame in hand; what was found until then is kept.
"""

from __future__ import annotations

import argparse
import functools
import glob
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np
from PIL import Image

from atomic import atomic_write
from console import InputError, progress, run, say, warn
from dataset.folder import is_photo, natural_key
from dataset.image import PhotoError, load_photo, shown
from detection import runtimes
from detection.detections import Detections
from detection.drawing import draw_boxes
from detection.listing import listed
from stopping import Stop, end_on_sigterm
from video import source
from video.watch import watch


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        *("--export", "--artifact"),
        type=Path,
        required=True,
        help="folder that export.py or a converter wrote",
    )
    parser.add_argument("--runtime", default="tensorflow", help=", ".join(runtimes.names()))
    parser.add_argument("--device", default="", help="what the runtime shall run on")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--images", help="photo, folder or pattern")
    given.add_argument("--video", help="video file, camera or address of a stream")
    parser.add_argument("--size", default="", help="of a camera's picture, as in 1280x720")
    parser.add_argument("--output", type=Path, help="folder to write into")
    parser.add_argument("--score-threshold", type=float, default=0.5, help="default: %(default)s")
    arguments = parser.parse_args()
    end_on_sigterm()
    threshold = arguments.score_threshold
    if not 0 <= threshold <= 1:
        raise InputError("--score-threshold must be from 0 to 1")
    load = functools.partial(runtimes.load, arguments.runtime, arguments.export, arguments.device)
    if arguments.video:
        watch(load, source.find(arguments.video, arguments.size), arguments.output, threshold)
        return
    if not arguments.output:
        raise InputError("--images takes --output, a folder for pictures and detections.json")
    detect(load, arguments.images, arguments.output, threshold)


def detect(load: Callable[[], Any], images: str, output: Path, score_threshold: float) -> None:
    """Detect in all photos that ``images`` means; writes into ``output``.

    ``load`` gives the detector; it is called when it is clear that there are photos.

    InputError when there are no photos, or none that can be read. Told to stop, it
    writes what it has and ends the program.
    """
    root, names = find_photos(images)
    # Pictures that an earlier run drew, where the output lies among the photos.
    drawn = os.path.relpath((output / "annotated").resolve(), root.resolve()) + os.sep
    names = [name for name in names if not name.startswith(drawn)]
    if not names:
        raise InputError(f"{shown(images)}: there is no photo but those drawn by an earlier run.")
    runtime = load()
    classes = runtime.detector.classes
    pictures = picture_names(names)
    output.mkdir(parents=True, exist_ok=True)
    photos, objects, broken = 0, 0, 0
    whole = atomic_write(output / "detections.json")
    with Stop() as stop, whole as path, path.open("w", encoding="utf-8") as file:
        head = {"detector": runtime.detector.name, "score_threshold": score_threshold}
        # One photo a line, written as it is found: a hundred thousand photos need no memory.
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "images": [')
        for name in progress(names, len(names), "detect"):
            if stop:
                break
            try:
                photo = load_photo(root / name)
            except PhotoError as error:
                warn(f"{error} Left out.")
                broken += 1
                continue
            found = runtime.detect(photo).above(score_threshold)
            file.write(",\n" if photos else "\n")
            file.write(json.dumps(_entry(name, photo, found, classes), ensure_ascii=False))
            _draw(output / "annotated" / pictures[name], photo, found, classes)
            photos, objects = photos + 1, objects + len(found)
        file.write("\n]}\n")
        if not photos and not stop:
            raise InputError(f"none of the {len(names)} photos in {images} could be read")
    told = f", left out: {broken}" if broken else ""
    told += f", stopped before the other {len(names) - photos - broken}" if stop else ""
    say(f"{objects} objects in {photos} photos{told}: {output / 'detections.json'}")
    stop.leave()


def find_photos(images: str) -> tuple[Path, list[str]]:
    """The folder that all photos are below, and their paths relative to it, in natural order.

    InputError when ``images`` names nothing, or nothing that is a photo by its ending.
    """
    path = Path(images)
    if path.is_file():
        return path.parent, [path.name]
    if path.is_dir():
        names = [str(found.relative_to(path)) for found in _below(path)]
        if not names:
            raise InputError(f"{shown(images)}: there is no photo in this folder.")
        return path, sorted(names, key=natural_key)
    # Path.glob takes no absolute pattern.
    matches = [Path(match) for match in glob.glob(images, recursive=True)]  # noqa: PTH207
    files = {match for match in matches if match.is_file() and is_photo(match.name)}
    files.update(found for match in matches if match.is_dir() for found in _below(match))
    if not files:
        wrong = "no photo matches" if glob.has_magic(images) else "there is no such file or folder"
        raise InputError(f"{shown(images)}: {wrong}. Check the path.")
    root = Path(os.path.commonpath([file.parent for file in files]))
    return root, sorted((str(file.relative_to(root)) for file in files), key=natural_key)


def picture_names(names: Sequence[str]) -> dict[str, str]:
    """The annotated picture's path for each photo; no two are the same, in any letter case."""
    taken: set[str] = set()
    pictures = {}
    for name in names:
        picture = name if name.lower().endswith((".jpg", ".jpeg")) else f"{name}.jpg"
        while picture.casefold() in taken:
            picture = f"{picture}_.jpg"
        taken.add(picture.casefold())
        pictures[name] = picture
    return pictures


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent) / name for name in files if is_photo(name))


def _entry(
    name: str, photo: np.ndarray, found: Detections, classes: Sequence[str]
) -> dict[str, Any]:
    return {
        "file": shown(name),
        "width": photo.shape[1],
        "height": photo.shape[0],
        "detections": listed(found, classes),
    }


def _draw(path: Path, photo: np.ndarray, found: Detections, classes: Sequence[str]) -> None:
    labels = [f"{classes[i]} {s:.2f}" for i, s in zip(found.classes, found.scores)]
    # The best last: it covers the others.
    drawn = draw_boxes(Image.fromarray(photo), found.boxes[::-1], labels[::-1], found.classes[::-1])
    with atomic_write(path) as temporary:
        drawn.save(temporary, "JPEG", quality=90)


if __name__ == "__main__":
    run(main)

"""Find objects in photos, a video, a camera's picture or a stream.

    python scripts/detect.py --artifact FOLDER --runtime NAME photo.jpg folder
    python scripts/detect.py --artifact FOLDER --runtime NAME folder --output found
    python scripts/detect.py --artifact FOLDER --runtime NAME clip.mp4
    python scripts/detect.py --artifact FOLDER --runtime NAME /dev/video0 --size 1280x720
    python scripts/detect.py --artifact FOLDER --runtime NAME rtsp://user:password@camera/stream

SOURCE is photos, folders of photos (with their subfolders) or patterns such as 'photos/*/front_*',
as many as you like; or one video file, one camera, or one address of a stream. Of what is live,
frames that come while the detector is busy are dropped.

For every photo or frame there is a line of JSON on stdout, boxes in pixels of the upright original;
speed and warnings are on stderr. With --output files are written instead: detections.json and
annotated/, the photos with boxes drawn on them; of what moves, detections.jsonl.

A photo that cannot be read is reported and left out. Ctrl-C and SIGTERM end it after the photo or
frame in hand; what was found until then is kept.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
from PIL import Image

import invocation
from atomic import atomic_write
from console import InputError, run, say, warn
from dataset.folder import is_photo, natural_key
from dataset.image import PhotoError, load_photo, shown
from detection import runtimes
from detection.detections import Detections
from detection.drawing import draw_boxes
from detection.listing import listed
from live import Speed, print_line
from stopping import Stop, end_on_sigterm
from video import source
from video.watch import watch


def main() -> None:
    parser = invocation.parser(__doc__)
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="see above")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="write pictures and files there"
    )
    parser.add_argument(
        "--score-threshold",
        type=float,
        default=0.5,
        metavar="0..1",
        help="below it a detection is not shown (default: %(default)s)",
    )
    parser.add_argument(
        "--size", default="", metavar="WxH", help="of a camera's picture, as in 1280x720"
    )
    given = parser.parse_args()
    end_on_sigterm()
    if not given.sources:
        raise InputError(
            "say what to look at: photos, folders, a video, a camera such as /dev/video0, or an"
            f" address such as rtsp://camera/stream; {parser.prog} --help shows how"
        )
    threshold = given.score_threshold
    if not 0 <= threshold <= 1:
        raise InputError("--score-threshold must be from 0 to 1")
    moving = [one for one in given.sources if source.is_moving(one)]
    if moving and len(given.sources) > 1:
        raise InputError(
            f"{source.without_password(moving[0])}: a video, a camera or a stream is looked at"
            " alone; start the program once for each"
        )
    found = source.find(moving[0], given.size) if moving else None
    if given.size and not (found and found.is_camera):
        raise InputError("--size is asked of cameras; photos and videos have their own")
    load = functools.partial(runtimes.load, given.runtime, given.artifact, given.device)
    if found:
        if given.output:
            invocation.make_writable(given.output)
        watch(load, found, given.output, threshold)
    else:
        detect(load, given.sources, given.output, threshold)


def detect(
    load: Callable[[], Any],
    sources: Sequence[str],
    output: Optional[Path],
    score_threshold: float,
) -> None:
    """Detect in all photos that ``sources`` mean; writes into ``output``, or lines to stdout.

    ``load`` gives the detector; it is called when it is clear that there are photos.

    InputError when there are no photos, or none that can be read. Told to stop, it
    writes what it has and ends the program.
    """
    root, names = find_photos(sources)
    what = " ".join(map(shown, sources[:3])) + (" ..." if len(sources) > 3 else "")
    if output:
        # Pictures that an earlier run drew, where the output lies among the photos.
        drawn = os.path.relpath((output / "annotated").resolve(), root.resolve()) + os.sep
        names = [name for name in names if not name.startswith(drawn)]
        if not names:
            raise InputError(f"{what}: there is no photo but those drawn by an earlier run.")
        invocation.make_writable(output)
    runtime = load()
    head = {"detector": runtime.detector.name, "score_threshold": score_threshold}
    classes = runtime.detector.classes
    photos, objects, broken = 0, 0, 0
    with Stop() as stop, _files(output, names, head) if output else _lines() as write:
        speed = Speed(what, "photos", alone=output is not None or not sys.stdout.isatty())
        for number, name in enumerate(names, start=1):
            if stop:
                break
            try:
                photo = load_photo(root / name)
            except PhotoError as error:
                warn(f"{error} Left out.")
                broken += 1
                continue
            found = runtime.detect(photo).above(score_threshold)
            write(name, photo, found, classes)
            photos, objects = photos + 1, objects + len(found)
            speed.saw(f"{number} of {len(names)}", len(found))
        if not photos and not stop:
            raise InputError(f"none of the {len(names)} photos in {what} could be read")
        left = len(names) - photos - broken
        speed.end(
            [
                f"{objects} objects in {photos} photos",
                *([f"left out: {broken}"] if broken else []),
                *([f"stopped before the other {left}"] if stop else []),
            ]
        )
    if output:
        say(f"{output / 'detections.json'}")
    stop.leave()


Write = Callable[[str, np.ndarray, Detections, Sequence[str]], None]


@contextmanager
def _files(output: Path, names: Sequence[str], head: dict[str, Any]) -> Iterator[Write]:
    """Writes detections.json, whole or not at all, and pictures."""
    pictures = picture_names(names)
    whole = atomic_write(output / "detections.json")
    with whole as path, path.open("w", encoding="utf-8") as file:
        # One photo a line, written as it is found: a hundred thousand photos need no memory.
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "images": [')
        separator = "\n"

        def write(name: str, photo: np.ndarray, found: Detections, classes: Sequence[str]) -> None:
            nonlocal separator
            entry = _entry(name, photo, found, classes)
            file.write(separator + json.dumps(entry, ensure_ascii=False))
            separator = ",\n"
            _draw(output / "annotated" / pictures[name], photo, found, classes)

        yield write
        file.write("\n]}\n")


@contextmanager
def _lines() -> Iterator[Write]:
    """Writes a line for each photo to stdout, which warnings keep out of meanwhile."""
    stdout = sys.stdout

    def write(name: str, photo: np.ndarray, found: Detections, classes: Sequence[str]) -> None:
        entry = _entry(name, photo, found, classes)
        print_line(json.dumps(entry, ensure_ascii=False), stdout)

    with contextlib.redirect_stdout(sys.stderr):
        yield write


def find_photos(sources: Sequence[str]) -> tuple[Path, list[str]]:
    """The folder that all photos are below, and their paths relative to it, in natural order.

    InputError when one of ``sources`` names nothing, or nothing that is a photo by its ending.
    """
    roots: list[Path] = []
    files: set[Path] = set()
    for given in sources:
        root, meant = _meant(given)
        roots.append(root.absolute())
        files.update(path.absolute() for path in meant)
    common = Path(os.path.commonpath(roots))
    names = (str(path.relative_to(common)) for path in files)
    return common, sorted(names, key=natural_key)


def _meant(given: str) -> tuple[Path, set[Path]]:
    """The photos that one source means, and the folder that they are below."""
    path = Path(given)
    if path.is_file():
        return path.parent, {path}
    if path.is_dir():
        if not (found := set(_below(path))):
            raise InputError(
                f"{shown(given)}: there is no photo in this folder. (A video is given by its name.)"
            )
        return path, found
    # Path.glob takes no absolute pattern.
    matches = [Path(match) for match in glob.glob(given, recursive=True)]  # noqa: PTH207
    files = {match for match in matches if match.is_file() and is_photo(match.name)}
    files.update(found for match in matches if match.is_dir() for found in _below(match))
    if not files:
        wrong = "no photo matches" if glob.has_magic(given) else "there is no such file or folder"
        raise InputError(
            f"{shown(given)}: {wrong}. Check the path.{invocation.where_files_come_from()}"
        )
    return Path(os.path.commonpath([file.parent for file in files])), files


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

"""Draws boxes on photos with labelImg; each is written beside its photo as soon as it is there.

    python scripts/annotate.py --images data/images

The class names offered are those of the label map and of the annotations that are there. With
--serve the window is shown in a browser instead of on the display.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
from pathlib import Path

from annotating.browser import screen
from console import InputError, run, say
from dataset import label_map, voc
from dataset.folder import is_photo
from dataset.image import shown


def main() -> None:
    options = parser().parse_args()
    images = options.images.absolute()
    if not images.is_dir():
        raise InputError(f"{shown(images)}: there is no such folder. Check the path.")
    if not any(is_photo(path.name) for path in images.rglob("*")):
        raise InputError(f"{shown(images)}: there is no photo in it. Put some there.")
    names = classes(images, options.label_map)
    say(f"classes: {', '.join(names) or 'none yet; type the first one when you draw a box'}")
    with screen(options.serve) if options.serve else contextlib.nullcontext():
        annotate(images, names)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of photos")
    parser.add_argument("--label-map", type=Path, help="its class names are offered first")
    parser.add_argument(
        "--serve", type=Path, help="folder with a file `password`; the page appears at `page` there"
    )
    return parser


def classes(images: Path, known: Path | None) -> list[str]:
    """The names to offer: the label map's in its order, then others that are drawn already."""
    names = list(label_map.read(known)) if known else []
    drawn: set[str] = set()
    for path in images.rglob("*.xml"):
        annotation = voc.parse(path).annotation
        drawn |= {box.name for box in annotation.boxes} if annotation else set()
    return [*names, *label_map.classes_of(drawn - set(names))]


def annotate(images: Path, names: list[str]) -> None:
    """Show the window until it is closed, or until this process is asked to end."""
    from PyQt5.QtCore import QTimer  # imported late: --help needs no window system
    from PyQt5.QtWidgets import QApplication

    from annotating.window import AnnotationWindow

    os.environ.setdefault("QT_XCB_GL_INTEGRATION", "none")  # it only draws rectangles
    application = QApplication(["labelImg"])
    window = AnnotationWindow(images, names, Path.home() / "classes.txt")
    window.showMaximized()

    def end(*_: object) -> None:
        window.save_now()
        application.quit()  # leaves a dialog that is open as well, which closing would not

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    # Qt's loop is not Python's: signals are looked at when it comes back to Python.
    awake = QTimer()
    awake.timeout.connect(lambda: None)
    awake.start(100)
    application.exec_()


if __name__ == "__main__":
    run(main)

"""How a program that is also carried to devices was called: by hand, or as a package's command.

A package's ``run`` gives detector and runtime, and puts into ``DRYDOCK_COMMAND`` what was typed:
"./run detect", or "docker run IMAGE detect" in an image. Help and errors then speak of that.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from console import InputError
from detection import runtimes

COMMAND = os.environ.get("DRYDOCK_COMMAND", "")
IN_IMAGE = COMMAND.startswith("docker ")

_BY_HAND = r"python scripts/\w+\.py --artifact FOLDER --runtime NAME"


def parser(doc: str) -> argparse.ArgumentParser:
    """A parser with the options of every such program; ``doc`` is the program's docstring.

    Its examples begin with `python scripts/<program>.py --artifact FOLDER --runtime NAME`.
    """
    if COMMAND:
        doc = re.sub(_BY_HAND, lambda _: COMMAND, doc)
    if IN_IMAGE:
        doc += (
            "\nA container sees the files, cameras and ports that it is given, no others;"
            "\n`docker run IMAGE --help` shows how.\n"
        )
    made = argparse.ArgumentParser(
        prog=COMMAND or None,
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    of_the_package = argparse.SUPPRESS if COMMAND else None
    made.add_argument(
        "--artifact",
        type=Path,
        required=True,
        metavar="FOLDER",
        help=of_the_package or "what export.py or a converter wrote",
    )
    made.add_argument(
        "--runtime",
        required=True,
        metavar="NAME",
        help=of_the_package or ", ".join(runtimes.names()),
    )
    made.add_argument("--device", default="", help="what the runtime shall run on")
    return made


def where_files_come_from() -> str:
    """What to add to an error about a file that is not there; empty outside an image."""
    if not IN_IMAGE:
        return ""
    return (
        " A container sees only the folders that it is given, as with: docker run --volume"
        ' "$PWD:/data:ro"'
    )


def make_writable(folder: Path) -> None:
    """Make ``folder`` where it is missing; InputError when nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
        reason = "" if writable else "permission denied"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        how = (
            " A container writes only into folders that it is given and whose owner it is, as with:"
            ' docker run --volume "$PWD/found:/found" --user "$(id -u):$(id -g)"'
        )
        raise InputError(f"--output {folder}: {reason}.{how if IN_IMAGE else ''}")

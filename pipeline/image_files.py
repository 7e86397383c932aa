"""Files of an image, read without running anything of it."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Callable

from pipeline.errors import DrydockError
from pipeline.images import builder_environment


def read_files(image: str, folder: str, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The regular files below ``folder`` of an image that are ``wanted``; none where it is not.

    Their names begin with the folder's own. Raises DrydockError when there is no such image.
    """
    environ = builder_environment(os.environ)
    # Its command is never run, but an image without one of its own must be given one.
    made = subprocess.run(
        ["docker", "create", "--network=none", image, "-"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise DrydockError(f"{image} could not be read: {made.stderr.strip()}")
    container = made.stdout.strip()
    try:
        with subprocess.Popen(
            ["docker", "cp", f"{container}:{folder}", "-"],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as copying:
            assert copying.stdout is not None
            try:
                with tarfile.open(fileobj=copying.stdout, mode="r|") as archive:
                    return {
                        entry.name: archive.extractfile(entry).read()  # type: ignore[union-attr]
                        for entry in archive
                        if entry.isfile() and wanted(entry.name)
                    }
            except tarfile.ReadError:  # nothing came: there is no such folder
                return {}
            finally:
                copying.terminate()
    finally:
        subprocess.run(
            ["docker", "rm", "--force", container], env=environ, capture_output=True, check=False
        )

"""Where two images differ, file by file, from what `docker save` writes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from typing import cast

from pipeline.errors import DrydockError
from pipeline.images import builder_environment
from pipeline.scratch import scratch_folder

Entry = tuple[str, ...]


def differing_files(first: str, second: str) -> list[str]:
    """A line for each path that is not the same in both images, with what tells them apart."""
    sides = [_files(image) for image in (first, second)]
    lines = []
    for path in sorted({*sides[0], *sides[1]}):
        before, after = sides[0].get(path), sides[1].get(path)
        if before is None or after is None:
            lines.append(f"{path}: only in one of them")
        elif before != after:
            named = zip(("type", "mode", "owner", "time", "link", "content"), before, after)
            lines.append(f"{path}: {', '.join(what for what, a, b in named if a != b)}")
    return lines


def _files(image: str) -> dict[str, Entry]:
    """The image's files as its layers leave them, a later layer over an earlier one."""
    found: dict[str, Entry] = {}
    with scratch_folder() as scratch:
        archive = scratch / "image.tar"
        done = subprocess.run(
            ["docker", "save", f"--output={archive}", image],
            env=builder_environment(os.environ),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DrydockError(f"{image} could not be read: {done.stderr.strip()}")
        with tarfile.open(archive) as saved:
            manifest = saved.extractfile("manifest.json")
            assert manifest is not None
            for layer in json.load(manifest)[0]["Layers"]:
                content = saved.extractfile(layer)
                assert content is not None
                with tarfile.open(fileobj=content) as files:
                    found.update((f"/{file.name}", _entry(files, file)) for file in files)
    return found


def _entry(files: tarfile.TarFile, file: tarfile.TarInfo) -> Entry:
    content = cast("io.BufferedReader", files.extractfile(file)) if file.isfile() else None
    return (
        file.type.decode("latin-1"),
        oct(file.mode),
        f"{file.uid}:{file.gid}",
        str(file.mtime),
        file.linkname,
        hashlib.file_digest(content, "sha256").hexdigest() if content else "",
    )

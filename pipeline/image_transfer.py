"""Images between this engine, archives and registries."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pipeline.errors import DrydockError, HostError
from pipeline.images import builder_environment


def load(archive: Path) -> None:
    """Bring the images of an archive into the engine."""
    _docker("load", "--quiet", f"--input={archive}", failure=f"{archive} could not be loaded")


def load_stream(chunks: Iterable[bytes]) -> None:
    """Bring the images of an archive that comes in pieces into the engine."""
    with subprocess.Popen(
        ["docker", "load", "--quiet"],
        env=builder_environment(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        try:
            for chunk in chunks:
                process.stdin.write(chunk)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended early, and has said why
        except BaseException:
            process.kill()  # without its end nothing is taken from the archive
            raise
    if process.returncode:
        raise DrydockError("an image could not be loaded, see above")


def save_stream(image: str, write: Callable[[bytes], object]) -> None:
    """Write an image as an archive that `load` takes."""
    with subprocess.Popen(
        ["docker", "save", image], env=builder_environment(os.environ), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            while chunk := process.stdout.read(1 << 20):
                write(chunk)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise DrydockError(f"{image} could not be saved, see above")


def push(image: str, name: str) -> str:
    """Push an image of this engine as ``name``; returns its digest in the registry.

    What is there already is not sent again. The engine keeps the image under its own name only.
    """
    repository = name.rpartition(":")[0]
    _docker("tag", image, name, failure=f"{image} could not be tagged")
    # Its own progress, which on a terminal is a bar for each layer.
    try:
        done = subprocess.run(
            ["docker", "push", name], env=builder_environment(os.environ), check=False
        )
        if done.returncode:
            registry = name.partition("/")[0]
            raise HostError(
                f"{name} could not be pushed, see above; `docker login {registry}` lets this engine"
                " in"
            )
        listed = _docker("image", "inspect", "--format={{json .RepoDigests}}", name)
        digests: list[str] = json.loads(listed)
    finally:
        _docker("image", "rm", name)
    return next(one for one in digests if one.startswith(f"{repository}@")).partition("@")[2]


def join(name: str, sources: Sequence[str]) -> str:
    """Make ``name`` the multi-platform image of ``sources``, which are pushed; its digest."""
    _docker(
        *("buildx", "imagetools", "create", f"--tag={name}", *sources),
        failure=f"{name} could not be made of {', '.join(sources)}",
    )
    shown = _docker("buildx", "imagetools", "inspect", "--format={{json .Manifest}}", name)
    digest: str = json.loads(shown)["digest"]
    return digest


def _docker(*arguments: str, failure: str = "") -> str:
    done = subprocess.run(
        ["docker", *arguments],
        env=builder_environment(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        what = failure or f"docker {' '.join(arguments[:3])} failed"
        raise DrydockError(f"{what}: {done.stderr.strip()}")
    return done.stdout

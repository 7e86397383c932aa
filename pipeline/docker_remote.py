"""Files for an engine that does not see this machine's: copied in before a stage, out of it after.

What a stage may read and write is the same as with the files mounted, at the same paths: volumes
take their place, of which only the outputs can be written.
"""

from __future__ import annotations

import tarfile
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from pipeline import docker_engine, exchange
from pipeline.docker_options import HOME
from pipeline.errors import HostError, InputError
from pipeline.execution import Execution

# Of the repository: large, and never read by a stage unless it is declared.
_LEFT_OUT = frozenset({".git", ".venv", "artifacts", "data", "__pycache__"})


@dataclass(frozen=True)
class Volume:
    """What takes the place of a mounted folder."""

    target: Path
    content: tuple[Path, ...]  # files and folders of this machine, all of them below the target
    writable: bool


def volumes(execution: Execution) -> list[Volume]:
    """The volumes for a stage, parents first. Looks at what is a folder and what a file."""
    writes = sorted(execution.writes)
    root = execution.root
    code = [path for path in root.iterdir() if path.name not in _LEFT_OUT]
    content: dict[Path, list[Path]] = {root: sorted(code)}
    for path in sorted(execution.reads):
        if any(path.is_relative_to(place) for place in writes):
            continue
        if path.is_relative_to(root):
            content[root].append(path)
            continue
        target = path if path.is_dir() else path.parent
        if target in (Path("/"), Path("/tmp"), Path(HOME)):
            raise InputError(f"{path}: an engine elsewhere takes it from a folder of its own only")
        above = next((place for place in content if target.is_relative_to(place)), target)
        content.setdefault(above, []).append(path)
    found = [Volume(target, _outermost(paths), False) for target, paths in content.items()]
    found += [Volume(path, (path,), True) for path in _outermost(writes)]
    return sorted(found, key=lambda volume: volume.target)


def _outermost(paths: Iterable[Path]) -> tuple[Path, ...]:
    kept: list[Path] = []
    for path in sorted(paths):
        if not any(path.is_relative_to(other) for other in kept):
            kept.append(path)
    return tuple(kept)


def shares_files(client: Any, image: str, folder: Path) -> bool:
    """Whether the engine sees the files of this machine, tried out in ``folder``.

    A folder of the same name may be there too, so a file that nobody else has is looked for. The
    container is made for that and never started.
    """
    errors = docker_engine.library().errors
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".drydock-") as token:
        mount = {"Type": "bind", "Source": str(folder), "Target": "/probe", "ReadOnly": True}
        container = None
        try:
            container = client.containers.create(image, ["true"], entrypoint=[], mounts=[mount])
            container.get_archive(f"/probe/{Path(token.name).name}")
        except errors.ImageNotFound:
            raise HostError(f"the engine has no image {image}") from None
        except errors.APIError:
            return False
        finally:
            if container is not None:
                container.remove(force=True)
    return True


@contextmanager
def copied_in(
    client: Any, execution: Execution, image: str, user: str, labels: Mapping[str, str]
) -> Iterator[list[dict[str, Any]]]:
    """The mounts for a stage, with its inputs in them; they are gone when the block ends."""
    for folder in execution.writes:  # an earlier command may have been killed in `copy_out`
        exchange.recover(folder)
    planned = volumes(execution)
    made = [
        client.volumes.create(f"drydock-{uuid.uuid4().hex}", labels=dict(labels)) for _ in planned
    ]
    mounts = [
        {"Type": "volume", "Source": volume.name, "Target": str(plan.target), "ReadOnly": False}
        for volume, plan in zip(made, planned, strict=True)
    ]
    try:
        # Read-only volumes take nothing in, so they are filled through a container of their own.
        filler = client.containers.create(
            image, ["true"], entrypoint=[], mounts=mounts, labels=dict(labels), network_mode="none"
        )
        try:
            for plan in planned:
                inner = [other.target for other in planned if other.target != plan.target]
                with _packed(plan, inner, user) as archive:
                    filler.put_archive(str(plan.target), archive)
        finally:
            filler.remove(force=True)
        yield [
            {**mount, "ReadOnly": not plan.writable}
            for mount, plan in zip(mounts, planned, strict=True)
        ]
    finally:
        for volume in made:
            with suppress(Exception):
                volume.remove(force=True)


@contextmanager
def _packed(plan: Volume, inner: Sequence[Path], user: str) -> Iterator[IO[bytes]]:
    """A volume's content as an archive that belongs to the stage's user."""
    uid, gid = (int(number) for number in user.split(":"))

    def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if entry.name.rpartition("/")[2] == "__pycache__":
            return None
        entry.uid, entry.gid, entry.uname, entry.gname = uid, gid, "", ""
        return entry

    with tempfile.TemporaryFile() as scratch:
        with tarfile.open(fileobj=scratch, mode="w", format=tarfile.PAX_FORMAT) as archive:
            top = tarfile.TarInfo("./")
            top.type, top.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(cast("tarfile.TarInfo", owned(top)))
            for path in plan.content:
                archive.add(path, path.relative_to(plan.target), filter=owned)
            for target in inner:  # a place to mount the volume at that goes in there
                if target.is_relative_to(plan.target) and not plan.writable:
                    place = tarfile.TarInfo(str(target.relative_to(plan.target)))
                    place.type, place.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(cast("tarfile.TarInfo", owned(place)))
        scratch.seek(0)
        yield scratch


def copy_out(container: Any, writes: Iterable[Path]) -> None:
    """Bring the outputs here; each folder takes its place as a whole, or stays as it was.

    The files belong to the caller, whoever they belonged to over there.
    """
    for folder in _outermost(writes):
        arriving = exchange.arriving(folder)
        try:
            chunks, _ = container.get_archive(f"{folder}/.")
            with tempfile.TemporaryFile(dir=folder.parent) as scratch:
                scratch.writelines(chunks)
                scratch.seek(0)
                with tarfile.open(fileobj=scratch) as archive:
                    archive.extractall(arriving, filter="data")
            arriving.chmod(folder.stat().st_mode & 0o7777)
            exchange.put_in_place(arriving, folder)
        except (OSError, tarfile.TarError) as error:
            raise HostError(f"the outputs could not be brought to {folder}: {error}") from error
        finally:
            exchange.recover(folder)

"""Air gap: all that chosen environments need, in one archive, and on a host without network.

Packed are the packages of each lock and of the host's own, as files; the environments' images, so
that nothing has to be built there; weights that were fetched; datasets if asked for. Where it is
loaded, packages go to the wheelhouse (`virtualenvs`), images into the engine.
"""

from __future__ import annotations

import contextlib
import gzip
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from pipeline import (
    bundle_archive,
    docker_engine,
    download,
    environments,
    image_transfer,
    images,
    records,
    virtualenvs,
    weights,
)
from pipeline.bundle_archive import (
    DATA,
    HOST,
    IMAGES,
    WEIGHTS,
    WHEELS,
    File,
    Image,
    Manifest,
    Packed,
)
from pipeline.configuration import ROOT
from pipeline.environments import Environment, environment_digest
from pipeline.errors import DrydockError, HostError, InputError
from pipeline.execute import content_cache
from pipeline.paths import expanded
from pipeline.screen import megabytes, say, shown

_LOCK = ROOT / "requirements.txt"


def pack(
    names: Sequence[str], output: Path | None, data: Sequence[str], *, with_images: bool
) -> None:
    """`inv bundle`: pack environments (default: train) and datasets of data/."""
    chosen = [environments.load(name) for name in dict.fromkeys(names or ["train"])]
    revision = records.revision(ROOT)
    archive = output or Path.cwd() / f"drydock-{revision[:12]}.bundle"
    if archive.is_dir():
        raise InputError(f"--output {archive} is a folder; a file to write is wanted")
    datasets = _datasets(data)
    with_images = with_images and _engine_for(chosen)
    with _scratch_beside(archive) as scratch:
        sources: dict[str, Path] = {}
        say("the host's own packages")
        sources |= _fetched(HOST, Path(sys.executable), _LOCK, scratch)
        packed: dict[str, Packed] = {}
        saved: dict[str, Image] = {}
        for environment in chosen:
            lock = download.sha256_of(environment.lock)
            of_it, found = _images(environment, scratch) if with_images else ({}, {})
            # The environment's own is the last: those before it are what is built with.
            tag = [image.tag for image in of_it.values()][-1] if of_it else ""
            packed[environment.name] = Packed(environment.file.python, lock, tag)
            saved |= of_it
            sources |= found | _packages(environment, scratch)
        sources |= {f"{WEIGHTS}/{path.name}": path for path in weights.fetched()}
        sources |= datasets
        manifest = Manifest(
            revision=revision,
            machine=platform.machine(),
            python="{}.{}".format(*sys.version_info),
            environments=packed,
            files={
                name: File(name, path.stat().st_size, download.sha256_of(path))
                for name, path in sources.items()
            },
            images=saved,
        )
        size = sum(file.size for file in manifest.files.values())
        _room(archive.parent, size)
        say(f"writing {shown(archive)}")
        bundle_archive.write(archive, manifest, sources, download.meter())
    say(f"{shown(archive)}: {megabytes(archive.stat().st_size)}, {_listed(manifest)}")
    say(f"there, in a clone of {revision[:12]}: ./inv bundle --load {archive.name}")


def load(archive: Path) -> None:
    """`inv bundle --load`: check an archive as a whole, then install what it holds.

    Raises InputError, in one sentence and with nothing installed, for an archive that is damaged,
    hostile or made for something else; HostError where there is no room.
    """
    manifest = bundle_archive.read_manifest(archive)
    _fits(archive, manifest)
    engine = docker_engine.available() is None
    _room(virtualenvs.cache_folder(), sum(file.size for file in manifest.of(HOST, WHEELS, WEIGHTS)))
    say(f"checking {shown(archive)}")
    bundle_archive.verify(archive, manifest, download.meter())
    _install_data(archive, manifest)
    for file, content in bundle_archive.members(archive, manifest):
        name = PurePosixPath(file.path).name
        if file.kind in (HOST, WHEELS):
            destination = virtualenvs.wheelhouse() / name
            if not destination.is_file() or download.sha256_of(destination) != file.sha256:
                bundle_archive.extract(archive, file, content, destination)
        elif file.kind == WEIGHTS:
            bundle_archive.extract(archive, file, content, weights.kept(name, file.sha256))
        elif file.kind == IMAGES and engine:
            _load_image(archive, file, content, manifest.images[file.path])
    say(f"installed: {_listed(manifest)}")
    _advise(manifest, engine)


def _engine_for(chosen: Sequence[Environment]) -> bool:
    """Whether images can be packed; says why where they cannot."""
    if reason := docker_engine.available():
        if device := next((one.name for one in chosen if one.file.device), ""):
            raise HostError(f"{device} is carried as an image, and {reason}")
        say(f"no images are packed, because {reason}; the local runner needs none")
        return False
    return True


def _images(environment: Environment, scratch: Path) -> tuple[dict[str, Image], dict[str, Path]]:
    """The images that an environment needs, built where they are missing, and where they are saved;
    both by path in the archive."""
    cache = content_cache()
    digest = environment_digest(environment, cache)
    cache.save()
    saved, sources = {}, {}
    # A device's image is completed there, by the builder.
    for name in (*(["builder"] if environment.file.device else ()), environment.name):
        images.ensure_image(name, digest, ROOT, say)
        tag = images.image_tag(name, digest)
        content = docker_engine.image_content(tag)
        assert content is not None  # it is there by now
        say(f"saving the image of {name}")
        path = scratch / f"{images.bake_name(name)}-{digest[:12]}.tar.gz"
        with gzip.open(path, "xb", compresslevel=1) as output:
            image_transfer.save_stream(tag, output.write)
        saved[f"{IMAGES}/{path.name}"] = Image(tag, content)
        sources[f"{IMAGES}/{path.name}"] = path
    return saved, sources


def _load_image(archive: Path, file: File, content: IO[bytes], wanted: Image) -> None:
    """Bring an image into the engine unless it is there; InputError for another one."""
    if docker_engine.image_content(wanted.tag) == wanted.content:
        return
    say(f"loading {wanted.tag}")
    try:
        image_transfer.load_stream(bundle_archive.checked(archive, file, content))
    except InputError:
        raise
    except DrydockError as error:
        raise HostError(
            f"{wanted.tag}: {error}. Of it nothing is installed; what came before it in the bundle "
            "is, so --load goes on from there once the engine has room and is well"
        ) from None
    if docker_engine.image_content(wanted.tag) != wanted.content:
        raise InputError(f"{archive}: the image in it is not {wanted.tag} as its manifest has it")


def _packages(environment: Environment, scratch: Path) -> dict[str, Path]:
    """The packages that an environment is made from on a host, by path in the archive."""
    if environment.file.device:
        return {}
    say(f"the packages of {environment.name}")
    python = virtualenvs.find_python(environment.file.python)
    if not python:
        raise HostError(
            f"the packages of {environment.name} are chosen by Python "
            f"{environment.file.python}, which is not installed here"
        )
    sources = _fetched(WHEELS, Path(python), environment.lock, scratch)
    for tool, wanted in environment.file.tools.items():
        other = ["--python-version", wanted, "--only-binary", ":all:"]
        lock_of_tool = environment.tool_lock(tool)
        sources |= _fetched(WHEELS, Path(python), lock_of_tool, scratch, other)
    # What is published as source only is built there, with setuptools from the base's lock.
    if any(not name.endswith(".whl") for name in sources):
        base = ROOT / "docker" / "base" / "requirements.txt"
        sources |= _fetched(WHEELS, Path(python), base, scratch)
    return sources


def _fetched(
    kind: str, python: Path, lock: Path, scratch: Path, further: Sequence[str] = ()
) -> dict[str, Path]:
    """The files that ``python`` would install ``lock`` from; pip has checked their hashes."""
    folder = scratch / kind / download.sha256_of(lock)[:12]
    quiet = [] if sys.stderr.isatty() else ["-qq"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", str(python), "download", *quiet),
            *("--disable-pip-version-check", "--no-deps", "--require-hashes"),
            *further,
            # As uv installs them: an upper bound that a package states is often out of date.
            *("--ignore-requires-python", "--dest", str(folder), "--requirement", str(lock)),
        ],
        check=False,
    )
    if done.returncode:
        free = megabytes(shutil.disk_usage(scratch).free)
        raise HostError(
            f"the packages of {shown(lock)} could not be fetched, see above ({free} are free where"
            " they go)"
        )
    return {f"{kind}/{path.name}": path for path in sorted(folder.iterdir())}


def _datasets(folders: Sequence[str]) -> dict[str, Path]:
    """The files of datasets, by path in the archive; InputError for what is not in data/."""
    found = {}
    for name in folders:
        folder = expanded(name).resolve()
        if not folder.is_dir() or folder.parent != ROOT / DATA:
            raise InputError(f"--datasets {name}: a folder in {ROOT / DATA} is wanted")
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(ROOT)
            if path.is_file() and not any(part.startswith(".") for part in inside.parts):
                found[inside.as_posix()] = path
    return found


def _fits(archive: Path, manifest: Manifest) -> None:
    """Raise InputError where the archive is for another machine or another state of the clone."""
    if manifest.machine != platform.machine():
        raise InputError(
            f"{archive} was made on {manifest.machine}, and this machine is {platform.machine()}"
        )
    for name, packed in manifest.environments.items():
        lock = environments.load(name).lock
        if download.sha256_of(lock) != packed.lock:
            raise InputError(
                f"{archive} is for revision {manifest.revision[:12]}, whose packages of {name} "
                "are others than those of this clone: check that revision out"
            )
    for folder in _dataset_folders(manifest):
        if folder.exists() and any(
            not (ROOT / file.path).is_file() or download.sha256_of(ROOT / file.path) != file.sha256
            for file in manifest.of(DATA)
            if (ROOT / file.path).is_relative_to(folder)
        ):
            raise InputError(
                f"{shown(folder)} is not what {archive} holds, and an existing folder is never "
                "changed: move it away first"
            )


def _dataset_folders(manifest: Manifest) -> list[Path]:
    names = dict.fromkeys(PurePosixPath(file.path).parts[1] for file in manifest.of(DATA))
    return [ROOT / DATA / name for name in names]


def _install_data(archive: Path, manifest: Manifest) -> None:
    """Put each dataset in place, whole or not at all."""
    folders = [folder for folder in _dataset_folders(manifest) if not folder.exists()]
    if not folders:
        return
    _room(ROOT, sum(file.size for file in manifest.of(DATA)))
    with _scratch_beside(ROOT / DATA / "datasets") as scratch:
        for file, content in bundle_archive.members(archive, manifest):
            if file.kind == DATA:
                bundle_archive.extract(archive, file, content, scratch / file.path)
        for folder in folders:
            (scratch / DATA / folder.name).rename(folder)


def _room(folder: Path, size: int) -> None:
    place = next(part for part in (folder, *folder.parents) if part.exists())
    free = shutil.disk_usage(place).free
    if free < size:
        raise HostError(f"{place} has {megabytes(free)} free, and {megabytes(size)} are needed")


@contextlib.contextmanager
def _scratch_beside(path: Path) -> Iterator[Path]:
    """A folder on the same disk, gone at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        yield Path(scratch)


def _listed(manifest: Manifest) -> str:
    parts = [
        f"{len(found)} {what}"
        for kind, what in (
            (HOST, "packages of the host"),
            (WHEELS, "of environments"),
            (IMAGES, "images"),
            (WEIGHTS, "weights"),
            (DATA, "files of datasets"),
        )
        if (found := manifest.of(kind))
    ]
    return ", ".join(parts)


def _advise(manifest: Manifest, engine: bool) -> None:
    """What to know before the first command."""
    for name, packed in manifest.environments.items():
        has_python = bool(virtualenvs.find_python(packed.python))
        if packed.image and not engine and has_python:
            say(f"{name}: no container engine answers here, so its image was left out")
        elif engine and not packed.image:
            say(f"{name}: the bundle has no image of it, so use --runner local")
        elif not has_python and not (engine and packed.image):
            say(f"{name}: needs Python {packed.python} or a container engine, and here is neither")
    if "train" in manifest.environments:
        say("next: ./inv train")

"""Environments: the folders of ``docker/``, and what makes two of them the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.configuration import ROOT, EnvironmentFile, load_toml
from pipeline.content import ContentCache, digest
from pipeline.errors import InputError

# Of the tests alone, never an image: what serves a detector, and clients.
SERVING_TESTS = "tests/serving"


@dataclass(frozen=True)
class Environment:
    """A pinned toolchain: ``docker/<name>/`` with its Dockerfile and hash-locked requirements."""

    name: str
    folder: Path
    file: EnvironmentFile

    @property
    def lock(self) -> Path:
        """Every package of the environment by version and hash."""
        return self.folder / "requirements.txt"

    def tool_lock(self, tool: str) -> Path:
        """The packages that one of its tools comes from."""
        return self.folder / tool / "requirements.txt"


def names(root: Path = ROOT) -> list[str]:
    """All environments of the project."""
    return sorted(path.parent.name for path in (root / "docker").glob("*/environment.toml"))


def devices(root: Path = ROOT) -> list[str]:
    """The environments of ``docker/device/``: a runtime and no more, to be carried to a device."""
    return sorted(
        f"device/{path.parent.name}" for path in (root / "docker/device").glob("*/environment.toml")
    )


def load(name: str, root: Path = ROOT) -> Environment:
    """The environment called ``name``; InputError if there is none."""
    folder = root / name if name == SERVING_TESTS else root / "docker" / name
    if not (folder / "environment.toml").is_file():
        raise InputError(
            f"there is no environment '{name}'; docker/ has "
            f"{', '.join([*names(root), *devices(root)]) or 'none'}"
        )
    return Environment(name, folder, load_toml(folder / "environment.toml", EnvironmentFile))


def used(gpu: bool) -> list[str]:
    """The environments that a host with or without an NVIDIA GPU can make without further ado.

    Not those that need what no package registry has.
    """
    files = {name: load(name).file for name in names()}
    return [
        name for name, file in files.items() if (gpu or not file.variant_of) and not file.vendor
    ]


def gpu_variant(environment: Environment) -> Environment:
    """What takes the environment's place where there is an NVIDIA GPU; most often it itself."""
    root = environment.folder.parents[environment.name.count("/") + 1]
    others = (load(name, root) for name in names(root))
    return next(
        (other for other in others if other.file.variant_of == environment.name), environment
    )


def environment_digest(environment: Environment, cache: ContentCache) -> str:
    """sha256 over the environment's folder and those of the bases it builds on.

    It stands for the environment in every stage's key, whichever runner realises it. A variant is
    made by the Dockerfile of what it is a variant of.
    """
    file = environment.file
    files = cache.tree(environment.folder)
    docker = environment.folder.parents[environment.name.count("/")]
    # Every base but the first is itself made with the tools of that one.
    bases = [file.variant_of, file.base, file.builder, "base" if file.base else ""]
    for base in dict.fromkeys(filter(None, bases)):
        if (docker / base).is_dir():
            tree = cache.tree(docker / base)
            files |= {f"../{base}/{name}": value for name, value in tree.items()}
    return digest(files)

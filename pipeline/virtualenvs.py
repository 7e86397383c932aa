"""An environment as a local virtualenv, made by uv from the same lock as the image.

It lives in the user's cache under a hash of what went into it, so that all clones share it.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline import vendor
from pipeline.environments import Environment
from pipeline.errors import HostError
from pipeline.paths import expanded, home

# Where uv takes an index, a certificate or a proxy from, if pip was told of one.
_PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}


def cache_folder() -> Path:
    """Where environments and downloads are kept: ``DRYDOCK_CACHE``, else the user's cache."""
    if chosen := os.environ.get("DRYDOCK_CACHE"):
        return expanded(chosen).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache").absolute() / "drydock"


def wheelhouse() -> Path:
    """Where `inv bundle --load` puts packages; `./inv` itself looks there too."""
    return cache_folder() / "wheelhouse"


# Where an image has its environment, and what it says that this is.
_IN_AN_IMAGE = Path("/opt/venv")
_NAME_FILE = "environment"


def name(environment: Environment) -> str:
    """The name that stands for this very lock and Python version."""
    content = environment.file.python.encode() + b"\n" + environment.lock.read_bytes()
    for tool, python in environment.file.tools.items():
        content += f"{tool} {python}\n".encode() + environment.tool_lock(tool).read_bytes()
    if environment.file.vendor:
        content += environment.file.vendor.md5.encode()
    return f"{environment.name}-{hashlib.sha256(content).hexdigest()[:12]}"


def location(environment: Environment, image: Path = _IN_AN_IMAGE) -> Path:
    """Where the virtualenv of this very lock is, or would be.

    Inside an image of it, such as the dev container's, that is the image's own.
    """
    wanted = name(environment)
    try:
        if (image / _NAME_FILE).read_text().strip() == wanted:
            return image
    except OSError:  # not in such an image
        pass
    return cache_folder() / "environments" / wanted


def ensure(environment: Environment, say: Callable[[str], None]) -> Path:
    """The virtualenv's folder, made first if need be.

    It is built beside its final place and renamed when whole, so that an interrupted build is
    never taken for an environment. Raises HostError when a Python or the network is missing.
    """
    folder = location(environment)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another clone may be making the same one
        if folder.is_dir():
            return folder
        building = folder.with_suffix(".building")
        shutil.rmtree(building, ignore_errors=True)
        say(f"making the environment '{environment.name}' (first use; kept in {folder})")
        try:
            _build(environment, building, say)
            building.rename(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return folder


def _build(environment: Environment, folder: Path, say: Callable[[str], None]) -> None:
    python = environment.file.python
    wheel = environment.file.vendor
    brought = vendor.ensure(wheel, cache_folder(), say) if wheel else None
    # Relocatable, because the folder is renamed when it is whole.
    made = _uv(["venv", "--relocatable", "--python", python, str(folder)])
    if made.returncode:
        raise HostError(
            f"the environment '{environment.name}' needs Python {python}, which was not found and "
            f"could not be fetched ({_reason(made.stderr)}): {python_cure(python)}, or use "
            "--runner docker"
        )
    interpreter = ["--python", str(folder / "bin" / "python")]
    packages = ["sync", "--allow-empty-requirements", str(environment.lock)]
    _install(environment, [*packages, *interpreter])
    if brought:
        # What it declares is in the lock, as far as it can be had; its checksum is checked.
        made = _uv(["pip", "install", "--no-deps", "--offline", *interpreter, str(brought)])
        if made.returncode:
            raise HostError(f"{brought.name} could not be installed: {_reason(made.stderr)}")
    for tool, wanted in environment.file.tools.items():
        packages = ["install", "--no-deps", "--requirements", str(environment.tool_lock(tool))]
        apart = ["--target", str(folder / "tools" / tool), "--python-version", wanted]
        # Nothing could be built for another Python than the one that is there.
        _install(environment, [*packages, *apart, "--only-binary", ":all:", *interpreter])


def _install(environment: Environment, arguments: list[str]) -> None:
    if wheelhouse().is_dir():
        # What a bundle brought is enough where it is for this lock; every hash is checked anyway.
        local = ["--offline", "--no-index", "--find-links", str(wheelhouse())]
        if _uv(["pip", *arguments, "--require-hashes", *local, "--quiet"]).returncode == 0:
            return
    # uv draws its progress on a terminal; elsewhere it would only list every package.
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    done = _uv(["pip", *arguments, "--require-hashes", *quiet], show=True)
    if done.returncode:
        raise HostError(
            f"the packages of the environment '{environment.name}' could not be installed: see "
            "above. If the network or the disk failed, the same command goes on from uv's cache."
        )


def _reason(said: str) -> str:
    """The last of uv's chain of causes, which is what went wrong."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ").removeprefix("cause: ") if lines else "uv did not say"


def python_cure(version: str) -> str:
    """What a user does to get a Python; Debian's and Ubuntu's own is of one version only."""
    return f"run `.venv/bin/uv python install {version}` or `pyenv install {version}`"


def search_path(path: str, home: Path) -> str:
    """``PATH`` for uv: behind the user's own, every Python that pyenv has installed.

    pyenv's own programs on PATH refuse every version that is not switched on, and uv stops there.
    """
    root = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    found = root.glob("versions/*/bin") if os.access(root, os.R_OK | os.X_OK) else ()
    return os.pathsep.join([path, *map(str, sorted(found, reverse=True))])


def find_python(version: str) -> str:
    """The interpreter that an environment with Python ``version`` would get; "" if none."""
    found = _uv(["python", "find", "--no-python-downloads", "--no-project", version], listen=True)
    return found.stdout.strip() if found.returncode == 0 else ""


def uv_version() -> str:
    """uv's own version."""
    return _uv(["--version"], listen=True).stdout.strip()


def _uv(
    arguments: list[str], show: bool = False, listen: bool = False
) -> subprocess.CompletedProcess[str]:
    import uv  # imported late: a run with nothing to do does not need it

    settings = {**os.environ, **uv_settings(_pip_configuration(), os.environ)}
    settings["PATH"] = search_path(os.environ.get("PATH", os.defpath), home())
    return subprocess.run(
        [uv.find_uv_bin(), *arguments],
        env=settings,
        stdout=subprocess.PIPE if listen else None,
        stderr=None if show else subprocess.PIPE,
        text=True,
        check=False,
    )


def uv_settings(pip: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """uv does not read pip's configuration: what pip was told, in uv's words.

    ``pip`` is pip's own configuration (``index-url`` and so on, without section). What the user
    has set for uv itself wins. Folders given as extra indexes are left out; uv refuses them.
    """
    settings = {}
    for name, variable in _PIP_TO_UV.items():
        value = pip.get(name, "")
        if name == "extra-index-url":
            value = " ".join(url for url in value.split() if url.startswith("http"))
        if value and variable not in environment:
            settings[variable] = value
    return settings


def _pip_configuration() -> dict[str, str]:
    """pip's configuration as pip itself sees it, environment variables included."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in ("global", ":env:", "install"):
            found[name] = str(ast.literal_eval(value))  # pip prints Python literals
    return found

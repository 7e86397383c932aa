"""Packages that no registry has: a wheel from its maker's release, or from a folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from pipeline.configuration import VendorWheel
from pipeline.download import fetch_pinned
from pipeline.errors import DrydockError, HostError, NotAtHand

SETTING = "DRYDOCK_VENDOR"


def ensure(wheel: VendorWheel, cache: Path, say: Callable[[str], None]) -> Path:
    """The wheel as a file in ``cache``/vendor, checked.

    Taken from the folder that ``DRYDOCK_VENDOR`` names, the wheel itself or the maker's archive, or
    else fetched. NotAtHand, one sentence, where it is nowhere to be had.
    """
    kept = cache / "vendor" / wheel.file
    if kept.is_file() and _md5(kept) == wheel.md5:
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    folder = os.environ.get(SETTING, "")
    archive_name = wheel.archive.rpartition("/")[2]
    try:
        if folder and (brought := Path(folder, wheel.file)).is_file():
            _keep(brought, kept, wheel)
            return kept
        archive = Path(folder, archive_name) if folder else kept.parent / archive_name
        if not archive.is_file():
            say(f"fetching {wheel.file} from its maker")
            archive = fetch_pinned(wheel.archive, kept.parent)
        _unpack(archive, kept, wheel)
    except (DrydockError, OSError, tarfile.TarError) as error:
        raise NotAtHand(
            f"{wheel.file} is on no package registry and could not be had ({error}): download "
            f"{wheel.archive} where that is possible, put it or its wheel into a folder, and "
            f"set {SETTING} to that folder"
        ) from None
    return kept


def at_hand(wheel: VendorWheel, cache: Path) -> bool:
    """Whether an earlier `ensure` has left the wheel in ``cache``."""
    return (cache / "vendor" / wheel.file).is_file()


def _unpack(archive: Path, kept: Path, wheel: VendorWheel) -> None:
    with tarfile.open(archive) as content:
        for member in content:
            source = content.extractfile(member) if member.isfile() else None
            if source and Path(member.name).name == wheel.file:
                partial = kept.with_name(f".{kept.name}.unpacked")
                with partial.open("wb") as file:
                    shutil.copyfileobj(source, file)
                try:
                    _keep(partial, kept, wheel)
                finally:
                    partial.unlink(missing_ok=True)
                return
    raise HostError(f"{archive} does not hold it")


def _keep(source: Path, kept: Path, wheel: VendorWheel) -> None:
    """Copy ``source`` to ``kept``, whole or not at all, once its checksum is right."""
    if (found := _md5(source)) != wheel.md5:
        raise HostError(f"{source} has the MD5 {found} instead of {wheel.md5}")
    partial = kept.with_name(f".{kept.name}.partial")
    shutil.copyfile(source, partial)
    partial.replace(kept)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()

"""Files from the network: bounded, resumed where the server can, and never taken unchecked.

A download grows as ``NAME.part`` beside its destination and takes its place only when the
checksum is right, so whatever stands at the destination is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.errors import HostError, InputError

Progress = Callable[[int, "int | None"], None]  # bytes so far, bytes in all if known

CHECKSUMS = "checksums.json"  # in a cache folder: URL -> sha256 seen at its first use

_CHUNK = 1 << 18
_TIMEOUT = 30.0  # seconds without a byte
_LARGEST = 8 << 30  # bytes, where the caller does not know the size
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may be gone a moment later


class _Passing(Exception):
    """A failure that another attempt may cure."""


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_file(
    url: str,
    destination: Path,
    sha256: str | None,
    size: int | None = None,
    *,
    progress: Progress | None = None,
    attempts: int = 4,
    pause: float = 1.0,
) -> str:
    """Download ``url`` to ``destination`` and return its sha256.

    ``size`` in bytes, where known, must be met exactly. Failures that may pass (no connection, a
    body cut short, HTTP 5xx and the like) are tried again, up to ``attempts`` times, after
    ``pause`` seconds and twice as long each time; with a known sha256 each attempt goes on where
    the last one, even of an earlier call, ended. Proxies are taken from the environment.

    Raises InputError for a URL that is not http(s), HostError for everything else; the
    destination is then as it was before.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"{url}: only http and https addresses can be downloaded")
    part = destination.with_name(destination.name + ".part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        # Nobody could tell whether bytes of unknown content still belong to the same file.
        if sha256 is None:
            part.unlink(missing_ok=True)
        for attempt in range(1, attempts + 1):
            try:
                _receive(url, part, size, progress)
                break
            except _Passing as failure:
                if attempt == attempts:
                    raise HostError(
                        f"{url}: {failure} ({attempts} attempts); check the network and the proxy "
                        "settings, then run this again"
                    ) from failure
                if sha256 is None:
                    part.unlink(missing_ok=True)
                time.sleep(pause * 2 ** (attempt - 1))
        found = sha256_of(part)
        if sha256 is not None and found != sha256:
            part.unlink()
            raise HostError(
                f"{url}: the file's sha256 is {found}, expected {sha256}; the server, or a proxy "
                "in between, gives something else than what was pinned"
            )
        part.replace(destination)
    except OSError as error:
        raise HostError(f"{destination}: cannot be written: {error.strerror or error}") from error
    return found


def _receive(url: str, part: Path, size: int | None, progress: Progress | None) -> None:
    """One attempt: add to ``part`` until the body is whole."""
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have > size:
        part.unlink()
        have = 0
    if size is not None and have == size:
        return
    request = urllib.request.Request(url, headers={"User-Agent": "drydock"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            _take(response, part, have, size, progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # longer than the file: left from something else
            part.unlink(missing_ok=True)
            raise _Passing("the server refused to continue a partial download") from error
        if error.code in _PASSING:
            raise _Passing(f"the server answered {error.code} {error.reason}") from error
        raise HostError(f"{url}: the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _Passing(f"no connection: {error.reason}") from error
    except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        raise _Passing(f"the connection broke: {error or type(error).__name__}") from error


def _continues(content_range: str, have: int) -> int | None:
    """The file's whole size if a partial answer starts where we stopped, else None."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", content_range)
    return int(match[3]) if match and int(match[1]) == have else None


def _take(
    response: http.client.HTTPResponse,
    part: Path,
    have: int,
    size: int | None,
    progress: Progress | None,
) -> None:
    """Write an answer's body to ``part``, behind its first ``have`` bytes if the server goes on."""
    if response.status == 206:
        total = _continues(response.headers.get("Content-Range", ""), have)
        if total is None:
            part.unlink()
            raise _Passing("the server continued at the wrong place")
    else:  # the whole file, whatever was asked for
        have = 0
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
    expected = f"at most {_LARGEST}" if size is None else str(size)
    if total is not None and (total > _LARGEST or (size or total) != total):
        part.unlink(missing_ok=True)
        raise HostError(f"{response.url}: the file has {total} bytes, expected {expected}")
    whole = size if total is None else total
    with part.open("r+b" if have else "wb") as file:
        file.seek(have)
        while chunk := response.read(_CHUNK):
            have += len(chunk)
            # A body without a length could go on for ever: it is refused as soon as it is too long.
            if have > (whole or _LARGEST):
                part.unlink()
                raise HostError(f"{response.url}: the file goes on after {expected} bytes")
            file.write(chunk)
            if progress:
                progress(have, whole)
        file.flush()
        os.fsync(file.fileno())
    if have < (whole or 0):
        raise _Passing(f"the connection ended after {have} of {whole} bytes")


def fetch_pinned(url: str, cache_folder: Path, sha256: str | None = None) -> Path:
    """The file of ``url`` in a cache folder, downloaded if it is not there whole.

    Without a ``sha256``, the one of the first download is recorded in the folder's
    ``checksums.json`` and the file is held to it ever after. Raises as ``fetch_file``.
    """
    name = unquote(urlsplit(url).path).rsplit("/", 1)[-1]
    if name in ("", ".", "..", CHECKSUMS) or "\0" in name:
        raise InputError(f"{url}: does not end in a file name")
    path = cache_folder / name
    try:
        cache_folder.mkdir(parents=True, exist_ok=True)
        with _locked(cache_folder, name):  # another command may be fetching the same file
            pinned = sha256 or _recorded(cache_folder).get(url)
            if pinned and path.is_file() and sha256_of(path) == pinned:
                return path
            print(f"downloading {url}", flush=True)
            found = fetch_file(url, path, pinned, progress=meter())
            if not pinned:
                record(cache_folder, url, found)
                print(f"sha256 {found} recorded in {cache_folder / CHECKSUMS}", flush=True)
    except OSError as error:
        raise HostError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def _recorded(folder: Path) -> dict[str, str]:
    path = folder / CHECKSUMS
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise HostError(f"{path}: damaged ({error}); delete it to record anew") from error
    if not isinstance(entries, dict):
        raise HostError(f"{path}: damaged (no object); delete it to record anew")
    return entries


def record(folder: Path, url: str, sha256: str) -> None:
    """Hold the file of ``url`` in a cache folder to this sha256 from now on."""
    with _locked(folder, CHECKSUMS):
        entries = _recorded(folder) | {url: sha256}
        temporary = folder / f".{CHECKSUMS}.{os.getpid()}"
        temporary.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(folder / CHECKSUMS)


@contextlib.contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    """Hold a file of the folder: two at once would write over each other."""
    with (folder / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def meter() -> Progress | None:
    """A progress callback that redraws one line on a terminal; None where there is none."""
    if not sys.stdout.isatty():
        return None

    def show(done: int, total: int | None) -> None:
        of = f" of {total / 1e6:.1f}" if total else ""
        end = "\n" if total and done >= total else ""
        print(f"\r  {done / 1e6:.1f}{of} MB", end=end, flush=True)

    return show

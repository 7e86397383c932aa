"""Benchmarks on a board: what `inv package --format folder` packs is carried there by SSH and run.

Login, keys, jump hosts and the check of the host's key are those of the user's own `ssh`. The board
needs a shell, tar, sha256sum and the Python that the package names. Everything lies in one folder
below the home folder there; it is removed at the end, and left after an interruption, so that the
same command goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline import benchmarking, measurements, packaging, records
from pipeline.errors import HostError, InputError, StageFailed
from pipeline.execute import content_cache
from pipeline.experiment import Experiment
from pipeline.scratch import scratch_folder
from pipeline.screen import megabytes, say
from pipeline.targets import Variant

_PHOTOS = 8
_PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
_CONNECTION_FAILED = 255  # ssh's own exit code for all that is not the other side's

# Each says what it did not find, in words that the user reads.
_PROBE = """\
for tool in tar sha256sum uname; do
  command -v "$tool" >/dev/null || { echo "error: there is no $tool" >&2; exit 3; }
done
mkdir -p "$folder" && cd "$folder" || exit 3
uname -n; uname -m
find . -type f ! -path './venv/*' -exec sha256sum {} +
"""
_INSTALL = """\
cd "$folder" || exit 3
[ -e installed ] && exit 0
rm -rf venv && ./install >install.log 2>&1 && touch installed && exit 0
code=$?; tail -n 5 install.log >&2; exit "$code"
"""
_RUN = """\
cd "$folder" && rm -rf result && mkdir result || exit 1
./run benchmark photos --output=result --seconds="$seconds" --threads="$threads" >log \
  && cat result/round.json
"""


@dataclass(frozen=True)
class Board:
    """Where a board is reached, as the user gave it."""

    host: str
    user: str = ""
    port: int = 0

    @property
    def name(self) -> str:
        """As in messages and in the table."""
        return f"{self.user}@{self.host}" if self.user else self.host

    def command(self, script: str, **settings: str) -> list[str]:
        """The command that runs a shell script there, with ``settings`` as its variables."""
        where = ["-l", self.user] if self.user else []
        where += ["-p", str(self.port)] if self.port else []
        given = "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
        # Nobody is asked anything: an unknown host's key is refused, as is one that changed.
        options = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15")
        flags = [word for option in options for word in ("-o", option)]
        return ["ssh", *flags, *where, "--", self.host, f"sh -c {shlex.quote(given + script)}"]


def parse(address: str) -> Board:
    """The board at ``ssh://[user@]host[:port]``; InputError for anything else."""
    try:
        parts = urlsplit(address)
        port = parts.port or 0
    except ValueError:
        port, parts = 0, urlsplit("")
    host, user = parts.hostname or "", parts.username or ""
    plain = re.fullmatch(r"[\w.:-]+", host) and not host.startswith("-")
    if parts.scheme != "ssh" or not plain or parts.path not in ("", "/") or parts.password:
        raise InputError(f"--on {address}: it is ssh://user@board or ssh://user@board:port")
    if user and not re.fullmatch(r"\w[\w.-]*", user):
        raise InputError(f"--on {address}: {user!r} is no user's name")
    return Board(host, user, port)


def benchmark(
    experiment: Experiment,
    variants: Sequence[Variant],
    address: str,
    *,
    rounds: int,
    minutes: float,
    seconds: float,
    threads: int,
) -> None:
    """Measure ``variants``, which must be verified, on the board at ``address``.

    Writes <target>/<precision>/benchmark/<board>.json beside what was measured here. Of each
    variant a further round begins only where it can end before ``minutes`` are over.
    """
    board = parse(address)
    if lacking := sorted({one.target.name for one in variants if not one.target.package}):
        raise InputError(
            f"--on {address}: nothing is packed for {', '.join(lacking)}, so nothing can be carried"
        )
    for variant in variants:
        with scratch_folder() as scratch:
            made = packaging.package(
                experiment, variant.target, (variant.precision,), "folder", scratch
            )
            folder = Path(made.folder)
            _add_photos(experiment.data / "test", folder / "photos")
            say(f"{variant.name} to {board.name}: {megabytes(made.size)}")
            there = Visit(board, f".cache/drydock/{folder.name}-{made.detector[:12]}")
            name, machine = there.bring(folder)
            taken = there.measure(rounds, minutes, seconds, threads)
            there.leave()
        _keep(experiment, variant, {"board": name, "machine": machine, "at": board.name}, taken)


class Visit:
    """One package on one board."""

    def __init__(self, board: Board, folder: str) -> None:
        self.board, self.folder = board, folder

    def bring(self, package: Path) -> tuple[str, str]:
        """Copy what is not there yet, make the virtualenv; the board's name and architecture."""
        name, machine, *lines = self._ask("look around", _PROBE).splitlines()
        ours = _sums(package)
        theirs = {path.removeprefix("./"): sum_ for sum_, path in (x.split(None, 1) for x in lines)}
        missing = [path for path, sum_ in ours.items() if theirs.get(path) != sum_]
        if missing:
            say(f"copying {len(missing)} of {len(ours)} files")
            self._send(package, missing)
        say("making the virtualenv there, if it is not there yet")
        self._ask("make the virtualenv", _INSTALL)
        return name, machine

    def measure(
        self, rounds: int, minutes: float, seconds: float, threads: int
    ) -> list[dict[str, Any]]:
        """What ``rounds`` runs of the benchmark program brought, or those ``minutes`` allow."""
        options = {"seconds": str(seconds), "threads": str(threads)}
        taken = []
        clock = benchmarking.Clock(rounds, minutes)
        for number in range(1, rounds + 1):
            say(f"round {number} of {rounds} on {self.board.name}")
            taken.append(json.loads(self._ask("measure", _RUN, **options)))
            if not clock.another(number):
                break
        return taken

    def leave(self) -> None:
        """Remove what was brought."""
        self._ask("clean up", 'rm -rf "$folder"; rmdir .cache/drydock 2>/dev/null; true')

    def _ask(self, what: str, script: str, **settings: str) -> str:
        """Run a script there; what it printed."""
        done = subprocess.run(
            self.board.command(script, folder=self.folder, **settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise failure(self.board, what, done.returncode, done.stderr, self.folder)
        return done.stdout

    def _send(self, package: Path, paths: Iterable[str]) -> None:
        command = self.board.command('tar -x -m -f - -C "$folder"', folder=self.folder)
        with (
            tempfile.TemporaryFile() as said,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said) as process,
        ):
            assert process.stdin is not None
            try:
                with tarfile.open(fileobj=process.stdin, mode="w|") as archive:
                    for path in paths:
                        archive.add(package / path, path, filter=_owned_by_nobody)
                process.stdin.close()
            except BrokenPipeError:
                pass  # the other side tells why
            code = process.wait()
            said.seek(0)
            message = said.read().decode(errors="replace")
        if code:
            raise failure(self.board, "copy", code, message, self.folder)


def failure(board: Board, what: str, code: int, said: str, folder: str) -> Exception:
    """What went wrong on the way to the board, or there, and what to do about it."""
    lines = [line for line in said.splitlines() if line.strip()]
    last = lines[-1].strip() if lines else "it said nothing"
    by_hand = shlex.join(["ssh", *(["-p", str(board.port)] if board.port else []), board.name])
    if code == _CONNECTION_FAILED:
        if "Host key verification failed" in said:
            remedy = (
                "its key is not known, or not the one that is. Connect once by hand and compare "
                f"the fingerprint with the board's: {by_hand}"
            )
        elif "Permission denied" in said:
            remedy = f"it refuses the login. Bring it your key: ssh-copy-id {by_hand[4:]}"
        else:
            remedy = f"{last}. Is it on, and is this its address? Try: {by_hand}"
        return HostError(f"{board.name} cannot be reached: {remedy}")
    if "No space left on device" in said:
        return HostError(
            f"{board.name}: the disk is full. Make room (what was copied so far is in "
            f"~/{folder}) and run the same command again: it goes on from there."
        )
    told = next((one for one in lines if one.startswith("error: ")), last).removeprefix("error: ")
    lacks = code == HostError.exit_code
    return (HostError if lacks else StageFailed)(
        f"{board.name} could not {what}: {told}. What was copied is in ~/{folder} there; the same "
        "command goes on from it."
    )


def _keep(
    experiment: Experiment,
    variant: Variant,
    where: Mapping[str, str],
    taken: Sequence[dict[str, Any]],
) -> None:
    record = records.read(experiment.output(variant.artifact))
    assert record is not None  # it was verified
    cache = content_cache()
    result = {
        "subject": measurements.subject(
            variant, record.outputs, cache, f"device/{variant.target.package}"
        ),
        **benchmarking.summary(variant, taken, None),
        "stand_in": "",  # it is the device itself
        **where,
    }
    cache.save()
    result["cpu"] = result["cpu"] or where["machine"]
    slug = re.sub(r"[^\w.-]+", "-", where["board"])
    measurements.write(measurements.folder(experiment, variant), f"board-{slug}.json", result)
    benchmarking.show([result])


def _add_photos(test: Path, folder: Path) -> None:
    photos = [path for path in sorted(test.iterdir()) if path.suffix.lower() in _PHOTO_ENDINGS]
    if not photos:
        raise InputError(f"{test}: there is no photo here to measure with.")
    folder.mkdir()
    for photo in photos[:_PHOTOS]:
        (folder / photo.name).write_bytes(photo.read_bytes())


def _sums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _owned_by_nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry

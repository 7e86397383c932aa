"""Between invoke and the pipeline: errors as messages and exit codes, options as settings."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pipeline.configuration import ROOT, Settings, Stage
from pipeline.errors import DrydockError, HostError, InputError, Interrupted
from pipeline.paths import expanded


def debugging() -> bool:
    """Whether tracebacks are wanted: ``--debug`` or ``DRYDOCK_DEBUG``."""
    return "--debug" in sys.argv or bool(os.environ.get("DRYDOCK_DEBUG"))


@contextlib.contextmanager
def errors_told() -> Iterator[None]:
    """Turn an expected failure into its message on stderr and its exit code."""
    try:
        yield
    except KeyboardInterrupt:
        _end(Interrupted("interrupted; the same command goes on from what is done"))
    except DrydockError as error:
        _end(error)
    except BrokenPipeError:
        # The reader went away, as `head` does: nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _end(HostError(_refused(error)), error)


def _refused(error: OSError) -> str:
    """What the system refused, and what to do about it where that is plain."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{where}: make room and run the same command again"
    what = f"{(error.strerror or str(error)).lower()}{where}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{what}: make it yours (chown, chmod), or work in a clone that is"
    return f"{what}; --debug shows where it came from"


def _end(error: DrydockError, cause: OSError | None = None) -> None:
    if debugging():
        raise error from cause
    sys.stdout.flush()
    print(f"error: {error}", file=sys.stderr, flush=True)
    sys.exit(error.exit_code)


def given(options: Mapping[str, object]) -> dict[str, object]:
    """The settings among a command's options that were given, as numbers where they are numbers.

    Invoke hands over text for an option without default. A dataset outside the repository is kept
    as an absolute path, one inside relative to it.
    """
    chosen: dict[str, object] = {}
    for name, kind in Settings.__annotations__.items():
        value = options.get(name)
        if value is None:
            continue
        chosen[name] = _number(name, str(value), kind) if kind in ("int", "float") else str(value)
    for name in ("data", "weights"):
        if name in chosen:
            chosen[name] = _path(str(chosen[name]), keep=name == "weights")
    return chosen


# What options take that are no settings of an experiment.
_CHOICES = {"runner": ("auto", "docker", "local"), "gpu": ("auto", "on", "off")}
_LEAST = {"jobs": 0, "rounds": 1, "threads": 0}


def refuse_impossible(options: Mapping[str, object]) -> None:
    """InputError for an option that cannot be, also where the command would not need it."""
    for name, known in _CHOICES.items():
        if (value := options.get(name, known[0])) not in known:
            raise InputError(f"--{name} {value}: it is one of {', '.join(known)}")
    for name, least in _LEAST.items():
        if isinstance(value := options.get(name, least), int) and value < least:
            raise InputError(f"--{name} {value}: it is at least {least}")
    for name in ("minutes", "seconds"):
        if isinstance(value := options.get(name, 1.0), float) and not value > 0:
            raise InputError(f"--{name} {value}: it is more than 0")


def _number(name: str, text: str, kind: str) -> int | float:
    try:
        return int(text) if kind == "int" else float(text)
    except ValueError:
        raise InputError(f"--{name.replace('_', '-')} {text}: a number is wanted") from None


def _path(text: str, keep: bool) -> str:
    """A path as typed, made independent of the folder it was typed in.

    With ``keep`` a text that is no path (the name of weights) stays as it is.
    """
    path = expanded(text)
    if keep and not (path.exists() or path.parent != Path()):
        return text
    absolute = path.resolve()
    return str(absolute.relative_to(ROOT)) if absolute.is_relative_to(ROOT) else str(absolute)


def known_stage(name: str, stages: Mapping[str, Stage]) -> str:
    """``name`` if it is a stage."""
    if name not in stages:
        raise InputError(
            f"there is no stage '{name}' here; it is one of "
            f"{', '.join(stage for stage in stages if '/' not in stage)} or of a target, "
            "such as openvino-cpu/fp16/verify"
        )
    return name


def names(values: Iterable[str]) -> list[str]:
    """The names in an option that may be repeated or hold several with commas between them."""
    return [name for value in values for name in value.replace(",", " ").split()]


def port_number(text: str, free: bool = False) -> int:
    """A TCP port that a user may open; with ``free`` also 0, for any that is."""
    if free and text == "0":
        return 0
    if not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise InputError(f"--port {text}: a number from 1024 to 65535 is wanted")
    return int(text)


def after_dashes() -> list[str]:
    """What stands behind ``--`` on the command line, each word as the shell gave it."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []

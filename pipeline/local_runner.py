"""The local runner: a stage as a process of this host, in the environment's virtualenv."""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline import hardware, virtualenvs
from pipeline.environments import Environment
from pipeline.errors import HostError, InputError
from pipeline.execution import Execution, Output
from pipeline.scratch import scratch_folder

NAME = "local"

_GRACE_SECONDS = 10
_PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>


def unavailable() -> str | None:
    """Why this runner cannot be used; None, since any host can."""
    return None


def gpu() -> tuple[bool, bool]:
    """Whether an NVIDIA driver answers, and whether a stage can be given its GPUs."""
    return hardware.nvidia_driver(), True


def locate(environment: Environment, digest: str) -> str:
    """What would run the stage, without making it: the virtualenv's folder."""
    return str(virtualenvs.location(environment))


def realise(environment: Environment, digest: str, say: Callable[[str], None]) -> str:
    """The virtualenv's folder, made if need be."""
    return str(virtualenvs.ensure(environment, say))


def command_line(execution: Execution, realised: str) -> list[str]:
    """What is run, as it can be pasted into a shell at the root of the repository."""
    program, *arguments = execution.argv
    settings = [f"{name}={value}" for name, value in sorted(execution.settings.items())]
    found = shutil.which(program, path=_search_path(Path(realised)))
    return ["env", *settings, found or str(Path(realised) / "bin" / program), *arguments]


def run(execution: Execution, realised: str, output: Output) -> int:
    """Run the stage and hand on what it prints; returns its exit code.

    The stage sees a home and a temporary folder of its own and none of the caller's Python
    settings. It dies with this process, also when that is killed with SIGKILL: a stage that ran
    on alone would write beside the next one.
    """
    program, *arguments = execution.argv
    found = shutil.which(program, path=_search_path(Path(realised)))
    if not found:
        raise InputError(f"there is no program '{program}' in {realised}/bin, nor on PATH")
    with (
        scratch_folder() as home,
        _terminal_left_to_program() if execution.interactive else contextlib.nullcontext(),
    ):
        process = subprocess.Popen(
            [found, *arguments],
            cwd=execution.root,
            env=_settings(execution, Path(realised), str(home)),
            stdin=None if execution.interactive else subprocess.DEVNULL,
            stdout=None if execution.interactive else subprocess.PIPE,
            stderr=None if execution.interactive else subprocess.PIPE,
            # Nothing here runs threads before the fork, and the function only makes a system call.
            preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
        )
        try:
            if not execution.interactive:
                _forward(process, output)
            code = process.wait()
        except BaseException:  # Ctrl-C too: the stage got it from the terminal, or gets it here
            _stop(process)
            raise
    if code == -signal.SIGKILL:
        raise HostError(
            "the stage was killed from outside (signal 9). On Linux that is most often the kernel "
            "short of memory (`dmesg` tells): close other programs or use a smaller --batch."
        )
    return 128 - code if code < 0 else code


@contextlib.contextmanager
def _terminal_left_to_program() -> Iterator[None]:
    """Ctrl-C is for the program in the terminal, which may go on: a prompt only drops its line."""
    # A function and not SIG_IGN, which the program would inherit.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _search_path(virtualenv: Path) -> str:
    """The environment's own programs, then the host's: a shell, say."""
    return f"{virtualenv / 'bin'}:{os.environ.get('PATH', os.defpath)}"


def _settings(execution: Execution, virtualenv: Path, home: str) -> dict[str, str]:
    return {
        "PATH": _search_path(virtualenv),
        "VIRTUAL_ENV": str(virtualenv),
        "HOME": os.environ.get("HOME", home) if execution.interactive else home,
        "TMPDIR": home,
        "LANG": "C.UTF-8",
        "TERM": os.environ.get("TERM", "dumb"),
        **execution.settings,
        **({} if execution.gpu else {"CUDA_VISIBLE_DEVICES": "-1"}),
    }


def _forward(process: subprocess.Popen[bytes], output: Output) -> None:
    with selectors.DefaultSelector() as selector:
        for name, stream in (("stdout", process.stdout), ("stderr", process.stderr)):
            assert stream is not None
            selector.register(stream, selectors.EVENT_READ, name)
        while selector.get_map():
            for key, _ in selector.select():
                chunk = os.read(key.fd, 65536)
                if chunk:
                    output(key.data, chunk)
                else:
                    selector.unregister(key.fileobj)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the stage to end as Ctrl-C would, so that it can tidy up; then insist."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
            return
        process.kill()
        process.wait()


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it is gone (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

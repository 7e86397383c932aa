"""The two runners: modules of one shape, and the choice between them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from pipeline import docker_runner, local_runner
from pipeline.environments import Environment
from pipeline.errors import HostError, InputError
from pipeline.execution import Execution, Output


class Runner(Protocol):
    """What both modules offer."""

    NAME: str

    def unavailable(self) -> str | None: ...
    def gpu(self) -> tuple[bool, bool]: ...
    def locate(self, environment: Environment, digest: str) -> str: ...
    def realise(self, environment: Environment, digest: str, say: Callable[[str], None]) -> str: ...
    def command_line(self, execution: Execution, realised: str) -> list[str]: ...
    def run(self, execution: Execution, realised: str, output: Output) -> int: ...


RUNNERS: dict[str, Runner] = {"docker": docker_runner, "local": local_runner}


def choose(asked: str) -> tuple[Runner, str]:
    """The runner for ``--runner asked`` and why it was taken, in a few words.

    ``DRYDOCK_RUNNER`` chooses where the command line does not.
    """
    why = "asked for"
    if asked == "auto" and (preferred := os.environ.get("DRYDOCK_RUNNER")):
        asked, why = preferred, "as DRYDOCK_RUNNER says"
    if asked == "auto":
        reason = docker_runner.unavailable()
        if reason is None:
            return docker_runner, "an engine answers"
        return local_runner, reason
    if asked not in RUNNERS:
        raise InputError(f"--runner {asked}: it is one of auto, {', '.join(RUNNERS)}")
    runner = RUNNERS[asked]
    if reason := runner.unavailable():
        raise HostError(f"--runner {asked}: {reason}; --runner local works without an engine")
    return runner, why

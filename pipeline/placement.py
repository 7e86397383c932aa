"""Where a program runs: its environment, or the variant of it for the GPU of this host."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from pipeline import environments, screen
from pipeline.content import ContentCache
from pipeline.environments import Environment
from pipeline.errors import HostError, InputError
from pipeline.runners import Runner


@dataclass(frozen=True)
class Place:
    """What a runner realises, and whether the program gets the GPU there."""

    environment: Environment
    digest: str
    gpu: bool


def place(runner: Runner, name: str, wanted: str, cache: ContentCache) -> Place:
    """Where a program of the environment ``name`` runs; ``wanted`` is what --gpu says.

    The user is told once in a command where a GPU has to lie idle. Raises HostError where one was
    asked for and cannot be had.
    """
    environment = environments.load(name)
    if not environment.file.gpu:
        gpu = False
    elif environment.file.variant_of:  # asked for by name: `inv shell train-cuda`
        gpu = _gpu(runner, "auto")
    else:
        gpu = _gpu(runner, wanted)
        environment = environments.gpu_variant(environment) if gpu else environment
    return Place(environment, environments.environment_digest(environment, cache), gpu)


def gpu_choice(wanted: str, driver: bool, given: bool) -> tuple[bool, str]:
    """Whether programs get the GPU, and what to tell the user about it (most often nothing).

    ``driver``: one answers where they run; ``given``: the runner can hand the GPU to them. Raises
    HostError where the user asked for a GPU that cannot be had.
    """
    if wanted not in ("auto", "on", "off"):
        raise InputError(f"--gpu {wanted}: it is one of auto, on, off")
    if wanted == "off" or (wanted == "auto" and not driver):
        return False, ""
    if not driver:
        raise HostError(
            "no NVIDIA driver answers on this machine; leave the GPU at 'auto' or 'off'"
        )
    if given:
        return True, ""
    lack = (
        "this machine has an NVIDIA GPU, but the engine cannot hand it to a container: install the"
        " NVIDIA container toolkit, then run `sudo nvidia-ctk runtime configure` and restart the"
        " engine"
    )
    if wanted == "on":
        raise HostError(lack)
    return False, f"{lack}. Going on without the GPU."


def _gpu(runner: Runner, wanted: str) -> bool:
    use, note = gpu_choice(wanted, *runner.gpu())
    if note:
        _tell(note)
    return use


@functools.cache
def _tell(note: str) -> None:
    screen.say(f"note: {note}")

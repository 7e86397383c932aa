"""The docker runner in the shape that every runner has: locate, realise, command_line, run."""

from __future__ import annotations

from collections.abc import Callable

from pipeline import docker_container, docker_engine, hardware, images
from pipeline.configuration import ROOT
from pipeline.environments import Environment
from pipeline.execution import Execution, Output

NAME = "docker"


def unavailable() -> str | None:
    """Why this runner cannot be used on this host, in one sentence, or None."""
    return docker_engine.available()


def gpu() -> tuple[bool, bool]:
    """Whether an NVIDIA driver answers, and whether the engine can give its GPUs to a stage."""
    if docker_engine.elsewhere():
        there = "nvidia" in (docker_engine.information().get("Runtimes") or {})
        return there, there
    driver = hardware.nvidia_driver()
    return driver, driver and hardware.nvidia_toolkit(docker_engine.information())


def locate(environment: Environment, digest: str) -> str:
    """What would run the stage, without building it: the image's tag."""
    return images.image_tag(environment.name, digest)


def realise(environment: Environment, digest: str, say: Callable[[str], None]) -> str:
    """The image's id, built if need be."""
    return images.ensure_image(environment.name, digest, ROOT, say)


def command_line(execution: Execution, realised: str) -> list[str]:
    """The equivalent `docker run ...`."""
    return docker_container.describe(execution, realised)


def run(execution: Execution, realised: str, output: Output) -> int:
    """Run the stage in a container and hand on what it prints; returns its exit code."""
    return docker_container.run(execution, realised, output)

"""Serves a converted detector on this host as its device would: its packages, its program."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from pipeline import environments, screen, tools
from pipeline.configuration import ROOT
from pipeline.environments import Environment
from pipeline.errors import InputError, StageFailed
from pipeline.execute import bring_up_to_date
from pipeline.execution import Execution
from pipeline.experiment import Experiment
from pipeline.targets import Variant

_MACHINES = {"linux/amd64": ("x86_64", "AMD64"), "linux/arm64": ("aarch64", "arm64")}


def one_of(variants: Sequence[Variant]) -> Variant:
    """Of the first target the most compact precision; they are listed from the largest on."""
    return [variant for variant in variants if variant.target == variants[0].target][-1]


def runner_for(environment: Environment, machine: str, asked: str) -> str:
    """The runner to ask for: an image for another processor is no use here, its packages are."""
    made_for = _MACHINES.get(environment.file.platform, (machine,))
    return "local" if asked == "auto" and machine not in made_for else asked


def serve(
    experiment: Experiment, variant: Variant, port: int, asked: str, further: Sequence[str]
) -> None:
    """Convert if need be, then serve on loopback until Ctrl-C; ``further`` goes to serve.py."""
    target = variant.target
    if not target.package:
        raise InputError(
            f"{target.name} is not served: configs/targets.toml names no folder of docker/device/"
            " for it, where the packages for that would be"
        )
    bring_up_to_date(experiment, [variant.artifact], asked)
    environment = environments.load(f"device/{target.package}")
    runner = runner_for(environment, platform.machine(), asked)
    artifact = experiment.output(variant.artifact)
    screen.say(f"{variant.name}: http://127.0.0.1:{port}/ (Ctrl-C ends it)")
    code = tools.serve(
        Execution(
            environment=environment.name,
            argv=(
                *("python", "scripts/serve.py", f"--artifact={artifact}"),
                *(f"--runtime={target.runtime}", f"--device={target.device}"),
                f"--model={experiment.name}",
                *("--host=127.0.0.1", f"--port={port}", *further),
            ),
            root=ROOT,
            reads=(artifact,),
            port=port,
        ),
        runner,
    )
    if code:
        raise StageFailed(f"the service ended with exit code {code}, see above")

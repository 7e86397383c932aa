"""`inv doctor`: what this machine can run, and the one command that mends each lack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pipeline import environments, host, vendor, virtualenvs
from pipeline.configuration import EnvironmentFile
from pipeline.errors import HostError
from pipeline.host import Host
from pipeline.screen import say, table

_MEMORY_GIB = 4  # training with the default batch peaks at 2.6 GiB
_DISK_GIB = 10  # the environment of `train` and its packages on the way


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: ``cure`` is empty where nothing is lacking."""

    what: str
    found: str
    cure: str = ""


def examine(seen: Host) -> list[Finding]:
    """What there is and what is lacking, most important first."""
    return [
        _engine(seen),
        _builder(seen),
        Finding("architectures", ", ".join([seen.machine, *seen.emulated]), _emulation_cure(seen)),
        _nvidia(seen),
        _intel(seen),
        Finding("Myriad X", ", ".join(seen.myriad) or "none plugged in"),
        Finding(
            "memory",
            f"{seen.memory_gib:.1f} GiB",
            "" if seen.memory_gib >= _MEMORY_GIB else "train with a smaller --batch",
        ),
        Finding(
            "disk",
            f"{seen.disk_gib:.0f} GiB free",
            ""
            if seen.disk_gib >= _DISK_GIB
            else f"make room, or set DRYDOCK_CACHE to a folder with {_DISK_GIB} GiB",
        ),
        Finding("uv", seen.uv or "missing", "" if seen.uv else "rm -r .venv && ./inv --list"),
        *(
            Finding(
                f"Python {version}",
                path or "not found",
                "" if path else virtualenvs.python_cure(version),
            )
            for version, path in sorted(seen.pythons.items())
        ),
    ]


def runs_on(seen: Host, file: EnvironmentFile) -> str:
    """Which runner an environment gets with `--runner auto`, or why none."""
    if not seen.engine_problem:
        return "docker" if seen.buildx else "docker, once the builder is there"
    if seen.pythons.get(file.python):
        return "local"
    return f"not at all: no engine, and no Python {file.python}"


def _lacking(file: EnvironmentFile) -> str:
    """What an environment needs that no package registry has, where that is not here yet."""
    if file.vendor is None or vendor.at_hand(file.vendor, virtualenvs.cache_folder()):
        return ""
    return f", once {file.vendor.file} is here, which its maker alone has"


def _engine(seen: Host) -> Finding:
    if not seen.engine_problem:
        return Finding("engine", f"{seen.engine}{', rootless' if seen.rootless else ''}")
    # Without one everything runs in local virtualenvs, so the cure is an offer.
    return Finding("engine", f"none: {seen.engine_problem}")


def _builder(seen: Host) -> Finding:
    if seen.build_problem:
        return Finding("builder", "none that this engine can use", seen.build_problem)
    if seen.buildx:
        return Finding("builder", seen.buildx)
    lacking = not seen.engine_problem
    return Finding("builder", "none", "install docker-buildx-plugin" if lacking else "")


def _emulation_cure(seen: Host) -> str:
    if seen.machine == "aarch64" or "aarch64" in seen.emulated or seen.engine_problem:
        return ""
    return "to try arm64 images here: sudo apt install qemu-user-static"


def _nvidia(seen: Host) -> Finding:
    if not seen.nvidia_driver:
        return Finding("NVIDIA GPU", "none; the CPU is used")
    if seen.engine_problem or seen.nvidia_toolkit:
        return Finding("NVIDIA GPU", "found")
    return Finding(
        "NVIDIA GPU",
        "found, but the engine cannot hand it to a container",
        "install nvidia-container-toolkit, then: sudo nvidia-ctk runtime configure",
    )


def _intel(seen: Host) -> Finding:
    if not seen.render_nodes:
        return Finding("Intel GPU", "none (/dev/dri has no render node)")
    nodes = ", ".join(seen.render_nodes)
    if seen.render_usable:
        return Finding("Intel GPU", nodes)
    return Finding("Intel GPU", f"{nodes}, not yours to use", "sudo usermod -aG render $USER")


def show(as_json: bool) -> None:
    """Print the findings; HostError when not even training can run here."""
    files = {name: environments.load(name).file for name in environments.names()}
    seen = host.look(sorted({file.python for file in files.values()}))
    findings = examine(seen)
    runners = {name: f"{runs_on(seen, file)}{_lacking(file)}" for name, file in files.items()}
    if as_json:
        report = {"findings": [asdict(finding) for finding in findings], "environments": runners}
        say(json.dumps(report, indent=2))
    else:
        _print(findings, runners)
    if runners["train"].startswith("not at all"):
        raise HostError(f"the environment 'train' runs {runners['train']}")


def _print(findings: list[Finding], runners: Mapping[str, str]) -> None:
    table(("", "found", "what to do"), [(one.what, one.found, one.cure) for one in findings])
    say()
    table(("environment", "runs on"), list(runners.items()))

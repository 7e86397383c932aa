"""`inv doctor`: what this machine can run, and the one command that mends each lack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pipeline import environments, host
from pipeline.configuration import EnvironmentFile
from pipeline.errors import HostError
from pipeline.host import Host
from pipeline.screen import say, table

_MEMORY_GIB = 4  # training with the default batch peaks at 2.6 GiB
_DISK_GIB = 10  # the environment of `train` and its packages on the way

# What a package is called, and who installs it, by distribution (or what it is like).
_INSTALL: dict[str, dict[str, str]] = {
    "engine": {
        # Debian 12's own is too old to build images, and none of its packages is newer.
        "debian-12": "",
        "debian": "sudo apt-get install docker.io docker-buildx && sudo usermod -aG docker $USER",
        "fedora": "sudo dnf install moby-engine docker-buildx && sudo systemctl start docker",
        "arch": "sudo pacman -S docker docker-buildx && sudo systemctl start docker",
    },
    "builder": {
        "debian": "sudo apt-get install docker-buildx-plugin || sudo apt-get install docker-buildx",
        "fedora": "sudo dnf install docker-buildx-plugin || sudo dnf install docker-buildx",
        "arch": "sudo pacman -S docker-buildx",
    },
    "driver": {
        "ubuntu": "sudo ubuntu-drivers install",
        "debian": "sudo apt-get install nvidia-driver",
        "fedora": "sudo dnf install akmod-nvidia",
        "arch": "sudo pacman -S nvidia",
    },
    "toolkit": {
        "debian": "sudo apt-get install nvidia-container-toolkit",
        "fedora": "sudo dnf install nvidia-container-toolkit",
        "arch": "sudo pacman -S nvidia-container-toolkit",
    },
    "emulator": {
        "debian-13": "sudo apt-get install qemu-user-binfmt",
        "debian": "sudo apt-get install qemu-user-static",
        "fedora": "sudo dnf install qemu-user-static",
        "arch": "sudo pacman -S qemu-user-static-binfmt",
    },
}
_ELSEWHERE = {
    "engine": "install Docker Engine 23 or newer: docs.docker.com/engine/install",
    "builder": "install Docker's buildx plugin: docs.docker.com/build/buildx/install",
    "driver": "install NVIDIA's driver",
    "toolkit": "install nvidia-container-toolkit",
    "emulator": "install QEMU's user emulation with binfmt_misc",
}
_USE_TOOLKIT = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
_STICK_RULE = (
    """echo 'SUBSYSTEM=="usb", ATTR{idVendor}=="03e7", MODE="0666"' | sudo tee"""
    " /etc/udev/rules.d/97-myriad.rules && sudo udevadm control --reload && sudo udevadm trigger"
)
# systemd keeps these from a user's own services unless told; they count from the next login.
_DELEGATION = (
    "printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo install -D /dev/stdin"
    " /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload"
)
_KERNEL = "add cgroup_enable=memory to the kernel's command line, and start anew"


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
        Finding("architectures", ", ".join(seen.platforms) or "none", _emulation_cure(seen)),
        _nvidia(seen),
        _intel(seen),
        _myriad(seen),
        _memory(seen),
        _disk(seen),
        Finding("uv", seen.uv or "missing", "" if seen.uv else "rm -r .venv && ./inv --list"),
        *(_python(seen, version, path) for version, path in sorted(seen.pythons.items())),
    ]


def runs_on(seen: Host, file: EnvironmentFile) -> str:
    """Which runner an environment gets with `--runner auto`, or why none."""
    if file.platform and file.platform not in seen.platforms and not seen.engine_problem:
        # `inv serve` tries such packages here; the image is for its device.
        local = "local" if seen.pythons.get(file.python) else f"no Python {file.python}"
        return f"{local}; its image is for {file.platform}"
    if not seen.engine_problem:
        given = seen.nvidia_driver and seen.nvidia_toolkit
        gpu = ", with the NVIDIA GPU" if file.gpu and given else ""
        if seen.build_problem:
            return f"docker{gpu}, once its image was brought here"
        return f"docker{gpu}" if seen.buildx else "docker, once the builder is there"
    if seen.pythons.get(file.python):
        return f"local{', with the NVIDIA GPU' if file.gpu and seen.nvidia_driver else ''}"
    return f"not at all: no engine, and no Python {file.python}"


def _install(seen: Host, what: str) -> str:
    known = _INSTALL[what]
    command = next((known[name] for name in seen.distribution if name in known), "")
    return command or _ELSEWHERE[what]


def _engine(seen: Host) -> Finding:
    if seen.engine_problem:
        # Without one everything runs in local virtualenvs, so the cure is an offer.
        cure = seen.engine_cure or _install(seen, "engine")
        return Finding("engine", f"none: {seen.engine_problem}", cure)
    parts = [seen.engine, "rootless" if seen.rootless else "", seen.engine_elsewhere]
    if not seen.unlimited:
        return Finding("engine", ", ".join(filter(None, parts)))
    parts.append(f"cannot limit {' and '.join(seen.unlimited)}")
    cure = _DELEGATION if seen.rootless else _KERNEL
    return Finding("engine", ", ".join(filter(None, parts)), cure)


def _builder(seen: Host) -> Finding:
    if seen.build_problem:
        return Finding("builder", f"none: {seen.build_problem}", _install(seen, "engine"))
    if seen.buildx:
        return Finding("builder", seen.buildx)
    return Finding("builder", "none", "" if seen.engine_problem else _install(seen, "builder"))


def _emulation_cure(seen: Host) -> str:
    if "linux/arm64" in seen.platforms or seen.engine_problem:
        return ""
    return _install(seen, "emulator")


def _nvidia(seen: Host) -> Finding:
    if not seen.nvidia_driver:
        if seen.nvidia_card:
            return Finding(
                "NVIDIA GPU", "found, but no driver; the CPU is used", _install(seen, "driver")
            )
        return Finding("NVIDIA GPU", "none; the CPU is used")
    if seen.engine_problem or seen.nvidia_toolkit:
        return Finding("NVIDIA GPU", "found")
    first = "" if seen.nvidia_tools else f"{_install(seen, 'toolkit')} && "
    return Finding(
        "NVIDIA GPU",
        "found, but the engine cannot hand it to a container; the CPU is used",
        f"{first}{_USE_TOOLKIT}",
    )


def _intel(seen: Host) -> Finding:
    if not seen.render_nodes:
        return Finding("Intel GPU", "none (/dev/dri has no render node)")
    nodes = ", ".join(seen.render_nodes)
    if seen.render_usable:
        return Finding("Intel GPU", nodes)
    return Finding(
        "Intel GPU", f"{nodes}, not yours to use", f"sudo usermod -aG {seen.render_group} $USER"
    )


def _myriad(seen: Host) -> Finding:
    if not seen.myriad:
        return Finding("Myriad X", "none plugged in")
    found = ", ".join(seen.myriad)
    if seen.myriad_usable:
        return Finding("Myriad X", found)
    return Finding("Myriad X", f"{found}, not yours to use", _STICK_RULE)


def _memory(seen: Host) -> Finding:
    found, least = f"{seen.memory_gib:.1f} GiB", seen.memory_gib
    if seen.engine_memory_gib and abs(seen.engine_memory_gib - least) > 0.1:
        found += f"; {seen.engine_memory_gib:.1f} GiB for the engine"
        least = seen.engine_memory_gib
    return Finding("memory", found, "" if least >= _MEMORY_GIB else "./inv train --batch 2")


def _disk(seen: Host) -> Finding:
    found = f"{seen.disk_gib:.0f} GiB free"
    if seen.engine_disk_gib is not None:
        found += f"; {seen.engine_disk_gib:.0f} GiB for images"
        if seen.engine_disk_gib < _DISK_GIB:
            return Finding("disk", found, "docker system prune")
    if seen.disk_gib < _DISK_GIB and (seen.engine_problem or seen.engine_disk_gib is None):
        return Finding("disk", found, f"export DRYDOCK_CACHE=FOLDER  # with {_DISK_GIB} GiB free")
    return Finding("disk", found)


def _python(seen: Host, version: str, path: str) -> Finding:
    name = f"Python {version}"
    if path:
        return Finding(name, path)
    only = "" if seen.engine_problem else " (--runner local would need it)"
    return Finding(name, f"not found{only}", f".venv/bin/uv python install {version}")


def show(as_json: bool) -> None:
    """Print the findings; HostError when not even training can run here."""
    known = [*environments.names(), *environments.devices()]
    files = {name: environments.load(name).file for name in known}
    seen = host.look(sorted({file.python for file in files.values()}))
    findings, runners = examine(seen), {name: runs_on(seen, file) for name, file in files.items()}
    if as_json:
        report = {
            "findings": [asdict(finding) for finding in findings],
            "environments": runners,
            "host": asdict(seen),
        }
        say(json.dumps(report, indent=2))
    else:
        _print(findings, runners)
    if runners["train"].startswith("not at all"):
        raise HostError(f"the environment 'train' runs {runners['train']}")


def _print(findings: list[Finding], runners: Mapping[str, str]) -> None:
    # The command below its lack: most are too long for a column.
    table(("", "found"), [(one.what, one.found) for one in findings])
    lacks = [one for one in findings if one.cure]
    if lacks:
        say("\nwhat to do about it:")
    for one in lacks:
        say(f"  {one.what + ':':<15}{one.cure}")
    say()
    table(("environment", "runs on"), list(runners.items()))

"""What the doctor says of hosts that this one is not."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from pipeline import host
from pipeline.configuration import EnvironmentFile
from pipeline.doctor import examine, runs_on
from pipeline.host import Host

WELL = Host(
    engine="26.1.5",
    buildx="buildx 0.13",
    memory_gib=16,
    engine_memory_gib=16,
    disk_gib=100,
    engine_disk_gib=100,
    uv="uv 1",
    pythons={"3.11": "/usr/bin/python3.11"},
    platforms=("linux/amd64", "linux/arm64"),
    distribution=("ubuntu-24.04", "ubuntu", "debian"),
)
NODE = ("/dev/dri/renderD128",)


def cure(what: str, **changed: object) -> str:
    found = {one.what: one.cure for one in examine(dataclasses.replace(WELL, **changed))}
    return found[what]


def test_a_host_that_has_everything_needs_nothing() -> None:
    assert [one for one in examine(WELL) if one.cure] == []


@pytest.mark.parametrize(
    ("changed", "what", "expected"),
    [
        (
            {"engine_problem": "none runs"},
            "engine",
            "sudo apt-get install docker.io docker-buildx && sudo usermod -aG docker $USER",
        ),
        (
            {"engine_problem": "none runs", "distribution": ("debian-12", "debian")},
            "engine",
            "install Docker Engine 23 or newer: docs.docker.com/engine/install",
        ),
        (
            {"engine_problem": "you may not use it", "engine_cure": "sudo usermod -aG docker me"},
            "engine",
            "sudo usermod -aG docker me",
        ),
        (
            {"rootless": True, "unlimited": ("memory", "processes")},
            "engine",
            "printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n'"
            " | sudo install -D /dev/stdin /etc/systemd/system/user@.service.d/delegate.conf"
            " && sudo systemctl daemon-reload",
        ),
        (
            {"buildx": ""},
            "builder",
            "sudo apt-get install docker-buildx-plugin || sudo apt-get install docker-buildx",
        ),
        ({"buildx": "", "engine_problem": "none runs"}, "builder", ""),
        (
            {"build_problem": "too old", "distribution": ("arch-", "arch")},
            "builder",
            "sudo pacman -S docker docker-buildx && sudo systemctl start docker",
        ),
        (
            {"platforms": ("linux/amd64",)},
            "architectures",
            "sudo apt-get install qemu-user-static",
        ),
        (
            {"platforms": ("linux/amd64",), "distribution": ("nixos-25", "nixos")},
            "architectures",
            "install QEMU's user emulation with binfmt_misc",
        ),
        ({"platforms": ("linux/arm64",)}, "architectures", ""),
        ({"nvidia_card": True}, "NVIDIA GPU", "sudo ubuntu-drivers install"),
        (
            {"nvidia_card": True, "nvidia_driver": True},
            "NVIDIA GPU",
            "sudo apt-get install nvidia-container-toolkit && sudo nvidia-ctk runtime configure"
            " --runtime=docker && sudo systemctl restart docker",
        ),
        (
            {"nvidia_driver": True, "nvidia_tools": True},
            "NVIDIA GPU",
            "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker",
        ),
        ({"nvidia_driver": True, "nvidia_toolkit": True}, "NVIDIA GPU", ""),
        ({"nvidia_driver": True, "engine_problem": "none runs"}, "NVIDIA GPU", ""),
        (
            {"render_nodes": NODE, "render_group": "video"},
            "Intel GPU",
            "sudo usermod -aG video $USER",
        ),
        ({"render_nodes": NODE, "render_usable": True}, "Intel GPU", ""),
        (
            {"myriad": ("03e7:2485",)},
            "Myriad X",
            """echo 'SUBSYSTEM=="usb", ATTR{idVendor}=="03e7", MODE="0666"' | sudo tee"""
            " /etc/udev/rules.d/97-myriad.rules && sudo udevadm control --reload"
            " && sudo udevadm trigger",
        ),
        ({"myriad": ("03e7:2485",), "myriad_usable": True}, "Myriad X", ""),
        ({"engine_memory_gib": 2}, "memory", "./inv train --batch 2"),
        ({"engine_disk_gib": 3}, "disk", "docker system prune"),
        ({"disk_gib": 3}, "disk", ""),  # images are kept elsewhere
        (
            {"disk_gib": 3, "engine_problem": "none runs", "engine_disk_gib": None},
            "disk",
            "export DRYDOCK_CACHE=FOLDER  # with 10 GiB free",
        ),
        ({"uv": ""}, "uv", "rm -r .venv && ./inv --list"),
        ({"pythons": {"3.9": ""}}, "Python 3.9", ".venv/bin/uv python install 3.9"),
    ],
)
def test_each_lack_has_the_one_command_that_mends_it(
    changed: dict[str, object], what: str, expected: str
) -> None:
    assert cure(what, **changed) == expected


@pytest.mark.parametrize(
    ("changed", "what", "expected"),
    [
        ({"rootless": True}, "engine", "26.1.5, rootless"),
        ({"engine_elsewhere": "tcp://there:2376"}, "engine", "26.1.5, tcp://there:2376"),
        (
            {"rootless": True, "unlimited": ("memory", "processes")},
            "engine",
            "26.1.5, rootless, cannot limit memory and processes",
        ),
        ({"engine_problem": "none runs"}, "engine", "none: none runs"),
        ({"engine_memory_gib": 2}, "memory", "16.0 GiB; 2.0 GiB for the engine"),
        ({"pythons": {"3.9": ""}}, "Python 3.9", "not found (--runner local would need it)"),
    ],
)
def test_what_is_found_is_said(changed: dict[str, object], what: str, expected: str) -> None:
    found = {one.what: one.found for one in examine(dataclasses.replace(WELL, **changed))}

    assert found[what] == expected


GPU = {"nvidia_driver": True, "nvidia_toolkit": True}


@pytest.mark.parametrize(
    ("changed", "about", "expected"),
    [
        ({}, {}, "docker"),
        ({"buildx": ""}, {}, "docker, once the builder is there"),
        ({"build_problem": "Podman"}, {}, "docker, once its image was brought here"),
        ({"engine_problem": "none runs"}, {}, "local"),
        (
            {"engine_problem": "none runs"},
            {"python": "3.9"},
            "not at all: no engine, and no Python 3.9",
        ),
        (GPU, {"gpu": True}, "docker, with the NVIDIA GPU"),
        (GPU, {}, "docker"),
        ({"nvidia_driver": True}, {"gpu": True}, "docker"),
        (
            {"engine_problem": "none runs", "nvidia_driver": True},
            {"gpu": True},
            "local, with the NVIDIA GPU",
        ),
        ({}, {"platform": "linux/arm64"}, "docker"),
        (
            {"platforms": ("linux/amd64",)},
            {"platform": "linux/arm64"},
            "local; its image is for linux/arm64",
        ),
    ],
)
def test_where_an_environment_runs(
    changed: dict[str, object], about: dict[str, object], expected: str
) -> None:
    file = EnvironmentFile(description="x", **{"python": "3.11", **about})  # type: ignore[arg-type]

    assert runs_on(dataclasses.replace(WELL, **changed), file) == expected


def test_cards_and_sticks_are_found_by_their_makers_number(tmp_path: Path) -> None:
    """Folders as the kernel's /sys has them."""
    for name, vendor, kind in (
        ("0000:00:02.0", "0x8086", "0x030000"),
        ("0000:01:00.0", "0x10de", "0x030200"),
        ("0000:01:00.1", "0x10de", "0x040300"),  # the sound that comes by the monitor's cable
    ):
        (tmp_path / "pci" / name).mkdir(parents=True)
        (tmp_path / "pci" / name / "vendor").write_text(vendor + "\n")
        (tmp_path / "pci" / name / "class").write_text(kind + "\n")
    stick = tmp_path / "usb" / "1-4"
    stick.mkdir(parents=True)
    for name, text in {
        "idVendor": "03e7",
        "idProduct": "2485",
        "busnum": "1",
        "devnum": "9",
    }.items():
        (stick / name).write_text(text + "\n")

    assert host._nvidia_card(tmp_path / "pci")
    shutil.rmtree(tmp_path / "pci" / "0000:01:00.0")
    assert not host._nvidia_card(tmp_path / "pci")
    assert host._usb(tmp_path / "usb", "03e7") == [("03e7:2485", Path("/dev/bus/usb/001/009"))]


def test_the_distribution_is_known_with_what_it_is_like(tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text(
        'NAME="Linux Mint"\nVERSION_ID="22"\nID=linuxmint\nID_LIKE="ubuntu debian"\n'
    )

    assert host._distribution(release) == ("linuxmint-22", "linuxmint", "ubuntu", "debian")


def test_the_doctor_looks_at_this_host() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "invoke", "doctor", "--json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    found = {one["what"]: one["found"] for one in report["findings"]}
    assert found["uv"].startswith("uv ")
    assert found["Python 3.11"].startswith("/")
    assert report["environments"]["train"].partition(",")[0] in ("docker", "local")
    assert "device/arm64" in report["environments"]
    assert report["host"]["memory_gib"] > 0

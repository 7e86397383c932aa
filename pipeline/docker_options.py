"""What a container may do: decided here, purely, for the engine and for a command line alike."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline.errors import InputError
from pipeline.execution import Execution

HOME = "/home/drydock"
GIB = 1024**3
USB = Path("/dev/bus/usb")

# TensorFlow's collectives and data loaders pass tensors through /dev/shm, and the engine's default
# of 64 MiB ends in a bus error. It is an upper bound: nothing is reserved.
_SHARED_MEMORY = 8 * GIB
# A runaway fork is stopped; a TensorFlow process on a many-core machine has some hundred threads.
_PROCESSES = 4096
# Counted as the container's memory. No program is ever started from there.
_TMPFS = "rw,nosuid,nodev,noexec,mode=1777,size=4g"


def run_options(
    execution: Execution,
    image: str,
    user: str,
    *,
    groups: tuple[int, ...] = (),
    memory: int = 0,
    render_nodes: Mapping[str, int] = MappingProxyType({}),
    usb: bool = False,
) -> dict[str, Any]:
    """The keyword arguments for `containers.create`.

    `user` is "uid:gid" as the engine sees them, `groups` the caller's further group ids, `memory`
    a limit in bytes (0: none), `render_nodes` GPUs of the host with the group that may use each,
    `usb` whether all that is plugged in can be used.
    """
    options: dict[str, Any] = {
        "image": image,
        "command": list(execution.argv),
        "entrypoint": [""],  # none; Podman takes an empty list for the image's own
        "working_dir": str(execution.root),
        "environment": {
            # Python would try to write bytecode beside the scripts, which it may not.
            "PYTHONDONTWRITEBYTECODE": "1",
            **execution.settings,
            # The uid has no entry in the image's /etc/passwd, where programs look these up.
            "HOME": HOME,
            "USER": "drydock",
            "LOGNAME": "drydock",
            "TMPDIR": "/tmp",
        },
        "user": user,
        # Where the engine maps user ids (userns-remap), outputs would belong to a stranger.
        "userns_mode": "host",
        # A group of the host's own, whose number the image does not know, owns a render node.
        "group_add": [str(group) for group in dict.fromkeys([*groups, *render_nodes.values()])],
        "devices": [f"{node}:{node}:rw" for node in render_nodes],
        # A stick that is given its program comes back as another device: all of USB (major 189),
        # and the folder itself, in which its new file appears.
        "device_cgroup_rules": ["c 189:* rmw"] if usb else [],
        "mounts": _mounts(execution, USB if usb else None),
        "tmpfs": {"/tmp": _TMPFS, HOME: _TMPFS},
        "read_only": True,
        "network_mode": "none",
        "cap_drop": ["ALL"],
        # SELinux denies a container the user's own files unless they are relabelled on the disk;
        # doing without its separation leaves them as they are. Other hosts ignore the option.
        "security_opt": ["no-new-privileges", "label=disable"],
        "pids_limit": _PROCESSES,
        "shm_size": _SHARED_MEMORY,
        "init": True,  # reaps orphans and hands signals on: process 1 ignores them by default
        "labels": {"drydock.environment": execution.environment},
        # The client reads the output itself; the engine need not keep a copy on disk.
        "log_config": {"type": "none"},
    }
    if memory:
        # The same limit with swap: a stage that does not fit fails soon and does not crawl.
        options |= {"mem_limit": memory, "memswap_limit": memory}
    if execution.gpu:
        options["device_requests"] = [{"count": -1, "capabilities": [["gpu"]]}]
    if execution.interactive:
        options |= {"tty": True, "stdin_open": True}
    return options


def _mounts(execution: Execution, device: Path | None) -> list[dict[str, Any]]:
    """Bind mounts, each at the path it has on the host, parents first.

    Not `volumes=`: that one silently creates a source that does not exist, owned by root.
    """
    writable = dict.fromkeys(execution.writes, False)
    read_only = {execution.root: True}
    if device:
        writable[device] = False
    for path in sorted(execution.reads):
        if not any(path.is_relative_to(other) for other in (*read_only, *writable)):
            read_only[path] = True
    return [
        {"Type": "bind", "Source": str(path), "Target": str(path), "ReadOnly": only}
        for path, only in sorted({**read_only, **writable}.items())
    ]


# How each keyword is said on the command line.
_FLAGS: dict[str, Callable[[Any], list[str]]] = {
    "init": lambda on: ["--init"] if on else [],
    "tty": lambda on: ["--tty"] if on else [],
    "stdin_open": lambda on: ["--interactive"] if on else [],
    "user": lambda value: ["--user", value],
    "userns_mode": lambda value: ["--userns", value],
    "group_add": lambda values: _repeat("--group-add", values),
    "devices": lambda values: _repeat("--device", values),
    "device_cgroup_rules": lambda values: _repeat("--device-cgroup-rule", values),
    "network_mode": lambda value: ["--network", value],
    "read_only": lambda on: ["--read-only"] if on else [],
    "cap_drop": lambda values: _repeat("--cap-drop", values),
    "security_opt": lambda values: _repeat("--security-opt", values),
    "pids_limit": lambda value: ["--pids-limit", str(value)],
    "shm_size": lambda value: ["--shm-size", str(value)],
    "mem_limit": lambda value: ["--memory", str(value)],
    "memswap_limit": lambda value: ["--memory-swap", str(value)],
    "device_requests": lambda _: ["--gpus", "all"],
    "tmpfs": lambda values: _repeat("--tmpfs", (f"{at}:{how}" for at, how in values.items())),
    "mounts": lambda mounts: _repeat("--mount", map(_mount_flag, mounts)),
    "environment": lambda values: _repeat("--env", (f"{k}={v}" for k, v in values.items())),
    "labels": lambda values: _repeat("--label", (f"{k}={v}" for k, v in values.items())),
    "log_config": lambda value: ["--log-driver", value["type"]],
    "working_dir": lambda value: ["--workdir", value],
    "entrypoint": lambda value: ["--entrypoint", " ".join(value)],
}


def command_line(
    execution: Execution,
    image: str,
    user: str,
    **decided: Any,
) -> list[str]:
    """The equivalent `docker run ...`, for `shlex.join`; takes what `run_options` takes."""
    options = run_options(execution, image, user, **decided)
    del options["image"]
    command = options.pop("command")
    flags = [flag for name, value in options.items() for flag in _FLAGS[name](value)]
    return ["docker", "run", "--rm", *flags, image, *command]


def _repeat(flag: str, values: Any) -> list[str]:
    return [part for value in values for part in (flag, value)]


def _mount_flag(mount: Mapping[str, Any]) -> str:
    fields = ["type=bind", f"source={mount['Source']}", f"target={mount['Target']}"]
    if mount["ReadOnly"]:
        fields.append("readonly")
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)  # the flag is CSV: a path may hold a comma
    return line.getvalue()


def user_on_engine(rootless: bool, uid: int, gid: int) -> str:
    """The ids that make outputs the caller's: a rootless engine maps its own root to the caller."""
    return "0:0" if rootless else f"{uid}:{gid}"


def parse_memory(text: str) -> int:
    """Bytes from "6g", "512m" or a plain number."""
    match = re.fullmatch(r"(\d+)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if not match:
        raise InputError(f"DRYDOCK_MEMORY is {text!r}; write it like 6g or 512m")
    return int(match[1]) * 1024 ** " kmgt".index(match[2] or " ")

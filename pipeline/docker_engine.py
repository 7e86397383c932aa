"""The docker runner: one stage in one container that can do nothing but its work.

What a container may do is decided in `run_options`, a pure function; `command_line` translates the
same decision into the equivalent command. Only `run` and `describe` talk to the engine.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline import hardware, terminal
from pipeline.client import Client, is_orphan, signals_raise, started, this_client
from pipeline.errors import HostError, InputError, StageFailed
from pipeline.execution import Execution, Output

HOME = "/home/drydock"
CLIENT_LABEL = "drydock.client"
_GIB = 1024**3
_OLDEST_API = (1, 40)  # engine 19.03: the first one that takes GPU requests
_GRACE = 5  # seconds a stage has to end by itself after Ctrl-C

# TensorFlow's collectives and data loaders pass tensors through /dev/shm, and the engine's default
# of 64 MiB ends in a bus error. It is an upper bound: nothing is reserved.
_SHARED_MEMORY = 8 * _GIB
# A runaway fork is stopped; a TensorFlow process on a many-core machine has some hundred threads.
_PROCESSES = 4096
# Counted as the container's memory. No program is ever started from there.
_TMPFS = "rw,nosuid,nodev,noexec,mode=1777,size=4g"


# --- What a container may do ---------------------------------------------------------------------


def run_options(
    execution: Execution,
    image: str,
    user: str,
    gpu: bool,
    *,
    groups: tuple[int, ...] = (),
    memory: int = 0,
) -> dict[str, Any]:
    """The keyword arguments for `containers.create`.

    `user` is "uid:gid" as the engine sees them, `groups` the caller's further group ids, `memory`
    a limit in bytes (0: none).
    """
    options: dict[str, Any] = {
        "image": image,
        "command": list(execution.argv),
        "entrypoint": [],
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
        "group_add": [str(group) for group in groups],
        "mounts": _mounts(execution),
        "tmpfs": {"/tmp": _TMPFS, HOME: _TMPFS},
        "read_only": True,
        "network_mode": "bridge" if execution.ports else "none",
        "ports": {f"{port}/tcp": ("127.0.0.1", port) for port in execution.ports},
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
    if gpu:
        options["device_requests"] = [{"count": -1, "capabilities": [["gpu"]]}]
    if execution.interactive:
        options |= {"tty": True, "stdin_open": True}
    return options


def _mounts(execution: Execution) -> list[dict[str, Any]]:
    """Bind mounts, each at the path it has on the host, parents first.

    Not `volumes=`: that one silently creates a source that does not exist, owned by root.
    """
    writable = dict.fromkeys(execution.writes, False)
    read_only = {execution.root: True}
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
    "network_mode": lambda value: ["--network", value],
    "ports": lambda ports: _repeat(
        "--publish",
        (f"{host[0]}:{host[1]}:{inside}" for inside, host in ports.items()),
    ),
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
    gpu: bool,
    *,
    groups: tuple[int, ...] = (),
    memory: int = 0,
) -> list[str]:
    """The equivalent `docker run ...`, for `shlex.join`."""
    options = run_options(execution, image, user, gpu, groups=groups, memory=memory)
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


def gpu_choice(wanted: str, driver: bool, toolkit: bool) -> tuple[bool, str | None]:
    """Whether the stage gets the GPU, and what to tell the user about it.

    Raises HostError where the user asked for a GPU (`wanted == "on"`) that cannot be had.
    """
    if wanted == "off" or (wanted == "auto" and not driver):
        return False, None
    if not driver:
        raise HostError(
            "no NVIDIA driver answers on this machine; leave the GPU at 'auto' or 'off'"
        )
    if toolkit:
        return True, None
    lack = (
        "this machine has an NVIDIA GPU, but the engine cannot hand it to a container: install the"
        " NVIDIA container toolkit, then run `sudo nvidia-ctk runtime configure` and restart the"
        " engine"
    )
    if wanted == "on":
        raise HostError(lack)
    return False, f"{lack}. Going on without the GPU."


def parse_memory(text: str) -> int:
    """Bytes from "6g", "512m" or a plain number."""
    match = re.fullmatch(r"(\d+)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if not match:
        raise InputError(f"DRYDOCK_MEMORY is {text!r}; write it like 6g or 512m")
    return int(match[1]) * 1024 ** " kmgt".index(match[2] or " ")


# --- The engine ----------------------------------------------------------------------------------


def available() -> str | None:
    """None when an engine answers, else the reason in one sentence.

    Asks over the bare socket: importing the client library takes longer than the answer.
    """
    address = endpoint()
    if not address.startswith("unix://"):
        return (
            f"the engine at {address} is on another machine and does not see the files of this one"
        )
    path = address[len("unix://") :]
    try:
        answer = _ping(path)
    except OSError as error:
        return _why_silent(path, error)
    if " 200 " not in answer.partition("\r\n")[0]:
        return f"what listens at {path} is no container engine"
    version = re.search(r"^Api-Version: (\d+)\.(\d+)", answer, re.MULTILINE | re.IGNORECASE)
    if version and (int(version[1]), int(version[2])) < _OLDEST_API:
        return "the engine is older than 19.03: update it"
    return None


def _ping(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(3)
        connection.connect(path)
        connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode("latin-1")


def _why_silent(path: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"no engine is running ({path} does not exist)"
    if isinstance(error, PermissionError):
        return f"you may not use {path}: run `sudo usermod -aG docker $USER` and log in again"
    return f"the engine at {path} does not answer ({error.strerror or error})"


def endpoint() -> str:
    """Where the engine is, found as its own command does: DOCKER_HOST, context, default."""
    if host := os.environ.get("DOCKER_HOST"):
        return host
    configuration = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    context = os.environ.get("DOCKER_CONTEXT")
    with suppress(OSError, ValueError, KeyError, AttributeError):
        if not context:
            text = (configuration / "config.json").read_text(encoding="utf-8")
            context = json.loads(text).get("currentContext")
        if context and context != "default":
            name = hashlib.sha256(context.encode()).hexdigest()
            meta = configuration / "contexts" / "meta" / name / "meta.json"
            host = json.loads(meta.read_text(encoding="utf-8"))["Endpoints"]["docker"]["Host"]
            return str(host)
    candidates = [Path("/var/run/docker.sock"), configuration / "run" / "docker.sock"]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        candidates.append(Path(runtime) / "docker.sock")  # a rootless engine
    return f"unix://{next(filter(Path.exists, candidates), candidates[0])}"


def describe(execution: Execution, image: str) -> list[str]:
    """The command line that `run` is equivalent to, on the engine that answers."""
    execution = _with_link_targets(execution)
    with _engine() as client:
        _, options = _decide(execution, client.info())
    return command_line(execution, image, **options)


def run(execution: Execution, image: str, output: Output) -> int:
    """Run a stage to its end and return its exit code, handing on what it prints.

    Raises InputError for a path that does not exist, StageFailed when memory ran out, HostError
    for what the engine cannot do. Whatever happens, no container is left behind.
    """
    for path in (execution.root, *execution.reads, *execution.writes):
        if not path.exists():
            raise InputError(f"{path} does not exist")
    execution = _with_link_targets(execution)
    with _engine() as client, signals_raise():
        me = this_client()
        _sweep(client, me)
        if execution.ports and not client.networks.list(names=["bridge"]):
            # It would start all the same, and answer nobody.
            raise HostError(
                "this engine has no bridge network, so nothing can reach a server in a container;"
                " use --runner local"
            )
        note, decided = _decide(execution, client.info())
        if note:
            output("stderr", f"note: {note}\n".encode())
        options = run_options(execution, image, **decided)
        # Not in `run_options`: a pasted command line has no client that could be looked for.
        options["labels"] = {**options["labels"], CLIENT_LABEL: str(me)}
        container = _create(client, options)
        try:
            return _follow(client, container, execution, output, decided["memory"])
        except KeyboardInterrupt:
            _interrupt(container)
            raise
        finally:
            with suppress(_docker().errors.APIError):
                container.remove(force=True)


def information() -> dict[str, Any]:
    """What the engine says of itself: version, security options, runtimes, memory."""
    with _engine() as client:
        said: dict[str, Any] = client.info()
        return said


def image_id(tag: str) -> str | None:
    """The id of a tagged image, None when the engine has none of that name."""
    with _engine() as client:
        try:
            return str(client.images.get(tag).id)
        except _docker().errors.ImageNotFound:
            return None


def image_tags() -> dict[str, tuple[str, int]]:
    """The id and size in bytes of every image of ours on the engine, by tag."""
    with _engine() as client:
        return {
            tag: (str(image.id), int(image.attrs["Size"]))
            for image in client.images.list()
            for tag in image.tags
            if tag.startswith("drydock/")
        }


def image_size(tag: str) -> int:
    """Bytes that a tagged image takes on the disk, the layers it shares with others included."""
    with _engine() as client:
        return int(client.images.get(tag).attrs["Size"])


def _follow(client: Any, container: Any, execution: Execution, output: Output, memory: int) -> int:
    if execution.interactive and sys.stdin.isatty():
        connection = container.attach_socket(
            params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        )
        container.start()
        terminal.connect(connection, container.resize)
    else:
        # Attached before the start, so that nothing is missed.
        stream = client.api.attach(
            container.id, stdout=True, stderr=True, stream=True, demux=not execution.interactive
        )
        container.start()
        for chunk in stream:
            out, err = (chunk, None) if execution.interactive else chunk
            if out:
                output("stdout", out)
            if err:
                output("stderr", err)
    code = int(container.wait(timeout=None)["StatusCode"])
    container.reload()
    # The mark is also set when only a child was killed and the stage coped with that.
    if code != 0 and container.attrs["State"]["OOMKilled"]:
        raise StageFailed(
            f"{_program(execution)} ran out of memory: its limit was {memory / _GIB:.1f} GiB."
            " Use a smaller batch or input size, or raise DRYDOCK_MEMORY where there is more"
        )
    return code


def _program(execution: Execution) -> str:
    return " ".join(Path(part).name for part in execution.argv[:2])


def _interrupt(container: Any) -> None:
    """Let the stage end by itself, as it would in a terminal; the caller removes what is left."""
    with suppress(Exception, KeyboardInterrupt):
        container.kill("SIGINT")
        container.wait(timeout=_GRACE)


def _decide(execution: Execution, info: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """What depends on the host: the note for the user and the arguments of `run_options`."""
    rootless = hardware.rootless(info)
    gpu, note = gpu_choice(execution.gpu, hardware.nvidia_driver(), hardware.nvidia_toolkit(info))
    if text := os.environ.get("DRYDOCK_MEMORY"):
        memory = parse_memory(text)
    else:
        # Leave the host a tenth: without a limit the kernel picks any process of the user's.
        memory = int(info.get("MemTotal") or 0) * 9 // 10
    return note, {
        "user": user_on_engine(rootless, os.getuid(), os.getgid()),
        "gpu": gpu,
        "groups": () if rootless else tuple(sorted(set(os.getgroups()) - {os.getgid()})),
        "memory": memory,
    }


def _with_link_targets(execution: Execution) -> Execution:
    """The same, with what symbolic links among its paths point to."""
    return dataclasses.replace(
        execution,
        reads=tuple(sorted({*execution.reads, *(path.resolve() for path in execution.reads)})),
        writes=tuple(sorted({*execution.writes, *(path.resolve() for path in execution.writes)})),
    )


def _create(client: Any, options: Mapping[str, Any]) -> Any:
    errors = _docker().errors
    try:
        return client.containers.create(**options)
    except errors.ImageNotFound:
        raise HostError(f"the engine has no image {options['image']}") from None
    except errors.APIError as error:
        if "bind source path does not exist" in str(error):
            raise HostError(
                f"the engine does not see a folder of this machine ({error.explanation}): share it"
                " in the engine's settings, or use --runner local"
            ) from None
        raise


def _sweep(client: Any, me: Client) -> None:
    """Remove containers whose client was killed before it could do so itself."""
    for container in client.containers.list(
        all=True, filters={"label": CLIENT_LABEL}, ignore_removed=True
    ):
        if is_orphan(container.labels[CLIENT_LABEL], me, started):
            with suppress(_docker().errors.APIError):  # somebody else was faster
                container.remove(force=True)


@contextmanager
def _engine() -> Iterator[Any]:
    """A connection to the engine; what goes wrong with it becomes a HostError."""
    if reason := available():
        raise HostError(f"{reason}; start one or use --runner local")
    import requests

    docker = _docker()
    client = docker.DockerClient(base_url=endpoint())
    try:
        yield client
    except docker.errors.APIError as error:
        raise HostError(f"the engine refused: {error.explanation or error}") from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise HostError(f"the engine went away: {error}") from error
    finally:
        client.close()


def _docker() -> Any:
    import docker  # a quarter of a second, which a run that has nothing to do need not spend

    return docker

"""One stage in one container that can do nothing but its work."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline import docker_engine, docker_remote, hardware, terminal
from pipeline.client import Client, is_orphan, signals_raise, started, this_client
from pipeline.content import linked_folders
from pipeline.docker_options import (
    GIB,
    USB,
    command_line,
    parse_memory,
    run_options,
    user_on_engine,
)
from pipeline.errors import HostError, InputError, StageFailed
from pipeline.execution import Execution, Output
from pipeline.relay import relay
from pipeline.scratch import scratch_folder

CLIENT_LABEL = "drydock.client"
_GRACE = 5  # seconds a stage has to end by itself after Ctrl-C


def describe(execution: Execution, image: str) -> list[str]:
    """The command line that `run` is equivalent to, on the engine that answers."""
    execution = _with_link_targets(execution)
    with docker_engine.connected() as client:
        options = _decide(execution, client.info())
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
    with docker_engine.connected() as client, signals_raise():
        me = this_client()
        _sweep(client, me)
        decided = _decide(execution, client.info())
        far = docker_engine.elsewhere() and not docker_remote.shares_files(
            client, image, execution.root
        )
        if far and execution.port:
            raise HostError(
                "the engine is on another machine, so nothing here can reach a server in a"
                " container; use --runner local"
            )
        with _reachable(execution) as reached:
            options = run_options(reached, image, **decided)
            # Not in `run_options`: a pasted command line has no client that could be looked for.
            options["labels"] = {**options["labels"], CLIENT_LABEL: str(me)}
            if not far:
                return _run(client, options, execution, output, copied=False)
            with docker_remote.copied_in(
                client, execution, image, decided["user"], options["labels"]
            ) as mounts:
                options |= {"mounts": mounts, "group_add": []}
                return _run(client, options, execution, output, copied=True)


@contextmanager
def _reachable(execution: Execution) -> Iterator[Execution]:
    """The same, reached at its port of this host's loopback until the end of the block.

    Without a network all the same: its connections come through a socket in a folder that only
    the caller can enter.
    """
    if not execution.port:
        yield execution
        return
    with scratch_folder() as folder:
        socket = folder / "port"
        wrapper = ("python3", f"{execution.root}/scripts/behind_socket.py")
        flags = (f"--socket={socket}", f"--port={execution.port}", "--")
        with relay(socket, execution.port, lambda _: None):
            yield dataclasses.replace(
                execution,
                argv=(*wrapper, *flags, *execution.argv),
                writes=(*execution.writes, folder),
            )


def _run(
    client: Any, options: Mapping[str, Any], execution: Execution, output: Output, copied: bool
) -> int:
    """Run one container to its end; with ``copied`` its outputs are brought here then."""
    container = _create(client, options)
    try:
        try:
            return _follow(client, container, execution, output, options.get("mem_limit", 0))
        except KeyboardInterrupt:
            _interrupt(container)
            raise
        finally:
            if copied:  # also of a stage that failed: it may go on from there, or say why
                docker_remote.copy_out(container, execution.writes)
    finally:
        with suppress(docker_engine.library().errors.APIError):
            container.remove(force=True)


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
            f"{_program(execution)} ran out of memory: its limit was {memory / GIB:.1f} GiB."
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


def _decide(execution: Execution, info: Mapping[str, Any]) -> dict[str, Any]:
    """What depends on the host: the further arguments of `run_options`."""
    rootless = hardware.rootless(info)
    asked = () if docker_engine.elsewhere() else execution.hardware
    if text := os.environ.get("DRYDOCK_MEMORY"):
        memory = parse_memory(text)
    else:
        # Leave the host a tenth: without a limit the kernel picks any process of the user's.
        memory = int(info.get("MemTotal") or 0) * 9 // 10
    return {
        "user": user_on_engine(rootless, os.getuid(), os.getgid()),
        "groups": () if rootless else tuple(sorted(set(os.getgroups()) - {os.getgid()})),
        "memory": memory,
        "render_nodes": hardware.render_nodes() if "render" in asked else {},
        "usb": "usb" in asked and USB.is_dir(),
    }


def _with_link_targets(execution: Execution) -> Execution:
    """The same, with what symbolic links among and below its paths point to."""
    linked = (target for path in execution.reads for target in linked_folders(path))
    return dataclasses.replace(
        execution,
        reads=tuple(
            sorted({*execution.reads, *(path.resolve() for path in execution.reads), *linked})
        ),
        writes=tuple(sorted({*execution.writes, *(path.resolve() for path in execution.writes)})),
    )


def _create(client: Any, options: Mapping[str, Any]) -> Any:
    errors = docker_engine.library().errors
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
    """Remove containers and volumes whose client was killed before it could do so itself."""
    for container in client.containers.list(
        all=True, filters={"label": CLIENT_LABEL}, ignore_removed=True
    ):
        if is_orphan(container.labels[CLIENT_LABEL], me, started):
            with suppress(docker_engine.library().errors.APIError):  # somebody else was faster
                container.remove(force=True)
    for volume in client.volumes.list(filters={"label": CLIENT_LABEL}):
        if is_orphan(volume.attrs["Labels"][CLIENT_LABEL], me, started):
            with suppress(docker_engine.library().errors.APIError):
                volume.remove(force=True)

"""`inv annotate`: labelImg on a dataset's photos, on the desktop or in a browser."""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import replace
from pathlib import Path

from pipeline import desktop, docker_engine, runners, screen, tools
from pipeline.configuration import ROOT
from pipeline.errors import HostError, InputError, StageFailed
from pipeline.execution import Execution
from pipeline.experiment import Experiment
from pipeline.relay import relay
from pipeline.scratch import scratch_folder

# Letters and digits that are not taken for each other. VNC looks at 8 characters, not more.
_LETTERS = "abcdefghijkmnpqrstuvwxyzACDEFGHJKLMNPQRTUVWXYZ234679"
_LENGTH = 8


def annotate(experiment: Experiment, images: Path, port: int, browser: bool, asked: str) -> None:
    """Open labelImg on ``images`` and wait until it is closed.

    The class names of the experiment's label map are offered. Without a desktop, or with
    ``browser``, it is shown at an address on loopback.
    """
    if not images.is_dir():
        raise InputError(f"{screen.shown(images)}: there is no such folder of photos")
    runner, _ = runners.choose(asked)
    found = None if browser else desktop.find(os.environ, Path.exists)
    if not found and runner.NAME == "local":
        raise HostError(
            "there is no desktop here to open labelImg on (neither DISPLAY nor WAYLAND_DISPLAY"
            " names one of this machine), and showing it in a browser takes a container engine:"
            " start one, then ./inv annotate --runner docker"
        )
    if runner.NAME == "docker" and docker_engine.elsewhere():
        raise HostError(
            "the container engine is reached over a network, by which no window comes: run"
            " ./inv annotate on its machine and bring the page over with ssh -L, or use"
            " --runner local"
        )
    with scratch_folder() as private:
        execution = _execution(experiment, images)
        with contextlib.ExitStack() as stack:
            if found:
                execution = _on_desktop(execution, found, private)
                screen.say(f"labelImg opens on {screen.shown(images)}; close it to end")
            else:
                password = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
                execution = _in_browser(execution, password, private)
                stack.enter_context(
                    relay(private / "page", port, lambda at: _tell(at, password, images))
                )
            try:
                code = tools.run(execution, asked)
            except KeyboardInterrupt:
                screen.say("ended; what was drawn is saved")
                return
    if code == 2:
        raise InputError("labelImg was not opened, see above")
    if code:
        raise StageFailed(f"labelImg ended with exit code {code}, see above")


def _execution(experiment: Experiment, images: Path) -> Execution:
    label_map = experiment.output("records") / "label_map.pbtxt"
    known = (f"--label-map={label_map}",) if label_map.exists() else ()
    return Execution(
        environment="annotate",
        argv=("python", "scripts/annotate.py", f"--images={images}", *known),
        root=ROOT,
        writes=(images,),
    )


def _on_desktop(execution: Execution, found: desktop.Desktop, private: Path) -> Execution:
    settings = dict(found.settings)
    if found.cookies:
        copy = private / "Xauthority"
        copy.touch(mode=0o600)
        copy.write_bytes(desktop.for_any_host(found.cookies.read_bytes()))
        settings["XAUTHORITY"] = str(copy)
    return replace(execution, reads=(found.socket, private), settings=settings)


def _in_browser(execution: Execution, password: str, private: Path) -> Execution:
    # In a file: what stands on a command line or in its settings, every user of a machine may read.
    secret = private / "password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    argv = (*execution.argv, f"--serve={private}")
    return replace(execution, argv=argv, writes=(*execution.writes, private))


def _tell(port: int, password: str, images: Path) -> None:
    screen.say(
        f"labelImg on {screen.shown(images)}, in a browser on this machine:\n"
        f"    http://127.0.0.1:{port}/vnc.html?autoconnect=true&resize=remote\n"
        f"    password: {password}  (for this time only)\n"
        "Boxes are saved as they are drawn. Ctrl-C here ends it."
    )

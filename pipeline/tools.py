"""Programs that are not stages: TensorBoard, a shell, dataset tools, cleaning up."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sys
from collections.abc import Mapping, Sequence

from pipeline import exchange, screen
from pipeline.configuration import ROOT
from pipeline.errors import InputError, StageFailed
from pipeline.execute import content_cache
from pipeline.execution import Execution
from pipeline.experiment import ARTIFACTS, Experiment, folder_of, held
from pipeline.paths import expanded, typed
from pipeline.placement import place
from pipeline.runners import choose


def run(execution: Execution, asked: str) -> int:
    """Run any program in an environment; returns its exit code."""
    runner, _ = choose(asked)
    cache = content_cache()
    where = place(runner, execution.environment, "auto", cache)
    cache.save()
    realised = runner.realise(where.environment, where.digest, screen.say)
    return runner.run(dataclasses.replace(execution, gpu=where.gpu), realised, _straight_through)


def serve(execution: Execution, asked: str) -> int:
    """Run a server until Ctrl-C, which is how it ends; returns its exit code."""
    try:
        return run(execution, asked)
    except KeyboardInterrupt:
        screen.say("ended")
        return 0


def _straight_through(stream: str, chunk: bytes) -> None:
    target = sys.stdout if stream == "stdout" else sys.stderr
    target.buffer.write(chunk)
    target.flush()


def shell(environment: str, command: Sequence[str], asked: str) -> int:
    """An interactive shell in an environment, or one command; the repository is read-only there
    but for artifacts/ and data/ (with the docker runner)."""
    writable = (ARTIFACTS, ROOT / "data")
    for folder in writable:
        folder.mkdir(exist_ok=True)
    return run(
        Execution(
            environment=environment,
            argv=tuple(command) or ("/bin/bash",),
            root=ROOT,
            writes=writable,
            settings=screen.terminal_settings(),
            interactive=sys.stdin.isatty() and sys.stdout.isatty(),
        ),
        asked,
    )


def tensorboard(experiment: Experiment, port: int, asked: str) -> None:
    """Serve the event files of an experiment on loopback until Ctrl-C."""
    if not experiment.folder.is_dir():
        raise InputError(f"there is no experiment '{experiment.name}' in artifacts/")
    screen.say(f"TensorBoard: http://127.0.0.1:{port}/ (Ctrl-C ends it)")
    code = serve(
        Execution(
            environment="train",
            argv=(
                *("python", "-m", "tensorboard.main", "--logdir", str(experiment.folder)),
                *("--host", "127.0.0.1", "--port", str(port), "--reload_multifile", "true"),
            ),
            root=ROOT,
            reads=(experiment.folder,),
            port=port,
        ),
        asked,
    )
    if code:
        raise StageFailed(f"TensorBoard ended with exit code {code}, see above")


def dataset_program(
    environment: str,
    script: str,
    folders: Mapping[str, tuple[str, str]],
    further: Sequence[str],
    asked: str,
) -> None:
    """Run one of the dataset's programs on ``folders``: flag -> (path, "read", "write" or "make").

    A folder to "make" need not exist; InputError where another does not. Exits as the program did
    when it refused its input: it has said why.
    """
    asks_for_help = {"-h", "--help"} & set(further)
    paths = (
        {} if asks_for_help else {flag: (typed(path), use) for flag, (path, use) in folders.items()}
    )
    for path, use in paths.values():
        if use != "read":
            exchange.recover(path)  # photos of the user's may be what was on the way
        if use != "make" and not path.is_dir():
            raise InputError(f"{screen.shown(path)}: there is no such folder. Check the path.")
    writes = tuple(path for path, use in paths.values() if use != "read")
    for folder in writes:
        folder.mkdir(parents=True, exist_ok=True)
    code = run(
        Execution(
            environment=environment,
            argv=(
                *("python", f"scripts/{script}"),
                *(f"--{flag}={path}" for flag, (path, _) in paths.items()),
                *further,
            ),
            root=ROOT,
            reads=tuple(path for path, use in paths.values() if use == "read"),
            writes=writes,
            settings=screen.terminal_settings(),
        ),
        asked,
    )
    if code == 2:
        sys.exit(code)
    if code:
        raise StageFailed(f"{script} ended with exit code {code}, see above")


def fetch(name: str, source: str | None) -> None:
    """Bring a known dataset to data/<name>/ and say how to train on it."""
    from pipeline import datasets  # imported late: other commands need no network code

    folder = ROOT / "data" / name
    datasets.fetch_dataset(name, folder, expanded(source) if source else None)
    screen.say(f"train on it: ./inv train --name {name} --data {screen.shown(folder)}")


def clean(name: str | None, everything: bool) -> None:
    """Remove an experiment's artifacts, or all of them. Environments and photos stay.

    Raises InputError where there are none, HostError while a command works on them.
    """
    if bool(name) == everything:
        raise InputError("say what to remove: --name EXPERIMENT or --everything")
    folder = ARTIFACTS if everything else folder_of(name or "")
    if not folder.is_dir():
        raise InputError(f"{screen.shown(folder)} does not exist")
    used = [path.parent for path in ARTIFACTS.glob("*/.lock")] if everything else [folder]
    with contextlib.ExitStack() as stack:
        for one in used:
            stack.enter_context(held(one))
        if folder.is_symlink():  # to a larger disk: the link stays
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        else:
            shutil.rmtree(folder)
    screen.say(f"removed {screen.shown(folder)}")

"""Runs the stages that are not current, each in its environment, and records what came of it."""

from __future__ import annotations

import contextlib
import datetime
import errno
import functools
import os
import shlex
import shutil
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import exchange, records, screen, weights
from pipeline.configuration import ROOT, Stage
from pipeline.content import ContentCache
from pipeline.errors import HostError, InputError, StageFailed
from pipeline.execution import Execution
from pipeline.experiment import ARTIFACTS, Experiment
from pipeline.placement import Place, place
from pipeline.plan import Planner, Step, existing_data, existing_part, needed
from pipeline.runners import Runner, choose
from pipeline.targets import with_targets

# Settings of the caller's that change how fast or how talkative a stage is, not what it makes.
_PASSED_ON = (
    "OMP_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "DRYDOCK_DEBUG",
)


@dataclass
class Outcome:
    """What a command did: the stages that ran and those that were current."""

    ran: list[str] = field(default_factory=list)
    current: list[str] = field(default_factory=list)
    seconds: float = 0.0


def content_cache() -> ContentCache:
    """The project's cache of file hashes."""
    return ContentCache(ARTIFACTS / ".cache" / "content.sqlite")


def bring_up_to_date(
    experiment: Experiment,
    wanted: Iterable[str],
    runner: str = "auto",
    *,
    gpu: str = "auto",
    force: Collection[str] = (),
    images: Path | None = None,
    held: bool = False,
) -> Outcome:
    """Run what of ``wanted`` and their needs is not current, or is named in ``force``.

    ``held``: the caller has the experiment's lock. Raises StageFailed, InputError or HostError;
    what earlier stages made stays, and so does the previous output of the one that failed.
    """
    stages = needed(with_targets(experiment.settings), wanted)
    chosen_weights = weights.choose(experiment.settings)
    _refuse_what_is_not_there(experiment, stages, chosen_weights)
    with contextlib.nullcontext() if held else experiment.locked():
        experiment.remember()
        cache = content_cache()
        planner = Planner(experiment, cache, images)
        outcome, started = Outcome(), time.monotonic()
        chosen: tuple[Runner, str] | None = None
        try:
            for stage in stages:
                exchange.recover(experiment.output(stage.name))
                if "weights" in stage.options and weights.missing(chosen_weights):
                    weights.fetch(chosen_weights)  # their content is part of the stage's key
                step = planner.examine(stage, {})
                if step.state == "current" and stage.name not in force:
                    outcome.current.append(stage.name)
                    continue
                if chosen is None:
                    chosen = choose(runner)
                    _tell_runner(chosen[0].NAME, chosen[1])
                screen.say(f"{stage.name}: {'forced' if not step.reasons else step.reasons[0]}")
                _run(step, experiment, planner, chosen[0], gpu)
                planner.forget(step.output)
                outcome.ran.append(stage.name)
        finally:
            cache.save()
        outcome.seconds = time.monotonic() - started
        return outcome


def _refuse_what_is_not_there(
    experiment: Experiment, stages: Iterable[Stage], chosen_weights: str
) -> None:
    """InputError for photos or weights that do not exist, before they are kept as chosen."""
    for stage in stages:
        if "data" in stage.inputs:
            existing_data(experiment)
        if "weights" in stage.options:
            weights.local_file(chosen_weights)


@functools.cache
def _tell_runner(name: str, reason: str) -> None:
    """Once in a command, however many targets it works on."""
    screen.say(f"runner: {name} ({reason})")


def survey(experiment: Experiment, wanted: Iterable[str], images: Path | None = None) -> list[Step]:
    """How each stage stands, without running anything."""
    cache = content_cache()
    planner = Planner(experiment, cache, images)
    unmade: dict[str, str] = {}
    steps = []
    for stage in needed(with_targets(experiment.settings), wanted):
        step = planner.examine(stage, unmade)
        if step.reasons:
            unmade[stage.name] = step.reasons[0]
        steps.append(step)
    cache.save()
    return steps


def command_line(step: Step, runner: str, gpu: str) -> str:
    """What would be run for ``step``, ready to be pasted."""
    module, _ = choose(runner)
    where = place(module, step.stage.environment, gpu, content_cache())
    realised = module.locate(where.environment, where.digest)
    return shlex.join(module.command_line(_execution(step, where), realised))


def _execution(step: Step, where: Place) -> Execution:
    reads = [existing_part(path) for path in step.paths.values()]
    if weights_path := step.options.get("weights", ""):
        path = Path(weights_path)
        reads += [path.parent] if path.is_absolute() else []
    settings = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return Execution(
        environment=step.stage.environment,
        argv=step.argv(step.partial),
        root=ROOT,
        reads=tuple(dict.fromkeys(reads)),
        writes=(step.partial,),
        settings={**settings, **screen.terminal_settings(), "PYTHONUNBUFFERED": "1"},
        gpu=where.gpu,
        hardware=step.stage.hardware,
    )


def _run(step: Step, experiment: Experiment, planner: Planner, runner: Runner, gpu: str) -> None:
    assert step.key is not None
    stage = step.stage
    if "weights" in stage.options:
        weights.fetch(weights.choose(experiment.settings))
    where = place(runner, stage.environment, gpu, planner.cache)
    realised = runner.realise(where.environment, where.digest, screen.say)
    _prepare_partial(step)
    execution = _execution(step, where)
    log = experiment.folder / "logs" / f"{stage.name}.log"
    output = screen.StageOutput(
        log,
        {
            "stdout": (str(step.partial), screen.shown(step.output)),
            "stderr": (str(step.partial), screen.shown(_failed(step))),
        },
    )
    started, clock = datetime.datetime.now(datetime.timezone.utc), time.monotonic()
    try:
        code = runner.run(execution, realised, output)
    finally:
        output.close()
    seconds = time.monotonic() - clock
    if code != 0:
        _set_aside(step)
        raise _failure(stage, code, output)
    record = records.Record(
        stage=stage.name,
        experiment=experiment.name,
        digest=records.key_digest(step.key),
        key=step.key,
        command=shlex.join(execution.argv),
        runner=runner.NAME,
        realised=realised,
        revision=records.revision(ROOT),
        started=started.isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        exit_code=code,
        host=records.host(),
        outputs=records.outputs(step.partial, planner.cache),
    )
    records.write(step.partial, record)
    exchange.put_in_place(step.partial, step.output)
    _marker(step).unlink(missing_ok=True)
    shutil.rmtree(_failed(step), ignore_errors=True)
    screen.say(f"{stage.name}: done in {screen.duration(seconds)}")


def _failure(stage: Stage, code: int, output: screen.StageOutput) -> Exception:
    message = f"{stage.name}: {output.error()}"
    if code == 2:
        return InputError(message)
    if os.strerror(errno.ENOSPC) in message:
        return HostError(f"{message}\nThe disk is full: make room and run the same command again.")
    if code == 130:
        raise KeyboardInterrupt
    return StageFailed(f"{message}\nThe stage ended with exit code {code}; its log: {output.log}")


def _prepare_partial(step: Step) -> None:
    """An empty folder to write to, or what an interrupted run of the very same stage left."""
    assert step.key is not None
    exchange.recover(step.partial)
    digest = records.key_digest(step.key)
    marker = _marker(step)
    try:
        resume = step.stage.resumable and marker.read_text() == digest
    except OSError:
        resume = False
    if not resume and step.partial.exists():
        shutil.rmtree(step.partial)
    step.partial.mkdir(parents=True, exist_ok=True)
    marker.write_text(digest)


def _marker(step: Step) -> Path:
    """Says for which key the partial output is."""
    return step.partial.with_suffix(".key")


def _failed(step: Step) -> Path:
    """Where a stage that failed leaves what it wrote: a report may say what was wrong."""
    return step.output.with_name(f"{step.output.name}.failed")


def _set_aside(step: Step) -> None:
    if not step.stage.resumable:
        shutil.rmtree(_failed(step), ignore_errors=True)
        step.partial.rename(_failed(step))

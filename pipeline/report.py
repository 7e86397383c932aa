"""Tables and summaries of experiments: status, explanation, results, comparison."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline import records
from pipeline.configuration import load_settings
from pipeline.errors import InputError, StageFailed
from pipeline.execute import Outcome, command_line
from pipeline.experiment import ARTIFACTS, DEFAULT, Experiment
from pipeline.plan import Step
from pipeline.screen import duration, say, shown, table
from pipeline.targets import load_targets

if TYPE_CHECKING:
    from pipeline.packaging import Package  # reads much that a report does not need


def chosen(experiment: Experiment) -> None:
    """Say where the experiment departs from configs/project.toml, so that nothing is hidden."""
    project = msgspec.structs.asdict(load_settings())
    differing = [
        f"{name}={value}"
        for name, value in sorted(experiment.chosen.items())
        if project.get(name) != value and name != "trained_on"
    ]
    if differing:
        say(
            f"experiment '{experiment.name}': {', '.join(differing)} "
            "(as chosen for it; train --reset returns to configs/project.toml)"
        )
    if trained_on := experiment.settings.trained_on:
        say(f"trained on for int8, which held in no other way: {', '.join(sorted(trained_on))}")


def status(experiment: Experiment, steps: list[Step], as_json: bool) -> None:
    """How each stage stands."""
    if as_json:
        say(json.dumps([_as_json(step) for step in steps], indent=2))
        return
    chosen(experiment)
    table(
        ("stage", "state", "why", "last run", "took"),
        [
            (
                step.stage.name,
                step.state,
                _reasons(step.reasons),
                step.record.started[:16].replace("T", " ") if step.record else "",
                duration(step.record.seconds) if step.record else "",
            )
            for step in steps
        ],
    )


def _reasons(reasons: tuple[str, ...]) -> str:
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return reasons[0] + more if reasons else ""


def _as_json(step: Step) -> dict[str, Any]:
    return {
        "stage": step.stage.name,
        "state": step.state,
        "reasons": list(step.reasons),
        "output": str(step.output),
        "started": step.record.started if step.record else None,
        "seconds": step.record.seconds if step.record else None,
        "runner": step.record.runner if step.record else None,
    }


def explanation(step: Step) -> None:
    """Why a stage is stale, or what its currency rests on."""
    say(f"{step.stage.name} is {step.state}")
    for reason in step.reasons:
        say(f"  {reason}")
    if step.record and not step.reasons:
        say(
            f"  key {step.record.digest[:12]}, made {step.record.started} by the "
            f"{step.record.runner} runner from revision {step.record.revision[:12]}"
        )
        for name, entry in step.record.key.inputs.items():
            say(f"  {name}: {len(entry.files)} files, {entry.digest[:12]}  {entry.path}")


def dry_run(experiment: Experiment, steps: list[Step], runner: str, gpu: str) -> None:
    """What would run and the exact command lines."""
    for step in steps:
        say(f"{step.stage.name}: {step.state}  {_reasons(step.reasons)}".rstrip())
        if step.reasons:
            say(f"  {command_line(step, runner, gpu)}")


def results(experiment: Experiment, outcome: Outcome) -> None:
    """The end of `inv train`: the scores and where things are."""
    if not outcome.ran:
        say(f"all is current: {', '.join(outcome.current)} (--force runs them again)")
    say()
    say((experiment.output("evaluate") / "summary.txt").read_text().rstrip())
    say()
    if outcome.ran:
        say(f"took {duration(outcome.seconds)}")
    for title, stage in (
        ("detector", "export"),
        ("scores and pictures", "evaluate"),
        ("training log", "train"),
    ):
        say(f"{title + ':':<21}{shown(experiment.output(stage))}")
    named = "" if experiment.name == DEFAULT else f" --name {experiment.name}"
    say(f"next: ./inv detect{named} --images FOLDER, ./inv tensorboard{named}")


def imported(experiment: Experiment) -> None:
    """The end of `inv import-model`: what came of it, and how to go on."""
    origin = json.loads((experiment.output("export") / "origin.json").read_bytes())
    say()
    say(f"{origin['file']}: {origin['format']}, sha256 {origin['sha256']}")
    say(f"{'detector:':<21}{shown(experiment.output('export'))}")
    further = "" if experiment.kind == "whole" else f", ./inv verify --name {experiment.name}"
    say(f"next: ./inv detect --name {experiment.name} --images FOLDER{further}")


def targets(as_json: bool, chosen: bool) -> None:
    """The devices of configs/targets.toml, or only those ``chosen`` in configs/project.toml."""
    wanted = load_settings().targets
    if chosen and (unknown := sorted(set(wanted) - load_targets().keys())):
        raise InputError(f"configs/project.toml: targets: there is no {', '.join(unknown)}")
    known = [one for one in load_targets().values() if not chosen or one.name in wanted]
    if as_json:
        say(json.dumps([msgspec.structs.asdict(target) for target in known], indent=2))
        return
    table(
        ("target", "for", "environment", "precisions", "runs here"),
        [
            (
                target.name,
                target.help,
                target.environment,
                " ".join(target.precisions),
                f"as stand-in: {target.stand_in}" if target.stand_in else "yes",
            )
            for target in known
        ],
    )


def packages(made: Sequence[Package], failed: Sequence[str]) -> None:
    """The end of `inv package` and `inv ship`; StageFailed when anything failed."""
    if made:
        say()
        table(
            ("target", "precision", "mAP", "MB", "packed as"),
            [
                (
                    one.target,
                    one.precision,
                    one.labels.get("drydock.map", ""),
                    f"{one.size / 1e6:.0f}",
                    one.image if one.format == "image" else shown(Path(one.archive or one.folder)),
                )
                for one in made
            ],
        )
        say("model cards: detector/MODEL_CARD.md in each folder")
    if failed:
        raise StageFailed(f"{'; '.join(failed)}. Each reason stands above")


def _score(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _metrics(folder: Path) -> dict[str, Any]:
    path = folder / "evaluate" / "metrics.json"
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{shown(path)} is missing: the experiment was not evaluated") from None


def comparison(first: str, second: str, artifacts: Path = ARTIFACTS) -> None:
    """Parameters and metrics of two experiments side by side; what differs is marked."""
    sides = [_facts(artifacts / name) for name in (first, second)]
    rows = [
        (
            "*" if sides[0].get(fact) != sides[1].get(fact) else "",
            fact,
            sides[0].get(fact, ""),
            sides[1].get(fact, ""),
        )
        for fact in dict.fromkeys([*sides[0], *sides[1]])
    ]
    table(("", "", first, second), rows)


def _facts(folder: Path) -> dict[str, str]:
    trained = records.read(folder / "train")
    if trained is None:
        names = sorted(path.parent.name for path in folder.parent.glob("*/train"))
        raise InputError(
            f"there is no trained experiment '{folder.name}'; "
            f"artifacts/ has {', '.join(names) or 'none'}"
        )
    facts = {
        "model": Path(trained.key.inputs["config"].path).stem,
        "photos and boxes": trained.key.inputs["records"].digest[:12],
        **trained.key.options,
        "training took": duration(trained.seconds),
        "runner": trained.runner,
        "revision": trained.revision[:12],
    }
    if (folder / "evaluate" / "metrics.json").exists():
        metrics = _metrics(folder)
        facts |= {name: _score(metrics[name]) for name in ("mAP", "AP50", "AP75")}
        facts |= {f"AP {name}": _score(v["AP"]) for name, v in metrics["per_class"].items()}
    return facts

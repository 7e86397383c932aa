"""What a stage would read and run, whether it is current, and if not, why."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import environments, modules, records, weights
from pipeline.configuration import ROOT, Stage
from pipeline.content import ContentCache, digest, without
from pipeline.errors import InputError
from pipeline.experiment import Experiment
from pipeline.records import Input, Key, Record


@dataclass(frozen=True)
class Step:
    """A stage of an experiment as it stands now."""

    stage: Stage
    output: Path
    paths: Mapping[str, Path]  # where each input lies
    options: Mapping[str, str]  # as the script takes them
    key: Key | None  # None while an input is yet to be made
    record: Record | None
    reasons: tuple[str, ...]  # why it has to run; empty when it is current

    @property
    def state(self) -> str:
        """``current``, ``stale`` or ``never run``."""
        if not self.reasons:
            return "current"
        return "stale" if self.record else "never run"

    @property
    def partial(self) -> Path:
        """Where the stage writes until it has ended well."""
        return self.output.with_name(f".{self.output.name}.partial")

    def argv(self, output: Path) -> tuple[str, ...]:
        """The stage's command line."""
        arguments = [
            str(path) if name == self.stage.bare else f"--{name}={path}"
            for name, path in self.paths.items()
        ]
        arguments += [f"--{name.replace('_', '-')}={value}" for name, value in self.options.items()]
        return ("python", self.stage.script, *arguments, f"--output={output}")


def needed(stages: Mapping[str, Stage], wanted: Iterable[str]) -> list[Stage]:
    """``wanted`` and all they depend on, each after what it needs (the order of the file)."""
    names: set[str] = set()
    queue = list(wanted)
    while queue:
        name = queue.pop()
        if name in stages and name not in names:
            names.add(name)
            queue += [*stages[name].inputs, *stages[name].after]
    return [stage for name, stage in stages.items() if name in names]


class Planner:
    """Examines the stages of one experiment, reading each file at most once."""

    def __init__(
        self, experiment: Experiment, cache: ContentCache, images: Path | None = None
    ) -> None:
        self.experiment = experiment
        self.cache = cache
        self._images = images
        self._trees: dict[Path, dict[str, str]] = {}

    def forget(self, path: Path) -> None:
        """A stage has written: what was known of its output no longer holds."""
        self._trees.pop(path, None)

    def examine(self, stage: Stage, unmade: Mapping[str, str]) -> Step:
        """The step for ``stage``; ``unmade`` names the stages that will run first, and why."""
        output = self.experiment.output(stage.name)
        record = records.read(output)
        paths = {stage.flags.get(name, name): self._path(name) for name in stage.inputs}
        options = {**stage.arguments, **{name: self._option(name) for name in stage.options}}
        waiting = tuple(
            f"{name} will run first" for name in (*stage.inputs, *stage.after) if name in unmade
        )
        if any(name in unmade for name in stage.inputs):
            return Step(stage, output, paths, options, None, record, waiting)
        key = self._key(stage, paths, options)
        if record is None:
            reasons: tuple[str, ...] = ("it has not run yet",)
        elif record.digest != records.key_digest(key):
            reasons = tuple(differences(record.key, key))
        elif not self._intact(output, record):
            reasons = ("its outputs were changed or removed",)
        else:
            reasons = ()
        return Step(stage, output, paths, options, key, record, reasons or waiting)

    def environment_digest(self, name: str) -> str:
        """The digest of an environment."""
        return environments.environment_digest(environments.load(name), self.cache)

    def _path(self, name: str) -> Path:
        if name == "data":
            return existing_data(self.experiment)
        if name == "config":
            return ROOT / "configs" / "models" / f"{self.experiment.settings.model}.yaml"
        if name == "images":
            if self._images is None:
                raise InputError("--images says which photos to detect on: a folder, file or glob")
            return self._images
        return self.experiment.output(name)

    def _option(self, name: str) -> str:
        settings = self.experiment.settings
        if name == "weights":
            chosen = weights.choose(settings)
            return str(weights.local_file(chosen) or chosen)
        return str(getattr(settings, name))

    def _key(self, stage: Stage, paths: Mapping[str, Path], options: Mapping[str, str]) -> Key:
        sources = {
            path
            for script in (stage.script, *stage.code)
            for path in modules.source_files(ROOT / script, ROOT / "scripts")
        }
        inputs = {}
        for name, path in paths.items():
            files = without(self._tree(path), (*stage.ignores.get(name, ()), records.RECORD))
            inputs[name] = Input(str(path), digest(files), files)
        return Key(
            environment=self.environment_digest(stage.environment),
            code={str(path.relative_to(ROOT)): self.cache.file(path) for path in sorted(sources)},
            options=self._counted(options),
            inputs=inputs,
        )

    def _counted(self, options: Mapping[str, str]) -> dict[str, str]:
        """The options as they count: weights in a file by their content, not by their path."""
        counted = dict(options)
        path = Path(counted.get("weights", ""))
        if path.is_absolute():
            beside = sorted(path.parent.glob(f"{path.name}*")) if not path.is_dir() else [path]
            counted["weights"] = digest(
                {
                    f"{entry.name}/{name}": sha256
                    for entry in beside
                    for name, sha256 in self._tree(entry).items()
                }
            )
        return counted

    def _intact(self, output: Path, record: Record) -> bool:
        files = dict(self._tree(output))
        files.pop(records.RECORD, None)
        return files == record.outputs

    def _tree(self, path: Path) -> dict[str, str]:
        if path not in self._trees:
            try:
                self._trees[path] = self.cache.tree(existing_part(path))
            except FileNotFoundError:
                raise InputError(f"{path}: there is no such file or folder") from None
        return self._trees[path]


def existing_data(experiment: Experiment) -> Path:
    """The dataset's folder; InputError where there is none."""
    folder = experiment.data.resolve()
    if not folder.is_dir():
        raise InputError(
            f"--data {folder}: there is no such folder. It is one with train/ and test/ in it, "
            "photos and labelImg's xml files beside each other."
        )
    # Before all of it is read: it may be somebody's home.
    if not any((folder / split).is_dir() for split in ("train", "test")):
        raise InputError(
            f"--data {folder}: there is no train/ and no test/ in it; "
            f"./inv data.split --images {shlex.quote(str(folder))} puts the photos there into them"
        )
    return folder


def existing_part(path: Path) -> Path:
    """``path``, or for a glob the folder above its first wildcard."""
    for part in (path, *path.parents):
        if not any(sign in str(part) for sign in "*?["):
            return part
        if part.exists():  # a wildcard sign that is really part of a name
            return part
    return path


def differences(old: Key, new: Key) -> list[str]:
    """What tells two keys apart, one line each, files by name."""
    lines = []
    if old.environment != new.environment:
        lines.append("its environment changed (docker/)")
    lines += _changes("", old.code, new.code)
    for name in sorted({*old.options, *new.options}):
        before, after = old.options.get(name), new.options.get(name)
        if before != after:
            lines.append(f"{name} was {before}, now {after}")
    for name in sorted({*old.inputs, *new.inputs}):
        before_files = old.inputs[name].files if name in old.inputs else {}
        after_files = new.inputs[name].files if name in new.inputs else {}
        lines += _changes(f"{name}: ", before_files, after_files)
    return lines


def _changes(prefix: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    lines = [f"{prefix}{name} is new" for name in sorted(new.keys() - old.keys())]
    lines += [f"{prefix}{name} is gone" for name in sorted(old.keys() - new.keys())]
    lines += [
        f"{prefix}{name} changed"
        for name in sorted(old.keys() & new.keys())
        if old[name] != new[name]
    ]
    return lines

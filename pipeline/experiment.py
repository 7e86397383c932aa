"""An experiment: a name, the settings chosen for it, and the folder of its artifacts."""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipeline.configuration import CONFIGS, ROOT, Settings, load_settings, model_kind, models
from pipeline.errors import HostError, InputError
from pipeline.paths import expanded

ARTIFACTS = ROOT / "artifacts"
DEFAULT = "default"  # what commands work on without --name
SETTINGS = "settings.json"  # in each experiment's folder; without it there is no experiment

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Experiment:
    """``artifacts/<name>/`` and what to make there.

    ``chosen`` is what the command line gave, now or earlier, over ``configs/project.toml``:
    an experiment keeps its settings, so that ``inv status --name x`` needs no repetition.
    """

    name: str
    folder: Path
    settings: Settings
    chosen: Mapping[str, object]

    def output(self, stage: str) -> Path:
        """The folder of a stage's artifacts."""
        return self.folder / stage

    @property
    def data(self) -> Path:
        """The dataset's folder, absolute."""
        return ROOT / expanded(self.settings.data)

    @property
    def figures(self) -> str:
        """The stage that has the detector's figures; ``export`` where there are none.

        One that was trained elsewhere may be measured by nothing: no photos are annotated for it.
        """
        measured = not self.settings.imported or self.output("evaluate").is_dir()
        return "evaluate" if measured else "export"

    @property
    def kind(self) -> str:
        """Of its detector, as in detector.json: known before anything was trained."""
        if self.settings.imported:
            path = self.output("export") / "detector.json"
            try:
                return str(msgspec.json.decode(path.read_bytes())["kind"])
            except (OSError, msgspec.DecodeError, KeyError, TypeError):
                raise InputError(
                    f"the import into '{self.name}' did not end: ./inv import-model FILE"
                    f" --name {self.name} again"
                ) from None
        return model_kind((CONFIGS / "models" / f"{self.settings.model}.yaml").read_text("utf-8"))

    def remember(self) -> None:
        """Keep what was chosen for the next command."""
        path = self.folder / SETTINGS
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")  # several targets at once
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(self.chosen)))
        temporary.replace(path)

    def reopened(self) -> Experiment:
        """The experiment with what was kept since: work on it can find out what it needs."""
        return open_experiment(self.name, {}, self.folder.parent, new=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the experiment: two commands would write over each other."""
        with held(self.folder):
            yield


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the experiment in ``folder``; HostError where another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise HostError(
                f"the experiment '{folder.name}' is in use by process {lock.read().strip()}: "
                "wait for it, or choose another with --name"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def folder_of(name: str, artifacts: Path = ARTIFACTS) -> Path:
    """Where the experiment ``name`` lies, or would lie; InputError for what cannot be a name."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"--name {name}: an experiment's name is letters, digits, '.', '_' and '-', at most 64"
        )
    return artifacts / name


def open_experiment(
    name: str,
    given: Mapping[str, object],
    artifacts: Path = ARTIFACTS,
    *,
    reset: bool = False,
    new: bool = False,
) -> Experiment:
    """The experiment ``name`` with ``given`` settings over those it had.

    ``reset`` forgets earlier choices. Unless it may be ``new``, InputError for one that is not
    there: a mistyped name would train another detector. The default one always may be. InputError
    also for a bad name or value.
    """
    folder = folder_of(name, artifacts)
    if not (new or (folder / SETTINGS).is_file() or name == DEFAULT):
        raise InputError(_unknown(name, artifacts))
    remembered = {} if reset else _remembered(folder / SETTINGS)
    chosen = {**remembered, **given}
    project = load_settings()
    try:
        settings = msgspec.convert({**msgspec.structs.asdict(project), **chosen}, Settings)
    except msgspec.ValidationError as error:
        raise InputError(f"settings of the experiment '{name}': {error}") from None
    if settings.model not in models():
        raise InputError(
            f"there is no model '{settings.model}'; configs/models/ has {', '.join(models())}"
        )
    return Experiment(name, folder, settings, chosen)


def _unknown(name: str, artifacts: Path) -> str:
    known = sorted(path.parent.name for path in artifacts.glob(f"*/{SETTINGS}"))
    close = difflib.get_close_matches(name, known, n=1)
    meant = f": did you mean {close[0]}?" if close else f"; artifacts/ has {', '.join(known)}"
    return (
        f"there is no experiment '{name}'{meant if known else ''}; "
        f"./inv train --name {name} begins one, and "
        f"./inv import-model FILE --name {name} takes in a detector from elsewhere"
    )


def _remembered(path: Path) -> dict[str, object]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: {error}. Remove the file to start over.") from None

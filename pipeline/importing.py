"""Takes a detector that was trained elsewhere into an experiment of its own.

What is imported is copied to ``artifacts/<name>/source/``: the experiment stays whole when the file
it came from moves, and the record of its stage ``export`` holds the sha256 of every file.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.errors import InputError
from pipeline.execute import bring_up_to_date
from pipeline.experiment import SETTINGS, Experiment, open_experiment
from pipeline.paths import expanded
from pipeline.plan import existing_data
from pipeline.screen import say, shown

_LABELS = "labels.pbtxt"


def import_model(
    file: str, name: str, labels: str | None, given: Mapping[str, object], runner: str
) -> Experiment:
    """The experiment ``name`` with the detector in ``file``; as it was before where that fails.

    ``labels`` is a label map or class names with commas between. InputError when ``file`` is no
    detector, or the experiment has a training of its own.
    """
    source, label_map = whole_source(expanded(file)), None
    before = open_experiment(name, {}, new=True)
    if (before.output("train") / "run.json").exists():
        raise InputError(
            f"the experiment '{name}' was trained here; choose another for the import with --name"
        )
    if labels is None:
        label_map = label_map_of(source)
    elif (path := expanded(labels)).is_file():
        label_map = path
    elif "/" in labels or path.suffix in (".pbtxt", ".txt"):
        raise InputError(f"--labels {labels}: there is no such file")
    names = "" if label_map or labels is None else labels
    chosen = {**given, "imported": source.name, "labels": names}
    experiment = open_experiment(name, chosen, new=True)
    if "data" in given:
        existing_data(experiment)
    with _taken_back_on_failure(experiment, existed=(before.folder / SETTINGS).exists()):
        with experiment.locked():
            _copy(source, label_map, experiment.output("source"))
        if label_map and labels is None:
            say(f"class names: from {shown(label_map)}")
        bring_up_to_date(experiment, ["export"], runner)
    return experiment


def whole_source(path: Path) -> Path:
    """What is meant by ``path``: the folder of a SavedModel, the whole export it lies in, a file.

    An export of this project has raw heads beside its SavedModel, and with them every device.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    path = path.resolve()
    if path.name == "saved_model.pb":
        path = path.parent
    if path.is_dir() and path.name == "saved_model" and (path.parent / "detector.json").is_file():
        say(f"{shown(path)} lies in an export with raw heads: taking {shown(path.parent)}")
        path = path.parent
    return path


def label_map_of(source: Path) -> Path | None:
    """The label map that lies in or beside what is imported; an export brings its own."""
    if (source / "detector.json").is_file():
        return None
    candidates = (source / "label_map.pbtxt", source.parent / "label_map.pbtxt")
    return next((path for path in candidates if path.is_file()), None)


def refuse_training(experiment: Experiment, what: str) -> None:
    """InputError where a command is for detectors that are trained here, and this one is not."""
    if experiment.settings.imported:
        raise InputError(
            f"the experiment '{experiment.name}' holds a detector that was trained elsewhere "
            f"({experiment.settings.imported}); {what}"
        )


def _copy(source: Path, label_map: Path | None, folder: Path) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if source.is_dir():
        shutil.copytree(source, partial / source.name)
    else:
        shutil.copy(source, partial / source.name)
    if label_map:
        shutil.copy(label_map, partial / _LABELS)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


@contextlib.contextmanager
def _taken_back_on_failure(experiment: Experiment, existed: bool) -> Iterator[None]:
    """Leave no half-made experiment behind, and an earlier one as it was."""
    folder = experiment.folder
    kept = {name: folder / f".{name}.before" for name in ("source", SETTINGS)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, copy in kept.items():
        _remove(copy)
        if (folder / name).exists():
            (shutil.copytree if (folder / name).is_dir() else shutil.copy)(folder / name, copy)
    try:
        yield
    except BaseException:
        if not existed:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            for name, copy in kept.items():
                _remove(folder / name)
                if copy.exists():
                    copy.rename(folder / name)
        raise
    for copy in kept.values():
        _remove(copy)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

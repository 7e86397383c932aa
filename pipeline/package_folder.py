"""The folder that carries a detector to a device: programs, detector, papers, requirements.

    run               starts one of the device's programs; the entry of an image
    install           makes the virtualenv on a board without Docker, from requirements.txt
    scripts/          the programs and what they import
    detector/         the artifact, MODEL_CARD.md, NOTICE.md, provenance.json

A program finds everything beside itself, so the folder can lie anywhere.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pipeline import model_card, modules
from pipeline.configuration import ROOT, load_weights
from pipeline.contents import Contents
from pipeline.environments import Environment
from pipeline.plan import Step
from pipeline.provenance import Provenance
from pipeline.records import RECORD
from pipeline.targets import Variant, every

# What `run` starts, with what each does; they take --artifact, --runtime and --device.
COMMANDS = {
    "detect": "find objects in photos, a video, a camera's picture or a stream",
    "benchmark": "measure how fast the detector is here",
    "serve": "answer over HTTP: photos, the Open Inference Protocol, a page for people",
}
# Besides these the image's health check, and what verifies on the device.
PROGRAMS = tuple(f"scripts/{name}.py" for name in (*COMMANDS, "health", "predict"))

_RUN = """\
#!/bin/sh
# Runs the detector of this folder.
set -eu
here=${{0%/*}}
called=${{DRYDOCK_CALLED:-$0}} # an image knows how it is started
if [ "$called" = "$0" ]; then
  examples="  $0 detect photo.jpg
  $0 detect photos --output found
  $0 serve"
else
  examples='A container sees the folders, cameras and ports that it is given:

  docker run --rm --volume "$PWD:/data:ro" IMAGE detect /data/photo.jpg
  docker run --rm --volume "$PWD:/data" --user "$(id -u):$(id -g)" IMAGE detect /data \\
    --output /data/found
  docker run --rm --device /dev/video0 --group-add video IMAGE detect /dev/video0
  docker run --rm --publish 127.0.0.1:8000:8000 IMAGE serve{hardware}'
fi
usage="usage: $called COMMAND [ARGUMENT...]

{usage}

$examples

$called COMMAND --help says more."
python=$here/venv/bin/python
[ -x "$python" ] || python=/opt/venv/bin/python # in an image
if [ ! -x "$python" ]; then
  echo "error: there is no virtualenv yet; make it with $here/install" >&2
  exit 3
fi
command=${{1-}}
case $command in
  {commands})
    shift
    export DRYDOCK_COMMAND="$called $command"
    [ "$command" != serve ] || set -- {name} "$@"
    exec "$python" "$here/scripts/$command.py" --artifact="$here/detector" {options} "$@"
    ;;
  health) exec "$python" "$here/scripts/health.py" ;; # of a container, for its engine
  -h | --help | help) echo "$usage" ;;
  '')
    echo "$usage" >&2
    exit 2
    ;;
  *)
    echo "error: '$command' is no command; $usage" >&2
    exit 2
    ;;
esac
"""

_INSTALL = """\
#!/bin/sh
# Makes the virtualenv that ./run uses, from the locked requirements. pip's own settings hold;
# PYTHON names another interpreter than python{python}.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=${{PYTHON:-python{python}}}
if ! "$python" -c 'import ensurepip, sys; sys.exit("%d.%d" % sys.version_info[:2] != "{python}")'
then
  echo "error: this takes Python {python} with venv (Debian: python{python}-venv)" >&2
  exit 3
fi
"$python" -m venv "$here/venv"
# As the lock was made: an upper bound that a package states for Python is often out of date.
"$here/venv/bin/pip" install --disable-pip-version-check --no-deps --require-hashes \\
  --ignore-requires-python --only-binary :all: --requirement "$here/requirements.txt"
"""


# What a simulator needs besides the artifact, where converters leave it.
SIMULATION = "simulation"


def artifact_files(artifact: Path) -> list[Path]:
    """What of a converter's output goes to the device.

    Not the record of this machine, and not what only a simulator of the device needs.
    """
    return sorted(
        path
        for path in artifact.rglob("*")
        if path.is_file()
        and path != artifact / RECORD
        and path.relative_to(artifact).parts[0] != SIMULATION
    )


def program_files(runtime: str, root: Path = ROOT) -> list[Path]:
    """The programs, all of ours that they import or show, and of the runtimes the one needed."""
    runtimes = root / "scripts" / "detection" / "runtimes"
    ours = runtimes / f"{runtime}.py"
    found = {
        path
        for start in (*(root / program for program in PROGRAMS), ours)
        for path in modules.source_files(start, root / "scripts")
    }
    pages = {page for path in found for page in path.parent.glob("*.html")}
    return sorted(found - set(runtimes.glob("[a-z]*.py")) | {ours} | pages)


def run_script(facts: model_card.Facts) -> str:
    """The folder's ``run``; the service names its model after the experiment."""
    device = facts.environment.file.device
    assert device is not None
    options = [f"--runtime={facts.runtime}", f"--device={device.name}"]
    needed = " ".join(f'"{one}"' if re.search(r"[ $*]", one) else one for one in device.run)
    return _RUN.format(
        usage="\n".join(f"  {name:<11}{what}" for name, what in COMMANDS.items()),
        commands=" | ".join(COMMANDS),
        options=shlex.join(options),
        name=shlex.quote(f"--model={facts.origin.experiment}"),
        hardware=f"\n\nIts hardware takes also: {needed}" if needed else "",
    )


def install_script(environment: Environment) -> str:
    """The folder's ``install``."""
    return _INSTALL.format(python=environment.file.python)


def write(folder: Path, artifact: Path, facts: model_card.Facts) -> None:
    """Make ``folder``, whole or not at all, in place of what it held before.

    ``artifact`` is what the converter left for ``facts.variant``.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    detector = partial / "detector"
    for path in artifact_files(artifact):
        _copy(path, detector / path.relative_to(artifact))
    for path in program_files(facts.runtime):
        _copy(path, partial / path.relative_to(ROOT))
    _copy(ROOT / "LICENSE", partial / "LICENSE")
    _copy(facts.environment.lock, partial / "requirements.txt")
    for name, text in (
        ("run", run_script(facts)),
        ("install", install_script(facts.environment)),
    ):
        (partial / name).write_text(text)
        (partial / name).chmod(0o755)
    (detector / "MODEL_CARD.md").write_text(model_card.card(facts), "utf-8")
    (detector / "NOTICE.md").write_text(model_card.notice(facts), "utf-8")
    (detector / "provenance.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(facts.origin))
    )
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def gather_facts(
    variant: Variant,
    steps: Mapping[str, Step],
    origin: Provenance,
    environment: Environment,
    inside: Contents,
) -> model_card.Facts:
    """What the papers say, read from what the stages left.

    ``steps`` are those that the verifications need, and ``evaluate`` where there is one;
    ``inside`` is what the device's ``environment`` consists of.
    """
    passed = [one for one in every() if one.verify in steps and not steps[one.verify].reasons]
    weights = (
        step.record.key.options.get("weights", "")
        if (step := steps.get("train")) and step.record
        else ""
    )
    evaluate, made = steps.get("evaluate"), steps.get("records")
    return model_card.Facts(
        variant=variant,
        environment=environment,
        origin=origin,
        detector=_json(steps[variant.artifact].output / "detector.json"),
        imported=_json(steps["export"].output / "origin.json") if made is None else {},
        data=_json(made.output / "records.json") if made else {},
        boxes=model_card.boxes_per_class(made.output) if made else {},
        metrics=_json(evaluate.output / "metrics.json")
        if evaluate and not evaluate.reasons
        else {},
        verified={one.name: _json(steps[one.verify].output / "verify.json") for one in passed},
        ran_on={one.name: _ran_on(one, steps[one.predict]) for one in passed},
        inside=inside,
        weights=load_weights().get(weights),
    )


def _ran_on(variant: Variant, predict: Step) -> str:
    """What detected here for the verification: a stand-in's name, and on which processor."""
    host = predict.record.host if predict.record else {}
    processor = f"{host.get('cpu', '')} ({host.get('machine', '')})"
    is_stand_in = predict.options["device"] == variant.target.device
    return ", ".join(filter(None, (variant.target.stand_in if is_stand_in else "", processor)))


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def _copy(source: Path, destination: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, destination)

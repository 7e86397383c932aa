"""Benchmarks on the shelf: which of them still are of what there is.

A benchmark says of what it is: the artifact, the programs and the environment that ran it. When one
of them has changed, so may have the figures, and the benchmark no longer counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import environments, modules, records
from pipeline.configuration import ROOT
from pipeline.content import ContentCache, digest
from pipeline.experiment import Experiment
from pipeline.plan import Step
from pipeline.targets import Variant

HERE = "benchmark.json"
_PROGRAM = "scripts/benchmark.py"


def folder(experiment: Experiment, variant: Variant) -> Path:
    """Where the benchmarks of ``variant`` lie: this host's, and one for each board."""
    return experiment.output(f"{variant.name}/benchmark")


def subject(
    variant: Variant, artifact: Mapping[str, str], cache: ContentCache, environment: str = ""
) -> str:
    """What a benchmark of ``variant`` is of; ``artifact`` holds its files' sha256.

    ``environment`` is what it ran in, where that was not the target's own: on a board.
    """
    runtime = f"scripts/detection/runtimes/{variant.target.runtime}.py"
    code = {
        str(path.relative_to(ROOT)): cache.file(path)
        for start in (_PROGRAM, runtime)
        for path in modules.source_files(ROOT / start, ROOT / "scripts")
    }
    ran_in = environments.load(environment or variant.target.environment)
    return digest(
        {
            "artifact": digest(dict(artifact)),
            "code": digest(code),
            "environment": environments.environment_digest(ran_in, cache),
        }
    )


def write(place: Path, name: str, result: Mapping[str, Any]) -> None:
    """Keep a benchmark as ``place/name``, whole or not at all."""
    place.mkdir(parents=True, exist_ok=True)
    partial = place / f".{name}.partial"
    partial.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
    partial.replace(place / name)


def current(
    experiment: Experiment, variant: Variant, artifact: Step, cache: ContentCache
) -> list[dict[str, Any]]:
    """The benchmarks of ``variant`` that still hold, this host's first, then boards by name."""
    if artifact.reasons or artifact.record is None:
        return []
    paths = sorted(
        folder(experiment, variant).glob("*.json"), key=lambda path: (path.name != HERE, path)
    )
    found = filter(None, map(records.json_object, paths))
    outputs, package = artifact.record.outputs, f"device/{variant.target.package}"
    return [
        one
        for one in found
        if one.get("subject")
        == subject(variant, outputs, cache, package if one.get("board") else "")
    ]


def place(measured: Mapping[str, Any]) -> str:
    """Where it was measured. What is not the device is never called so."""
    if board := measured.get("board"):
        return f"{board}: {measured['cpu']}"
    return f"stand-in: {measured['stand_in']}" if measured["stand_in"] else "this host"

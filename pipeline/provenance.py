"""Where a converted detector came from, in a form that can leave this machine.

The records of its stages with what identifies each input and output, and without the paths and
command lines, which name folders of whoever trained it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pipeline.content import digest
from pipeline.plan import Step
from pipeline.records import Record

FORMAT = 1


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """One stage on the way to the artifact."""

    key: str
    environment: str
    code: dict[str, str]  # sha256 by file
    options: dict[str, str]
    inputs: dict[str, str]  # digest by name
    outputs: dict[str, str]  # sha256 by file
    revision: str
    runner: str
    started: str
    host: dict[str, str]


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """All stages on the way to an artifact, in order, and what tells it from every other."""

    format: int = FORMAT
    experiment: str
    detector: str  # sha256 over the artifact's files
    revision: str  # of the project, when it was packed
    made: str  # when it was converted; ISO 8601, UTC
    accepted_loss: str  # why a loss beyond the tolerance was accepted; empty where there was none
    stages: dict[str, Origin]


def gather(artifact: Record, steps: Iterable[Step], revision: str) -> Provenance:
    """The provenance of ``artifact``, made and verified by ``steps``."""
    origins = {step.stage.name: _origin(step.record) for step in steps if step.record}
    return Provenance(
        experiment=artifact.experiment,
        detector=digest(artifact.outputs),
        revision=revision,
        made=artifact.started,
        accepted_loss=next(
            (loss for one in origins.values() if (loss := one.options.get("accept-loss"))), ""
        ),
        stages=origins,
    )


def _origin(record: Record) -> Origin:
    return Origin(
        key=record.digest,
        environment=record.key.environment,
        code=record.key.code,
        options=record.key.options,
        inputs={name: entry.digest for name, entry in record.key.inputs.items()},
        outputs=record.outputs,
        revision=record.revision,
        runner=record.runner,
        started=record.started,
        host=record.host,
    )

"""Run records: where an artifact came from, and whether it is still what a stage left."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from pipeline.content import ContentCache

RECORD = "run.json"
FORMAT = 1


class Input(msgspec.Struct, frozen=True):
    """A file or folder that a stage read: its digest and the sha256 of each file that counted."""

    path: str
    digest: str
    files: dict[str, str]


class Key(msgspec.Struct, frozen=True):
    """All that decides what a stage makes. Equal keys, equal outputs."""

    environment: str
    code: dict[str, str]
    options: dict[str, str]
    inputs: dict[str, Input]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a stage, as ``run.json`` beside its outputs."""

    format: int = FORMAT
    stage: str
    experiment: str
    digest: str  # of the key
    key: Key
    command: str
    runner: str
    realised: str  # image id or virtualenv
    revision: str
    started: str  # ISO 8601, UTC
    seconds: float
    exit_code: int
    host: dict[str, str]
    outputs: dict[str, str]


def key_digest(key: Key) -> str:
    """sha256 of a key; of an input only its content counts, not where it lies."""
    counted = {
        "environment": key.environment,
        "code": key.code,
        "options": key.options,
        "inputs": {name: entry.digest for name, entry in key.inputs.items()},
    }
    return hashlib.sha256(msgspec.json.encode(counted, order="sorted")).hexdigest()


def read(output: Path) -> Record | None:
    """The record beside the outputs; None when there is none that can be read."""
    try:
        record = msgspec.json.decode((output / RECORD).read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None
    return record if record.format == FORMAT else None


def json_object(path: Path) -> dict[str, Any]:
    """What a stage wrote as a JSON object; empty where a power cut left no whole one."""
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def write(output: Path, record: Record) -> None:
    """Write the record into a folder that is not yet in its place."""
    (output / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record)))


def outputs(output: Path, cache: ContentCache) -> dict[str, str]:
    """sha256 of all outputs, the record itself left out."""
    files = cache.tree(output)
    files.pop(RECORD, None)
    return files


def host() -> dict[str, str]:
    """The hardware and system a stage ran on."""
    return {
        "system": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else ""),
        "memory_mib": str(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20),
    }


def revision(root: Path) -> str:
    """The git commit of the project, with ``+changes`` when the working tree differs."""
    try:
        head = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if changes else "")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()

"""Commands about the project itself and the machine it is on, whatever is trained."""

from __future__ import annotations

import sys

from invoke import Collection

from commands.command import command
from pipeline import tools
from pipeline.command_line import after_dashes, names
from pipeline.late import late
from pipeline.paths import typed

air_gap = late("pipeline.bundle")
checks = late("pipeline.checks")
doctor = late("pipeline.doctor")
locks = late("pipeline.locks")
sbom = late("pipeline.sbom")


@command
def shell(_, environment, runner="auto"):
    """Open a shell in an environment, or run one command: inv shell train -- python --version"""
    sys.exit(tools.shell(environment, after_dashes(), runner))


@command
def examine(_, json=False):
    """Say what this machine can run, and what to do about each lack."""
    doctor.show(json)


@command
def lint(_):
    """Check style, types, the walls between the two sides, scripts, Dockerfiles and workflows."""
    checks.lint()


@command
def test(_, quick=False):
    """Set up what is needed and run the tests; --quick is the tier of seconds."""
    checks.test(quick, after_dashes())


@command
def lock(_, environment="all", check=False, registry=False):
    """Refresh locks and base images, or prove that all pins are whole (--check).

    --environment also takes host (what ./inv itself needs), base (what builds images) and all.
    With --check --registry each base image is looked up where it comes from, too.
    """
    if check:
        locks.check(registry)
    else:
        locks.refresh(environment)


@command
def bundle(_, only=None, datasets=None, output=None, without_images=False, load=None):
    """Pack what environments need for a host without network, or install it there (--load).

    inv bundle --only train,openvino --datasets data/mine; there, in a clone of the same revision:
    ./inv bundle --load FILE
    """
    if load:
        air_gap.load(typed(load))
    else:
        place = typed(output) if output else None
        air_gap.pack(names(only), place, names(datasets), with_images=not without_images)


@command
def list_materials(_, only=None, output=None):
    """Write what images consist of, as CycloneDX: inv sbom --only openvino,device/arm64"""
    sbom.write(names(only), typed(output) if output else None)


namespace = Collection(shell, lint, test, lock, bundle)
namespace.add_task(examine, "doctor")
namespace.add_task(list_materials, "sbom")

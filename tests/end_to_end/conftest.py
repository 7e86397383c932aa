"""A fresh clone in which the README's first command ran: made once for all that look at it."""

from __future__ import annotations

import subprocess

import pytest
from clones import Clone

# As few as a detector needs to find something that conversions can be compared by.
FEW_STEPS = ("--steps", "120")


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("fresh") / "drydock")


@pytest.fixture(scope="session")
def verified(
    clone: Clone, trained: subprocess.CompletedProcess[str]
) -> subprocess.CompletedProcess[str]:
    """The trained detector converted and verified for two devices, in all precisions."""
    done = clone.inv("verify", "--runner", "local", "--target", "openvino-cpu,arm64")
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def trained(clone: Clone) -> subprocess.CompletedProcess[str]:
    done = clone.inv("train", "--runner", "local", *FEW_STEPS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done

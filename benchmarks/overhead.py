"""What `inv` adds to a stage: one that does nothing, run by inv and by hand, turn about.

    .venv/bin/python benchmarks/overhead.py [--runs 11]

By hand is the very `docker run` line that inv prints for it, pasted. Prints both medians, their
difference and their ratio, and the processor time that either takes itself: on a busy host that is
what a quiet one would show. The image of `litert` is built first where it is missing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from noop import REPOSITORY, wall_times

sys.path.insert(0, str(REPOSITORY))

from pipeline import docker_container, environments, images
from pipeline.content import ContentCache
from pipeline.execution import Execution

ENVIRONMENT = "litert"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as scratch:
        cache = ContentCache(Path(scratch, "content.sqlite"))
        digest = environments.environment_digest(environments.load(ENVIRONMENT), cache)
    image = images.ensure_image(ENVIRONMENT, digest, REPOSITORY, print)
    writes = (REPOSITORY / "artifacts", REPOSITORY / "data")  # as `inv shell` gives them
    stage = Execution(ENVIRONMENT, ("true",), REPOSITORY, writes=writes)
    by_hand = docker_container.describe(stage, image)
    os.environ |= {"DOCKER_HOST": images.builder_environment(os.environ)["DOCKER_HOST"]}
    by_inv = ["./inv", "shell", ENVIRONMENT, "--runner", "docker", "--", "true"]
    wall_times([by_hand, by_inv], 1)  # files read from the disk once
    hand, inv = wall_times([by_hand, by_inv], runs)
    for name, seconds in (("docker run", hand), ("inv", inv)):
        print(
            f"{name:<12} median {statistics.median(seconds):.3f} s  "
            f"min {min(seconds):.3f}  max {max(seconds):.3f}  ({runs} runs)"
        )
    added = [ours - theirs for theirs, ours in zip(hand, inv)]
    ratios = [ours / theirs for theirs, ours in zip(hand, inv)]
    print(f"inv adds {statistics.median(added):.3f} s; ratio {statistics.median(ratios):.2f}")
    by_cpu = [processor_time(command, runs) for command in (by_hand, by_inv)]
    print(f"processor time of a run: docker run {by_cpu[0]:.3f} s, inv {by_cpu[1]:.3f} s")


def processor_time(command: list[str], runs: int) -> float:
    """Seconds that the command itself computes, the engine's part left out; the mean."""
    before = os.times()
    wall_times([command], runs)
    after = os.times()
    used = after.children_user + after.children_system
    return (used - before.children_user - before.children_system) / runs


if __name__ == "__main__":
    main()

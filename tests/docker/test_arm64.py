"""LiteRT on 64-bit ARM finds what it finds on this machine: the device's own runtime, emulated.

The emulator is started as the container's program, so no binary format need be registered.
"""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

import pytest
from rooms import REPOSITORY

from pipeline import environments, images, virtualenvs
from pipeline.execute import content_cache

TINY = REPOSITORY / "artifacts" / ".tests" / "tiny"  # tests/stages/tiny_export.py makes it
PROGRAM = ("scripts/predict.py", "--runtime=litert")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def emulated(emulator: str) -> list[str]:
    """The start of a command that runs Python on 64-bit ARM; --volume options may follow."""
    environment = environments.load("device/arm64")
    digest = environments.environment_digest(environment, content_cache())
    image = images.ensure_image(environment.name, digest, REPOSITORY, print)
    python = "/opt/venv/bin/python"
    command = ["docker", "run", "--rm", "--read-only", "--network=none", "--tmpfs=/tmp"]
    # One core: emulated threads that wait for each other take minutes on a busy host.
    command += ["--platform=linux/arm64", "--cpuset-cpus=0", f"--volume={emulator}:/mnt:ro"]
    return [*command, "--entrypoint=/mnt", image, python]


@pytest.fixture(scope="module")
def native() -> list[str]:
    """The same for this machine: Python of the environment `litert`."""
    return [str(virtualenvs.ensure(environments.load("litert"), print) / "bin" / "python")]


@pytest.mark.skipif(platform.machine() == "aarch64", reason="here ARM is no emulation")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_arm_detects_what_this_machine_detects(
    emulated: list[str], native: list[str], precision: str, tmp_path: Path
) -> None:
    artifact, data = TINY / "tflite" / precision, TINY / "data"
    if not (artifact / "detector.json").is_file():
        pytest.skip(f"there is no {artifact.relative_to(REPOSITORY)}")

    here = predicted(native, REPOSITORY, artifact, data, tmp_path / "here")
    there = predicted(emulated, REPOSITORY, artifact, data, tmp_path / "there")

    assert here["machine"] != there["machine"] == "aarch64"
    assert any(photo["scores"] for photo in here["photos"])
    for ours, theirs in zip(here["photos"], there["photos"], strict=True):
        assert theirs["file"] == ours["file"]
        assert theirs["classes"] == ours["classes"]
        assert theirs["scores"] == pytest.approx(ours["scores"], abs=1e-4)
        for box, other in zip(ours["boxes"], theirs["boxes"], strict=True):
            assert other == pytest.approx(box, abs=0.05)


def predicted(
    python: list[str], root: Path, artifact: Path, data: Path, output: Path
) -> dict[str, list]:
    """What predict.py wrote, run by ``python``, in a container where that is `docker run ...`."""
    output.mkdir(mode=0o777)
    output.chmod(0o777)  # whatever the umask
    program = [*PROGRAM, f"--artifact={artifact}", f"--data={data}", f"--output={output}"]
    program[0] = str(root / program[0])
    if python[0] == "docker":
        mounts = [f"--volume={path}:{path}:ro" for path in (root / "scripts", artifact, data)]
        python = [*python[:3], *mounts, f"--volume={output}:{output}", *python[3:]]
    done = subprocess.run(
        [*python, *program], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list] = json.loads((output / "predictions.json").read_text())
    return found

"""Does `verify` notice a conversion that is broken? Breaks a real one in four ways, and looks.

    ./inv verify --target openvino-cpu && .venv/bin/python benchmarks/sabotage.py

Takes an experiment that is trained (--name) and its dataset, breaks copies of the OpenVINO artifact
below artifacts/<name>/.sabotage/, and runs the same programs as the pipeline, in their
environments. Prints what each came to; exits 1 if one of them passed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Photos are changed where Pillow is. Each takes: source folder, destination folder.
SWAP = """
import sys; from pathlib import Path; from PIL import Image
for path in sorted(Path(sys.argv[1]).iterdir()):
    target = Path(sys.argv[2], path.name)
    if path.suffix == '.xml': target.write_bytes(path.read_bytes()); continue
    red, green, blue = Image.open(path).convert('RGB').split()
    Image.merge('RGB', (blue, green, red)).save(target, quality=95)
"""
BLACKEN = """
import sys; from pathlib import Path; from PIL import Image
for path in sorted(Path(sys.argv[1]).iterdir()):
    if path.suffix == '.xml': continue
    Image.new('RGB', Image.open(path).size).save(Path(sys.argv[2], path.name))
"""
SHIFT = """
import sys; import numpy as np
anchors = np.load(sys.argv[1])
sizes = anchors[:, [2, 3, 2, 3]] - anchors[:, [0, 1, 0, 1]]
np.save(sys.argv[1], anchors + np.float32(0.5) * sizes)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="default", help="the experiment")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "images")
    parser.add_argument("--runner", default="auto")
    given = parser.parse_args()
    bench = Bench(ROOT / "artifacts" / given.name, given.data.absolute(), given.runner)
    shutil.rmtree(bench.scratch, ignore_errors=True)
    caught = {
        "nothing broken": not bench.notices("fp32", bench.artifact("fp32"), 0.001),
        "swapped channels": bench.notices(
            "fp32", bench.artifact("fp32"), 0.001, test=bench.photos("test", "swapped", SWAP)
        ),
        "a wrong anchor file": bench.notices("fp32", bench.shifted_anchors(), 0.001),
        "no NMS": bench.notices("fp32", bench.without_nms(), 0.001),
        "a broken calibration": bench.notices("int8", bench.calibrated_on_black(), 0.02),
    }
    for what, right in caught.items():
        print(f"{what:<22}{'as it should be' if right else 'NOT NOTICED'}")
    sys.exit(0 if all(caught.values()) else 1)


class Bench:
    """The scratch copies of one experiment, and the programs that judge them."""

    def __init__(self, folder: Path, data: Path, runner: str) -> None:
        self.folder, self.data, self.runner = folder, data, runner
        self.scratch = folder / ".sabotage"

    def run(self, environment: str, *argv: object) -> int:
        command = ["./inv", "shell", environment, "--runner", self.runner, "--", "python"]
        done = subprocess.run(
            [*command, *map(str, argv)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode not in (0, 1):
            sys.exit(done.stdout + done.stderr)
        self.said = done.stderr
        return done.returncode

    def artifact(self, precision: str) -> Path:
        """A copy of the converted detector, to be broken."""
        number = len(list(self.scratch.glob("artifact-*")))
        copy = self.scratch / f"artifact-{number}"
        shutil.copytree(self.folder / "openvino-cpu" / precision / "convert", copy)
        return copy

    def photos(self, split: str, name: str, change: str) -> Path:
        """A dataset with one split of it changed."""
        folder = self.scratch / name
        (folder / split).mkdir(parents=True)
        self.run("train", "-c", change, self.data / split, folder / split)
        return folder

    def shifted_anchors(self) -> Path:
        artifact = self.artifact("fp32")
        self.run("train", "-c", SHIFT, artifact / "anchors.npy")
        return artifact

    def without_nms(self) -> Path:
        artifact = self.artifact("fp32")
        path = artifact / "detector.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "iou_threshold": 1.0}))
        return artifact

    def calibrated_on_black(self) -> Path:
        artifact = self.scratch / "black-int8"
        self.run(
            *("openvino", "scripts/convert_openvino.py", "--export", self.folder / "export"),
            *("--data", self.photos("train", "black", BLACKEN), "--precision", "int8"),
            *("--output", artifact),
        )
        return artifact

    def notices(
        self, precision: str, artifact: Path, tolerance: float, test: Path | None = None
    ) -> bool:
        """Whether `verify` refuses what ``artifact`` detects on the test photos."""
        predicted = artifact.with_name(f"{artifact.name}-{precision}-predicted")
        self.run(
            *("openvino", "scripts/predict.py", "--artifact", artifact, "--runtime", "openvino"),
            *("--data", test or self.data, "--output", predicted),
        )
        refused = self.run(
            *("train", "scripts/verify.py", "--export", self.folder / "export"),
            *("--reference", self.folder / "tensorflow" / "fp32" / "predict"),
            *("--predictions", predicted, "--data", self.data, "--tolerance", tolerance),
            *("--output", artifact.with_name(f"{artifact.name}-verified")),
        )
        if refused:
            print(self.said.strip().splitlines()[-1][:200], flush=True)
        return bool(refused)


if __name__ == "__main__":
    main()

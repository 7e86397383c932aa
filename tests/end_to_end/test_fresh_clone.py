"""The README's way, in a fresh clone with the real stages: few steps, but nothing left out."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FEW_STEPS = ("--steps", "12")

pytestmark = pytest.mark.slow


class Clone:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(
            ["git", "clone", "--quiet", "--no-hardlinks", str(REPOSITORY), str(folder)], check=True
        )

    def inv(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["./inv", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )

    def artifact(self, *parts: str) -> Path:
        return self.folder.joinpath("artifacts", *parts)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("fresh") / "drydock")


@pytest.fixture(scope="module")
def trained(clone: Clone) -> subprocess.CompletedProcess[str]:
    done = clone.inv("train", "--runner", "local", *FEW_STEPS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_train_makes_all_that_it_promises(
    clone: Clone, trained: subprocess.CompletedProcess[str]
) -> None:
    metrics = json.loads(clone.artifact("default", "evaluate", "metrics.json").read_text())
    assert set(metrics["per_class"]) == {"bolt", "nut", "washer"}
    assert 0 <= metrics["mAP"] <= 1
    assert f"{metrics['mAP']:.3f}" in trained.stdout
    for name in ("saved_model", "raw_heads", "frozen_inference_graph.pb", "detector.json"):
        assert clone.artifact("default", "export", name).exists(), name
    assert clone.artifact("default", "check", "contact_sheet.jpg").stat().st_size > 10_000


def test_a_second_train_has_nothing_to_do(
    clone: Clone, trained: subprocess.CompletedProcess[str]
) -> None:
    done = clone.inv("train", "--runner", "local")

    assert done.returncode == 0, done.stderr
    assert "all is current" in done.stdout


def test_detect_draws_on_photos(clone: Clone, trained: subprocess.CompletedProcess[str]) -> None:
    done = clone.inv("detect", "--runner", "local", "--images", "data/images/test")

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(clone.artifact("default", "detect", "detections.json").read_text())
    photos = sorted(path.name for path in (clone.folder / "data/images/test").glob("*.jpg"))
    assert sorted(Path(entry["file"]).name for entry in found["images"]) == photos


def test_the_clone_stays_clean(clone: Clone, trained: subprocess.CompletedProcess[str]) -> None:
    changed = subprocess.run(
        ["git", "status", "--porcelain"],
        cwd=clone.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert changed.stdout == ""

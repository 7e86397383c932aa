"""The README's way, in a fresh clone with the real stages: few steps, nothing left out."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from clones import Clone

pytestmark = pytest.mark.slow


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


def test_devices_detect_what_the_trained_detector_detects(
    clone: Clone, verified: subprocess.CompletedProcess[str]
) -> None:
    for target, fp32_size in (("openvino-cpu", 7e6), ("arm64", 7e6)):
        for precision in ("fp32", "fp16", "int8"):
            folder = clone.artifact("default", target, precision)
            result = json.loads((folder / "verify" / "verify.json").read_text())
            assert result["passed"] and not result["accepted"]
            assert result["reference_mAP"] > 0.1
            size = sum(path.stat().st_size for path in folder.glob("convert/model.*"))
            assert (size > fp32_size) == (precision == "fp32")
    again = clone.inv("verify", "--runner", "local", "--target", "openvino-cpu,arm64")
    assert "done in" not in again.stdout


def test_the_clone_stays_clean(clone: Clone, trained: subprocess.CompletedProcess[str]) -> None:
    changed = subprocess.run(
        ["git", "status", "--porcelain"],
        cwd=clone.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert changed.stdout == ""

"""Training as a user runs it: whole, interrupted, with other settings, with each model."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import garden.quiet  # noqa: F401  (before TensorFlow)  # isort: skip
import tensorflow as tf
from tiny_records import CLASSES, write_records

from garden.model import load_detector

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = "task.model.input_size=[128,128,3],trainer.checkpoint_interval=5"


def _command(records: Path, output: Path, *more: str, model: str = "retinanet_mobilenetv2") -> list:
    config = REPOSITORY / "configs" / "models" / f"{model}.yaml"
    return [
        sys.executable,
        str(REPOSITORY / "scripts" / "train.py"),
        *("--config", str(config)),
        *("--records", str(records)),
        *("--output", str(output)),
        *more,
    ]


def _run(command: list) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)


def _events(folder: Path) -> dict[str, list[int]]:
    """Tags of all TensorBoard summaries below a folder, with their steps."""
    found: dict[str, list[int]] = {}
    for path in sorted(folder.glob("events.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
    return found


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records")
    write_records(folder, {"train": 6, "test": 2})
    return folder


@pytest.fixture(scope="module")
def trained(records: Path, tmp_path_factory: pytest.TempPathFactory):
    output = tmp_path_factory.mktemp("work") / "train"
    done = _run(_command(records, output, "--steps", "10", "--override", SMALL))
    assert done.returncode == 0, done.stderr
    return output, done


@pytest.mark.slow
def test_a_training_says_what_it_chose_and_nothing_else(trained) -> None:
    _, done = trained
    lines = done.stdout.splitlines()
    assert lines[0].startswith("retinanet_mobilenetv2, input 128x128, from MobileNetV2")
    assert any("batch: 4" in line for line in lines)
    assert any("frozen blocks: 4 (a quarter of 17" in line for line in lines)
    assert any("selection: last (there are no validation photos)" in line for line in lines)
    assert lines[-1].startswith("trained 10 steps in ")
    known = ("retinanet", "  ", "train: ", "trained ")
    assert [line for line in lines if not line.startswith(known)] == []
    assert done.stderr == ""


@pytest.mark.slow
def test_the_selected_weights_load_back(trained) -> None:
    output, _ = trained
    summary = json.loads((output / "train.json").read_text(encoding="utf-8"))
    assert summary["steps"] == 10
    assert summary["classes"] == CLASSES
    assert summary["weights"] == "mobilenetv2-coco"
    assert "MIT" in summary["weights_origin"]
    assert set(summary["automatic"]) == {"batch", "frozen_blocks", "anchors", "selection"}
    experiment, model = load_detector(output)
    assert experiment.task.model.num_classes == 3
    stored = tf.train.load_checkpoint(str(output / summary["checkpoint"]))
    name = next(
        key
        for key in stored.get_variable_to_shape_map()
        # The backbone is reached by several names; TensorFlow writes it under any one of them.
        if "backbone/layer_with_weights-0/_conv0/kernel/.ATTRIBUTES" in key
    )
    loaded = model.backbone.layers[1].get_weights()[0]
    assert (loaded == stored.get_tensor(name)).all()


@pytest.mark.slow
def test_tensorboard_has_losses_and_learning_rate(trained) -> None:
    output, _ = trained
    train = _events(output / "train")
    assert train["total_loss"] == train["learning_rate"] == [5, 10]


@pytest.mark.slow
def test_training_needs_no_test_photos(records: Path, tmp_path: Path) -> None:
    shutil.copytree(records, tmp_path / "records", ignore=shutil.ignore_patterns("test*"))
    command = _command(tmp_path / "records", tmp_path / "train", "--override", SMALL)
    done = _run([*command, "--steps", "2"])
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_other_settings_in_the_same_folder_are_refused(trained, records: Path) -> None:
    output, _ = trained
    before = (output / "train.json").read_text(encoding="utf-8")
    done = _run(_command(records, output, "--steps", "20", "--override", SMALL))
    assert done.returncode == 2
    assert "other settings" in done.stderr
    assert (output / "train.json").read_text(encoding="utf-8") == before


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_at_the_same_step(records: Path, tmp_path: Path) -> None:
    output = tmp_path / "train"
    command = _command(records, output, "--steps", "40", "--override", SMALL)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 900
        while not (output / "ckpt-10.index").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (output / "train.json").exists()
    latest = tf.train.latest_checkpoint(str(output))
    whole = int(latest.rsplit("-", 1)[1])
    # What a power cut in the middle of writing a checkpoint leaves.
    (output / "ckpt-35.data-00000-of-00001").write_bytes(b"half of it")
    done = _run(command)
    assert done.returncode == 0, done.stderr
    assert f"train: goes on at step {whole}" in done.stdout
    summary = json.loads((output / "train.json").read_text(encoding="utf-8"))
    assert (summary["steps"], summary["resumed_at"]) == (40, whole)
    last = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(output)))
    assert last.get_tensor("global_step/.ATTRIBUTES/VARIABLE_VALUE") == 40


@pytest.mark.slow
def test_the_best_checkpoint_is_chosen_on_validation_photos(tmp_path: Path) -> None:
    write_records(tmp_path / "records", {"train": 4, "validation": 2, "test": 1})
    override = f"{SMALL},trainer.validation_interval=5"
    done = _run(
        _command(tmp_path / "records", tmp_path / "train", "--steps", "15", "--override", override)
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("validation: ")]
    assert [line.split(",")[0] for line in lines] == [
        f"validation: step {step}" for step in (5, 10, 15)
    ]
    values = [float(line.split("mAP ")[1].split(",")[0]) for line in lines]
    best = 5 * (1 + values.index(max(values)))
    summary = json.loads((tmp_path / "train" / "train.json").read_text(encoding="utf-8"))
    assert summary["chosen_by"] == "best mAP on the validation photos"
    assert summary["checkpoint"] == f"selected/step-{best}"
    shown = _events(tmp_path / "train" / "validation")
    assert shown["mAP"] == [5, 10, 15]
    assert [tag for tag in shown if "predicted | true" in tag] != []


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", ["retinanet_efficientnet_lite0", "retinanet_resnet50", "fasterrcnn_resnet50"]
)
def test_every_model_trains(model: str, records: Path, tmp_path: Path) -> None:
    output = tmp_path / "train"
    options = ("--steps", "2", "--batch", "2", "--override", "task.model.input_size=[128,128,3]")
    done = _run(_command(records, output, *options, model=model))
    assert done.returncode == 0, done.stderr
    said = "starts from random weights" in done.stdout
    assert said == (model != "retinanet_efficientnet_lite0")
    experiment, detector = load_detector(output)
    assert experiment.task.model.num_classes == 3
    assert detector.trainable_variables


@pytest.mark.slow
def test_random_weights_train_every_block(records: Path, tmp_path: Path) -> None:
    done = _run(
        _command(
            records,
            tmp_path / "train",
            *("--steps", "1", "--weights", "random", "--override", SMALL),
        )
    )
    assert done.returncode == 0, done.stderr
    assert "warning: starts from random weights" in done.stdout
    assert "frozen blocks: 0" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--override", "task.model.hed.num_convs=1"], "hed"),
        (["--override", "trainer.train_steps=many"], "trainer.train_steps is something like 0"),
        (["--override", "task.model.input_size=256"], "something like [384, 512, 3], not 256"),
        (["--override", "task.frozen_blocks=90"], "the backbone has 17 blocks"),
        (["--weights", "mobilenet"], "auto, random, mobilenetv2-coco"),
        (["--config", "no-such.yaml"], "cannot read the model file no-such.yaml"),
        (["--records", "no-such-folder"], "records.json is missing"),
    ],
)
def test_wrong_input_is_one_clear_line(
    options: list, message: str, records: Path, tmp_path: Path
) -> None:
    done = _run([*_command(records, tmp_path / "train"), *options])
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1

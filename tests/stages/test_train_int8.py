"""Training on with rounding to 8 bits simulated, in `train`."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="runs in the environment 'train'")

import garden.quiet  # noqa: F401  # isort: skip  (before TensorFlow)
import tensorflow as tf
import untrained
from tiny_records import write_records

import train_int8
from console import InputError
from garden.model import load_detector
from garden.records import record_files
from garden.rounding import Rounding


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained.write_training(tmp_path_factory.mktemp("trained") / "train")


def picture(seed: int) -> tf.Tensor:
    noise = np.random.default_rng(seed).normal(size=(1, untrained.SIZE, untrained.SIZE, 3))
    return tf.constant(noise, tf.float32)


def test_inside_it_rounds_to_256_steps_and_outside_it_is_the_same_model(trained: Path) -> None:
    _, model = load_detector(trained)
    rounding = Rounding(model)

    def features() -> np.ndarray:
        return model.backbone(picture(0), training=False)["3"].numpy()

    exact = features()
    with rounding.watching():
        model(picture(0), training=False)
        np.testing.assert_allclose(features(), exact, atol=0.05 * np.abs(exact).max())
    with rounding.simulated():
        rounded = features()
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model.backbone(picture(0), training=False)["3"] ** 2)
        kernels = model.backbone.trainable_variables
        gradients = tape.gradient(loss, kernels)
    apart = np.abs(rounded - exact).mean() / exact.std()
    assert 0.001 < apart < 0.2
    # The gradient reaches the first kernel through all that is rounded behind it.
    assert gradients[0] is not None and np.abs(gradients[0].numpy()).max() > 0
    np.testing.assert_array_equal(features(), exact)


def test_it_rounds_by_what_was_noted_until_a_stop(trained: Path) -> None:
    _, model = load_detector(trained)

    def rounded(stopped: bool) -> np.ndarray:
        rounding = Rounding(model)
        with contextlib.suppress(KeyboardInterrupt), rounding.watching():
            model(picture(0), training=False)
            if stopped:
                raise KeyboardInterrupt
        with rounding.simulated():
            return model.backbone(picture(0), training=False)["3"].numpy()

    np.testing.assert_array_equal(rounded(stopped=True), rounded(stopped=False))


def test_what_is_trained_on_is_a_training_like_any_other(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records(tmp_path / "records", {"train": 6})
    experiment, model = load_detector(trained)
    experiment.task.train_data.input_path = record_files(tmp_path / "records", "train")
    experiment.task.train_data.global_batch_size = 2
    experiment.task.train_data.seed = 1
    output = tmp_path / "output"

    train_int8.train(experiment, model, 3)
    train_int8.write(model, trained, output, {"qat": 3})

    assert "trained 3 steps with rounding to 8 bits" in capsys.readouterr().out
    summary = json.loads((output / "train.json").read_text())
    assert summary["qat"] == 3 and summary["classes"] == untrained.CLASSES
    _, before = load_detector(trained)
    _, after = load_detector(output)
    changed = {
        one.name
        for one, other in zip(before.variables, after.variables)
        if not np.array_equal(one.numpy(), other.numpy())
    }
    assert any("kernel" in name for name in changed)
    normalised = [v.name for v in before.variables if "moving_" in v.name]
    assert normalised and not changed & set(normalised)


def test_without_records_it_says_what_is_missing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--train", str(trained), "--records", str(tmp_path), "--output", str(tmp_path / "o")]
    monkeypatch.setattr(sys, "argv", ["train_int8.py", *given])

    with pytest.raises(InputError, match="make the records first"):
        train_int8.main()

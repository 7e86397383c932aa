"""What training chooses by itself, as tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import garden.quiet  # noqa: F401  (before TensorFlow)  # isort: skip
from console import InputError
from garden import automatic, config
from garden.records import RecordSample

MODELS = Path(__file__).resolve().parents[2] / "configs" / "models"
BOXES = np.array([[0.1, 0.1, 0.2, 0.5]] * 40)


def _fill(experiment=None, **changed):
    values = {
        "photos": 16,
        "classes": 3,
        "validation_photos": 0,
        "sample": RecordSample(np.array([[600, 800]]), BOXES),
        "pretrained": True,
        "backbone_blocks": 17,
        "gpus": 0,
    }
    experiment = experiment or config.load_experiment(MODELS / "retinanet_mobilenetv2.yaml")
    choices = automatic.fill(experiment, automatic.Situation(**{**values, **changed}))
    return experiment, {name: choice.value for name, choice in choices.items()}


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_model_file_is_filled_in(path: Path) -> None:
    experiment, _ = _fill(config.load_experiment(path))
    steps = experiment.trainer.train_steps
    assert steps > 0
    assert experiment.trainer.optimizer_config.learning_rate.cosine.decay_steps == steps
    assert experiment.trainer.checkpoint_interval % experiment.trainer.steps_per_loop == 0
    assert experiment.trainer.optimizer_config.ema is not None
    assert experiment.task.train_data.global_batch_size == 4
    assert experiment.task.train_data.dtype == "float32"
    assert experiment.task.model.num_classes == 4
    stride = 2**experiment.task.model.max_level
    assert all(side % stride == 0 for side in experiment.task.model.input_size[:2])


@pytest.mark.parametrize(
    ("photos", "gpus", "batch"),
    [(16, 0, 4), (3, 0, 3), (1, 0, 1), (100, 1, 8), (100, 4, 32), (9, 4, 8)],
)
def test_batch(photos: int, gpus: int, batch: int) -> None:
    assert _fill(photos=photos, gpus=gpus)[1]["batch"] == batch


def test_steps_grow_with_the_photos_when_those_are_many() -> None:
    small = _fill()[1]["steps"]
    assert _fill(photos=28)[1]["steps"] == small
    assert _fill(photos=40_000)[1]["steps"] == 120_000


@pytest.mark.parametrize(
    ("changed", "blocks"), [({}, 4), ({"pretrained": False}, 0), ({"photos": 1000}, 0)]
)
def test_frozen_blocks(changed: dict, blocks: int) -> None:
    assert _fill(**changed)[1]["frozen_blocks"] == blocks


def test_anchors_are_fitted_in_pixels_of_the_input() -> None:
    experiment, choices = _fill()
    height, width = experiment.task.model.input_size[:2]
    # The boxes are four times as wide as high in parts of the photo, not yet in input pixels.
    expected = pytest.approx([4.0 * width / height], rel=0.01)
    assert experiment.task.model.anchor.aspect_ratios == expected
    assert choices["anchors"]["aspect_ratios"] == expected


def test_selection() -> None:
    assert _fill()[1]["selection"] == "last"
    assert _fill(validation_photos=3)[1]["selection"] == "best"


def test_what_is_set_by_hand_is_left_alone() -> None:
    experiment = config.load_experiment(
        MODELS / "retinanet_mobilenetv2.yaml",
        "task.frozen_blocks=2,task.fit_anchors=false,trainer.train_steps=70,"
        "task.train_data.global_batch_size=2",
    )
    filled, choices = _fill(experiment)
    assert set(choices) == {"selection"}
    assert filled.task.frozen_blocks == 2
    assert filled.task.model.anchor.aspect_ratios == [0.5, 1.0, 2.0]
    assert filled.trainer.train_steps == 70
    # A warm-up as long as the training would never reach the learning rate.
    assert filled.trainer.optimizer_config.warmup.linear.warmup_steps == 14


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: {name: retinanet}", "task.name must be"),
        ("- 1", "task.name must be"),
        ("task: {name: drydock_retinanet, modle: {}}", "modle"),
        ("task: [", "not a YAML file"),
    ],
)
def test_a_wrong_model_file_is_an_input_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        config.load_experiment(path)

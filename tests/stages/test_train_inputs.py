"""The stream of photos: boxes stay on their objects, seeds decide, large photos are shrunk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import garden.quiet  # noqa: F401  (before TensorFlow)  # isort: skip
import tensorflow as tf
from PIL import Image
from tiny_records import write_records

from garden import augment, config, inputs
from garden.augment import Augment

MODEL = Path(__file__).resolve().parents[2] / "configs" / "models" / "retinanet_mobilenetv2.yaml"


def _picture() -> tuple[np.ndarray, np.ndarray]:
    """A bright rectangle on black, and its box."""
    image = np.zeros([120, 160, 3], np.uint8)
    image[30:60, 40:100] = 255
    return image, np.array([[30 / 120, 40 / 160, 60 / 120, 100 / 160]], np.float32)


def _bright_box(image: np.ndarray) -> np.ndarray:
    """The box of what is bright in a float picture, in 0..1."""
    bright = image.min(axis=2) > 180
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    height, width = bright.shape
    return np.array(
        [rows[0] / height, columns[0] / width, (rows[-1] + 1) / height, (columns[-1] + 1) / width]
    )


@pytest.mark.parametrize("seed", range(12))
def test_boxes_follow_their_objects(seed: int) -> None:
    settings = config.Augmentation(
        flip_vertical=True, quarter_turns=True, aspect=1.4, keep_visible=0.01
    )
    image, boxes = _picture()
    augment_photo = Augment(settings, 192, 256)
    changed, moved, classes = augment_photo.one((image, boxes, np.array([1])), [seed, 7])
    assert changed.shape == (192, 256, 3)
    if len(moved) == 0:
        pytest.skip("the object left the view with this seed")
    assert classes.numpy().tolist() == [1]
    np.testing.assert_allclose(moved.numpy()[0], _bright_box(changed.numpy()), atol=2 / 192)


def test_a_box_mostly_out_of_view_is_dropped() -> None:
    settings = config.Augmentation(scale_min=1.6, scale_max=1.6, keep_visible=0.9)
    image, _ = _picture()
    corners = np.array([[0, 0, 0.2, 0.2], [0.8, 0.8, 1, 1]], np.float32)
    change = Augment(settings, 128, 128)
    photo = (image, corners, np.array([1, 2]))
    kept = [len(change.one(photo, [seed, 1])[1]) for seed in range(20)]
    # Enlarged by 1.6, opposite corners cannot both be in view.
    assert max(kept) == 1
    assert min(kept) == 0


def test_the_same_seed_gives_the_same_picture() -> None:
    settings = config.Augmentation(brightness=0.2, contrast=0.3, saturation=0.3, hue=0.02)
    image, boxes = _picture()
    change = Augment(settings, 64, 64)
    photo = (image, boxes, np.array([1]))
    first, again, other = (change.one(photo, [seed, 0])[0] for seed in (1, 1, 2))
    assert (first.numpy() == again.numpy()).all()
    assert not (first.numpy() == other.numpy()).all()


def test_resizing_is_that_of_pillow() -> None:
    """Training and the devices (Pillow's BILINEAR) see the same pixels."""
    random = np.random.default_rng(1)
    coarse = random.integers(0, 255, [30, 40, 3], dtype=np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((800, 600), Image.Resampling.BICUBIC))
    ours = augment.resize(tf.constant(image), 320, 320).numpy()
    pillow = Image.fromarray(image).resize((320, 320), Image.Resampling.BILINEAR)
    difference = np.abs(ours - np.asarray(pillow, np.float32))
    assert difference.max() <= 2.0
    assert difference.mean() <= 0.5


def test_a_mosaic_shows_four_photos_with_their_boxes() -> None:
    settings = config.Augmentation(scale_min=1.0, scale_max=1.0, flip_horizontal=False)
    photos = [
        (
            tf.fill([50, 70, 3], 50.0 * number),
            tf.constant([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.1, 0.1]]),
            tf.constant([number, 9]),
        )
        for number in (1, 2, 3, 4)
    ]
    whole = Augment(dataclasses.replace(settings, keep_visible=0.05), 64, 96)
    image, boxes, classes = whole.mosaic(photos, tf.constant([3, 4]))
    assert image.shape == (64, 96, 3)
    large = boxes.numpy()[classes.numpy() < 9]
    assert classes.numpy()[classes.numpy() < 9].tolist() == [1, 2, 3, 4]
    for number, box in zip((1, 2, 3, 4), large):
        ymin, xmin, ymax, xmax = np.round(box * [64, 96, 64, 96]).astype(int)
        np.testing.assert_allclose(image.numpy()[ymin:ymax, xmin:xmax], 50.0 * number, atol=0.5)
    assert np.isclose(((large[:, 2:] - large[:, :2]).prod(axis=1)).sum(), 1.0)
    # Only the first quarter shows the small box in its photo's corner.
    assert (classes.numpy() == 9).sum() == 1


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"brightness": 0.2}, lambda pixel: np.ptp(pixel) == pytest.approx(120, abs=1)),
        ({"saturation": 0.5}, lambda pixel: np.ptp(pixel) != pytest.approx(120, abs=3)),
        ({"hue": 0.3}, lambda pixel: pixel.argmax() != 0 or pixel[1] != pytest.approx(80, abs=9)),
        ({}, lambda pixel: np.allclose(pixel, [180, 80, 60], atol=0.5)),
    ],
    ids=["brightness", "saturation", "hue", "none"],
)
def test_colours(changed: dict, expected) -> None:
    image = np.zeros([8, 8, 3], np.uint8) + np.array([180, 80, 60], np.uint8)
    settings = config.Augmentation(scale_min=1.0, scale_max=1.0, **changed)
    photo = (image, np.zeros([0, 4], np.float32), np.zeros([0], np.int64))
    pixel = Augment(settings, 8, 8).one(photo, [5, 2])[0].numpy()[4, 4]
    assert expected(pixel), pixel


def _experiment(files: list[str], override: str = ""):
    experiment = config.load_experiment(MODEL, f"task.model.input_size=[128,128,3]{override}")
    experiment.task.train_data.global_batch_size = 2
    experiment.task.train_data.seed = 3
    return experiment.task


def _first(task, files: list[str], batches: int) -> np.ndarray:
    stream = inputs.training(files, task, lambda photo: photo["image"], None)
    return np.stack([batch.numpy() for batch in stream.take(batches)])


@pytest.mark.parametrize("cache", [0, 1024])
def test_the_stream_depends_on_the_seed_and_goes_on(tmp_path: Path, cache: int) -> None:
    write_records(tmp_path, {"train": 5})
    files = [str(tmp_path / "train.record")]
    task = _experiment(files, f",task.cache_megabytes={cache}")
    first = _first(task, files, 4)
    assert (first == _first(task, files, 4)).all()
    task.first_example = 8
    assert not (first == _first(task, files, 4)).all()


def test_large_photos_are_shrunk_before_they_are_kept(tmp_path: Path) -> None:
    write_records(tmp_path, {"train": 1}, size=(1600, 1200))
    decode = inputs._decoder(128, 128)
    serialized = next(iter(tf.data.TFRecordDataset(str(tmp_path / "train.record"))))
    assert decode(serialized)["image"].shape == (256, 341, 3)


def test_evaluation_gives_boxes_in_input_pixels(tmp_path: Path) -> None:
    write_records(tmp_path, {"test": 1})
    files = [str(tmp_path / "test.record")]
    image, boxes, classes = next(iter(inputs.evaluation(files, 128, 256)))
    assert image.shape == (128, 256, 3)
    assert image.dtype == tf.uint8
    assert len(boxes) == len(classes) == 4
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2).numpy().astype(int)
    for (y, x), label in zip(centres, classes.numpy()):
        red, _, blue = image.numpy()[y, x].astype(int)
        # Discs are yellow, plates blue.
        assert (red > blue) == (label == 1)

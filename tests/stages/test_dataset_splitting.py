from __future__ import annotations

import random
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from samples import picture

from dataset.likeness import alike, copies, groups, signature
from dataset.splitting import grouped, hold_out


def some(count: int) -> list[set[str]]:
    rng = random.Random(4)
    shares = {"bolt": 0.7, "nut": 0.25, "washer": 0.05}
    return [{n for n, share in shares.items() if rng.random() < share} for _ in range(count)]


def share_of(held: list[int], classes: list[set[str]], name: str) -> float:
    return sum(name in classes[i] for i in held) / sum(name in one for one in classes)


def test_each_class_is_held_out_by_the_ratio():
    classes = some(1000)
    held = hold_out(grouped(classes, range(1000)), 0.2, seed=1)
    assert len(held) == 200
    for name in ("bolt", "nut", "washer"):
        assert share_of(held, classes, name) == pytest.approx(0.2, abs=0.02)


def test_a_rare_class_is_on_both_sides():
    classes = [{"bolt"}] * 48 + [{"washer"}] * 2
    for seed in range(20):
        held = hold_out(grouped(classes, range(50)), 0.1, seed)
        assert sum(index >= 48 for index in held) == 1
        assert len(held) == 5


def test_the_only_photo_of_a_class_stays_for_training():
    classes = [{"bolt"}] * 9 + [{"washer"}]
    assert all(9 not in hold_out(grouped(classes, range(10)), 0.3, seed) for seed in range(20))


def test_groups_are_never_torn_apart():
    leaders = [index - index % 3 for index in range(90)]
    held = set(hold_out(grouped(some(90), leaders), 0.2, seed=3))
    assert 15 <= len(held) <= 21
    assert all(len(held & {i, i + 1, i + 2}) in (0, 3) for i in range(0, 90, 3))


def test_the_seed_decides_and_nothing_else():
    groups = grouped(some(100), range(100))
    first = hold_out(groups, 0.2, 7)
    assert first == hold_out(groups, 0.2, 7)
    assert first != hold_out(groups, 0.2, 8)


def test_photos_without_boxes_are_split_too():
    assert len(hold_out(grouped([set()] * 50, range(50)), 0.2, 0)) == 10
    mixed = [{"bolt"}] * 40 + [set()] * 40
    held = hold_out(grouped(mixed, range(80)), 0.25, 0)
    assert Counter(index < 40 for index in held) == {True: 10, False: 10}


def test_what_is_held_out_already_counts():
    classes = [{"bolt"}] * 20
    everyone = grouped(classes, range(20))
    assert hold_out(everyone[4:], 0.2, 0, held=everyone[:4]) == []
    assert len(hold_out(everyone[2:10], 0.2, 0, held=everyone[:2], kept=everyone[10:])) == 2


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_can_be_held_out_of_nothing(count):
    assert hold_out(grouped([{"bolt"}] * count, range(count)), 0.2, 0) == []


def test_ratio_zero_holds_out_nothing():
    assert hold_out(grouped(some(50), range(50)), 0.0, 0) == []


def test_many_photos_take_little_time():
    classes = some(50_000)
    start = time.process_time()
    held = hold_out(grouped(classes, range(50_000)), 0.1, 0)
    assert len(held) == 5000
    assert time.process_time() - start < 20


def burst(seed: int) -> list[Image.Image]:
    """A photo, and it moved by 2 % with a little noise and less light."""
    wide = picture(seed, (440, 330))
    moved = np.asarray(wide.crop((28, 26, 428, 326))).astype(float)
    noise = np.random.default_rng(seed).normal(0, 4, moved.shape)
    light = np.clip(moved * 0.92 + noise, 0, 255).astype(np.uint8)
    return [wide.crop((20, 20, 420, 320)), Image.fromarray(light)]


def test_burst_shots_are_grouped_and_others_are_not():
    images = [image for seed in range(12) for image in burst(seed)]
    found = groups(np.array([signature(image) for image in images]))
    assert found.tolist() == [index - index % 2 for index in range(24)]


def test_a_photo_saved_again_is_a_copy_and_a_burst_shot_is_not(tmp_path):
    first, second = burst(3)
    first.save(tmp_path / "a.jpg", quality=60)
    again = Image.open(tmp_path / "a.jpg")
    signatures = np.array([signature(image) for image in (first, second, again)])
    index, others, correlations = next(alike(signatures))
    assert (index, others.tolist()) == (0, [1, 2])
    assert copies(signatures, index, others, correlations).tolist() == [False, True]


def test_photos_without_any_structure_are_not_alike():
    flat = [np.full((16, 16), value, np.uint8) for value in (0, 0, 255)]
    assert list(alike(np.array(flat))) == []


def test_alike_photos_are_found_across_blocks():
    rng = np.random.default_rng(0)
    many = rng.integers(0, 256, (9000, 16, 16)).astype(np.uint8)
    many[8400] = many[4999] = many[10]
    assert [(i, others.tolist()) for i, others, _ in alike(many)] == [
        (10, [4999, 8400]),
        (4999, [8400]),
    ]
    assert groups(many)[[10, 11, 4999, 8400]].tolist() == [10, 11, 10, 10]


def test_frames_of_a_film_are_one_group_within_seconds():
    rng = np.random.default_rng(1)
    scene = rng.integers(0, 200, (16, 16))
    frames = np.array([scene + rng.integers(0, 9, (16, 16)) for _ in range(4000)], np.uint8)
    assert set(groups(frames)) == {0}

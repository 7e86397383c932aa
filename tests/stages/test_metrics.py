"""Metrics on cases small enough for a pencil, and on random ones against pycocotools."""

from __future__ import annotations

import numpy as np
import pytest

from detection import metrics
from detection.detections import Detections
from detection.metrics import Truth


def truth(*objects: tuple[int, list[float]]) -> Truth:
    boxes = np.array([box for _, box in objects], float).reshape(-1, 4)
    return Truth(boxes, np.array([kind for kind, _ in objects], int))


def found(*detections: tuple[int, float, list[float]]) -> Detections:
    return Detections(
        np.array([box for _, _, box in detections], np.float32).reshape(-1, 4),
        np.array([kind for kind, _, _ in detections], np.int32),
        np.array([score for _, score, _ in detections], np.float32),
    )


A, B, C = [0, 0, 100, 100], [200, 0, 300, 100], [0, 200, 100, 300]
A_80 = [0, 0, 100, 80]  # IoU 0.8 with A
A_60 = [0, 0, 100, 60]
ELSEWHERE = [400, 400, 500, 500]


def test_everything_found_exactly_is_one() -> None:
    result = metrics.coco([truth((0, A), (1, B))], [found((0, 0.9, A), (1, 0.8, B))], 2)
    assert result.mean() == pytest.approx({"mAP": 1, "AP50": 1, "AP75": 1})
    assert result.of_class(1) == pytest.approx({"AP": 1, "AP50": 1, "AP75": 1})


def test_a_loose_box_counts_up_to_its_overlap() -> None:
    result = metrics.coco([truth((0, A))], [found((0, 0.9, A_80))], 1)
    # IoU 0.8 passes 0.50, 0.55 ... 0.80: 7 of the 10 thresholds.
    assert result.mean() == pytest.approx({"mAP": 0.7, "AP50": 1, "AP75": 1})


def test_half_of_the_objects_found() -> None:
    result = metrics.coco([truth((0, A), (0, B))], [found((0, 0.9, A))], 1)
    # Precision 1 at the recalls 0.00 to 0.50: 51 of the 101 points.
    assert result.mean()["AP50"] == pytest.approx(51 / 101)


def test_a_better_scored_false_detection_halves_precision() -> None:
    result = metrics.coco([truth((0, A))], [found((0, 0.9, ELSEWHERE), (0, 0.8, A))], 1)
    assert result.mean()["mAP"] == pytest.approx(0.5)


def test_a_second_detection_of_the_same_object_is_false() -> None:
    one = truth((0, A), (0, B))
    result = metrics.coco([one], [found((0, 0.9, A), (0, 0.8, A), (0, 0.7, B))], 1)
    assert result.mean()["mAP"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_class_that_does_not_occur_is_null_and_not_counted() -> None:
    result = metrics.coco([truth((0, A))], [found((0, 0.9, A), (1, 0.8, B))], 3)
    assert result.of_class(1) == result.of_class(2) == {"AP": None, "AP50": None, "AP75": None}
    assert result.mean()["mAP"] == pytest.approx(1)


def test_a_class_of_which_nothing_is_found_is_zero() -> None:
    result = metrics.coco([truth((0, A), (1, B))], [found((0, 0.9, A))], 2)
    assert result.of_class(1)["AP"] == 0
    assert result.mean()["mAP"] == pytest.approx(0.5)


def test_detections_in_a_negative_photo_are_false() -> None:
    truths = [truth((0, A)), truth()]
    clean = metrics.coco(truths, [found((0, 0.8, A)), found()], 1)
    noisy = metrics.coco(truths, [found((0, 0.8, A)), found((0, 0.9, A))], 1)
    assert clean.mean()["mAP"] == pytest.approx(1)
    assert noisy.mean()["mAP"] == pytest.approx(0.5)


@pytest.mark.parametrize("truths", [[truth()], [truth(), truth()]])
def test_photos_without_any_object_have_no_average(truths: list[Truth]) -> None:
    result = metrics.coco(truths, [found() for _ in truths], 2)
    assert result.mean() == {"mAP": None, "AP50": None, "AP75": None}
    assert metrics.interval(result.matches, seed=0, rounds=10) is None
    assert metrics.best_threshold(result.matches) is None


def random_set(photos: int, classes: int, seed: int) -> tuple[list[Truth], list[Detections]]:
    rng = np.random.default_rng(seed)
    truths, all_found = [], []
    for _ in range(photos):
        count = int(rng.integers(0, 6))
        corners = rng.random((count, 2)) * 300
        boxes = np.concatenate([corners, corners + 30 + rng.random((count, 2)) * 80], axis=1)
        kinds = rng.integers(0, classes, count)
        truths.append(Truth(boxes, kinds))
        seen = rng.random(count) < 0.8
        extra = rng.random((3, 2)) * 300
        near = boxes[seen] + rng.normal(0, 5, (int(seen.sum()), 4))
        all_found.append(
            Detections(
                np.concatenate([near, np.concatenate([extra, extra + 50], axis=1)]).astype("f4"),
                np.concatenate([kinds[seen], rng.integers(0, classes, 3)]).astype("i4"),
                rng.random(len(near) + 3).astype("f4"),
            )
        )
    return truths, all_found


@pytest.mark.parametrize("seed", range(3))
def test_our_precision_is_pycocotools_when_each_photo_counts_once(seed: int) -> None:
    result = metrics.coco(*random_set(12, 3, seed), 3)
    for index, one in enumerate(result.matches):
        ours = metrics.weighted_precision(one, np.ones(12, int))
        np.testing.assert_allclose(ours, result.precision[:, :, index], atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_precision_without_pycocotools_is_the_same(seed: int) -> None:
    truths, found = random_set(12, 3, seed)
    # A class that does not occur, several detections of one object, and more than are counted.
    doubled = [
        Detections(*(np.concatenate([values] * 15) for values in (one.boxes, one.classes)), s)
        for one in found
        for s in [np.tile(one.scores, 15) * np.repeat(np.linspace(1, 0.1, 15), len(one))]
    ]
    for each in (found, doubled):
        expected = metrics.coco(truths, each, 4)

        for index, ours in enumerate(metrics.precisions(truths, each, 4)):
            assert ours == pytest.approx(expected.of_class(index)["AP"], abs=1e-6)


def test_a_photo_that_counts_twice_is_as_two_photos() -> None:
    truths, all_found = random_set(6, 1, seed=4)
    doubled = metrics.coco([*truths, truths[2]], [*all_found, all_found[2]], 1)
    weights = np.array([1, 1, 2, 1, 1, 1])
    ours = metrics.weighted_precision(metrics.coco(truths, all_found, 1).matches[0], weights)
    # Precision between two equal detections is all that may differ.
    assert ours.mean() == pytest.approx(doubled.mean()["mAP"], abs=0.01)


def test_the_interval_contains_the_figure_and_is_the_same_each_time() -> None:
    result = metrics.coco(*random_set(30, 2, seed=5), 2)
    low, high = metrics.interval(result.matches, seed=1, rounds=200)
    assert low < result.mean()["mAP"] < high
    assert (low, high) == metrics.interval(result.matches, seed=1, rounds=200)


def test_equal_photos_leave_no_doubt() -> None:
    result = metrics.coco([truth((0, A))] * 5, [found((0, 0.9, A_80))] * 5, 1)
    assert metrics.interval(result.matches, seed=0, rounds=50) == pytest.approx((0.7, 0.7))


def test_the_best_threshold_keeps_the_right_ones_and_drops_the_false_one() -> None:
    one = found((0, 0.9, A), (0, 0.6, B), (0, 0.3, ELSEWHERE))
    result = metrics.coco([truth((0, A), (0, B))], [one], 1)
    assert metrics.best_threshold(result.matches) == pytest.approx((0.6, 1.0))


def test_detections_of_one_score_are_shown_or_hidden_together() -> None:
    # As int8 gives them. At 0.6 the false one is shown, too, in whichever order they stand.
    one = found((0, 0.9, A), (0, 0.6, B), (0, 0.6, ELSEWHERE))
    result = metrics.coco([truth((0, A), (0, B))], [one], 1)
    assert metrics.best_threshold(result.matches) == pytest.approx((0.6, 0.8))


def test_the_confusion_matrix_counts_right_mistaken_missed_and_false() -> None:
    one = found((0, 0.9, A), (0, 0.8, B), (1, 0.7, ELSEWHERE), (1, 0.1, C))
    counts = metrics.confusion([truth((0, A), (1, B), (1, C))], [one], 2, 0.5)
    # A is right, B is taken for class 0, C is missed (its detection scores too low).
    assert counts.tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]


def test_an_object_detected_as_two_classes_goes_to_its_own() -> None:
    one = found((1, 0.9, A), (0, 0.6, A_60))
    counts = metrics.confusion([truth((0, A))], [one], 2, 0.5)
    assert counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_nothing_to_compare_is_an_empty_confusion_matrix() -> None:
    assert not metrics.confusion([truth()], [found()], 2, 0.5).any()


def test_errors_of_a_photo_are_named_by_index() -> None:
    one = found((0, 0.9, ELSEWHERE), (0, 0.8, A_60), (1, 0.7, B), (1, 0.2, C))
    errors = metrics.photo_errors(truth((0, A), (1, B), (1, C)), one, 0.5)
    assert errors.missed.tolist() == [2]
    assert errors.false.tolist() == [0]
    assert errors.poor.tolist() == [1]
    assert sorted(errors.ious) == pytest.approx([0.6, 1.0])
    assert errors.badness == pytest.approx(2.5, abs=0.02)


def test_a_flawless_photo_has_no_badness() -> None:
    assert metrics.photo_errors(truth((0, A)), found((0, 0.9, A)), 0.5).badness == 0
    assert metrics.photo_errors(truth(), found(), 0.5).badness == 0

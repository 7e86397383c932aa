"""Anchors fitted to boxes."""

from __future__ import annotations

import numpy as np

from garden import anchors

LEVELS = range(3, 7)
GIVEN = [0.5, 1.0, 2.0]


def test_overlap_of_centred_shapes() -> None:
    boxes = np.array([[10.0, 20.0], [10.0, 10.0]])
    assert anchors.overlap(boxes, np.array([[10.0, 20.0]])) == np.mean([1.0, 0.5])


def test_shapes_follow_model_gardens_ladder() -> None:
    made = anchors.shapes(3.0, [4.0], 2, range(3, 4))
    # Size 3 strides of 8; width over height is 4, so the sides are size/2 and size*2.
    np.testing.assert_allclose(made[0], [12.0, 48.0])
    np.testing.assert_allclose(made[1], np.array([12.0, 48.0]) * 2**0.5)


def test_long_boxes_get_long_anchors() -> None:
    random = np.random.default_rng(0)
    heights = random.uniform(15, 60, 200)
    ratios = random.choice([3.0, 5.0, 0.25], 200)
    boxes = np.stack([heights, heights * ratios], axis=1)
    fit = anchors.fit(boxes, GIVEN, 3.0, 3, LEVELS)
    assert fit is not None
    np.testing.assert_allclose(fit.aspect_ratios, [0.25, 3.0, 5.0], rtol=0.02)
    assert fit.overlap > fit.overlap_given + 0.1
    assert fit == anchors.fit(boxes[::-1], GIVEN, 3.0, 3, LEVELS)


def test_few_boxes_keep_the_given_anchors() -> None:
    boxes = np.full([anchors.MIN_BOXES - 1, 2], [10.0, 90.0])
    assert anchors.fit(boxes, GIVEN, 3.0, 3, LEVELS) is None


def test_empty_boxes_are_no_danger() -> None:
    assert anchors.fit(np.zeros([100, 2]), GIVEN, 3.0, 3, LEVELS) is None
    assert anchors.fit(np.zeros([0, 2]), GIVEN, 3.0, 3, LEVELS) is None


def test_equal_boxes_need_one_ratio() -> None:
    fit = anchors.fit(np.full([100, 2], [20.0, 80.0]), GIVEN, 3.0, 3, LEVELS)
    assert fit is not None
    assert fit.aspect_ratios == [4.0]

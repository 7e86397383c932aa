"""From the outputs of the head convolutions to raw heads."""

from __future__ import annotations

import numpy as np
import pytest

from detection.levels import join

ANCHORS, CLASSES = 2, 3
SIZES = ((4, 5), (2, 3))


def outputs(columns: int) -> list[np.ndarray]:
    """Values that say where they are from: level, row, column of the map, anchor, column."""
    found = []
    for width in (columns, 4):
        for level, (height, across) in enumerate(SIZES):
            grid = np.zeros((1, ANCHORS, width, height, across), np.float32)
            for (_, anchor, column, row, place), _ in np.ndenumerate(grid):
                grid[0, anchor, column, row, place] = (
                    level + row / 10 + place / 100 + anchor / 1000 + column / 10_000
                )
            found.append(grid.reshape(1, ANCHORS * width, height, across))
    return found


@pytest.mark.parametrize("background", [0, 1])
def test_anchors_come_by_level_row_column_and_anchor(background: int) -> None:
    scores, codes = join(outputs(CLASSES + background), CLASSES)

    places = [
        level + row / 10 + place / 100 + anchor / 1000
        for level, (height, across) in enumerate(SIZES)
        for row in range(height)
        for place in range(across)
        for anchor in range(ANCHORS)
    ]
    expected = np.array(places)[:, None] + np.arange(4) / 10_000
    np.testing.assert_allclose(codes, expected, atol=1e-6)
    logits = np.array(places)[:, None] + (np.arange(CLASSES) + background) / 10_000
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_large_logits_are_certain_and_no_overflow() -> None:
    maps = [np.full((1, 3, 1, 1), 1e5, np.float32), np.zeros((1, 4, 1, 1), np.float32)]
    with np.errstate(all="raise"):
        sure, _ = join(maps, 3)
        never, _ = join([-maps[0], maps[1]], 3)

    assert (sure == 1).all() and (never == 0).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda maps: maps[:-1],
        lambda maps: [],
        lambda maps: [*maps[:2], *(one[:, :, :1] for one in maps[2:])],
        lambda maps: [one[:, :-1] for one in maps],
        lambda maps: [one[0] for one in maps],
        lambda maps: maps[2:] + maps[:2],
    ],
)
def test_outputs_of_another_network_are_refused(change) -> None:
    with pytest.raises(ValueError, match="are not the logits of 3 classes"):
        join(change(outputs(CLASSES)), CLASSES)

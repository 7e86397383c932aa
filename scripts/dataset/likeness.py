"""Photos that look almost the same: burst shots, copies, re-saved files.

A photo's signature is a thumbnail of 16x16 grey values. Two photos are alike when the thumbnails
correlate after their local means are taken away, so that a common background and light count for
little and the arrangement of things for much. Small shifts, turns and changes of light between
burst shots keep the correlation high; different photos of the same table stay below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from console import progress
from dataset.folder import Photo
from dataset.image import open_upright
from dataset.parallel import ordered

SIDE = 16

# Measured on the tutorial's 18 photos: different photos reach 0.52 at most; with a shift of 2 %,
# a turn of 1 degree, 1 % of zoom, noise and 10 % of light the same photo stays above 0.87.
ALIKE = 0.8
# A copy that was saved again keeps more than this, and its grey values.
COPY = 0.995
COPY_DIFFERENCE = 2.0

# Correlations looked at in one go: 4 MB of them.
_ROWS, _COLUMNS = 256, 4096


def signature(image: Image.Image) -> np.ndarray:
    """uint8 [16, 16], the grey thumbnail of an upright photo."""
    # The first, coarse step saves most of the time on large photos.
    small = image.resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    return np.array(small.convert("L"))


def alike(
    signatures: np.ndarray, threshold: float = ALIKE
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """``(i, others, correlations)`` for each photo that has photos like it behind it.

    ``signatures`` is uint8 [n, 16, 16]; ``others`` are indices j > i, ascending. Time grows
    with n squared, memory only with n, however many photos are alike.
    """
    vectors = _normalised(signatures)
    for start in range(0, len(vectors), _ROWS):
        rows = vectors[start : start + _ROWS]
        found = [
            _above(rows @ vectors[column : column + _COLUMNS].T, start, column, threshold)
            for column in range(start, len(vectors), _COLUMNS)
        ]
        for row in range(len(rows)):
            parts = [(others[row], values[row]) for others, values in found]
            others, correlations = (np.concatenate(part) for part in zip(*parts))
            if len(others):
                yield start + row, others, correlations


def copies(
    signatures: np.ndarray, photo: int, others: np.ndarray, correlations: np.ndarray
) -> np.ndarray:
    """bool [n]: which of ``others`` are the same as ``photo``, saved again."""
    found = correlations >= COPY
    differences = signatures[others[found]].astype(np.int16) - signatures[photo]
    found[found] = np.abs(differences).mean(axis=(1, 2)) <= COPY_DIFFERENCE
    return found


def groups(signatures: np.ndarray) -> np.ndarray:
    """int [n]: photos that are alike, directly or through others, have the same number.

    The number is the index of the group's first photo.
    """
    leader = np.arange(len(signatures))
    for photo, others, _ in alike(signatures):
        leaders = np.unique(leader[np.append(others, photo)])
        if len(leaders) > 1:
            leader[np.isin(leader, leaders)] = leaders[0]
    return leader


def groups_of_photos(photos: Sequence[Photo], workers: int = 0) -> np.ndarray:
    """``groups`` of photos on disk, decoded on all cores; PhotoError where one is unreadable."""
    found = ordered(_signature_of, photos, workers)
    signatures = list(progress(found, len(photos), "comparing photos"))
    return groups(np.array(signatures, np.uint8).reshape(-1, SIDE, SIDE))


def _above(
    correlation: np.ndarray, row: int, column: int, threshold: float
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each row of a block that begins at ``row``, ``column``: those above, and their values."""
    above = np.triu(correlation >= threshold, k=row - column + 1)
    counts = np.cumsum(above.sum(axis=1))[:-1]
    return (
        np.split(np.nonzero(above)[1] + column, counts),
        np.split(correlation[above], counts),
    )


def _normalised(signatures: np.ndarray) -> np.ndarray:
    """float32 [n, 256], unit length; a photo without any structure gives zeros, like nothing."""
    flat = np.zeros((len(signatures), SIDE * SIDE), np.float32)
    for index, grey in enumerate(signatures):
        values = grey.astype(np.float32)
        values -= _local_mean(values)
        values -= values.mean()
        length = float(np.linalg.norm(values))
        if length > SIDE:  # one grey level on average: less is noise
            flat[index] = (values / length).ravel()
    return flat


def _local_mean(values: np.ndarray) -> np.ndarray:
    """The mean over 5x5 neighbours, edges repeated."""
    for axis in (0, 1):
        padded = np.pad(values, [(2, 2) if axis == a else (0, 0) for a in (0, 1)], mode="edge")
        shifted = [np.take(padded, range(k, k + SIDE), axis=axis) for k in range(5)]
        values = np.mean(shifted, axis=0)
    return values


def _signature_of(photo: Photo) -> np.ndarray:
    return signature(open_upright(photo.path, at_least=(8 * SIDE, 8 * SIDE)))

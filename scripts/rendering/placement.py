"""Poses in which hardware really rests on a table, and tests of what touches what.

A pose is a 4x4 matrix from part to table coordinates (centimetres, table at z = 0).
"""

from __future__ import annotations

import numpy as np

from rendering.hardware import Size

_DIRECTIONS = 72
_TURNS = np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS)
_COMPASS = np.stack([np.cos(_TURNS), np.sin(_TURNS)], axis=1)


def turn(axis: str, angle: float) -> np.ndarray:
    """Rotation by ``angle`` radians about a coordinate axis, as a 4x4 matrix."""
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(4)
    c, s = np.cos(angle), np.sin(angle)
    matrix[i, i] = matrix[j, j] = c
    matrix[j, i], matrix[i, j] = s, -s
    return matrix


def move(x: float, y: float, z: float = 0.0) -> np.ndarray:
    """Translation as a 4x4 matrix."""
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def apply(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [N, 3] in table coordinates."""
    return points @ pose[:3, :3].T + pose[:3, 3]


def settle(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The pose lowered or lifted until the lowest point touches the table."""
    return move(0, 0, -float(apply(pose, points)[:, 2].min())) @ pose


def lying_bolt(size: Size, length: float, points: np.ndarray, tip_on: float = 0.0) -> np.ndarray:
    """A bolt on its side: a flat of the head and the tip of the thread carry it.

    The axis points to +x and dips towards the tip. ``tip_on`` is the height in millimetres of what
    the tip rests on.
    """
    drop = size.across_flats / 2 - size.diameter / 2 - tip_on
    tilt = np.arctan2(drop, length)
    pose = turn("y", np.pi / 2 + tilt)
    if tip_on:
        return settle(pose, points[points[:, 2] <= 0.0])
    return settle(pose, points)


def standing_bolt(points: np.ndarray) -> np.ndarray:
    """A bolt on its head."""
    return settle(np.eye(4), points)


def nut_on_edge(points: np.ndarray) -> np.ndarray:
    """A nut standing on one of its flats; its axis points to +x."""
    return settle(turn("y", np.pi / 2), points)


def leaning(radius: float, base_radius: float, base_height: float, overlap: float) -> np.ndarray:
    """A flat part of ``radius``, one side on a lower part at the origin, one on the table.

    Its underside passes through the lower part's upper rim at (base_radius, 0, base_height) and
    its far edge is on the table at +x. All lengths in centimetres; ``overlap`` < radius keeps the
    centre of mass between the two supports.
    """
    reach = 2 * radius - overlap
    tilt = np.arcsin(base_height / reach)
    far = base_radius + reach * np.cos(tilt)
    centre = (far - radius * np.cos(tilt), radius * np.sin(tilt))
    return move(centre[0], 0.0, centre[1]) @ turn("y", tilt)


def support(points: np.ndarray) -> np.ndarray:
    """Support function [72] of the convex hull of 2-D points."""
    return (points[:, :2] @ _COMPASS.T).max(axis=0)


def gap(first: np.ndarray, second: np.ndarray) -> float:
    """Gap between two convex hulls given by their support functions; negative if they overlap."""
    return float((-first - np.roll(second, _DIRECTIONS // 2)).max())

"""The runtime of Rockchip's boards, with a module of its library's shape in its place.

No board was at hand. What stands here is how the library is called and what becomes of its answers;
docs/DEVICES.md says how to try the rest on a board.
"""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest
from fake_runtime import CLASSES, DETECTOR

from console import InputError
from detection import runtimes
from detection.detector import write_detector

SIZES = ((4, 4), (2, 2))


@dataclass
class Board:
    """What the library does, and what it was asked."""

    loads: int = 0
    starts: int = 0
    outputs: Optional[list[np.ndarray]] = None
    calls: list[Any] = field(default_factory=list)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    board = Board(
        outputs=[
            *(np.full((1, len(CLASSES), *size), -9, np.float32) for size in SIZES),
            *(np.zeros((1, 4, *size), np.float32) for size in SIZES),
        ]
    )

    class RKNNLite:
        NPU_CORE_AUTO, NPU_CORE_0_1_2 = 0, 7

        def load_rknn(self, path: str) -> int:
            board.calls.append(("load", Path(path).name))
            return board.loads

        def init_runtime(self, core_mask: int) -> int:
            board.calls.append(("init", core_mask))
            return board.starts

        def inference(self, inputs: list[np.ndarray]) -> Optional[list[np.ndarray]]:
            (picture,) = inputs
            board.calls.append(("infer", picture.shape, str(picture.dtype)))
            return board.outputs

    package, api = types.ModuleType("rknnlite"), types.ModuleType("rknnlite.api")
    api.RKNNLite = RKNNLite
    monkeypatch.setitem(sys.modules, "rknnlite", package)
    monkeypatch.setitem(sys.modules, "rknnlite.api", api)
    return board


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    anchors = [
        (y * step, x * step, (y + 1) * step, (x + 1) * step)
        for (height, width) in SIZES
        for step in (32 / height,)
        for y in range(height)
        for x in range(width)
    ]
    detector = replace(
        DETECTOR, anchors=np.array(anchors, np.float32), box_coder_scale=(1.0, 1.0, 1.0, 1.0)
    )
    write_detector(tmp_path, detector)
    (tmp_path / "model.rknn").write_bytes(b"RKNN")
    return tmp_path


def test_a_photo_becomes_detections(board: Board, artifact: Path) -> None:
    board.outputs[0][0, 1, 2, 3] = 4.0  # a nut at the third row, fourth place of the fine level

    found = runtimes.load("rknnlite", artifact, "0_1_2").detect(np.zeros((64, 128, 3), np.uint8))

    assert [CLASSES[index] for index in found.classes] == ["nut"]
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(-4)), atol=1e-6)
    np.testing.assert_allclose(found.boxes, [[96, 32, 128, 48]], atol=1e-3)
    assert board.calls == [
        ("load", "model.rknn"),
        ("init", 7),
        ("infer", (1, 32, 32, 3), "uint8"),
    ]


@pytest.mark.parametrize(
    ("answers", "device", "message"),
    [
        ((-1, 0), "", "cannot be read by rknn-toolkit-lite2"),
        ((0, -1), "", "converted for the chip of this board.*librknnrt.so must be there"),
        ((0, 0), "9", "--device 9: it is auto, all, or cores"),
    ],
)
def test_what_does_not_fit_is_said(
    board: Board, artifact: Path, answers: tuple[int, int], device: str, message: str
) -> None:
    board.loads, board.starts = answers

    with pytest.raises(InputError, match=message):
        runtimes.load("rknnlite", artifact, device)


def test_an_npu_that_gives_nothing_is_no_empty_result(board: Board, artifact: Path) -> None:
    board.outputs = None

    with pytest.raises(RuntimeError, match="gave no result"):
        runtimes.load("rknnlite", artifact).detect(np.zeros((32, 32, 3), np.uint8))


def test_without_the_library_the_environment_is_named(artifact: Path) -> None:
    with pytest.raises(InputError, match="this environment has no rknnlite"):
        runtimes.load("rknnlite", artifact)

"""Quantizing in attempts: the next one is taken where one is not close, and it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attempts import Attempt, Closeness, Judge, best
from console import StageError
from conversion import JudgingSet, Request
from detection.detections import Detections
from detection.detector import Detector, NetworkInput
from detection.metrics import Truth

DETECTOR = Detector(
    *("one_stage", "any", ("bolt", "nut"), NetworkInput(100, 300, (0.0,) * 3, (1.0,) * 3)),
    *(0.05, 0.5, 100, 100),
)


def found(shift: float = 0.0, score: float = 0.9, count: int = 4) -> list[Detections]:
    corners = np.array([[50 * i, 10, 50 * i + 40, 50] for i in range(count)], np.float32)
    return [Detections(corners + shift, np.zeros(count, int), np.full(count, score, np.float32))]


def judge(truths: tuple[Truth | None, ...] = (None,)) -> Judge:
    photos = JudgingSet((np.zeros((1, 100, 300, 3), np.uint8),) * len(truths), truths)
    asked = Request(*(Path(),) * 3, "int8", "", 1, Path(), DETECTOR, tolerance=0.02)
    return Judge(photos, found() * len(truths), asked)


def tried(attempts: list[Attempt]) -> tuple[object, dict]:
    return best(attempts, judge(), lambda made: made)


GOOD, POOR, WRONG = found(0.5), found(5), found(25)


def test_the_first_that_holds_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    made, about = tried([Attempt("plain", lambda: GOOD), Attempt("slow", pytest.fail)])

    assert made is GOOD
    assert about["method"] == "post-training, plain"
    assert [one["method"] for one in about["tried"]] == ["plain"]
    assert "not good enough" not in capsys.readouterr().out


def test_where_the_plain_one_misses_the_next_is_taken_visibly(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made, about = tried([Attempt("plain", lambda: WRONG), Attempt("better", lambda: GOOD)])

    assert made is GOOD
    assert [one["method"] for one in about["tried"]] == ["plain", "better"]
    assert about["tried"][0]["differing"] > 0.5 > about["tried"][1]["differing"]
    said = capsys.readouterr().out
    assert said.index("quantizing: plain") < said.index("not good enough") < said.index("better")


def test_of_none_that_holds_the_best_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    made, about = tried(
        [
            Attempt("a", lambda: WRONG),
            Attempt("b", lambda: POOR),
            Attempt("c", lambda: found(count=1)),
        ]
    )

    assert made is POOR
    assert about["method"].endswith("b")
    assert len(about["tried"]) == 3
    assert "none is good enough" in capsys.readouterr().out


def test_what_the_toolchain_cannot_do_is_passed_over() -> None:
    def impossible() -> object:
        raise StageError("no such layer")

    _, about = tried(
        [Attempt("plain", lambda: POOR), Attempt("no", impossible), Attempt("c", lambda: GOOD)]
    )

    assert [one["method"] for one in about["tried"]] == ["plain", "c"]
    with pytest.raises(StageError):
        tried([Attempt("no", impossible)])


def test_closeness_counts_boxes_scores_and_what_is_missing() -> None:
    assert judge()(found()) == Closeness(0.0, 1.0, 0.0, shown=8)
    lower = judge()(found(score=0.8))
    assert lower.mean_score_difference == pytest.approx(0.1, abs=1e-3) and not lower.close
    assert judge()(found(count=2)).differing == pytest.approx(1 / 3, abs=1e-3)


def test_what_finds_nothing_where_there_is_nothing_is_close() -> None:
    photos = JudgingSet((np.zeros((1, 100, 300, 3), np.uint8),), (None,))
    asked = Request(*(Path(),) * 3, "int8", "", 1, Path(), DETECTOR, tolerance=0.02)

    blind = Judge(photos, found(score=0.1), asked)
    assert blind(found(score=0.1)).close
    assert "could not be judged" in blind.told(blind(found(score=0.1)))


def test_average_precision_is_lost_against_what_is_annotated() -> None:
    annotated = judge((Truth(found()[0].boxes, np.zeros(4, int)),))

    assert annotated(found()).lost == 0
    # One of four objects is found no more: 0.25 of the precision, in the one class that occurs.
    three = annotated(found(count=3))
    assert three.lost == three.lost_most == pytest.approx(0.25, abs=0.01)
    # Boxes that are 0.7 of 40 pixels aside are close, but not in the right place.
    aside = annotated(found(0.7))
    assert aside.close and aside.lost > 0.02 and not annotated.holds(aside)
    assert judge()(found(0.7)).lost is None and judge().holds(judge()(found(0.7)))


def test_what_detects_better_than_the_exact_network_is_no_worse_for_it() -> None:
    right = Truth(found(0.7)[0].boxes, np.zeros(4, int))
    gained = judge((right,))(found(0.7))

    assert gained.lost < 0 and judge((right,)).holds(gained)
    assert gained.merit == judge()(found(0.7)).merit


def test_on_photos_it_was_trained_on_half_of_the_tolerance_is_allowed() -> None:
    near = {"differing": 0.0, "mean_iou": 0.99, "mean_score_difference": 0.0}
    truth = Truth(found()[0].boxes, np.zeros(4, int))
    many, few = judge((truth,) * 16), judge((truth,) * 15 + (None,))

    assert many.holds(Closeness(**near, lost=0.01, lost_most=0.05))
    assert not many.holds(Closeness(**near, lost=0.012, lost_most=0.012))
    assert not many.holds(Closeness(**near, lost=0.0, lost_most=0.06))
    assert not many.holds(Closeness(0.2, 0.99, 0.0, lost=0.0, lost_most=0.0))
    # A handful says less.
    assert few.holds(Closeness(**near, lost=0.018, lost_most=0.06))
    assert not few.holds(Closeness(**near, lost=0.022, lost_most=0.022))


def test_no_loss_is_told_without_a_minus() -> None:
    assert "mAP +0.0000" in Closeness(0.0, 1.0, 0.0, lost=0.0, lost_most=0.0).told(8)

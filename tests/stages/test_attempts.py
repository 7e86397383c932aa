"""Quantizing in attempts: the next one is taken where one is not close, and it is said."""

from __future__ import annotations

import numpy as np
import pytest

from attempts import Attempt, Closeness, closeness_of, closest
from console import StageError
from detection.detections import Detections


def found(shift: float = 0.0, score: float = 0.9, count: int = 4) -> list[Detections]:
    corners = np.array([[50 * i, 10, 50 * i + 40, 50] for i in range(count)], np.float32)
    return [Detections(corners + shift, np.zeros(count, int), np.full(count, score, np.float32))]


def tried(attempts: list[Attempt]) -> tuple[object, dict]:
    return closest(attempts, found(), lambda made: made)


GOOD, POOR, WRONG = found(0.5), found(5), found(25)


def test_the_first_that_is_close_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    made, about = tried([Attempt("plain", lambda: GOOD), Attempt("slow", pytest.fail)])

    assert made is GOOD
    assert about["method"] == "post-training, plain"
    assert [one["method"] for one in about["tried"]] == ["plain"]
    assert "not close enough" not in capsys.readouterr().out


def test_where_the_plain_one_misses_the_next_is_taken_visibly(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made, about = tried([Attempt("plain", lambda: WRONG), Attempt("better", lambda: GOOD)])

    assert made is GOOD
    assert [one["method"] for one in about["tried"]] == ["plain", "better"]
    assert about["tried"][0]["differing"] > 0.5 > about["tried"][1]["differing"]
    said = capsys.readouterr().out
    assert said.index("quantizing: plain") < said.index("not close enough") < said.index("better")


def test_of_none_that_is_close_the_closest_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
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
    assert "none is close enough" in capsys.readouterr().out


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
    assert closeness_of(found(), found()) == Closeness(0.0, 1.0, 0.0)
    lower = closeness_of(found(), found(score=0.8))
    assert lower.mean_score_difference == pytest.approx(0.1, abs=1e-3) and not lower.close
    assert closeness_of(found(count=4), found(count=2)).differing == pytest.approx(1 / 3, abs=1e-3)
    nothing = found(score=0.1)
    assert closeness_of(nothing, nothing).close

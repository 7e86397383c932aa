"""verify.py bites: what a broken conversion does to real decoding, NMS and photos does not pass."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import predict

pytest.importorskip("pycocotools", reason="runs in the environment 'train'")

import verify
from console import run
from dataset import voc
from detection import plots, runtimes
from detection.detections import Detections
from detection.detector import ONE_STAGE, Detector, NetworkInput, write_detector
from detection.runtimes import RawHeads

CLASSES = ("bolt", "nut", "washer")  # red, green and blue squares
CELL = 32
SIZE = (256, 192)  # of photos and network alike


def anchors() -> np.ndarray:
    """Two for each cell, the second a little aside: without NMS everything is found twice."""
    rows, columns = np.mgrid[0 : SIZE[1] : CELL, 0 : SIZE[0] : CELL]
    corners = np.stack([rows, columns], axis=-1).reshape(-1, 2)
    exact = np.concatenate([corners, corners + CELL], axis=1)
    return np.concatenate([exact, exact + np.array([2, 2, -2, -2])]).astype(np.float32)


DETECTOR = Detector(
    kind=ONE_STAGE,
    name="squares",
    classes=CLASSES,
    input=NetworkInput(SIZE[1], SIZE[0], (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    score_threshold=0.05,
    iou_threshold=0.5,
    max_detections=100,
    pre_nms_top_k=1000,
    anchors=anchors(),
    box_coder_scale=(1.0, 1.0, 1.0, 1.0),
)


def squares(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A network that knows each class by its colour; the second anchor is a little less sure."""
    scores = []
    for ymin, xmin, ymax, xmax in DETECTOR.anchors.astype(int):
        red, green, blue = picture[0, ymin:ymax, xmin:xmax].reshape(-1, 3).mean(axis=0) / 255
        scores.append([red - green - blue, green - red - blue, blue - red - green])
    clipped = np.clip(np.array(scores, np.float32) * 0.9, 0, 1)
    clipped[len(clipped) // 2 :] *= 0.95
    return clipped, np.zeros((len(clipped), 4), np.float32)


def saturated(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What calibrating on black photos does: every activation beyond their range is cut off."""
    scores, codes = squares(picture)
    return np.minimum(scores, 0.1), codes


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(4)
    for number in range(8):
        image = Image.new("RGB", SIZE)
        canvas = ImageDraw.Draw(image)
        boxes = []
        for cell in rng.choice(48, 6, replace=False):
            x, y = CELL * (cell % 8), CELL * (cell // 8)
            index = int(rng.integers(3))
            colour = [0, 0, 0]
            colour[index] = 255
            canvas.rectangle([x, y, x + CELL - 1, y + CELL - 1], fill=tuple(colour))
            boxes.append(voc.Box(CLASSES[index], x, y, x + CELL, y + CELL))
        path = tmp_path / "data" / "test" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
        voc.write(path.with_suffix(".xml"), voc.Annotation(path.name, *SIZE, tuple(boxes)))
    return tmp_path / "data"


class Bench:
    """Predicts with one detector or another and verifies against the right one."""

    def __init__(self, folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.data, self.monkeypatch = folder, data, monkeypatch
        (folder / "export").mkdir()
        write_detector(folder / "export", DETECTOR)
        self.predict("reference", RawHeads(DETECTOR, squares))

    def predict(self, name: str, detector: object) -> Path:
        self.monkeypatch.setattr(runtimes, "load", lambda *_: detector)
        predict.predict(Path("x"), "any", "", self.data / "test", self.folder / name)
        return self.folder / name / "predictions.json"

    def verify(self, tolerance: float = 0.02, *further: str) -> int:
        arguments = {
            "export": self.folder / "export",
            "reference": self.folder / "reference",
            "predictions": self.folder / "target",
            "data": self.data,
            "tolerance": tolerance,
            "output": self.folder / "verified",
        }
        argv = [f"--{name}={value}" for name, value in arguments.items()]
        self.monkeypatch.setattr(sys, "argv", ["verify.py", *argv, *further])
        try:
            run(verify.main)
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    @property
    def result(self) -> dict:
        return json.loads((self.folder / "verified" / "verify.json").read_text())

    def edit(self, change: Callable[[dict], None]) -> None:
        path = self.folder / "target" / "predictions.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))


@pytest.fixture
def bench(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, data, monkeypatch)


def test_the_same_detector_passes_to_the_last_digit(bench: Bench) -> None:
    bench.predict("target", RawHeads(DETECTOR, squares))

    assert bench.verify(0.0) == 0
    result = bench.result
    assert result["passed"] and not result["problems"]
    assert result["mAP"] == result["reference_mAP"] > 0.95
    assert (result["matched"], result["missing"], result["extra"]) == (48, 0, 0)
    assert not (bench.folder / "verified" / "worst").exists()
    assert "few" in result["caution"]


def swapped_channels(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return squares(picture[..., ::-1])


SABOTAGE = {
    "swapped channels": RawHeads(DETECTOR, swapped_channels),
    "a wrong anchor file": RawHeads(
        dataclasses.replace(DETECTOR, anchors=DETECTOR.anchors[::-1].copy()), squares
    ),
    "anchors of another size": RawHeads(
        dataclasses.replace(DETECTOR, anchors=DETECTOR.anchors + np.float32([0, 0, 9, 9])), squares
    ),
    "no NMS": RawHeads(dataclasses.replace(DETECTOR, iou_threshold=1.0), squares),
    "a broken calibration": RawHeads(DETECTOR, saturated),
}


@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_a_broken_conversion_does_not_pass(
    bench: Bench, sabotage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.predict("target", SABOTAGE[sabotage])

    assert bench.verify() == 1
    assert not bench.result["passed"]
    assert bench.result["problems"]
    assert bench.result["problems"][0] in capsys.readouterr().err
    assert (bench.folder / "verified" / "worst" / "1_0.jpg").exists() or any(
        (bench.folder / "verified" / "worst").iterdir()
    )


def test_one_class_that_vanished_is_named(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    def no_nuts(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores, codes = squares(picture)
        scores[:, 1] = 0
        return scores, codes

    bench.predict("target", RawHeads(DETECTOR, no_nuts))

    assert bench.verify() == 1
    assert "nut has AP 0.000 instead of 1.000" in capsys.readouterr().err
    assert bench.result["per_class"]["nut"]["difference"] < -0.9


def test_boxes_that_are_badly_placed_are_named_by_photo_and_drawn(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    compared = plots.compared
    monkeypatch.setattr(
        plots, "compared", lambda *given, **all_: drawn.append(all_) or compared(*given, **all_)
    )
    wider = dataclasses.replace(DETECTOR, anchors=DETECTOR.anchors + np.float32([0, 0, 0, 20]))
    bench.predict("target", RawHeads(wider, squares))

    assert bench.verify() == 1
    assert bench.result["differing_photos"] == []
    said = capsys.readouterr().err
    assert f". It differs most in {drawn[0]['name']}, {drawn[1]['name']}, " in said
    assert len(drawn[0]["errors"].poor) > 0


def test_scores_that_all_shifted_are_noticed_though_map_stays(bench: Bench) -> None:
    def unsure(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores, codes = squares(picture)
        return scores * 0.6, codes

    bench.predict("target", RawHeads(DETECTOR, unsure))

    assert bench.verify(0.02) == 1
    assert bench.result["difference"] == 0
    assert "scores differ" in bench.result["problems"][0]


def test_one_bad_photo_does_not_hide_in_the_mean_of_an_exact_target(bench: Bench) -> None:
    bench.predict("target", RawHeads(DETECTOR, squares))
    bench.edit(lambda content: _shift(content["photos"][3]))

    assert bench.verify(0.001) == 1
    assert "3.png" in " ".join(bench.result["problems"])


def _shift(photo: dict) -> None:
    photo["boxes"] = [[x1, y1, x2 - 1.5, y2] for x1, y1, x2, y2 in photo["boxes"]]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["photos"].pop(),
        lambda content: content["photos"].append(content["photos"][0]),
        lambda content: content["photos"][0]["scores"].pop(),
        lambda content: content["photos"][0]["scores"].__setitem__(0, float("nan")),
        lambda content: content["photos"][0]["scores"].__setitem__(0, 1.5),
        lambda content: content["photos"][0]["boxes"].__setitem__(0, [0, 0, 9999, 5]),
        lambda content: content["photos"][0]["classes"].__setitem__(0, 7),
        lambda content: content["photos"][0].pop("boxes"),
        lambda content: content["classes"].reverse(),
    ],
)
def test_unsound_predictions_never_pass(bench: Bench, change: Callable[[dict], None]) -> None:
    bench.predict("target", RawHeads(DETECTOR, squares))
    bench.edit(change)

    assert bench.verify(0.02, "--accept-loss=whatever") == 1


def test_two_detectors_that_find_nothing_do_not_agree(bench: Bench) -> None:
    blind = RawHeads(DETECTOR, lambda picture: tuple(0 * part for part in squares(picture)))
    bench.predict("reference", blind)
    bench.predict("target", blind)

    assert bench.verify() == 1


def test_an_accepted_loss_passes_and_is_kept(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.predict("target", SABOTAGE["no NMS"])

    assert bench.verify(0.02, "--accept-loss=only counted, not located") == 0
    assert bench.result["passed"]
    assert bench.result["accepted"] == "only counted, not located"
    assert bench.result["problems"]
    assert "loss accepted: only counted" in capsys.readouterr().out


def test_a_photo_without_annotation_counts_for_nothing_but_must_be_there(bench: Bench) -> None:
    (bench.data / "test" / "0.xml").unlink()
    bench.predict("target", RawHeads(DETECTOR, squares))

    assert bench.verify(0.0) == 0
    assert bench.result["images"] == 7


def test_without_annotations_agreement_alone_is_judged_and_said(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    for xml in (bench.data / "test").glob("*.xml"):
        xml.unlink()
    bench.predict("target", RawHeads(DETECTOR, squares))

    assert bench.verify(0.001) == 0
    assert bench.result["mAP"] is None and bench.result["difference"] is None
    assert (bench.result["images"], bench.result["matched"]) == (8, 48)
    assert "agreement alone" in capsys.readouterr().out
    assert "not whether either is right" in bench.result["caution"]


@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_a_broken_conversion_does_not_agree_either(bench: Bench, sabotage: str) -> None:
    for xml in (bench.data / "test").glob("*.xml"):
        xml.unlink()
    bench.predict("target", SABOTAGE[sabotage])

    assert bench.verify() == 1
    assert bench.result["problems"]


def test_classes_that_the_detector_does_not_know_are_no_truth_to_judge_by(bench: Bench) -> None:
    _rename(bench.data, lambda name: f"other {name}")
    bench.predict("target", RawHeads(DETECTOR, squares))

    assert bench.verify(0.001) == 0
    assert bench.result["mAP"] is None


def test_one_class_that_it_does_not_know_is_a_misspelling(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    _rename(bench.data, lambda name: "bolts" if name == "bolt" else name)
    bench.predict("target", RawHeads(DETECTOR, squares))

    assert bench.verify() == 2
    assert "does not know 'bolts'" in capsys.readouterr().err


def _rename(data: Path, change: Callable[[str], str]) -> None:
    for xml in (data / "test").glob("*.xml"):
        found = voc.read(xml)
        boxes = tuple(box._replace(name=change(box.name)) for box in found.boxes)
        voc.write(xml, voc.Annotation(found.filename, *SIZE, boxes))


def test_two_blind_detectors_do_not_agree_without_annotations_either(bench: Bench) -> None:
    for xml in (bench.data / "test").glob("*.xml"):
        xml.unlink()
    blind = RawHeads(DETECTOR, lambda picture: tuple(0 * part for part in squares(picture)))
    bench.predict("reference", blind)
    bench.predict("target", blind)

    assert bench.verify() == 1


def test_faint_detections_are_compared_from_a_lower_score() -> None:
    def photo(*scores: float) -> Detections:
        count = len(scores)
        boxes = np.tile(np.array([0, 0, 9, 9], np.float32), (count, 1))
        return Detections(boxes, np.zeros(count, np.int32), np.array(scores, np.float32))

    assert verify.shown_without_truth([photo(0.9, 0.8, 0.7), photo(0.6)]) == 0.5
    assert verify.shown_without_truth([photo(0.9, 0.2), photo()]) == pytest.approx(0.2)
    assert verify.shown_without_truth([photo(0.3, 0.01), photo()]) == pytest.approx(0.3)

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from samples import annotate, photo, picture, stage


def loose(folder: Path, count: int, first: int = 0) -> None:
    """Annotated photos: every second one with bolts, every fourth with washers too."""
    for number in range(first, first + count):
        path = photo(folder / f"{number}.jpg", number)
        names = ["bolt"] * (number % 2 == 0) + ["washer"] * (number % 4 == 0) or ["nut"]
        annotate(path, [(name, 5, 10, 40, 50) for name in names])


def sides(folder: Path) -> dict[str, set[str]]:
    found = {}
    for side in ("train", "test", "validation"):
        photos = {path.stem for path in (folder / side).glob("*.jpg")}
        assert photos == {path.stem for path in (folder / side).glob("*.xml")}
        found[side] = photos
    return found


def classes(folder: Path, side: str) -> dict[str, int]:
    text = [path.read_text() for path in (folder / side).glob("*.xml")]
    return {name: sum(f">{name}<" in one for one in text) for name in ("bolt", "nut", "washer")}


def test_photos_and_xml_are_split_by_ratio_and_class(tmp_path):
    loose(tmp_path, 40)
    done = stage("split_dataset.py", "--images", tmp_path, "--test", "0.2", "--validation", "0.25")
    assert done.returncode == 0, done.stderr
    found = sides(tmp_path)
    assert {side: len(members) for side, members in found.items()} == {
        "train": 24,
        "test": 8,
        "validation": 8,
    }
    assert not list(tmp_path.glob("*.*"))
    assert classes(tmp_path, "test") == {"bolt": 4, "nut": 4, "washer": 2}
    assert classes(tmp_path, "validation") == {"bolt": 4, "nut": 4, "washer": 2}


def test_the_seed_decides(tmp_path):
    results = []
    for run, seed in enumerate((1, 1, 2)):
        loose(tmp_path / str(run), 20)
        stage("split_dataset.py", "--images", tmp_path / str(run), "--seed", seed)
        results.append(sides(tmp_path / str(run)))
    assert results[0] == results[1] != results[2]


def test_what_is_split_stays_unless_asked(tmp_path):
    loose(tmp_path, 20)
    stage("split_dataset.py", "--images", tmp_path)
    before = sides(tmp_path)
    done = stage("split_dataset.py", "--images", tmp_path, "--seed", 5)
    assert "nothing to split" in done.stdout and sides(tmp_path) == before
    loose(tmp_path, 20, first=20)
    stage("split_dataset.py", "--images", tmp_path, "--seed", 5)
    after = sides(tmp_path)
    assert before["train"] <= after["train"] and before["test"] <= after["test"]
    assert len(after["test"]) == 8
    stage("split_dataset.py", "--images", tmp_path, "--seed", 6, "--again")
    again = sides(tmp_path)
    assert len(again["test"]) == 8 and again["test"] != after["test"]
    assert len(again["train"]) == 32


def shot(path: Path, seed: int, shift: int) -> None:
    """One of a burst: the same scene, a little moved."""
    wide = picture(seed, (440, 330))
    noise = np.random.default_rng(shift).normal(0, 3, (300, 400, 3))
    moved = np.asarray(wide.crop((15 + shift, 15, 415 + shift, 315))) + noise
    Image.fromarray(np.clip(moved, 0, 255).astype(np.uint8)).save(path)


def test_burst_shots_stay_together_also_with_photos_split_earlier(tmp_path):
    for scene in range(10):
        for number in range(3):
            shot(tmp_path / f"{scene}-{number}.jpg", scene, 3 * number)
    stage("split_dataset.py", "--images", tmp_path, "--test", "0.3")
    scenes = [{p.name[0] for p in (tmp_path / s).glob("*.jpg")} for s in ("train", "test")]
    assert not scenes[0] & scenes[1] and len(scenes[1]) == 3
    for scene in range(10):
        shot(tmp_path / f"{scene}-9.jpg", scene, 8)
    stage("split_dataset.py", "--images", tmp_path, "--test", "0.3")
    assert scenes == [{p.name[0] for p in (tmp_path / s).glob("*.jpg")} for s in ("train", "test")]


def test_photos_that_are_not_annotated_yet_are_split(tmp_path):
    for number in range(10):
        photo(tmp_path / f"{number}.jpg", number)
    done = stage("split_dataset.py", "--images", tmp_path, "--test", "0.3", "--dry-run")
    assert "would move 7 to train, 3 to test" in done.stdout
    assert len(list(tmp_path.glob("*.jpg"))) == 10
    stage("split_dataset.py", "--images", tmp_path, "--test", "0.3")
    assert len(list((tmp_path / "test").glob("*.jpg"))) == 3


def test_nothing_is_overwritten(tmp_path):
    loose(tmp_path, 10)
    photo(tmp_path / "train/3.png", 77)
    done = stage("split_dataset.py", "--images", tmp_path)
    assert done.returncode == 2 and "3.png" in done.stderr and "3.jpg" in done.stderr
    assert len(list(tmp_path.glob("*.jpg"))) == 10


def test_an_interrupted_move_is_completed(tmp_path):
    loose(tmp_path, 10)
    stage("split_dataset.py", "--images", tmp_path)
    xml = next((tmp_path / "train").glob("*.xml"))
    xml.rename(tmp_path / xml.name)
    assert stage("split_dataset.py", "--images", tmp_path).returncode == 0
    assert len(sides(tmp_path)["train"]) == 8


def test_wrong_input_is_told(tmp_path):
    for arguments in (["--test", "1.5"], ["--test", "nan"], ["--validation", "-1"]):
        done = stage("split_dataset.py", "--images", tmp_path, *arguments)
        assert done.returncode == 2 and arguments[0] in done.stderr
    done = stage("split_dataset.py", "--images", tmp_path / "nowhere")
    assert done.returncode == 2 and "no such folder" in done.stderr
    (tmp_path / "a.jpg").write_text("no photo")
    photo(tmp_path / "b.jpg", 1)
    done = stage("split_dataset.py", "--images", tmp_path)
    assert done.returncode == 2 and "a.jpg" in done.stderr
    assert (tmp_path / "b.jpg").exists()

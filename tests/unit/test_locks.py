"""`inv lock --check` tells whole pins from floating ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import environments, locks
from pipeline.locks import folders, lock_problems

HASH = "--hash=sha256:" + "a" * 64


def problems(folder: Path, wanted: str, locked: str) -> list[str]:
    (folder / "requirements.in").write_text(wanted)
    (folder / "requirements.txt").write_text(locked)
    return list(lock_problems(folder))


@pytest.mark.parametrize("wanted", ["Some_Thing==1.2  # why", "some-thing==1.*", "some-thing"])
def test_a_whole_lock_passes(tmp_path: Path, wanted: str) -> None:
    assert problems(tmp_path, f"{wanted}\n", f"some-thing==1.2 \\\n    {HASH}\n") == []


@pytest.mark.parametrize(
    ("wanted", "locked", "problem"),
    [
        ("thing", "thing==1.2\n", "has no hash"),
        ("thing", f"thing>=1.2 \\\n    {HASH}\n", "is not pinned"),
        ("thing\nother", f"thing==1.2 \\\n    {HASH}\n", "other of requirements.in is missing"),
        ("thing==1.3", f"thing==1.2 \\\n    {HASH}\n", "thing is not at ==1.3"),
        ("thing<1.2", f"thing==1.2 \\\n    {HASH}\n", "thing is not at <1.2"),
        (
            "thing",
            f"thing==1.2 {HASH}\n    # via -r requirements.in\nold==1 {HASH}\n"
            "    # via -r requirements.in\n",
            "old is there, and nothing",
        ),
        (
            "thing",
            f"thing==1.2 {HASH}\n    # via -r requirements.in\nold==1 {HASH}\n    # via gone\n",
            "old is there, and nothing",
        ),
        ("thing", f"--index-url https://example.org\nthing==1 {HASH}\n", "names an address"),
    ],
)
def test_a_floating_lock_is_named(tmp_path: Path, wanted: str, locked: str, problem: str) -> None:
    assert any(problem in line for line in problems(tmp_path, wanted, locked))


def test_the_builders_own_lock_is_checked_too() -> None:
    assert any(folder.name == "base" for folder, *_ in folders())


def test_devices_have_locks_too() -> None:
    names = {folder.name for folder, *_ in folders()}

    assert {"train", *(name.removeprefix("device/") for name in environments.devices())} <= names


@pytest.mark.parametrize(
    ("overrides", "locked", "problem"),
    [
        ('old; python_version < "3"', f"thing==1 {HASH}\n", None),
        (
            'old; python_version < "3"',
            f"thing==1 {HASH}\nold==1 {HASH}\n    # via thing\n",
            "old is there, which overrides.txt leaves out",
        ),
        ("old==2", f"thing==1 {HASH}\nold==2 {HASH}\n    # via thing\n", None),
        ("old==2", f"thing==1 {HASH}\nold==1 {HASH}\n    # via thing\n", "old is not at ==2"),
        ("thing==3", f"thing==3 {HASH}\n", None),  # more than requirements.in has to say
    ],
)
def test_overrides_count(tmp_path: Path, overrides: str, locked: str, problem: str | None) -> None:
    (tmp_path / "overrides.txt").write_text(f"# why\n{overrides}\n")
    found = problems(tmp_path, "thing<2\n", locked)

    assert found == [] if problem is None else problem in found[0]


def test_a_requirement_of_another_python_is_not_missed(tmp_path: Path) -> None:
    wanted = 'thing\nbackport; python_version < "3.10"\n'
    assert problems(tmp_path, wanted, f"thing==1 {HASH}\n") == []
    (old,) = lock_problems(tmp_path, "3.9")
    assert "backport of requirements.in is missing" in old


def test_a_variant_has_what_it_is_a_variant_of(tmp_path: Path) -> None:
    plain, variant = tmp_path / "plain", tmp_path / "variant"
    for folder in (plain, variant):
        folder.mkdir()
    assert problems(plain, "thing\n", f"thing==1 {HASH}\n") == []
    (variant / "requirements.in").write_text("-r ../plain/requirements.in\nmore\n")
    lock = variant / "requirements.txt"

    lock.write_text(f"thing==1 {HASH}\nmore==1 {HASH}\n")
    assert list(lock_problems(variant, of=plain)) == []
    lock.write_text(f"thing==2 {HASH}\nmore==1 {HASH}\n")
    (found,) = lock_problems(variant, of=plain)
    assert "thing is not at 1, as in the environment it is a variant of" in found
    lock.write_text(f"more==1 {HASH}\n")
    assert any("thing of requirements.in is missing" in one for one in lock_problems(variant))


def test_all_pins_of_the_project_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    locks.check()

    assert "all pins are whole" in capsys.readouterr().out

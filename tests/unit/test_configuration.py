"""Files of configs/ as editors leave them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from conftest import REPOSITORY

from pipeline.configuration import Settings, load_settings
from pipeline.errors import InputError

PROJECT = (REPOSITORY / "configs" / "project.toml").read_bytes()


@pytest.mark.parametrize("first", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["unix", "windows"])
def test_a_file_from_any_editor_is_read(tmp_path: Path, first: bytes, end: bytes) -> None:
    (tmp_path / "project.toml").write_bytes(first + PROJECT.replace(b"\n", end))

    assert load_settings(tmp_path / "project.toml") == load_settings()


@pytest.mark.parametrize(
    "content",
    [PROJECT + b'note = "caf\xe9"', b"steps = ", PROJECT + b"stepz = 3", b"\x00", b""],
    ids=["latin-1", "cut short", "unknown key", "binary", "empty"],
)
def test_what_is_wrong_is_told_with_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "project.toml").write_bytes(content)

    with pytest.raises(InputError, match=r"project\.toml: "):
        load_settings(tmp_path / "project.toml")


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("override", "right"),
    [
        ("", True),
        ("trainer.train_steps=50", True),
        ("task.model.head.num_filters=96, task.frozen_blocks=2", True),
        ("task.anchor.ratios=[0.5,1.0,2.0],trainer.x=1e-3,task.init_checkpoint=", True),
        ("task.losses[0]='a, b',a.b=\"c,d\"", True),
        ("faster", False),
        ("trainer.yaml", False),
        ("trainer.train_steps 50", False),
        ("a.b=1,c", False),
        ("a.b=1,,c.d=2", False),
        ("a.b=[1,2", False),
        ("=3", False),
        ("a.b=1," * 5000, False),
    ],
)
def test_overrides_are_checked_before_a_training(override: str, right: bool) -> None:
    values = {**msgspec.structs.asdict(load_settings()), "override": override}
    if right:
        assert msgspec.convert(values, Settings).override == override
    else:
        with pytest.raises(msgspec.ValidationError, match="`override` must be like"):
            msgspec.convert(values, Settings)

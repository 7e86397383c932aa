"""Which environment a stage gets, and whether it gets the GPU, on hosts that this one is not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import environments, locks, placement
from pipeline.content import ContentCache
from pipeline.errors import HostError, InputError
from pipeline.placement import gpu_choice, place

NOTHING, IDLE, READY = (False, False), (True, False), (True, True)  # driver, given to stages


@pytest.mark.parametrize(
    ("wanted", "host", "use", "told"),
    [
        ("auto", NOTHING, False, False),
        ("auto", READY, True, False),
        ("auto", IDLE, False, True),
        ("on", READY, True, False),
        ("off", READY, False, False),
        ("off", IDLE, False, False),
    ],
)
def test_gpu_choice(wanted: str, host: tuple[bool, bool], use: bool, told: bool) -> None:
    chosen, note = gpu_choice(wanted, *host)

    assert (chosen, bool(note)) == (use, told)
    assert not told or "nvidia-ctk runtime configure" in note


@pytest.mark.parametrize(
    ("host", "reason"), [(NOTHING, "no NVIDIA driver"), (IDLE, "container toolkit")]
)
def test_a_gpu_that_was_asked_for_and_cannot_be_had_is_an_error(
    host: tuple[bool, bool], reason: str
) -> None:
    with pytest.raises(HostError, match=reason) as caught:
        gpu_choice("on", *host)
    assert caught.value.exit_code == 3


def test_a_word_that_is_no_choice_is_the_users_error() -> None:
    with pytest.raises(InputError, match="auto, on, off"):
        gpu_choice("yes", *READY)


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return ContentCache(tmp_path / "content.sqlite")


def on(host: tuple[bool, bool]) -> Any:
    return SimpleNamespace(gpu=lambda: host)


@pytest.mark.parametrize(
    ("host", "wanted", "name", "expected"),
    [
        (NOTHING, "auto", "train", ("train", False)),
        (READY, "auto", "train", ("train-cuda", True)),
        (READY, "off", "train", ("train", False)),
        (IDLE, "auto", "train", ("train", False)),
        (READY, "on", "openvino", ("openvino", False)),  # nothing there could use it
        (READY, "auto", "nvidia", ("nvidia", True)),  # which has no other variant
        (READY, "auto", "train-cuda", ("train-cuda", True)),  # asked for by name
        (NOTHING, "auto", "train-cuda", ("train-cuda", False)),
    ],
)
def test_the_variant_follows_the_gpu(
    host: tuple[bool, bool], wanted: str, name: str, expected: tuple[str, bool], cache: ContentCache
) -> None:
    where = place(on(host), name, wanted, cache)

    assert (where.environment.name, where.gpu) == expected
    assert where.digest == environments.environment_digest(where.environment, cache)


def test_where_the_gpu_lies_idle_the_user_is_told_once(
    cache: ContentCache, capsys: pytest.CaptureFixture[str]
) -> None:
    placement._tell.cache_clear()
    for _ in range(2):
        place(on(IDLE), "train", "auto", cache)

    assert capsys.readouterr().out.count("container toolkit") == 1


def test_the_variants_have_the_same_packages_and_cuda_beside() -> None:
    plain, cuda = (
        dict(locks.pinned(environments.load(name).lock)) for name in ("train", "train-cuda")
    )

    assert plain.items() <= cuda.items()
    assert {name.partition("-")[0] for name in cuda.keys() - plain.keys()} == {"nvidia"}

"""Which images count as built, stale or missing."""

from __future__ import annotations

import pytest

from pipeline.image_list import state_of


@pytest.mark.parametrize(
    ("there", "state", "size"),
    [
        ({}, "not built", 0),
        ({"drydock/litert:now": ("sha256:1", 7)}, "built", 7),
        ({"drydock/litert:old": ("sha256:1", 7)}, "stale", 0),
        ({"drydock/litert:old": ("a", 7), "drydock/litert:now": ("b", 8)}, "built", 8),
        ({"drydock/litert-x:old": ("sha256:1", 7)}, "not built", 0),
    ],
)
def test_an_image_is_built_stale_or_missing(
    there: dict[str, tuple[str, int]], state: str, size: int
) -> None:
    found = state_of("litert", "drydock/litert:now", "what it is for", there)

    assert (found.state, found.bytes) == (state, size)
    assert bool(found.image) == (state == "built")

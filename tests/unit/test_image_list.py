"""Which images count as built, stale or missing."""

from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.image_list import for_ci, show, state_of


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


def test_a_ci_learns_where_layers_are_kept_in_a_name_that_registries_take() -> None:
    state = state_of("device/arm64", "drydock/device/arm64:now", "what it is for", {})

    # The owner's name on GitHub may have capitals; the name of an image must not.
    found = for_ci(state, "ghcr.io/Me/Drydock")
    assert found["bake"] == "device-arm64"
    assert found["cache"] == "ghcr.io/me/drydock/cache:device-arm64"
    assert "cache" not in for_ci(state, None)


def test_a_registry_without_json_is_a_mistake() -> None:
    with pytest.raises(InputError, match="--json"):
        show(as_json=False, registry="ghcr.io/me")

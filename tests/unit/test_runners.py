"""Which runner is taken."""

from __future__ import annotations

import pytest

from pipeline import docker_runner
from pipeline.errors import InputError
from pipeline.runners import choose


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_runner, "unavailable", lambda: None)


def test_an_engine_that_answers_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRYDOCK_RUNNER", raising=False)

    assert choose("auto")[0].NAME == "docker"


def test_the_environment_chooses_where_the_command_line_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DRYDOCK_RUNNER", "local")

    runner, why = choose("auto")

    assert (runner.NAME, why) == ("local", "as DRYDOCK_RUNNER says")
    assert choose("docker")[0].NAME == "docker"


def test_a_runner_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRYDOCK_RUNNER", "podman")

    with pytest.raises(InputError, match="podman"):
        choose("auto")

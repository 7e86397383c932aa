"""Names in a registry, and what is said of who made an image."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pipeline.errors import InputError
from pipeline.packaging import Package
from pipeline.publishing import check_tag, find, registry_name, repository_of, statement

PACKAGE = Package(
    target="box",
    precision="int8",
    format="tar",
    folder="",
    detector="d" * 64,
    size=1,
    image="drydock/my-fruits/box:int8-0123",
    labels={"org.opencontainers.image.revision": f"{'a' * 40}-dirty"},
)


def test_an_image_keeps_its_name_behind_the_registrys() -> None:
    assert repository_of(PACKAGE, "host:5000/me") == ("host:5000/me/my-fruits/box", "int8-0123")


@pytest.mark.parametrize("registry", ["ghcr.io/Me/Drydock/", "localhost:5000", "a.b/c__d/e-f"])
def test_a_registry_is_taken_in_lower_case(registry: str) -> None:
    assert registry_name(registry) == registry.rstrip("/").lower()


@pytest.mark.parametrize("registry", ["https://ghcr.io/me", "ghcr.io//me", "--all", ""])
def test_what_cannot_be_a_registry_is_refused(registry: str) -> None:
    with pytest.raises(InputError, match="a host and folders"):
        registry_name(registry)


@pytest.mark.parametrize("tag", ["v1;rm", "-v1", "x" * 129, ""])
def test_what_cannot_be_a_tag_is_refused(tag: str) -> None:
    check_tag("v1.2-rc_1")
    with pytest.raises(InputError, match="--tag"):
        check_tag(tag)


def test_of_two_packages_for_one_target_none_is_pushed(tmp_path: Path) -> None:
    for version in ("fp32-0123", "int8-4567"):
        package = msgspec.structs.replace(PACKAGE, image=f"drydock/mine/box:{version}")
        (tmp_path / f"{version}.json").write_bytes(msgspec.json.encode(package))

    with pytest.raises(InputError, match="choose with --precision"):
        find([tmp_path])


@pytest.mark.parametrize(
    ("environ", "builder", "source"),
    [
        ({}, "urn:drydock:local", None),
        (
            {
                "GITHUB_SERVER_URL": "https://hub",
                "GITHUB_REPOSITORY": "me/it",
                "GITHUB_WORKFLOW_REF": "me/it/.github/workflows/devices.yml@refs/tags/v1",
            },
            "https://hub/me/it/.github/workflows/devices.yml@refs/tags/v1",
            "git+https://hub/me/it",
        ),
        ({"CI_PROJECT_URL": "https://lab/me/it"}, "https://lab/me/it", "git+https://lab/me/it"),
    ],
)
def test_the_statement_names_who_built_from_which_revision(
    environ: dict[str, str], builder: str, source: str | None
) -> None:
    made = statement(PACKAGE, environ)

    assert made["runDetails"]["builder"]["id"] == builder
    code, detector = made["buildDefinition"]["resolvedDependencies"]
    assert code.get("uri") == source
    assert code["digest"] == {"gitCommit": "a" * 40}
    assert detector["digest"] == {"sha256": "d" * 64}
